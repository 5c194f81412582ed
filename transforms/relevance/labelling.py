"""How labels came about, read off where the labelled documents stand among all that were found.

Labels say which documents are positives, never which are not, and what follows from them depends on who chose what was
labelled. Four things show it:

* **The place of the labelled.** Drawn at random they stand as far down as positives do. Where they stand higher, under
  one retriever or all, a search system chose them, or there are few positives and retrieval finds them.
* **The gap below the labelled.** Of many positives alike the best is hardly better than the next: normalised spacings
  of the best scores are independent exponentials of one mean (Renyi 1953), so the first one's median is ln 2 of the
  mean of the others. A positive that is alone stands out. That tells the two apart. Judged negatives, which often
  stand right below a positive, are passed over.
* **How scores fall from the best on.** Where one positive is all there is, they fall at once. What that says of a job's
  queries is learned from where their labels stand, each query's from the others', and parts queries of several kinds.
* **The halves of the top**, where queries have several labelled positives: among the documents that are most alike to
  the other labelled ones, those that a retriever ranks first and last. A system that chose the labels left out the
  last. Where the halves are labelled alike, labels are as good as drawn at random.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from gangue.transforms import arrays

ERROR = 0.05  # one-sided, of a share that is read off labels
LOWEST, HIGHEST = 1e-3, 0.995  # that any share is taken to be
_FIRST = 0.2  # of the labelled that must come first for the gap below them to say something
_FALLS = (1, 2, 5, 10, 25, 50)  # ranks below the best whose scores it is compared with
_PENALTY, _FOLDS = 3.0, 5  # of the regression over queries
_NEXT = 10  # spacings below the first that it is compared with
_WIDER_GAP = 0.75  # weight of the wider of two gaps
_INVERSE = 1.8  # times that labels depend more on a rank than it looks where those that rank last are labelled more


@dataclasses.dataclass(frozen=True)
class Sample:
    """Documents found for some queries, as arrays: n pairs of q queries, by query.

    Attributes:
      query: (n,) query number, ascending.   queries: q.
      known: (n,) bool, labelled positives; all others are unlabelled.
      judged: (n,) bool, of these the ones that somebody said are no positives.
      blind: (n,) log odds of being a positive by what does not know which are labelled.
      agreed: (n,) ``blind`` and what the query's other candidates say (``consensus``), still without the labels.
      full: (n,) log odds by what knows the query's other labelled positives.
      scores: retriever -> (n,) its score.
    """

    query: np.ndarray
    queries: int
    known: np.ndarray
    judged: np.ndarray
    blind: np.ndarray
    agreed: np.ndarray
    full: np.ndarray
    scores: Mapping[str, np.ndarray]

    @property
    def several(self) -> np.ndarray:
        """(n,) bool, the documents of queries with several labelled positives."""
        return np.bincount(self.query[self.known], minlength=self.queries)[self.query] > 1


def with_mass(logits: np.ndarray, mass: float) -> float:
    """The constant that, added to (n,) log odds, makes the probabilities add up to a mass.

    >>> round(with_mass(np.zeros(4), 1.0), 4)
    -1.0986
    """
    if not len(logits):
        return 0.0
    mean = float(np.clip(mass / len(logits), 1e-7, 0.95))
    least, most = min(-40.0, -20.0 - float(logits.max())), max(40.0, 20.0 - float(logits.min()))
    return float(
        scipy.optimize.brentq(lambda shift: scipy.special.expit(logits + shift).mean() - mean, least, most, xtol=1e-9)
    )


def placed(sample: Sample, positives: float) -> float:
    """Log of the place of the labelled over the place expected of random positives; the least over all orders.

    The place of a document: which part of its query's other positives stands above it, by the label-blind probability,
    in its order and in each retriever's. Expected is the mean place of all, by that probability.

    Args:
      sample: the documents.   positives: how many there are for each labelled one, itself included.
    """
    shift = with_mass(sample.agreed, float(sample.known.sum()) * positives)
    probability = np.where(sample.judged, 0.0, scipy.special.expit(sample.agreed + shift))
    total = np.bincount(sample.query, probability, minlength=sample.queries)
    labelled = np.bincount(sample.query, sample.known, minlength=sample.queries)
    some = labelled > 0
    found = []
    for score in (sample.agreed, *sample.scores.values()):
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
    """Log of the median gap below labelled positives that come first, over ln 2, by both label-blind scores.

    The gap: the first normalised spacing over the mean of the next ten. None where fewer than five, or than a fifth of
    all, come first: few of those that were chosen among many do. Judged documents are passed over, but keep their
    ranks: the k-th and the l-th best of alike ones are as far apart as minus the logarithm of a Beta(k, l - k)
    variable, in units of their mean spacing, whichever between them are left out. The wider gap counts thrice: what
    a positive's neighbours say of it they say of the next, too, and narrows its gap in some corpora, not in others.
    """
    gaps = [gap for score in (sample.blind, sample.agreed) if (gap := _gap(sample, score)) is not None]
    return (1.0 - _WIDER_GAP) * min(gaps) + _WIDER_GAP * max(gaps) if gaps else None


def _gap(sample: Sample, score: np.ndarray) -> float | None:
    order = np.lexsort((-score, sample.query))
    rank = arrays.rank_within(sample.query[order], [np.arange(len(order))]) + 1.0
    kept = ~sample.judged[order]
    order, rank = order[kept], rank[kept]
    offsets = arrays.offsets_of(sample.query[order], sample.queries)
    starts = offsets[:-1][np.diff(offsets) > _NEXT + 2]
    first = starts[sample.known[order[starts]]]
    if len(first) < max(5, _FIRST * sample.known.sum()):
        return None
    at = first[:, None] + np.arange(_NEXT + 2)
    best, rank = score[order[at]], rank[at]
    upper, lower = rank[:, :-1], rank[:, 1:]
    spacings = (best[:, :-1] - best[:, 1:]) / (scipy.special.digamma(lower) - scipy.special.digamma(upper))
    typical = -np.log(scipy.special.betaincinv(upper[:, 0], lower[:, 0] - upper[:, 0], 0.5))
    ratio = (best[:, 0] - best[:, 1]) / typical / np.maximum(spacings[:, 1:].mean(axis=1), 1e-9)
    return float(np.log(np.clip(np.median(ratio), 0.1, 10.0)))


def best_is_labelled(sample: Sample) -> np.ndarray:
    """(q,) how likely the best document of each query is its labelled one, higher for likelier.

    A ridge regression over queries on how the scores fall from the best on, in ranks among the queries, by both
    label-blind scores and every retriever. Each query is predicted by what its own labels did not teach.
    """
    scores = (sample.blind, sample.agreed, *sample.scores.values())
    falls = np.column_stack([one for score in scores for one in _falls(sample, score)])
    places = (scipy.stats.rankdata(falls, axis=0) - 0.5) / sample.queries - 0.5
    design = np.column_stack([places, np.ones(sample.queries)])
    offsets = arrays.offsets_of(sample.query, sample.queries)
    best = np.lexsort((-sample.agreed, sample.query))[offsets[:-1][np.diff(offsets) > 0]]
    target = np.zeros(sample.queries)
    target[sample.query[best]] = sample.known[best]
    labelled = np.bincount(sample.query, sample.known, minlength=sample.queries) > 0
    penalty = np.diag(np.r_[np.full(places.shape[1], _PENALTY), 0.0])
    fold, result = np.arange(sample.queries) % _FOLDS, np.zeros(sample.queries)
    for number in range(_FOLDS):
        rows = design[labelled & (fold != number)]
        weights = np.linalg.lstsq(rows.T @ rows + penalty, rows.T @ target[labelled & (fold != number)], rcond=None)[0]
        result[fold == number] = design[fold == number] @ weights
    return result


def _falls(sample: Sample, score: np.ndarray) -> list[np.ndarray]:
    """How far the best score of each query lies above some that follow, as it is and against the lowest, (q,) each."""
    values = np.nan_to_num(score.astype(np.float64), nan=-np.inf)
    order = np.lexsort((-values, sample.query))
    rank = arrays.rank_within(sample.query[order], [np.arange(len(order))]).astype(np.int64)
    table = np.full((sample.queries, _FALLS[-1] + 1), np.nan)
    some = (rank <= _FALLS[-1]) & np.isfinite(values[order])
    table[sample.query[order][some], rank[some]] = values[order][some]
    has = np.isfinite(table)
    lowest = np.where(has, table, np.inf).min(axis=1)
    lowest[~has.any(axis=1)] = 0.0
    table = np.where(has, table, lowest[:, None])
    best, whole = table[:, 0], np.maximum(table[:, 0] - lowest, 1e-9)
    return [best, *(best - table[:, at] for at in _FALLS), *((best - table[:, at]) / whole for at in _FALLS[:-1])]


def halves(sample: Sample, some: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """How the documents that are most alike to labelled ones are labelled, by their rank under each retriever.

    As many documents are taken as are labelled, by the score that knows the query's other labelled positives, and
    halved by rank.

    Args:
      sample: the documents.   some: (n,) bool, those of queries with several labelled positives.

    Returns:
      The lower end of the labelled share of the half that ranks last, the least over all retrievers; for each
      retriever, (r,), how much labels depend on its rank: by how much the log odds of being labelled are higher in the
      other half, and the standard error. Negatives, which the half that ranks last holds more of, make that look less
      labelled than it is, never more: where it is more labelled, labels depend on the rank by more than can be seen.
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
        shares.append(scipy.stats.beta.ppf(ERROR, hits, len(last) - hits + 1) if hits else 0.0)
        better, worse = (found - hits, count - len(last)), (hits, len(last))
        odds = [np.log((labelled + 0.5) / (size - labelled + 0.5)) for labelled, size in (better, worse)]
        differences.append(max(odds[0] - odds[1], _INVERSE * (odds[1] - odds[0])))
        parts = (1.0 / (labelled + 0.5) + 1.0 / (size - labelled + 0.5) for labelled, size in (better, worse))
        errors.append(np.sqrt(sum(parts)))
    return float(np.clip(min(shares), LOWEST, HIGHEST)), np.array(differences), np.array(errors)
