"""A document is the negative of at most so many queries: who may keep it, and who must choose another."""

from __future__ import annotations

import numpy as np

from gangue.transforms import arrays

ROUNDS = 8
"""How often queries that were denied a document may choose another; then what is over the cap is left out."""


def denied(documents: np.ndarray, noise: np.ndarray, queries: np.ndarray, cap: int) -> np.ndarray:
    """(n,) bool: which proposals are refused when each document accepts ``cap`` queries.

    Repeated until nobody is refused this is deferred acceptance (Gale and Shapley 1962): what a document accepts
    follows from the proposals alone, never from their order.

    Args:
      documents: (n,) proposed as a negative.   noise: (n,) uint64, lowest accepted first.   queries: (n,) by whom.
      cap: at least 1.

    >>> denied(np.array([7, 7, 7, 8]), np.array([30, 10, 20, 40], np.uint64), np.arange(4), 2).tolist()
    [True, False, False, False]
    """
    return arrays.rank_within(documents, [noise, queries]) >= cap
