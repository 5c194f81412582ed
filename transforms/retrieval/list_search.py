"""Search an index of whole vectors list by list: one is read once for all queries that probe it, and multiplied.

FAISS goes query by query, and of an index in parts it puts every list together anew for each query that probes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gangue.transforms.retrieval import block_search
from gangue.transforms.retrieval.faiss_setup import inspect_tools


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
    # Few queries ask for a list: they are not to be parted further.
    return block_search.search(queries, _probed(index, queries, searched), depth, threads, at_once=len(queries))


def _probed(index: Any, queries: np.ndarray, searched: np.ndarray) -> Iterator[block_search.Block]:
    """Every list that a query probes."""
    probes = index.quantizer.search(queries, min(index.nprobe, index.nlist))[1]
    order = np.argsort(probes, axis=None, kind="stable")
    order = order[probes.reshape(-1)[order] >= 0]  # a quantiser that is no exhaustive one may find fewer
    lists, asking = probes.reshape(-1)[order], order // probes.shape[1]
    starts = np.flatnonzero(np.diff(lists, prepend=-1))
    for number, some in zip(lists[starts].tolist(), np.split(asking, starts)[1:], strict=True):
        rows, codes = inspect_tools.get_invlist(index.invlists, number)
        vectors, here = codes.view(np.float32), searched[rows]
        yield block_search.Block(*((rows, vectors) if here.all() else (rows[here], vectors[here])), some)
