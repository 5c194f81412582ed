"""How much likelier to be false than is thought a pair is taken to be where a promise is made.

A promise takes the unfavourable end of what the data say: a curve from the log odds that are thought to those that are
promised with. Without labels of mined negatives it adds one constant. Labels are worth what they show, and no more
where they show nothing:

* among the labelled it is the highest line that so many positives allow in one of twenty cases: log odds may be flatter
  or steeper than is thought, as far as the labels do not speak against it. The rest of the data may say less, but none
  of it below what labels allow where log odds are as steep as is thought. In the half and the quarter that look least
  relevant it is what these allow by themselves where they surely say more;
* above them, what is read off the rest of the data, and log odds may be half as steep again;
* below them nothing is surer than at their lower end, unless the rest of the data say so: where topics are few and
  large, what looks least relevant is a positive as often as any document is.

With labels or without, no candidate is surer than the surer of two: a document that no retriever found, and one of the
candidates that look least relevant. How many positives lie among these is known: labelled positives lie there as often
as others do, if they were labelled at random.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

Curve = Sequence[tuple[float, float]]  # log odds as thought, ascending, and those promised with; linear in between

_ERROR = 0.05  # one-sided, of each end by labels
_FURTHEST = 12.0  # log odds that labels can move
_REACH = (0.1, 0.9)  # quantiles of the log odds of labelled pairs between which they tell
_SLOPE = 0.4  # how far from 1 log odds of a new corpus are as steep as is thought, about: labels said 0.45 to 1.4
_SLOPES, _LEVELS = np.linspace(0.0, 2.0, 21), np.linspace(-_FURTHEST, _FURTHEST, 97)  # tried
_LOWER = (0.5, 0.25)  # shares of them, from below, that are also looked at by themselves
_STEEPER, _FLATTER = 0.5, 0.25  # shares by which log odds may be too small above and below what labels reach
_END = 40.0  # log odds that none is beyond
_RISE = 1e-6  # log odds within which a curve rises


def unfavourable(probability: np.ndarray, curve: Curve) -> np.ndarray:
    """(n,) how likely each pair is false where a promise is made.

    Args:
      probability: (n,) as thought; 0 stays: somebody said that it is none.   curve: ``constant`` or ``of_labels``.

    >>> odds = scipy.special.logit(unfavourable(scipy.special.expit([-6.0, 0.0]), constant(1.0)))
    >>> odds.round(2).tolist()
    [-5.0, 1.0]
    """
    thought, promised = np.array(curve).T
    odds = np.interp(scipy.special.logit(probability), thought, promised)
    return np.where(probability <= 0.0, 0.0, scipy.special.expit(odds))


def constant(caution: float) -> Curve:
    """The curve that adds one constant to log odds."""
    return [(end, end + caution) for end in (-_END, _END)]


def no_less(curve: Curve, share: float) -> Curve:
    """A curve that promises of no pair that it is likelier right than what looks least relevant.

    Args:
      curve: ``constant`` or ``of_labels``.   share: of positives among documents that look least relevant.

    >>> np.interp([-9.0, -1.0, 2.0], *np.array(no_less(constant(1.0), 0.1)).T).round(2).tolist()
    [-2.2, 0.0, 3.0]
    """
    if share <= 0.0:
        return curve
    least = float(scipy.special.logit(share))
    thought, promised = np.array(curve).T
    if least <= promised[0]:
        return curve
    crossing = float(np.interp(least, promised, thought))
    higher = [(float(odds), float(end)) for odds, end in zip(thought, promised, strict=True) if odds > crossing]
    return [(-_END, least), (max(crossing, _RISE - _END), least), *higher]


def of_labels(logits: np.ndarray, labels: np.ndarray, wrong: float, unseen: float) -> tuple[Curve, str | None]:
    """The curve by the labels of some pairs, and in words what they contradict.

    Args:
      logits: (n,) log odds of each labelled pair, as thought.   labels: (n,) what was said, 1 or 0.
      wrong: share of the labels that are.   unseen: what the rest of the data would add to log odds.

    >>> thought = np.linspace(-6.0, 0.0, 200)
    >>> labels = np.random.default_rng(0).random(200) < scipy.special.expit(thought)
    >>> curve, contradicted = of_labels(thought, labels, wrong=0.0, unseen=2.0)
    >>> np.interp([-9.0, -7.0, -5.0, -1.0, 2.0], *np.array(curve).T).round(1).tolist(), contradicted
    ([-6.1, -4.6, -3.0, -0.7, 5.3], None)
    """
    lowest, highest = np.quantile(logits, _REACH)
    within = np.linspace(lowest, highest, 9)
    ends, contradicted = np.maximum(within, _highest_line(logits, labels, wrong, within)), None
    rest = within + max(0.0, unseen, _shift(logits, int(labels.sum()), wrong, _ERROR))
    for part in _LOWER:
        some = logits <= np.quantile(logits, part)
        surely, _, most = by_labels(logits[some], labels[some], wrong)
        if surely > 0.0:
            ends = np.where(within <= logits[some].max(), np.maximum(ends, within + most), ends)
            expected = wrong * some.sum() + (1.0 - 2.0 * wrong) * scipy.special.expit(logits[some]).sum()
            contradicted = (
                f"{int(labels[some].sum())} of the {int(some.sum())} labelled negatives that look least relevant are"
                f" said to be false, where {float(f'{expected:.2g}'):g} were to be expected"
            )
    if contradicted is None:  # else the rest of the data are known to say too little
        ends = np.minimum(ends, rest)
    least, most = ends[0] - lowest, max(ends[-1] - highest, unseen)
    below = [(-_END, ends[0])]
    if contradicted is None:
        equal = max(-_END, lowest - (max(least, unseen) - least) / (1.0 - _FLATTER))
        below = [(-_END, ends[0] - (1.0 - _FLATTER) * (equal + _END)), (equal, ends[0])]
    above = ((odds, odds + _STEEPER * (odds - highest) + most) for odds in (highest + _RISE, _END))
    points = [*below, *zip(within, ends, strict=True), *above]
    promised = np.maximum.accumulate([odds for _, odds in points])  # what looks more relevant is never surer
    return [(float(odds), float(end)) for (odds, _), end in zip(points, promised, strict=True)], contradicted


def _highest_line(logits: np.ndarray, labels: np.ndarray, wrong: float, at: np.ndarray) -> np.ndarray:
    """(m,) the highest log odds that labels allow at (m,) log odds as thought, whatever the slope.

    A slope is allowed whose likelihood, at its best level and with a normal prior around 1, is not so small that one in
    ten would be smaller (its ends hold with 95 % each, Wilks); its level ends where ``by_labels`` says.
    """
    middle, count = float(np.median(logits)), int(labels.sum())
    likely = -(((_SLOPES - 1.0) / _SLOPE) ** 2) / 2.0
    for place, slope in enumerate(_SLOPES):
        chance = wrong + (1.0 - 2.0 * wrong) * scipy.special.expit(slope * (logits - middle) + _LEVELS[:, None])
        said = scipy.special.xlogy(labels, chance) + scipy.special.xlog1py(1 - labels, -chance)
        likely[place] += said.sum(axis=1).max()
    allowed = _SLOPES[likely >= likely.max() - scipy.stats.chi2.ppf(1.0 - 2.0 * _ERROR, 1) / 2.0]
    levels = [_shift(slope * (logits - middle), count, wrong, _ERROR) for slope in allowed]
    return np.asarray(np.max(np.array(levels)[:, None] + allowed[:, None] * (at - middle), axis=0))


def by_labels(logits: np.ndarray, labels: np.ndarray, wrong: float = 0.0) -> tuple[float, float, float]:
    """The constant that log odds lack, by the labels of some pairs: lower end, middle, upper end.

    The number of positive labels is a sum of independent draws, whatever decided which pairs were labelled, if that
    looked at nothing but the features: the ends are those at which it would be so high, or so low, in one of twenty
    cases (exact, by the Poisson binomial distribution): each end holds with 95 %, both together with 90 %.

    Args:
      logits: (n,) log odds of each pair to be a positive.   labels: (n,) what was said, 1 or 0.
      wrong: share of the labels that are.

    >>> low, middle, high = by_labels(np.full(200, -2.0), np.arange(200) < 50)
    >>> [round(float(scipy.special.expit(shift - 2.0)), 2) for shift in (low, middle, high)]
    [0.2, 0.25, 0.31]
    """
    positive = int(labels.sum())
    low = _shift(logits, positive - 1, wrong, 1.0 - _ERROR) if positive else -_FURTHEST
    return low, _shift(logits, positive, wrong, 0.5), _shift(logits, positive, wrong, _ERROR)


def _shift(logits: np.ndarray, count: int, wrong: float, share: float) -> float:
    """The constant at which no more than so many positive labels come in a ``share`` of all cases."""

    def excess(value: float) -> float:
        chance = wrong + (1.0 - 2.0 * wrong) * scipy.special.expit(logits + value)
        return float(scipy.stats.poisson_binom.cdf(count, chance)) - share

    ends = -_FURTHEST, _FURTHEST
    if excess(ends[0]) <= 0.0 or excess(ends[1]) >= 0.0:  # no constant explains so few positives, or so many
        return ends[0] if excess(ends[0]) <= 0.0 else ends[1]
    return float(scipy.optimize.brentq(excess, *ends, xtol=1e-6))
