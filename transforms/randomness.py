"""Random numbers that are a hash of what they are for, so that order and sharding cannot matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa


@dataclasses.dataclass(frozen=True)
class Hashes:
    """Hashes of ids, from which every random choice is made: (q,), (p,) and (n,) uint64."""

    query: np.ndarray
    positive: np.ndarray
    document: np.ndarray


def id_hashes(ids: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """(n,) uint64: SipHash of each id under a fixed key, the same in every process.

    >>> id_hashes(pa.array(["a", "b"])).tolist() == id_hashes(pa.array(["a", "b"])).tolist()
    True
    """
    array = pa.concat_arrays(ids.chunks) if isinstance(ids, pa.ChunkedArray) and ids.num_chunks else ids
    if not len(array):
        return np.empty(0, np.uint64)
    encoded = array.dictionary_encode()
    return _sip_hashes(encoded.dictionary.to_pylist())[encoded.indices.to_numpy()]


def finalised(hashes: np.ndarray) -> np.ndarray:
    """Well-mixed uint64, one to one: the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).

    >>> finalised(np.array([1], np.uint64)).tolist()
    [6238072747940578789]
    """
    with np.errstate(over="ignore"):
        mixed = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)), np.uint64)


def mix(*hashes: np.ndarray | int) -> np.ndarray:
    """Combine hashes into one well-mixed uint64 each (splitmix64's finaliser after every one).

    >>> mix(np.array([1, 2], np.uint64), 7).tolist()
    [15869871542298255563, 9125781569600376474]
    """
    state = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        result = np.asarray(state)
        for word in hashes:
            result = finalised(result ^ np.asarray(word, np.uint64)) + state
    return np.atleast_1d(result)


def uniforms(hashes: np.ndarray) -> np.ndarray:
    """Words as float64 in the open interval (0, 1).

    >>> uniforms(np.array([0, 2**64 - 1], np.uint64)).round(3).tolist()
    [0.0, 1.0]
    """
    return ((hashes >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52


def gumbels(hashes: np.ndarray) -> np.ndarray:
    """Standard Gumbel noise: the top k of ``log p + gumbel`` is a draw of k without replacement by p."""
    return -np.log(-np.log(uniforms(hashes)))


def fold_of(groups: Sequence[str], folds: int) -> np.ndarray:
    """(n,) int64 fold of each row, by a hash of its group: a group shares a fold.

    >>> fold_of(["c", "d", "c"], 2).tolist(), fold_of(["c", "d", "c"], 5).tolist()
    ([1, 0, 1], [1, 2, 1])
    """
    return ((_sip_hashes(groups) >> np.uint64(32)) % np.uint64(folds)).astype(np.int64)


def _sip_hashes(texts: Sequence[str]) -> np.ndarray:
    """(n,) uint64: SipHash of each text, as pandas computes it."""
    import pandas as pd  # 25 MB and a third of a second, which a command that reads the params alone does not need

    return np.asarray(pd.util.hash_array(np.asarray(texts, dtype=object), categorize=False)).astype(np.uint64)
