"""Exact search on the processor: products of queries and documents, of which only what beats the best so far is read.

After the first blocks hardly a document in a hundred does, so that a score costs its multiply-adds and one comparison.
Collecting the best of every block, as FAISS does for so many, takes twice as long as the products.
"""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Iterable

import numpy as np

from gangue.transforms.retrieval import topk
from gangue.transforms.running import process_wide

_QUERIES, _PRODUCT = 1024, 1 << 22  # queries of a thread at once, and scores: 16 MiB, which stay in a processor's cache
_PENDING = 16  # hits a query that wait before they are merged


def search(
    queries: np.ndarray, blocks: Iterable[tuple[np.ndarray, np.ndarray]], depth: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best documents of each query by inner product.

    Args:
      queries: (q, d) float32, one at least; what is found for one that is not finite means nothing.
      blocks: (n,) int64 row numbers of some documents and their (n, d) float32 vectors; used before the next is asked.
      depth: k, at least 1.   threads: of this process.

    Returns:
      (q, k) float32 scores, -inf where there are fewer, and (q, k) int64 document rows, -1 there; in no order.

    >>> vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    >>> scores, rows = search(vectors[:1], [(np.arange(3), vectors)], 2, 1)
    >>> sorted(zip(scores[0].tolist(), rows[0].tolist()))
    [(0.6000000238418579, 2), (1.0, 0)]
    """
    size = max(1, min(_QUERIES, -(-len(queries) // threads)))
    parts = [_Best(queries[start : start + size], depth) for start in range(0, len(queries), size)]
    with process_wide.one_blas_thread(), concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for rows, vectors in blocks:
            list(pool.map(_Best.add, parts, itertools.repeat(rows), itertools.repeat(vectors)))
    scores, found = (np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "rows"))
    return scores, found


class _Best:
    """The best documents so far of some queries: (q, k) ``scores`` and ``rows``."""

    def __init__(self, queries: np.ndarray, depth: int) -> None:
        self._queries = queries
        self.scores = np.full((len(queries), depth), -np.inf, np.float32)
        self.rows = np.full((len(queries), depth), -1, np.int64)
        self._least = self.scores.min(axis=1)  # what a document must beat

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Look at some more documents."""
        size = max(1, _PRODUCT // len(self._queries))
        room = np.empty(len(self._queries) * min(size, len(vectors)), np.float32)
        pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for start in range(0, len(vectors), size):
            some = vectors[start : start + size]
            product = room[: len(self._queries) * len(some)].reshape(len(self._queries), len(some))
            np.matmul(self._queries, some.T, out=product)
            depth = self.scores.shape[1]
            if depth < len(some) and np.isneginf(self._least).any():  # else all of them would pass
                best = np.argpartition(-product, depth - 1, axis=1)[:, :depth]
                self._keep(np.take_along_axis(product, best, 1), rows[start + best])
                continue
            hit = np.flatnonzero(product > self._least[:, None])
            query = hit // len(some)
            pending.append((query, product.reshape(-1)[hit], rows[start + hit - query * len(some)]))
            if sum(len(part[0]) for part in pending) > _PENDING * len(self._queries):
                self._merge(pending)
                pending = []
        if pending:
            self._merge(pending)

    def _merge(self, pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        query, score, row = (np.concatenate(column) for column in zip(*pending, strict=True))
        if not len(query):
            return
        order = np.argsort(query, kind="stable")
        query = query[order]
        count = np.bincount(query, minlength=len(self._queries))
        place = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
        scores = np.full((len(self._queries), count.max()), -np.inf, np.float32)
        rows = np.full(scores.shape, -1, np.int64)
        scores[query, place], rows[query, place] = score[order], row[order]
        self._keep(scores, rows)

    def _keep(self, scores: np.ndarray, rows: np.ndarray) -> None:
        self.scores, self.rows = topk.merge(self.scores, self.rows, scores, rows, self.scores.shape[1])
        self._least = self.scores.min(axis=1)
