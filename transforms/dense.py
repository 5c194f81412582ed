"""Dense retrieval with FAISS: exact by blocks of documents, or through an index."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
from collections.abc import Iterator

import faiss
import numpy as np

from transforms import arrays, faiss_index, lookup, topk
from transforms.storage import Data

_BLOCK_ROWS = 65536  # documents in one call of FAISS, which collects its best anew in every call
_PAIRS = 1 << 11  # pairs whose vectors are gathered at once: they fit the processor's cache
_SHARED = 64  # so many of these blocks are worth several threads

# FAISS picks its slow kernel for small batches: a larger block of documents halves the time of exact search.
faiss.cvar.distance_compute_blas_database_bs = 8192
faiss.cvar.distance_compute_blas_query_bs = 2048  # their product is held in memory: 64 MiB
# And where queries x dimensions are fewer than this; its own 128,000 makes 300 queries take seven times as long as 350.
faiss.cvar.distance_compute_blas_threshold = 1 << 13


@dataclasses.dataclass
class DenseRetriever:
    """Inner product between the vectors of one encoder."""

    data: Data
    encoder: str
    index_path: str | None = None  # folder of a FAISS index among the datasets; None: exact search
    nprobe: int | None = None

    def search(self, queries: np.ndarray, depth: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best documents of each query.

        Args:
          queries: (q,) query rows.
          depth: k.
          allowed: (documents,) bool; others are never returned.

        Returns:
          (q, k') document rows, -1 where there are fewer, in no order, and (q, k') approximate scores.
        """
        vectors = self._queries.gather(queries)
        fetch = depth + topk.MARGIN
        scores = np.full((len(queries), 0), -np.inf, np.float32)
        rows = np.full((len(queries), 0), -1, np.int64)
        for block_rows, block in self._blocks(allowed) if self.index_path is None else ():
            found, places = faiss.knn(vectors, block, min(fetch, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            scores, rows = topk.merge(scores, rows, found, block_rows[places], fetch)
        if self.index_path is not None:
            scores, rows = self._index.search(np.nan_to_num(vectors), min(fetch, self._index.ntotal))
            scores = np.where(rows < 0, -np.inf, scores)
            searched = allowed & self._documents.present
            rows = np.where((rows >= 0) & searched[np.maximum(rows, 0)], rows, -1)
        rows[~np.isfinite(vectors).all(axis=1)] = -1  # a query without a vector finds nothing
        return rows, scores

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """(n,) float64 inner products of pairs of rows; NaN where either has no vector."""
        result = np.empty(len(queries), np.float64)
        rows, (place,) = arrays.places(queries)
        asked = self._queries.gather(rows)
        order = arrays.order_by(documents)  # neighbours come from one shard

        def score_block(start: int) -> None:
            here = order[start : start + _PAIRS]
            given = self._documents.gather(documents[here])
            result[here] = np.einsum("nd,nd->n", asked.take(place[here], axis=0), given, dtype=np.float64)

        starts = range(0, len(queries), _PAIRS)
        if len(starts) < _SHARED:
            for start in starts:
                score_block(start)
            return result
        with concurrent.futures.ThreadPoolExecutor(faiss.omp_get_max_threads()) as threads:
            for _ in threads.map(score_block, starts):
                pass
        return result

    def similarity(self, documents: np.ndarray, others: np.ndarray) -> np.ndarray:
        """(n,) float32 cosine between pairs of documents; NaN where either has no vector."""
        rows, (one, other) = arrays.places(documents, others)
        vectors = self._documents.gather(rows)
        with np.errstate(invalid="ignore", divide="ignore"):
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        result = np.empty(len(documents), np.float32)
        for start in range(0, len(documents), _PAIRS):
            here = slice(start, start + _PAIRS)
            result[here] = np.einsum("nd,nd->n", vectors[one[here]], vectors[other[here]])
        return result

    def _blocks(self, allowed: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers and vectors of the allowed documents, many shards at a time; a block lasts until the next."""
        documents = self._documents
        # New memory for every block would cost as much as the copying.
        room = np.empty((min(_BLOCK_ROWS, len(documents)), documents.dimensions), np.float32)
        for first in range(0, len(documents), _BLOCK_ROWS):
            here = slice(first, first + _BLOCK_ROWS)
            rows = first + np.flatnonzero(allowed[here] & documents.present[here])
            if rows.size:
                yield rows, documents.copy(rows, room[: rows.size])

    @property
    def _documents(self) -> lookup.Vectors:
        return lookup.vectors(self.data, f"vectors/{self.encoder}/documents")

    @property
    def _queries(self) -> lookup.Vectors:
        return lookup.vectors(self.data, f"vectors/{self.encoder}/queries")

    @functools.cached_property
    def _index(self) -> faiss.Index:
        assert self.index_path is not None
        index = faiss_index.read(lookup.local_copy(self.data, self.index_path))
        if self.nprobe is not None:
            faiss.extract_index_ivf(index).nprobe = self.nprobe
        return index
