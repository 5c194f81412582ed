"""Choosing negatives that differ from each other, not only from the positive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from transforms import arrays

_DIGITS = 6
"""Values nearer than this are equal and the id decides: low bits of a vector depend on which texts shared a batch."""


def first_of_cluster(groups: np.ndarray, clusters: np.ndarray, keys: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """(n,) bool: the row with the highest key of each cluster of each group; rows without a cluster all stay.

    Args:
      groups: (n,).   clusters: (n,) -1 where unknown.   keys: (n,) higher first.   tie: (n,) lower first.

    >>> one = first_of_cluster(np.zeros(4, int), np.array([5, 5, -1, -1]), np.array([1.0, 2, 0, 0]), np.arange(4))
    >>> one.tolist()
    [False, True, True, True]
    """
    own = np.where(clusters < 0, -1 - np.arange(len(clusters)), clusters)
    pair = np.unique(np.stack([groups, own]), axis=1, return_inverse=True)[1].reshape(-1)
    return arrays.rank_within(pair, [-keys, tie]) == 0


def marginal_relevance(
    groups: np.ndarray,
    scores: np.ndarray,
    tie: np.ndarray,
    quota: int,
    weight: float,
    similarity: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """(n,) bool: chosen one by one by weight x relevance - (1 - weight) x highest similarity to one chosen before.

    Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998). Relevance is the score scaled to [0, 1]
    within the group, so that it weighs as much whatever the scale of the score.

    Args:
      groups: (n,) group numbers from 0.   scores: (n,).   tie: (n,) breaks equal values, lower first.
      quota: rows to choose in each group.   weight: in [0, 1]; 1 is the highest scores.
      similarity: (m,) rows, (m,) rows -> (m,) cosine, NaN where unknown: then nothing speaks against the row.

    >>> same = lambda one, other: np.where(one + other == 1, 1.0, 0.0)  # rows 0 and 1 are alike
    >>> zeros = np.zeros(3, int)
    >>> marginal_relevance(zeros, np.array([3.0, 2.9, 1.0]), np.arange(3), 2, 0.4, same).tolist()
    [True, False, True]
    """
    chosen = np.zeros(len(groups), bool)
    count = int(groups.max(initial=-1)) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, groups, scores)
    np.maximum.at(high, groups, scores)
    width = np.where(high > low, high - low, 1.0)
    relevance = (scores - low[groups]) / width[groups]
    closest = np.full(len(groups), -1.0)
    for _ in range(quota):  # a choice at a time, in all groups at once
        left = np.flatnonzero(~chosen)
        value = np.round(weight * relevance[left] - (1 - weight) * closest[left], _DIGITS)
        best = left[arrays.rank_within(groups[left], [-value, tie[left]]) == 0]
        chosen[best] = True
        latest = np.full(count, -1)
        latest[groups[best]] = best
        left = np.flatnonzero(~chosen)
        if not left.size:
            break
        near = similarity(left, latest[groups[left]])
        closest[left] = np.fmax(closest[left], near)
    return chosen
