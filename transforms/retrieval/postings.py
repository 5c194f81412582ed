"""Weights by token: which documents hold it, range of documents by range, and the best of each by their sums.

Term at a time, every posting of a query's tokens and no other. Bounds (MaxScore, over ranges) left out half of
the postings of short queries and a third of those of long ones, and took longer: looking up costs more than adding.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays, at_hand
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import lexical, topk

if TYPE_CHECKING:
    import scipy.sparse

POSTINGS = pa.schema(
    [("token", pa.int32()), ("document", pa.list_(pa.int32())), ("weight", pa.list_(pa.float32()))],
)
_TOKENS = 128  # of a query: as many weights add up in float32 with a rounding far below topk.ROUNDING
_QUERIES = 64  # whose short lists are gathered at once
_LONG = 512  # postings of a token that are worth a call of their own
_FEW = 8  # so many documents for each posting of a query, and only those with one are looked at, if few pass the floor
_BYTES = 1 << 26  # of a range's documents as they are stored, where they are long: their postings take twice that


@at_hand.keep
def ranges(data: Data, most: int) -> np.ndarray:
    """(r + 1,) range i has the documents of the shards from ``ranges[i]`` up to ``ranges[i + 1]``, at most so many.

    A shard that has more, or long documents, is a range of its own.
    """
    manifest = data.manifest("documents")
    if manifest is None:
        raise data.missing("documents")
    edges, rows, stored = [0], 0, 0
    for shard, name in enumerate(manifest.shards.values()):
        file = manifest.files[name]
        rows, stored = rows + (file.rows or 0), stored + file.bytes
        if shard > edges[-1] and (rows > most or stored > _BYTES):
            edges.append(shard)
            rows, stored = file.rows or 0, file.bytes
    return np.array([*edges, len(manifest.shards)])


def invert(weights: pa.Table, vocabulary: int) -> pa.Table:
    """Postings of some documents: a row for each token that occurs, ascending.

    Args:
      weights: n rows of ``lexical.WEIGHTS``.   vocabulary: v.

    Returns:
      Rows of ``POSTINGS``; ``document`` is a row of ``weights``, ascending.

    >>> table = pa.table([[[2, 5], [5]], [[1.0, 2.0], [3.0]]], schema=lexical.WEIGHTS)
    >>> invert(table, 6).to_pylist()[1]
    {'token': 5, 'document': [0, 1], 'weight': [2.0, 3.0]}
    """
    matrix = lexical.matrix(weights, vocabulary, np.float32).tocsc()
    tokens = np.flatnonzero(np.diff(matrix.indptr))
    offsets = pa.array(np.append(matrix.indptr[tokens], matrix.indptr[-1]), pa.int32())
    lists = (pa.ListArray.from_arrays(offsets, pa.array(values)) for values in (matrix.indices, matrix.data))
    return pa.table([pa.array(tokens, pa.int32()), *lists], schema=POSTINGS)


def search(
    data: Data, dataset: str, edges: np.ndarray, counts: scipy.sparse.csr_matrix, depth: int, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best documents of each query, as ``Opened.search``; none that shares no token with it.

    Args:
      dataset: of ``POSTINGS``, a shard for each range; one without an allowed document is not read.
      edges: the ``ranges``.
      counts: (q, v) how often each token occurs in each query.   depth: k.   allowed: (documents,) bool.
    """
    scores = np.full((counts.shape[0], 0), -np.inf, np.float32)
    rows = np.full((counts.shape[0], 0), -1, np.int64)
    tables = lookup.rows(data, dataset, tuple(POSTINGS.names))
    offsets = lookup.rows(data, "documents", ("document_id",)).offsets[edges].tolist()
    for number, (first, end) in enumerate(itertools.pairwise(offsets)):
        if allowed[first:end].any():
            full = scores.shape[1] == depth
            floor = np.maximum(scores.min(axis=1), 0) if full else np.zeros(len(scores), np.float32)
            more_scores, more_rows = best(tables.shard(number), counts, depth, allowed[first:end], floor)
            more_rows[more_rows >= 0] += first
            scores, rows = topk.merge(scores, rows, more_scores, more_rows, depth)
    return rows, scores


def best(
    postings: pa.Table, counts: scipy.sparse.csr_matrix, depth: int, allowed: np.ndarray, floor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best documents of one range that score above each query's floor.

    Args:
      postings: rows of ``POSTINGS``.   counts: (q, v), tokens ascending.   depth: k.
      allowed: (n,) bool, of the range's documents.   floor: (q,) at least 0.

    Returns:
      (q, min(k, n)) float32 scores, -inf where there are fewer, and their rows in the range, -1.
    """
    tokens, offsets, documents, weights = _arrays(postings)
    at = np.searchsorted(tokens, counts.indices)
    known = np.flatnonzero(np.append(tokens, -1)[at] == counts.indices)
    dtype = np.float32 if np.diff(counts.indptr).max(initial=0) <= _TOKENS else np.float64
    starts, sizes, times = offsets[at[known]], np.diff(offsets)[at[known]], counts.data[known].astype(dtype)
    # add.at is quick for this type of integers, and if all that is added is of one type
    documents, weights = documents.astype(np.intp), weights.astype(dtype, copy=False)
    short, long = np.flatnonzero(sizes < _LONG), np.flatnonzero(sizes >= _LONG)
    of_short, of_long = (np.searchsorted(known[lists], counts.indptr) for lists in (short, long))
    long_lists = list(zip(*(values[long].tolist() for values in (starts, starts + sizes, times)), strict=True))
    k = min(depth, len(allowed))
    scores = np.full((counts.shape[0], k), -np.inf, np.float32)
    rows = np.full((counts.shape[0], k), -1, np.int64)
    sums, everywhere = np.zeros(len(allowed), dtype), bool(allowed.all())
    for first in range(0, counts.shape[0], _QUERIES):
        queries = range(first, min(first + _QUERIES, counts.shape[0]))
        lists = short[of_short[first] : of_short[queries.stop]]
        here = arrays.runs(starts[lists], sizes[lists])
        near, weighed = documents[here], weights[here] * np.repeat(times[lists], sizes[lists])
        edges = np.append(0, np.cumsum(sizes[lists]))[of_short[first : queries.stop + 1] - of_short[first]].tolist()
        for query, (start, stop) in zip(queries, itertools.pairwise(edges), strict=True):
            parts = [near[start:stop]]
            np.add.at(sums, parts[0], weighed[start:stop])
            for begin, end, count in long_lists[of_long[query] : of_long[query + 1]]:
                parts.append(documents[begin:end])
                np.add.at(sums, parts[-1], weights[begin:end] if count == 1 else weights[begin:end] * count)
            found, score = _drained(sums, parts, floor[query])
            if not everywhere:
                found, score = found[allowed[found]], score[allowed[found]]
            if len(found) > k:
                top = np.argpartition(-score, k - 1)[:k]
                found, score = found[top], score[top]
            scores[query, : len(found)] = score
            rows[query, : len(found)] = found
    return scores, rows


def _drained(sums: np.ndarray, parts: list[np.ndarray], floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Documents whose sums are above the floor, ascending, and these sums; all are zero again then.

    Args:
      sums: (n,) of a range's documents.   parts: the documents that were added to.
    """
    if floor > 0 and _FEW * sum(map(len, parts)) < len(sums):
        near = np.concatenate(parts)
        found = arrays.distinct(near[sums[near] > floor])
        score = sums[found]
        sums[near] = 0
    else:
        found = np.flatnonzero(sums > floor)
        score = sums[found]
        sums.fill(0)
    return found, score


def _arrays(postings: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(t,) tokens, (t + 1,) offsets of their postings, and (p,) documents and weights of all; views of a file."""
    columns = (postings[name] for name in POSTINGS.names)
    tokens, documents, weights = (c.chunk(0) if c.num_chunks == 1 else c.combine_chunks() for c in columns)
    return (*(values.to_numpy() for values in (tokens, documents.offsets, documents.values, weights.values)),)
