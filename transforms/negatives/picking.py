"""Choosing the rows with the highest keys, and drawing by logits.

Random choice is Gumbel-top-k on uniforms hashed from (seed, query, positive, document): an exact draw without
replacement that no order, block or worker count can change.
"""

from __future__ import annotations

import numpy as np

from gangue.transforms import arrays, randomness
from gangue.transforms.negatives.rows import Order, Rows


def weight_ratio(logits: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(g,) largest over smallest weight in each group; below 2 a draw by these weights is almost uniform.

    >>> weight_ratio(np.log(np.array([1.0, 2.0, 8.0])), np.array([0, 0, 1])).tolist()
    [2.0, 1.0]
    """
    highest = np.full(groups.max(initial=-1) + 1, -np.inf)
    lowest = np.full_like(highest, np.inf)
    np.maximum.at(highest, groups, logits)
    np.minimum.at(lowest, groups, logits)
    return np.exp(np.clip(highest - lowest, 0, 700))


def noise_hashes(
    seed: int, query_hashes: np.ndarray, positive_hashes: np.ndarray, document_hashes: np.ndarray
) -> np.ndarray:
    """(n,) uint64, a hash of (seed, query, positive, document)."""
    return randomness.mix(seed, query_hashes, positive_hashes, document_hashes)


def highest(groups: np.ndarray, keys: np.ndarray, tie: np.ndarray, quota: np.ndarray, skip: int = 0) -> np.ndarray:
    """(n,) bool: the rows with the highest keys of each group.

    Args:
      groups: (n,) group of each row.   keys: (n,) higher first.   tie: (n,) breaks equal keys, lower first.
      quota: (n,) how many of the row's group to choose.   skip: how many of the highest to pass over.

    >>> highest(np.array([0, 0, 0]), np.array([3.0, 1.0, 2.0]), np.arange(3), np.array([1, 1, 1]), skip=1).tolist()
    [False, False, True]
    """
    place = arrays.rank_within(groups, [-keys, tie])
    return (place >= skip) & (place < quota + skip)


def draw(logits: np.ndarray, rows: Rows) -> Order:
    """A draw without replacement by (m,) logits; counts the positives whose candidates they hardly tell apart."""
    groups = rows.groups
    flat = (np.bincount(groups) > 1) & (weight_ratio(logits, groups) < 2)
    return Order(logits + randomness.gumbels(rows.hashes), flat=int(flat.sum()))
