"""Keep the best k: merging partial results, and the one order in which results are reported."""

from __future__ import annotations

import numpy as np

MARGIN = 8
"""Fetched beyond k: a search in float32 may misplace its last few, a rescore in float64 puts them right."""

ROUNDING = 1e-5
"""Relative error of a float32 score, with room to spare: scores nearer than this may be in the wrong order."""


def merge(
    scores: np.ndarray, rows: np.ndarray, more_scores: np.ndarray, more_rows: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best k of two partial results per query, in no order; row -1 with score -inf is no result.

    Args:
      scores, rows: (q, a).   more_scores, more_rows: (q, b).   k: how many to keep.

    Returns:
      (q, min(k, a + b)) scores and rows.

    >>> s, r = merge(np.array([[3.0, 1.0]]), np.array([[7, 8]]), np.array([[2.0]]), np.array([[9]]), 2)
    >>> sorted(r[0].tolist())
    [7, 9]
    """
    return best(np.concatenate([scores, more_scores], axis=1), np.concatenate([rows, more_rows], axis=1), k)


def best(scores: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(q, min(k, n)) the best k of each row of (q, n) scores, in no order, and their ``rows``, (q, n)."""
    if scores.shape[1] <= k:
        return scores, rows
    first = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return np.take_along_axis(scores, first, 1), np.take_along_axis(rows, first, 1)


def order(queries: np.ndarray, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Indices that sort hits by (query, score descending, id ascending).

    Args:
      queries: (n,) query number of each hit.   scores: (n,) float64.   ids: (n,) sortable, unique in a query.

    >>> order(np.array([0, 0, 0]), np.array([1.0, 2.0, 2.0]), np.array([0, 2, 1])).tolist()
    [2, 1, 0]
    """
    return np.lexsort((ids, -scores, queries))
