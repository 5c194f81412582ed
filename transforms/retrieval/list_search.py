"""Search an index of whole vectors list by list: one is read once for all queries that probe it, and multiplied.

FAISS goes query by query, and of an index in parts it puts every list together anew for each query that probes it.
"""

from __future__ import annotations

import concurrent.futures
from typing import Any

import numpy as np

from gangue.transforms.retrieval import topk
from gangue.transforms.retrieval.faiss_setup import faiss
from gangue.transforms.running import process_wide


def search(
    index: Any, queries: np.ndarray, searched: np.ndarray, depth: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best documents of each query by inner product, in the lists that it probes.

    Args:
      index: FAISS's, an ``IVF…,Flat``.   queries: (q, d) float32, finite.
      searched: (documents,) bool, which may be found.   depth: k, at least 1.   threads: of this process.

    Returns:
      (q, k) float32 scores, -inf where there are fewer, and (q, k) int64 document rows, -1 there; in no order.
    """
    probes = index.quantizer.search(queries, min(index.nprobe, index.nlist))[1]
    order = np.argsort(probes, axis=None, kind="stable")
    lists, asking = probes.reshape(-1)[order], order // probes.shape[1]
    starts = np.flatnonzero(np.r_[True, lists[1:] != lists[:-1]])
    groups = [group for group, number in zip(np.split(asking, starts[1:]), lists[starts], strict=True) if number >= 0]

    def best(number: int, some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, vectors = _list(index, number, searched)
        scores, found = queries[some] @ vectors.T, np.broadcast_to(rows, (len(some), len(rows)))
        if len(rows) <= depth:
            return scores, found
        first = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        return np.take_along_axis(scores, first, 1), rows[first]

    scores = np.full((len(queries), depth), -np.inf, np.float32)
    rows = np.full((len(queries), depth), -1, np.int64)
    numbers = [int(number) for number in lists[starts] if number >= 0]
    with process_wide.one_blas_thread(), concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for some, more in zip(groups, pool.map(best, numbers, groups), strict=True):
            scores[some], rows[some] = topk.merge(scores[some], rows[some], *more, depth)
    return scores, rows


def _list(index: Any, number: int, searched: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the searched documents of a list, and their vectors."""
    lists = index.invlists
    size = lists.list_size(number)
    rows, vectors = np.empty(size, np.int64), np.empty((size, index.d), np.float32)
    ids = codes = None
    try:
        ids, codes = lists.get_ids(number), lists.get_codes(number)
        if size:
            faiss.memcpy(faiss.swig_ptr(rows), ids, rows.nbytes)
            faiss.memcpy(faiss.swig_ptr(vectors), codes, vectors.nbytes)
    finally:
        if ids is not None:
            lists.release_ids(number, ids)
        if codes is not None:
            lists.release_codes(number, codes)
    some = searched[rows]
    return (rows, vectors) if some.all() else (rows[some], vectors[some])
