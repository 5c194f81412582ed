"""Choosing from several lists of the same candidates: teachers that take turns, retrievers that share the draw.

R²anker (arXiv 2206.08063) trains on negatives from the joint distribution of several retrievers; its code is not
public, so each way to join them here says what it is. NV-Retriever's ensembles (arXiv 2407.15831) join scores.
"""

from __future__ import annotations

import numpy as np


def take_turns(
    groups: np.ndarray, places: np.ndarray, quota: int, limits: np.ndarray | None = None, *, repeat: bool = False
) -> np.ndarray:
    """Which list takes which row when the lists of each group take turns, each its best that is left.

    A list that has nothing left, or has its limit, passes; a group stops when it has its quota.

    Args:
      groups: (n,) group numbers from 0.   places: (l, n) lower first, inf where a list does not have the row.
      quota: rows taken in each group.   limits: (l,) rows that each list may take in a group; None: any number.
      repeat: a row may be taken by several lists, and counts each time.

    Returns:
      (l, n) bool.

    >>> both = np.array([[0, 1, 2], [0, 2, 1]])
    >>> take_turns(np.zeros(3, int), both, 2).astype(int).tolist()
    [[1, 0, 0], [0, 0, 1]]
    >>> take_turns(np.zeros(3, int), both, 2, repeat=True).astype(int).tolist()
    [[1, 0, 0], [1, 0, 0]]
    """
    lists = len(places)
    taken = np.zeros(places.shape, bool)
    count = int(groups.max(initial=-1)) + 1
    found = np.zeros(count, np.int64)
    by_list = np.zeros((lists, count), np.int64)
    most = np.full(lists, quota) if limits is None else np.minimum(limits, quota)
    orders = [np.lexsort((place, groups)) for place in places]
    orders = [order[np.isfinite(place[order])] for order, place in zip(orders, places, strict=True)]
    for _ in range(quota):  # rounds, not rows: each list takes one at most in each group
        before = found.sum()
        for number, order in enumerate(orders):
            gone = taken[number] if repeat else taken.any(axis=0)
            open_ = (found < quota) & (by_list[number] < most[number])
            left = order[~np.asarray(gone)[order] & open_[groups[order]]]
            best = left[np.unique(groups[left], return_index=True)[1]]
            taken[number, best] = True
            found[groups[best]] += 1
            by_list[number, groups[best]] += 1
        if found.sum() == before:
            break
    return taken


def mixture_logits(ranks: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log-probability under a mixture of the retrievers: p(d) = sum over r of w_r p_r(d), p_r uniform on what r has.

    Args:
      ranks: (r, n) rank by each retriever, NaN where it does not have the row.   groups: (n,) numbers from 0.
      weights: (r,) positive.

    Returns:
      (n,) unnormalised; -inf where no retriever has the row.

    >>> ranks = np.array([[1, 2, np.nan], [np.nan, 1, 2]])
    >>> np.exp(mixture_logits(ranks, np.zeros(3, int), np.array([1.0, 1.0]))).tolist()
    [0.25, 0.5, 0.25]
    """
    count = int(groups.max(initial=-1)) + 1
    mass = np.zeros(ranks.shape[1])
    for rank, weight in zip(ranks, weights / weights.sum(), strict=True):
        has = ~np.isnan(rank)
        mass[has] += weight / np.bincount(groups[has], minlength=count)[groups[has]]
    with np.errstate(divide="ignore"):
        return np.log(mass)


def reciprocal_ranks(ranks: np.ndarray, k: float) -> np.ndarray:
    """(n,) reciprocal rank fusion: the sum over retrievers of 1 / (k + rank), from (r, n) ranks, NaN where absent.

    >>> reciprocal_ranks(np.array([[1, 2], [np.nan, 1]]), 60).round(6).tolist()
    [0.016393, 0.032522]
    """
    return np.nansum(1.0 / (k + ranks), axis=0)


def suppliers(ranks: np.ndarray) -> np.ndarray:
    """(n,) the retriever that ranks each row best, the first of equals; -1 where none has it.

    >>> suppliers(np.array([[1, np.nan, 2], [1, np.nan, 1]])).tolist()
    [0, -1, 1]
    """
    filled = np.nan_to_num(ranks, nan=np.inf)
    return np.where(np.isinf(filled).all(axis=0), -1, filled.argmin(axis=0))
