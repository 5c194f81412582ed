"""Statistics that can be summed over shards, and that no value can break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LEAST = 1e-9  # size that a positive's score is taken to have at least, where another is compared with it


def waterfall(
    verdicts: pa.ChunkedArray[Any] | pa.Array[Any], fired: np.ndarray, names: Sequence[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """How often each verdict was the first to fire, and how often it fired at all.

    Args:
      verdicts: (n,) strings.
      fired: (n,) int64 bits.
      names: what each bit stands for.

    >>> waterfall(pa.array(["positive", "abs", "kept"]), np.array([3, 2, 0]), ["positive", "abs"])
    ({'positive': 1, 'abs': 1, 'kept': 1}, {'positive': 1, 'abs': 2})
    """
    tally: Any = pc.value_counts(verdicts)
    first = {row["values"]: row["counts"] for row in tally.to_pylist()}
    order = [*names, *sorted(set(first) - set(names))]
    counts = {name: int(((fired >> bit) & 1).sum()) for bit, name in enumerate(names)}
    return {name: first.get(name, 0) for name in order}, counts


def overlap(query: np.ndarray, one: np.ndarray, other: np.ndarray, depth: int) -> tuple[float, int]:
    """Sum over queries of the Jaccard index of two retrievers' best documents, and the number of queries.

    Args:
      query: (n,) query number of each pair.
      one: (n,) rank of the pair's document by one retriever, NaN where absent.
      other: (n,) by the other.
      depth: ranks that count.

    >>> overlap(np.array([0, 0, 0]), np.array([1, 2, np.nan]), np.array([2, np.nan, 1]), 2)
    (0.3333333333333333, 1)
    """
    first, second = one <= depth, other <= depth
    both, either = np.bincount(query[first & second]), np.bincount(query[first | second])
    some = np.flatnonzero(either)
    both = np.pad(both, (0, max(0, len(either) - len(both))))
    return float((both[some] / either[some]).sum()), len(some)


def concordance(
    query: np.ndarray, scores: np.ndarray, positive: np.ndarray, candidate: np.ndarray
) -> tuple[float, int]:
    """How often a positive scores above a candidate of its query, ties half, and how many such pairs there are.

    The ratio of the two is the area under the ROC curve within queries.

    Args:
      query: (n,) query number of each row.
      scores: (n,) NaN where a row has none: it is not compared.
      positive, candidate: (n,) bool, which rows are compared with which.

    >>> concordance(np.array([0, 0, 0, 1]), np.array([0.5, 0.5, 0.25, 0]), np.arange(4) == 0, np.arange(4) > 0)
    (1.5, 2)
    """
    positive, candidate = positive & ~np.isnan(scores), candidate & ~np.isnan(scores)
    place = np.unique(scores, return_inverse=True)[1]
    width = np.int64(len(scores))
    key, first = query * width + place, query[positive] * width  # sorts by query, then by score
    below = np.sort(key[candidate])
    start, stop = np.searchsorted(below, first), np.searchsorted(below, first + width)
    lower, equal = (np.searchsorted(below, key[positive], side) for side in ("left", "right"))
    return float(((lower + equal) / 2 - start).sum()), int((stop - start).sum())


def closeness(negatives: Mapping[str, np.ndarray], positives: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) how close each negative comes to its positive on the score that sees it farthest away.

    The measure is ``(negative - positive) / |positive|``: comparable between scores, high only if all agree. NaN where
    one of the scores is missing; a positive that scores 0, as by BM25 without a word in common, counts as almost 0.

    >>> closeness({"a": np.array([0.9, 3.0])}, {"a": np.array([1.0, 0.0])}).round(2).tolist()
    [-0.1, 3000000000.0]
    """
    return np.min([(negatives[n] - positives[n]) / np.maximum(np.abs(positives[n]), _LEAST) for n in negatives], axis=0)


def top_rows(table: pa.Table, order: np.ndarray, count: int) -> list[dict[str, Any]]:
    """The ``count`` rows of lowest ``order`` (and that value, as ``order``), by id where equal; never a NaN.

    Args:
      table: triplets.
      order: (n,) float.
      count: rows to keep.

    >>> [row["order"] for row in top_rows(pa.table({"query_id": ["a", "b"]}), np.array([2.0, np.nan]), 9)]
    [2.0]
    """
    valid = np.flatnonzero(np.isfinite(order))
    if len(valid) > count:
        # Everything that ties with the last one stays for the ids to decide.
        edge = np.partition(order[valid], count - 1)[count - 1]
        valid = valid[order[valid] <= edge]
    rows = table.take(pa.array(valid, pa.int64())).to_pylist()
    return merge_rows([row | {"order": float(value)} for row, value in zip(rows, order[valid], strict=True)], [], count)


def merge_rows(one: list[dict[str, Any]], other: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The ``count`` rows of lowest order of both lists."""
    ids = ("query_id", "positive_id", "negative_id")
    return sorted([*one, *other], key=lambda row: (row["order"], *(row.get(name, "") for name in ids)))[:count]


def reuse(times: np.ndarray) -> dict[str, int]:
    """How many documents serve how often, from (d,) how often each serves as a negative.

    >>> reuse(np.array([0, 1, 1, 7]))
    {'1': 2, '2': 0, '3-5': 0, '6-10': 1, '11-100': 0, 'over 100': 0}
    """
    bounds = {"1": (1, 1), "2": (2, 2), "3-5": (3, 5), "6-10": (6, 10), "11-100": (11, 100)}
    counts = {name: int(((times >= low) & (times <= high)).sum()) for name, (low, high) in bounds.items()}
    return counts | {"over 100": int((times > 100).sum())}
