"""What the other candidates of a query say of each one: positives are alike.

An opinion of a pair comes from the pair alone and from what is labelled. Where one positive is labelled, most of what
is known of a query lies in the candidates that nobody labelled: those that look like positives are alike, and one that
is alike to many of them is likelier one itself (label propagation: Zhou et al., NIPS 2003). So every candidate is
predicted from all others of its query, each counting as much of a positive as the opinion says.

Who looks like a positive mostly lies among such. Only what the others say beyond that is news: it moves the log odds,
and leaves them, on average, where they were.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.special

from gangue.transforms import arrays
from gangue.transforms.relevance import features

_WEIGHT = 0.5  # log odds that a deviation of news is worth
_STEEP, _KNEE, _LEAST = 1.15, 3.0, 1.0  # of ``expected``, as nine labelled corpora show it


def news(
    logits: np.ndarray,
    query: np.ndarray,
    known: np.ndarray,
    unlabelled: np.ndarray,
    judged: np.ndarray,
    queries: int,
    ridge: Callable[[int, np.ndarray], features.Ridge],
) -> np.ndarray:
    """(n,) log odds to add to an opinion, ``logits``, for what a query's other candidates say of each.

    They say: a kernel ridge regression within the query of the probabilities by ``logits``, labelled positives and the
    query itself taken for certain, judged negatives for none, each pair predicted without itself; in deviations from
    the mean of the query's unlabelled pairs; less what is ``expected``.

    Args:
      logits: (n,) of each pair.   query: (n,) query number, ascending.   queries: how many.
      known, unlabelled, judged: (n,) bool, labelled positives, neither that nor any copy, and what somebody said is
        no positive.
      ridge: query number and (m,) which of the pairs, known and unlabelled ones -> the regression among them.

    >>> alike = np.array([[1, 0.6, 0], [0.6, 1, 0.8], [0, 0.8, 1]])
    >>> some = np.ones(3, bool)
    >>> found = news(np.array([2.0, 0, 0]), np.zeros(3, int), ~some, some, ~some, 1,
    ...              lambda query, pairs: features.Ridge.among(alike, np.zeros(3)))
    >>> bool(found[1] > found[2])
    True
    """
    said = np.full(len(logits), np.nan)
    target = np.where(known, 1.0, np.where(judged, 0.0, scipy.special.expit(logits)))
    free = np.flatnonzero(known | unlabelled)
    offsets = arrays.offsets_of(query[free], queries)
    for number in np.flatnonzero(np.diff(offsets)).tolist():  # one call of BLAS for each query
        here = free[offsets[number] : offsets[number + 1]]
        said[here] = ridge(number, here).left_out(target[here], np.full(len(here), -1))
    standard, _ = features.standardised(query, said, unlabelled, np.full(len(logits), -1), queries)
    return np.nan_to_num(_WEIGHT * (standard - expected(logits)))


def expected(logits: np.ndarray) -> np.ndarray:
    """(n,) what others say on average of pairs with these log odds, in deviations.

    >>> expected(np.array([-6.0, -2.5, 0.5])).round(1).tolist()
    [-0.9, 0.1, 3.1]
    """
    return np.asarray(_STEEP * np.logaddexp(0.0, logits + _KNEE) - _LEAST)
