"""Joining what several retrievers found: one row per (query, document), with every rank and every score."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays
from gangue.transforms.datasets import schema

NO_RANK = 1 << 30
_PAIRS = 1 << 13  # pairs whose vectors are gathered at once: they fit the processor's cache


def best_rank(ranks: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) best rank over all retrievers, ``NO_RANK`` where none returned the document.

    >>> best_rank({"a": np.array([3.0, np.nan]), "b": np.array([1.0, np.nan])}).tolist()
    [1, 1073741824]
    """
    best = np.fmin.reduce(list(ranks.values()))
    return np.where(np.isnan(best), NO_RANK, best).astype(np.int64)


def worth_scoring(pairs: pa.Table, depth: int) -> np.ndarray:
    """(n,) bool: positives, what was drawn, judged or ranks within the depth of a retriever, but no known copies."""
    ranks = {n: arrays.floats(pairs, n) for n in pairs.column_names if n.startswith("rank_")}
    copies = np.any([pairs[relation].to_numpy() for relation in schema.RELATIONS if relation != "positive"], axis=0)
    copies &= ~pairs["judged"].to_numpy()
    asked = np.any([pairs[name].to_numpy() for name in ("random", "next_cluster", "judged")], axis=0)
    near = (best_rank(ranks) <= depth) | asked
    return pairs["positive"].to_numpy() | (near & ~copies)


def scatter(count: int, places: np.ndarray, values: np.ndarray, elsewhere: float = np.nan) -> np.ndarray:
    """(count,) values, of their dtype, laid at their places.

    >>> scatter(3, np.array([1]), np.array([1.5])).tolist()
    [nan, 1.5, nan]
    """
    result = np.full(count, elsewhere, values.dtype)
    result[places] = values
    return result


def highest_similarity(
    query: np.ndarray,
    document: np.ndarray,
    positive_query: np.ndarray,
    positive_row: np.ndarray,
    queries: int,
    vectors: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """(n,) highest cosine of each document to its query's positives, itself left out; NaN without any.

    Args:
      query, document: (n,) the pairs, by ascending query.   positive_query, positive_row: (p,), by ascending query.
      vectors: (m,) document rows -> (m, d) vectors, NaN where a document has none.

    >>> corners = np.array([[3.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> pairs, positives = np.array([0, 1, 2]), np.array([0])
    >>> highest_similarity(pairs * 0, pairs, positives * 0, positives, 1, lambda rows: corners[rows]).round(3).tolist()
    [nan, 0.0, 0.707]
    """

    def unit(rows: np.ndarray) -> np.ndarray:
        return arrays.unit(vectors(rows).astype(np.float64))

    result = np.full(len(query), np.nan)
    pairs = arrays.offsets_of(query, queries)
    positives = arrays.offsets_of(positive_query, queries)
    first = 0
    while first < queries:  # vectors are gathered for many queries at once, and multiplied for each
        stop = max(first + 1, int(np.searchsorted(pairs, pairs[first] + _PAIRS, side="right")) - 1)
        candidates = unit(document[pairs[first] : pairs[stop]])
        known = unit(positive_row[positives[first] : positives[stop]])
        for number in range(first, stop):
            here, own = slice(*pairs[number : number + 2]), slice(*positives[number : number + 2])
            if here.start == here.stop or own.start == own.stop:
                continue
            moved = slice(here.start - pairs[first], here.stop - pairs[first])
            cosines = candidates[moved] @ known[own.start - positives[first] : own.stop - positives[first]].T
            cosines[(document[here, None] == positive_row[None, own]) | np.isnan(cosines)] = -np.inf
            result[here] = cosines.max(axis=1)
        first = stop
    return np.where(np.isfinite(result), result, np.nan)


def null_where_nan(values: np.ndarray) -> pa.Array:
    """A float32 column, null where NaN.

    >>> null_where_nan(np.array([3.0, np.nan])).to_pylist()
    [3.0, None]
    """
    missing = np.isnan(values)
    return pa.array(values.astype(np.float32, copy=False), mask=missing if missing.any() else None)
