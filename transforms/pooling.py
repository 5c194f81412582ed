"""Joining what several retrievers found: one row per (query, document), with every rank and every score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from transforms import arrays, randomness

NO_RANK = 1 << 30


def draw_documents(query_words: np.ndarray, count: int, allowed: np.ndarray, seed: int) -> np.ndarray:
    """(q, count) distinct document rows drawn uniformly from those allowed; -1 where the corpus is too small.

    Args:
      query_words: (q,) uint64 hash of each query's id.   allowed: (documents,) bool.
    """
    rows = np.flatnonzero(allowed)
    tries = np.arange(2 * count + 8, dtype=np.uint64)
    words = randomness.mix(seed, query_words[:, None], tries[None, :])
    drawn = rows[(randomness.uniforms(words) * len(rows)).astype(np.int64)]
    query, turn = np.divmod(np.arange(drawn.size), drawn.shape[1])
    key = query * np.int64(len(allowed)) + drawn.reshape(-1)
    first = np.sort(np.unique(key, return_index=True)[1])
    place = arrays.rank_within(query[first], [turn[first]])
    result = np.full((len(query_words), count), -1, np.int64)
    keep = place < count
    result[query[first][keep], place[keep]] = drawn.reshape(-1)[first][keep]
    return result


def best_rank(ranks: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) best rank over all retrievers, ``NO_RANK`` where none returned the document.

    >>> best_rank({"a": np.array([3.0, np.nan]), "b": np.array([1.0, np.nan])}).tolist()
    [1, 1073741824]
    """
    return np.min([np.nan_to_num(rank, nan=NO_RANK) for rank in ranks.values()], axis=0).astype(np.int64)


def scatter(keys: np.ndarray, some: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) float64 values laid on sorted unique keys, NaN elsewhere.

    >>> scatter(np.array([2, 5, 7]), np.array([5]), np.array([1.5])).tolist()
    [nan, 1.5, nan]
    """
    result = np.full(len(keys), np.nan)
    result[np.searchsorted(keys, some)] = values
    return result


def highest_similarity(
    query: np.ndarray,
    document: np.ndarray,
    positive_query: np.ndarray,
    positive_row: np.ndarray,
    queries: int,
    similarity: object,
) -> np.ndarray:
    """(n,) highest similarity of each document to its query's positives, itself left out; NaN without any.

    Args:
      query, document: (n,) the pairs.   positive_query, positive_row: (p,), by ascending query.
      similarity: (m,) rows, (m,) rows -> (m,) float64.
    """
    assert callable(similarity)
    result = np.full(len(query), np.nan)
    offsets = arrays.offsets_of(positive_query, queries)
    for start in range(0, len(query), 1 << 16):  # bounds the expansion, not a loop over rows
        here = slice(start, start + (1 << 16))
        pair, positive = arrays.ragged(offsets, query[here])
        other = positive_row[positive] != document[here][pair]
        pair, positive = pair[other], positive[other]
        if not pair.size:
            continue
        values = similarity(document[here][pair], positive_row[positive])
        first = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]])
        result[start + pair[first]] = np.maximum.reduceat(values, first)
    return result


def null_floats(values: np.ndarray) -> pa.Array:
    """A float32 column, null where NaN."""
    return arrays.nullable(values, ~np.isnan(values), pa.float32())
