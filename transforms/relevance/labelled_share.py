"""Which share of the positives is labelled, read off the data, and whether that can be known at all.

What a filter promises depends on how many positives nobody labelled, and people who mine cannot know that. Order all
documents found by a score that does not know which are labelled. Of a set of pure positives the labelled share is
known; one with negatives in it shows less. So the best depth is a bound, if the labelled were drawn at random from the
positives (the idea of best-bin estimation: Garg et al., arXiv 2111.00980). What a query's candidates say of each other
(``consensus``) needs no labels, and makes the top purer. No depth counts that holds fewer documents than are labelled,
or fewer than a fifth of the labelled: few queries, those with few positives, would decide. Clopper and Pearson's lower
end keeps the smaller ones from winning by luck.

How labels came about (``labelling``) says how far that holds. Where a search system chose them, there may be as many
unlabelled positives as the pretrained filter makes out, and several times more. Where queries have several and the
halves of the top are labelled alike, the top of the score that knows the query's other labels, purer than the blind
one's, is the bound.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.special
import scipy.stats

from gangue.transforms.relevance import labelling
from gangue.transforms.relevance.labelling import HIGHEST, LOWEST

LEAST = 30  # documents, or labelled positives, without which a depth or a gap says nothing
_DEPTHS = 40
_HELD = 0.2  # of all that is labelled, that a depth must hold to count
_STRATA = ((40, 2), (180, 3))  # labels from which on queries are parted into so many strata
_MOST = 4.4  # log of the unlabelled positives for each labelled one where a system chose the labels, at most
_BEYOND = 2.7  # log of how many times more these were, at most, than the pretrained filter makes out
_PLACE = (-0.55, -0.75)  # log of the place over the place expected: from which on labels look chosen, and surely do
_PLACE_OF_SEVERAL = -0.45  # the first of these where queries have several labels, of which random ones stand lower
_PLACE_OF_FEW = -0.65  # the first of these where queries have one label and few positives: random ones stand higher
_FEW_POSITIVES = (5.5, 8.0)  # for each labelled one: up to which they are few, and from which on they are not
_GAP = (0.3, 0.6)  # log of the gap over ln 2: from which on positives look few, and surely do
_STANDING, _ALONE = -1.1, 0.5  # log place below which the gap must be larger, by how much for each
_WIDER = 2.2  # log odds by which the top was too low at most
_DEPENDING = 1.5  # log odds for labels that surely depend on a retriever's score where queries have several
_DEPENDENT = (0.75, 1.3)  # log odds between the halves from which on they may, and surely do
_ALIKE = (0.6, 0.95)  # log odds between the halves: up to which labels look random, and from which on surely do not
_SEVERAL = (25, 100)  # labels of queries with several: from which on the halves tell something, and enough
_FEW, _FEWER = 100, 0.6  # labelled positives below which the share is less sure, by how many log odds where none is


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
      kinds: how many times lower the share is than the top of all would have it, since queries are of several kinds.
    """

    low: float
    middle: float
    high: float
    known: int
    place: float
    gap: float | None
    chosen: float
    depends: float = 0.0
    kinds: float = 1.0

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


def estimate(sample: labelling.Sample, chosen: bool = False) -> Share:
    """The labelled share of the positives that were found.

    Args:
      sample: the documents.   chosen: clicks or a system chose what is labelled, whether or not that shows.
    """
    count = int(sample.known.sum())
    if not count:
        return Share(LOWEST, 0.03, 0.5, 0, 0.0, None, 0.0)
    of_all = best_depth(sample.agreed, sample.known)
    top, least = of_kinds(sample, *of_all)
    odds = float(scipy.special.logit(least))
    place, gap = labelling.placed(sample, 1.0 / least), labelling.gap_below(sample)
    several = sample.several
    mostly = bool(sample.known[several].sum() >= max(LEAST, count / 2))
    alone = _alone(place, gap)
    by_system = 1.0 if chosen else _standing(place, least, mostly) * (1.0 - alone)
    mass = scipy.special.expit(sample.full[~sample.known & ~sample.judged]).sum() / count
    most = min(_MOST, np.log(max(mass, 1e-9)) + _BEYOND)
    low = odds - by_system * max(0.0, most + odds) - _FEWER * max(0.0, 1.0 - count / _FEW)
    depends = 0.0
    if mostly:
        worse, differences, errors = labelling.halves(sample, several)
        depends = max(0.0, float((differences - errors).max()))
        low = min(low, float(scipy.special.logit(worse))) - _DEPENDING * _between(depends, *_DEPENDENT)
    high = 1.0 if alone >= 1.0 else float(scipy.special.expit(scipy.special.logit(min(top, HIGHEST)) + _WIDER))
    low = float(np.clip(scipy.special.expit(low), LOWEST, HIGHEST))
    high = float(np.clip(high, low, 1.0))
    return Share(low, _middle(low, high), high, count, place, gap, by_system, depends, of_all[1] / least)


def _alone(place: float, gap: float | None) -> float:
    """How much labelled positives look as if their queries had no others, from 0 to 1.

    The higher they stand, the more alone they must be to pass for few.
    """
    return 0.0 if gap is None else _between(gap - _ALONE * max(0.0, _STANDING - place), *_GAP)


def _standing(place: float, least: float, several: bool) -> float:
    """How much the labelled stand where a search system would have them, from 0 to 1.

    Args:
      place: of them.   least: lower end of the labelled share.   several: most are of queries with several.
    """
    few_to_many = np.log(_FEW_POSITIVES), (_PLACE_OF_FEW, _PLACE[0])
    start = _PLACE_OF_SEVERAL if several else float(np.interp(-np.log(least), *few_to_many))
    return _between(place, start, _PLACE[1])


def of_kinds(sample: labelling.Sample, share: float, low: float) -> tuple[float, float]:
    """The labelled share and its lower end, for queries of whatever kinds.

    A query with one positive is as likely to have a label as one with a hundred, and its positive stands higher: the
    top of all is theirs, and says nothing of the others. So the top is taken in each stratum of queries, those whose
    best document is more likely the labelled one apart from the others, and the positives of all strata added up; the
    upper end of the sum is by MOVER (Zou and Donner, Statistics in Medicine 27, 2008).

    The top of a stratum may also be poor in labels as it is less pure. Then the filter has more doubts there: the sum
    of p (1 - p) for each label. What these do not explain are queries of several kinds, and strata part them but
    roughly: the share is lowered by as much again.

    Args:
      sample: the documents.   share, low: by the top of all (``best_depth``).
    """
    labels = np.bincount(sample.query, sample.known, minlength=sample.queries)
    count = int(labels.sum())
    parts = max((number for least, number in _STRATA if count >= least), default=1)
    if parts == 1:
        return share, low
    order = np.argsort(labelling.best_is_labelled(sample), kind="stable")
    stratum = np.empty(sample.queries, np.int64)
    stratum[order] = np.minimum((np.cumsum(labels[order]) - labels[order]) * parts // count, parts - 1)
    of_pair = stratum[sample.query]
    # A query of many labels may leave the stratum after it without any.
    some = [of_pair == number for number in np.unique(of_pair[sample.known])]
    known = np.array([sample.known[here].sum() for here in some], np.float64)
    found = np.array([best_depth(sample.agreed[here], sample.known[here]) for here in some])
    likely = scipy.special.expit(sample.full)
    doubt = np.where(sample.known | sample.judged, 0.0, likely * (1.0 - likely))
    doubts = np.maximum([doubt[here].sum() for here in some] / known, 1e-9)
    found = np.minimum(found * (doubts / doubts.min())[:, None], found.max(axis=0))
    total, highest = (known[:, None] / found).sum(axis=0), known / found[:, 1] - known / found[:, 0]
    of_all = np.minimum(count / np.array([total[0], total[0] + np.sqrt((highest**2).sum())]), (share, low))
    share, low = of_all * (of_all / (share, low))
    return float(share), float(np.clip(low, LOWEST, HIGHEST))


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
    low = np.where(found > 0, scipy.stats.beta.ppf(labelling.ERROR, np.maximum(found, 1), sizes - found + 1), 0.0)
    low[found < _HELD * known.sum()] = 0.0
    best = int(np.argmax(low))
    return float(found[best] / sizes[best]), float(np.clip(low[best], LOWEST, HIGHEST))


def sharpened(share: Share, sample: labelling.Sample, joined: np.ndarray) -> Share:
    """The share where queries have several labelled positives and these do not depend on a retriever's rank.

    Args:
      share: as ``estimate`` gives it.   sample: the documents.
      joined: (n,) log odds by all that knows the query's other labelled positives.
    """
    several = sample.several
    count = int(sample.known[several].sum())
    if count < LEAST:
        return share
    alike = 1.0 - _between(float(labelling.halves(sample, several)[1].max()), *_ALIKE)
    alike *= _between(count, *_SEVERAL)
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
    return float(scipy.special.expit((scipy.special.logit(low) + scipy.special.logit(min(high, HIGHEST))) / 2))


def _between(value: float, nothing: float, whole: float) -> float:
    """From 0 at one end to 1 at the other."""
    return float(np.clip((value - nothing) / (whole - nothing), 0.0, 1.0))
