"""Search on the processor: products of queries and documents, of which only what beats the best so far is read.

After the first blocks hardly a document in a hundred does, so that a score costs its multiply-adds and one comparison.
It takes FAISS's time where that knows the processor (``faiss_setup``), and reads documents where they lie, mapped.
"""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from gangue.transforms.retrieval import topk
from gangue.transforms.running import process_wide

_QUERIES, _PRODUCT = 1024, 1 << 22  # queries of a thread at once, and scores: 16 MiB, which stay in a processor's cache
_PENDING = 16  # hits a query that wait before they are merged


class Block(NamedTuple):
    """Some documents: (n,) int64 ``rows`` and their (n, d) float32 ``vectors``.

    ``asking``: (m,) ascending numbers of the queries that are compared with them; None: all.
    """

    rows: np.ndarray
    vectors: np.ndarray
    asking: np.ndarray | None = None


def search(
    queries: np.ndarray, blocks: Iterable[Block], depth: int, threads: int, at_once: int = _QUERIES
) -> tuple[np.ndarray, np.ndarray]:
    """The best documents of each query by inner product.

    Args:
      queries: (q, d) float32, one at least; what is found for one that is not finite means nothing.
      blocks: each document in one of them; used before the next is asked.
      depth: k, at least 1.   threads: of this process.   at_once: queries of a thread, at most.

    Returns:
      (q, k) float32 scores, -inf where there are fewer, and (q, k) int64 document rows, -1 there; in no order.

    >>> vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    >>> scores, rows = search(vectors[:1], [Block(np.arange(3), vectors)], 2, 1)
    >>> sorted(zip(scores[0].tolist(), rows[0].tolist()))
    [(0.6000000238418579, 2), (1.0, 0)]
    """
    size = max(1, min(at_once, -(-len(queries) // threads)))
    edges = [*range(0, len(queries), size), len(queries)]
    parts = [_Best(queries[start:stop], depth) for start, stop in itertools.pairwise(edges)]
    with process_wide.one_blas_thread(), concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for block in blocks:
            list(pool.map(functools.partial(_Best.add, block=block), parts, _asking(block.asking, edges)))
        list(pool.map(_Best.finish, parts))
    scores, found = (np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "rows"))
    return scores, found


def _asking(numbers: np.ndarray | None, edges: list[int]) -> list[np.ndarray]:
    """Which of the queries between each edge and the next ask, from that edge on."""
    if numbers is None:
        return [np.arange(stop - start) for start, stop in itertools.pairwise(edges)]
    cuts = np.searchsorted(numbers, edges)
    return [numbers[cuts[i] : cuts[i + 1]] - start for i, start in enumerate(edges[:-1])]


class _Best:
    """The best documents so far of some queries: (q, k) ``scores`` and ``rows``."""

    def __init__(self, queries: np.ndarray, depth: int) -> None:
        self._queries = queries
        self.scores = np.full((len(queries), depth), -np.inf, np.float32)
        self.rows = np.full((len(queries), depth), -1, np.int64)
        self._least = self.scores.min(axis=1)  # what a document must beat
        self._pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._waiting = 0

    def add(self, asking: np.ndarray, block: Block) -> None:
        """Look at some more documents for (m,) of the queries."""
        if not asking.size:
            return
        queries = self._queries if len(asking) == len(self._queries) else self._queries[asking]
        depth, size = self.scores.shape[1], max(1, _PRODUCT // len(asking))
        room = np.empty(len(asking) * min(size, len(block.rows)), np.float32)
        for start in range(0, len(block.rows), size):
            rows, vectors = (part[start : start + size] for part in block[:2])
            product = room[: len(asking) * len(rows)].reshape(len(asking), len(rows))
            np.matmul(queries, vectors.T, out=product)
            least = self._least[asking]
            if depth < len(rows) and (first := np.isneginf(least)).any():  # else all of them would pass
                some = product[first]
                self._keep(asking[first], *topk.best(some, np.broadcast_to(rows, some.shape), depth))
                least[first] = np.inf
            hit = np.flatnonzero(product > least[:, None])
            query = hit // len(rows)
            self._pending.append((asking[query], product.reshape(-1)[hit], rows[hit - query * len(rows)]))
            self._waiting += len(hit)
            if self._waiting > _PENDING * len(self._queries):
                self.finish()

    def finish(self) -> None:
        """Merge what waits."""
        if not self._waiting:
            return
        query, score, row = (np.concatenate(column) for column in zip(*self._pending, strict=True))
        self._pending, self._waiting = [], 0
        order = np.argsort(query, kind="stable")
        query = query[order]
        count = np.bincount(query, minlength=len(self._queries))
        some = np.flatnonzero(count)
        turn = np.repeat(np.arange(len(some)), count[some])
        place = np.arange(len(query)) - np.repeat((np.cumsum(count) - count)[some], count[some])
        scores = np.full((len(some), count.max()), -np.inf, np.float32)
        rows = np.full(scores.shape, -1, np.int64)
        scores[turn, place], rows[turn, place] = score[order], row[order]
        self._keep(some, scores, rows)

    def _keep(self, some: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> None:
        depth = self.scores.shape[1]
        self.scores[some], self.rows[some] = topk.merge(self.scores[some], self.rows[some], scores, rows, depth)
        self._least[some] = self.scores[some].min(axis=1)
