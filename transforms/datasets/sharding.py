"""Which shard a row belongs to: its text's hash says, so a shard is a random sample, and growth splits it in two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def shard_numbers(hashes: np.ndarray, shards: int) -> np.ndarray:
    """Which shard each hash belongs to: equal ranges of the hash's first 32 bits.

    Ranges, not remainders: when the number of shards doubles, each shard splits in two and nothing else moves.

    >>> shard_numbers(np.array([[0, 0], [2**63, 0], [2**64 - 1, 0]], np.uint64), 4).tolist()
    [0, 2, 3]
    """
    return prefixes(hashes) * shards >> 32


def prefixes(hashes: np.ndarray) -> np.ndarray:
    """(n,) int64 first 32 bits of each hash: all that its shard depends on."""
    return (hashes[:, 0] >> np.uint64(32)).astype(np.int64)


def shard_edges(numbers: Sequence[int], shards: int) -> np.ndarray:
    """Smallest prefix of each of these shards, of a power of two of them.

    >>> shard_edges([0, 1, 2], 2).tolist() == [0, 2**31, 2**32]
    True
    """
    return np.array(numbers, np.int64) * (2**32 // shards)


def shard_count(rows: int, rows_per_shard: int) -> int:
    """The power of two of shards that keeps a shard near ``rows_per_shard``, so that growth splits shards.

    >>> [shard_count(n, 512) for n in (0, 512, 513, 2600)]
    [1, 1, 2, 8]
    """
    return 1 << max(0, (max(rows, 1) - 1) // rows_per_shard).bit_length()
