"""Which share of the positives is labelled, read off the data, and whether that can be known at all.

The labels of a job say which documents are positives, never which are not. What a filter promises depends on how many
positives nobody labelled, and people who mine cannot know that. Four things show it:

* **The top of a label-blind score.** Order all documents found by a score that does not know which are labelled. Of a
  set of pure positives the labelled share is known; one with negatives in it shows less. So the best depth is a bound,
  if the labelled were drawn at random from the positives (the idea of best-bin estimation: Garg et al., arXiv
  2111.00980). No depth counts that holds fewer documents than are labelled: few queries, those with few positives,
  would decide. Clopper and Pearson's lower end keeps the smaller ones from winning by luck.
* **The place of the labelled.** Drawn at random they stand as far down as positives do. Where they stand higher, under
  one retriever or all, a search system chose them, or there are few positives and retrieval finds them.
* **The gap below the labelled.** Of many positives alike the best is hardly better than the next: normalised spacings
  of the best scores are independent exponentials of one mean (Renyi 1953), so the first one's median is ln 2 of the
  mean of the others. A positive that is alone stands out. That tells the two apart. Judged negatives, which often
  stand right below a positive, are passed over.
  Then there may be as many as the pretrained filter makes out, and several times more.
* **The halves of the top**, where queries have several labelled positives: among the documents that are most alike to
  the other labelled ones, those that a retriever ranks first and last. A system that chose the labels left out the
  last. Where the halves are labelled alike, labels are as good as drawn at random, and the top of the score that knows
  the query's other labels, purer than the blind one's, is the bound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from gangue.transforms import arrays

LOWEST = 1e-3  # that any share is taken to be
LEAST = 30  # documents, or labelled positives, without which a depth or a gap says nothing
_DEPTHS = 40
_ERROR = 0.05  # one-sided, of the share at each depth
_HIGH = 0.995  # end of any share
_NEXT = 10  # spacings below the first that it is compared with
_MOST = 4.4  # log of the unlabelled positives for each labelled one where a system chose the labels, at most
_BEYOND = 2.7  # log of how many times more these were, at most, than the pretrained filter makes out
_PLACE = (-0.55, -0.75)  # log of the place over the place expected: from which on labels look chosen, and surely do
_PLACE_OF_FEW = -0.65  # the first of these where queries have one label and few positives: random ones stand higher
_FEW_POSITIVES = (5.5, 8.0)  # for each labelled one: up to which they are few, and from which on they are not
_GAP = (0.3, 0.65)  # log of the gap over ln 2: from which on positives look few, and surely do
_HIGHEST, _ALONE = -1.4, 0.5  # log place below which the gap must be larger, by how much for each
_WIDER = 2.2  # log odds by which the top was too low at most
_DEPENDING = 1.5  # log odds for labels that surely depend on a retriever's score where queries have several
_DEPENDENT = (0.75, 1.3)  # log odds between the halves from which on they may, and surely do
_ALIKE = (0.6, 0.95)  # log odds between the halves: up to which labels look random, and from which on surely do not
_INVERSE = 1.8  # times that labels depend more on a rank than it looks where those that rank last are labelled more
_SEVERAL = (25, 100)  # labels of queries with several: from which on the halves tell something, and enough
_FEW, _FEWER = 100, 0.6  # labelled positives below which the share is less sure, by how many log odds where none is


@dataclasses.dataclass(frozen=True)
class Sample:
    """Documents found for some queries, as arrays: n pairs of q queries, by query.

    Attributes:
      query: (n,) query number, ascending.   queries: q.
      known: (n,) bool, labelled positives; all others are unlabelled.
      judged: (n,) bool, of these the ones that somebody said are no positives.
      blind: (n,) log odds of being a positive by what does not know which are labelled.
      full: (n,) log odds by what knows the query's other labelled positives.
      scores: retriever -> (n,) its score.
    """

    query: np.ndarray
    queries: int
    known: np.ndarray
    judged: np.ndarray
    blind: np.ndarray
    full: np.ndarray
    scores: Mapping[str, np.ndarray]

    @property
    def several(self) -> np.ndarray:
        """(n,) bool, the documents of queries with several labelled positives."""
        return np.bincount(self.query[self.known], minlength=self.queries)[self.query] > 1


@dataclasses.dataclass(frozen=True)
class Share:
    """The labelled share with an interval, and what it rests on.

    The lower end, which every promise takes, rests on one-sided bounds of 95 %, the upper end on a rule of thumb.

    Attributes:
      low, middle, high: shares.   known: labelled positives found.
      place: log of the place of the labelled over the place expected of random ones, least over all orders.
      gap: log of the gap below labelled positives over ln 2; None: too few come first.
      chosen: how much labels look as if a search system had chosen them, from 0 to 1.
      depends: how much labels depend on a retriever's rank, where queries have several: by how much the log odds of
        being labelled surely differ between the halves of the documents most alike to labelled ones; else 0.
    """

    low: float
    middle: float
    high: float
    known: int
    place: float
    gap: float | None
    chosen: float
    depends: float = 0.0

    @property
    def missing(self) -> tuple[float, float, float]:
        """How many unlabelled positives there are for each labelled one: least, middle and most."""
        return tuple((1 - c) / c for c in (self.high, self.middle, self.low))  # type: ignore[return-value]

    def __str__(self) -> str:
        low, middle, high = (f"{float(f'{missing:.2g}'):g}" for missing in self.missing)
        return (
            f"for each labelled positive about {middle} are not labelled ({low} to {high}; labelled share"
            f" {self.middle:.1%}, {self.low:.1%} to {self.high:.1%})"
        )


def estimate(sample: Sample, chosen: bool = False) -> Share:
    """The labelled share of the positives that were found.

    Args:
      sample: the documents.   chosen: clicks or a system chose what is labelled, whether or not that shows.
    """
    count = int(sample.known.sum())
    if not count:
        return Share(LOWEST, 0.03, 0.5, 0, 0.0, None, 0.0)
    top, least = best_depth(sample.blind, sample.known)
    odds = float(scipy.special.logit(least))
    place = placed(sample, 1.0 / least)
    gap = gap_below(sample)
    # The higher the labelled stand, the more alone they must be to pass for few.
    farther = _ALONE * max(0.0, _HIGHEST - place)
    few = _between(-np.inf if gap is None else gap - farther, *_GAP)
    several = sample.several
    mostly = sample.known[several].sum() >= max(LEAST, count / 2)
    few_to_many = np.log(_FEW_POSITIVES), (_PLACE_OF_FEW, _PLACE[0])
    start = _PLACE[0] if mostly else float(np.interp(-np.log(least), *few_to_many))
    by_system = 1.0 if chosen else _between(place, start, _PLACE[1]) * (1.0 - few)
    mass = scipy.special.expit(sample.full[~sample.known & ~sample.judged]).sum() / count
    most = min(_MOST, np.log(max(mass, 1e-9)) + _BEYOND)
    low = odds - by_system * max(0.0, most + odds) - _FEWER * max(0.0, 1.0 - count / _FEW)
    depends = 0.0
    if mostly:
        worse, differences, errors = halves(sample, several)
        depends = max(0.0, float((_dependence(differences) - errors).max()))
        low = min(low, float(scipy.special.logit(worse))) - _DEPENDING * _between(depends, *_DEPENDENT)
    high = 1.0 if few >= 1.0 else float(scipy.special.expit(scipy.special.logit(min(top, _HIGH)) + _WIDER))
    low = float(np.clip(scipy.special.expit(low), LOWEST, _HIGH))
    high = float(np.clip(high, low, 1.0))
    return Share(low, _middle(low, high), high, count, place, gap, by_system, depends)


def best_depth(score: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    """The labelled share at the depth of a score at which it is surely highest, and its lower end.

    Args:
      score: (n,) higher first.   known: (n,) bool.

    >>> share, low = best_depth(-np.arange(1000.0), np.arange(1000) % 4 == 0)
    >>> round(share, 2), bool(0.2 < low < 0.25)
    (0.25, True)
    """
    if not len(score):
        return LOWEST, LOWEST
    order = np.argsort(-score, kind="stable")
    least = min(max(LEAST, int(known.sum())), len(score))
    sizes = np.unique(np.geomspace(least, len(score), _DEPTHS).astype(np.int64))
    found = np.cumsum(known[order])[sizes - 1]
    low = np.where(found > 0, scipy.stats.beta.ppf(_ERROR, np.maximum(found, 1), sizes - found + 1), 0.0)
    best = int(np.argmax(low))
    return float(found[best] / sizes[best]), float(np.clip(low[best], LOWEST, _HIGH))


def sharpened(share: Share, sample: Sample, joined: np.ndarray) -> Share:
    """The share where queries have several labelled positives and these do not depend on a retriever's rank.

    Args:
      share: as ``estimate`` gives it.   sample: the documents.
      joined: (n,) log odds by all that knows the query's other labelled positives.
    """
    several = sample.several
    count = int(sample.known[several].sum())
    if count < LEAST:
        return share
    differences = halves(sample, several)[1]
    alike = (1.0 - _between(float(_dependence(differences).max()), *_ALIKE)) * _between(count, *_SEVERAL)
    if not alike:
        return share
    odds = float(scipy.special.logit(share.low))
    purer = float(scipy.special.logit(best_depth(joined[several], sample.known[several])[1]))
    low = float(scipy.special.expit(max(odds, (1.0 - alike) * odds + alike * purer)))
    high = max(low, share.high)
    return dataclasses.replace(
        share, low=low, middle=_middle(low, high), high=high, chosen=share.chosen * (1.0 - alike)
    )


def _middle(low: float, high: float) -> float:
    """Half way between two shares, in log odds."""
    return float(scipy.special.expit((scipy.special.logit(low) + scipy.special.logit(min(high, _HIGH))) / 2))


def _dependence(differences: np.ndarray) -> np.ndarray:
    """(r,) how much labels depend on each rank, from the differences between the halves.

    Negatives, which the half that ranks last holds more of, make it look less labelled than it is, never more: where
    it is more labelled nevertheless, labels depend on the rank by more than can be seen.
    """
    return np.maximum(differences, -_INVERSE * differences)


def halves(sample: Sample, some: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """How the documents that are most alike to labelled ones are labelled, by their rank under each retriever.

    As many documents are taken as are labelled, by the score that knows the query's other labelled positives, and
    halved by rank.

    Args:
      sample: the documents.   some: (n,) bool, those of queries with several labelled positives.

    Returns:
      The lower end of the labelled share of the half that ranks last, the least over all retrievers; for each
      retriever, (r,), by how much the log odds of being labelled are higher in the other half, and the standard error.
    """
    rows = np.flatnonzero(some)
    count = int(sample.known[rows].sum())
    top = rows[np.argsort(-sample.full[rows], kind="stable")[:count]]
    shares, differences, errors = [], [], []
    for score in sample.scores.values():
        values = np.nan_to_num(score.astype(np.float64), nan=-np.inf)
        place = arrays.rank_within(sample.query, [-values])[top]
        last = np.argsort(-place, kind="stable")[: max(1, count // 2)]
        hits, found = int(sample.known[top[last]].sum()), int(sample.known[top].sum())
        shares.append(scipy.stats.beta.ppf(_ERROR, hits, len(last) - hits + 1) if hits else 0.0)
        better, worse = (found - hits, count - len(last)), (hits, len(last))
        odds = [np.log((labelled + 0.5) / (size - labelled + 0.5)) for labelled, size in (better, worse)]
        differences.append(odds[0] - odds[1])
        parts = (1.0 / (labelled + 0.5) + 1.0 / (size - labelled + 0.5) for labelled, size in (better, worse))
        errors.append(np.sqrt(sum(parts)))
    return float(np.clip(min(shares), LOWEST, _HIGH)), np.array(differences), np.array(errors)


def with_mass(logits: np.ndarray, mass: float) -> float:
    """The constant that, added to (n,) log odds, makes the probabilities add up to a mass.

    >>> round(with_mass(np.zeros(4), 1.0), 4)
    -1.0986
    """
    if not len(logits):
        return 0.0
    mean = float(np.clip(mass / len(logits), 1e-7, 0.95))
    return float(
        scipy.optimize.brentq(lambda shift: scipy.special.expit(logits + shift).mean() - mean, -40.0, 40.0, xtol=1e-9)
    )


def placed(sample: Sample, positives: float) -> float:
    """Log of the place of the labelled over the place expected of random positives; the least over all orders.

    The place of a document: which part of its query's other positives stands above it, by the blind probability,
    under the blind score and under each retriever's. Expected is the mean place of all, by that probability.

    Args:
      sample: the documents.   positives: how many there are for each labelled one, itself included.
    """
    shift = with_mass(sample.blind, float(sample.known.sum()) * positives)
    probability = np.where(sample.judged, 0.0, scipy.special.expit(sample.blind + shift))
    total = np.bincount(sample.query, probability, minlength=sample.queries)
    labelled = np.bincount(sample.query, sample.known, minlength=sample.queries)
    some = labelled > 0
    found = []
    for score in (sample.blind, *sample.scores.values()):
        values = np.nan_to_num(score.astype(np.float64), nan=-np.inf)
        order = np.lexsort((-values, sample.query))
        query, weight = sample.query[order], probability[order]
        above = arrays.sums_before(query, weight) / np.maximum(total[query] - weight, 1e-9)
        known = sample.known[order]
        observed = np.bincount(query[known], above[known], minlength=sample.queries)[some] / labelled[some]
        expected = np.bincount(query, weight * above, minlength=sample.queries)[some] / np.maximum(total[some], 1e-9)
        found.append(np.log((observed.mean() + 0.01) / (expected.mean() + 0.01)))
    return float(min(found))


def gap_below(sample: Sample) -> float | None:
    """Log of the median gap below labelled positives that come first by the blind score, over ln 2.

    The gap: the first normalised spacing over the mean of the next ten. None where fewer than five come first. Judged
    documents are passed over, but keep their ranks: the k-th and the l-th best of alike ones are as far apart as minus
    the logarithm of a Beta(k, l - k) variable, in units of their mean spacing, whichever between them are left out.
    """
    order = np.lexsort((-sample.blind, sample.query))
    rank = arrays.rank_within(sample.query[order], [np.arange(len(order))]) + 1.0
    kept = ~sample.judged[order]
    order, rank = order[kept], rank[kept]
    offsets = arrays.offsets_of(sample.query[order], sample.queries)
    starts = offsets[:-1][np.diff(offsets) > _NEXT + 2]
    first = starts[sample.known[order[starts]]]
    if len(first) < 5:
        return None
    at = first[:, None] + np.arange(_NEXT + 2)
    best, rank = sample.blind[order[at]], rank[at]
    upper, lower = rank[:, :-1], rank[:, 1:]
    spacings = (best[:, :-1] - best[:, 1:]) / (scipy.special.digamma(lower) - scipy.special.digamma(upper))
    typical = -np.log(scipy.special.betaincinv(upper[:, 0], lower[:, 0] - upper[:, 0], 0.5))
    ratio = (best[:, 0] - best[:, 1]) / typical / np.maximum(spacings[:, 1:].mean(axis=1), 1e-9)
    return float(np.log(np.clip(np.median(ratio), 0.1, 10.0)))


def _between(value: float, nothing: float, whole: float) -> float:
    """From 0 at one end to 1 at the other."""
    return float(np.clip((value - nothing) / (whole - nothing), 0.0, 1.0))
