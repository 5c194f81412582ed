"""Dense retrieval: exact by blocks of documents, on a device where there is one, or through an index of FAISS."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Literal, Self

import numpy as np
from pydantic import model_validator

from gangue.transforms import arrays, at_hand
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.names import shard_names, staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import block_search, devices, index_parts
from gangue.transforms.retrieval.protocol import Indexing, Step
from gangue.transforms.settings.section import Name, Positive, Section

_TRAINED = "index" + index_parts.SUFFIX
_BLOCK_ROWS = 65536  # documents whose vectors are copied at once, for all queries
_PAIRS = 1 << 11  # pairs whose vectors are gathered at once: they fit the processor's cache
_SHARED = 64  # so many of these blocks are worth several threads


class Dense(Section):
    """Nearest documents by inner product of an encoder's vectors."""

    kind: Literal["dense"]
    encoder: Name
    depth: Positive = 100
    max_depth: Positive | None = None  # deepen a query's search up to here while its quota is not met
    index: str = "Flat"  # a FAISS factory string
    nprobe: Positive | None = None
    refine: Positive | None = None  # times as many documents as are wanted come from codes, and the vectors choose

    @model_validator(mode="after")
    def _of_index(self) -> Self:
        if self.nprobe is not None and self.index != "Flat" and not index_parts.has_lists(self.index):
            raise ValueError(f"nprobe belongs to an index with lists (IVF), got {self.index}. Remove it")
        if self.refine is not None and (self.index == "Flat" or index_parts.whole_vectors(self.index)):
            raise ValueError(f"refine belongs to an index of codes (PQ, SQ), got {self.index}. Remove it")
        return self

    def check(self, name: str) -> None:
        """Check that FAISS knows the index, hours before it is built.

        Raises:
          ValueError: it does not.
        """
        if self.index != "Flat":
            from gangue.transforms.retrieval import faiss_index

            try:
                faiss_index.check(self.index)
            except ValueError as error:
                raise ValueError(str(error).replace("*", name, 1)) from None

    def open(self, data: Data, name: str, *, unpublished: bool = False) -> DenseRetriever:
        """The retriever over the vectors, or over its index of them."""
        path = None if self.index == "Flat" else (staged if unpublished else str)(_folder(name))
        return DenseRetriever(data, self.encoder, path, self.index, self.nprobe, self.refine or 1)

    def exact(self) -> Dense | None:
        """Search without an index, which an index is measured against."""
        of_index = {"index": "Flat", "nprobe": None, "refine": None}
        return None if self.index == "Flat" else self.model_copy(update=of_index)

    def accelerated(self, data: Data, queries: int) -> bool:
        """Whether so many queries at a time are searched sooner where there is a device; an index is not."""
        return self.index == "Flat" and devices.pay(queries, sum(data.rows("documents")))

    def edges(self, data: Data) -> list[int] | None:
        """Rows of the documents at which a search may be cut."""
        return None if self.index == "Flat" else index_parts.edges(self.index, sum(data.rows("documents")))

    def indexing(self, data: Data, name: str) -> Indexing:
        """Train the FAISS index, then fill its parts; nothing where vectors are searched as they are."""
        if self.index == "Flat":
            return Indexing()
        train = functools.partial(train_faiss, data=data, encoder=self.encoder, name=name)
        fill = functools.partial(fill_faiss, data=data, encoder=self.encoder, name=name, factory=self.index)
        parts = list(index_parts.parts(self.index, sum(data.rows("documents"))))
        steps = [Step("Train", [self.index], train), Step("Fill", parts, fill)]
        return Indexing(steps, folders=[_folder(name)], scratch=[_trained(name)])


def train_faiss(factory: str, data: Data, encoder: str, name: str) -> collections.Counter[str]:
    """Write the FAISS index of a dense retriever without documents."""
    from gangue.transforms.retrieval import faiss_index

    data.begin(_folder(name))
    data.write_note(staged(_folder(name)), "factory.txt", factory + "\n")
    centroids = arrays.matrix(data.read(f"clusters/{encoder}/centroids", shard_names(1)[0]))
    index = faiss_index.trained(factory, lookup.vectors(data, f"vectors/{encoder}/documents"), centroids)
    with data.adding(staged(_trained(name)), _TRAINED) as path:
        faiss_index.write(index, path)
    return collections.Counter()


def fill_faiss(part: str, data: Data, encoder: str, name: str, factory: str) -> collections.Counter[str]:
    """Write one part of a trained index."""
    from gangue.transforms.retrieval import faiss_index

    vectors = lookup.vectors(data, f"vectors/{encoder}/documents")
    index = faiss_index.empty(data.fetched(staged(_trained(name)), _TRAINED))
    centroids = sum(data.rows(f"clusters/{encoder}/centroids"))
    lists = lookup.clusters(data, encoder) if faiss_index.lists_are(index, centroids) else None
    with data.adding(staged(_folder(name)), part) as path:
        faiss_index.write_part(index, vectors, index_parts.parts(factory, len(vectors))[part], path, lists)
    return collections.Counter()


def _folder(name: str) -> str:
    return f"indexes/{name}/faiss"


def _trained(name: str) -> str:
    return f"indexes/{name}/trained"


def _faiss() -> Any:
    """FAISS, loaded by who searches: every stage reads the settings above."""
    from gangue.transforms.retrieval.faiss_setup import faiss

    return faiss


@dataclasses.dataclass
class DenseRetriever:
    """Inner product between the vectors of one encoder."""

    data: Data
    encoder: str
    index_path: str | None = None  # folder of a FAISS index among the datasets; None: exact search
    factory: str = "Flat"  # of the index
    nprobe: int | None = None
    refine: int = 1  # so many times as many documents are fetched from codes, and the vectors choose

    def search(self, queries: np.ndarray, depth: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best documents of each query, as ``Opened.search``."""
        vectors = self._queries.gather(queries)
        if self.index_path is not None:
            searched = allowed & self._documents.present
            scores, rows = self._search_index(np.nan_to_num(vectors), depth * self.refine, searched)
            if self.refine > 1:
                scores, rows = self._refined(queries, rows, depth)
        elif there := devices.pay(len(queries), int(np.count_nonzero(allowed))) and devices.found():
            from gangue.transforms.retrieval import device_search

            scores, rows = device_search.search(self._documents, there, vectors, depth, allowed)
        else:
            threads = _faiss().omp_get_max_threads()
            scores, rows = block_search.search(vectors, self._blocks(allowed), min(depth, len(allowed)), threads)
        rows[~np.isfinite(vectors).all(axis=1)] = -1  # a query without a vector finds nothing
        return rows, scores

    def _search_index(self, queries: np.ndarray, depth: int, searched: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same of finite vectors through the index."""
        index = self._index_of(searched)
        if index_parts.whole_vectors(self.factory):
            from gangue.transforms.retrieval import list_search

            return list_search.search(index, queries, searched, depth, _faiss().omp_get_max_threads())
        scores, rows = index.search(queries, min(depth, index.ntotal))
        found = (rows >= 0) & searched[np.maximum(rows, 0)]
        return np.where(found, scores, -np.inf), np.where(found, rows, -1)

    def _refined(self, queries: np.ndarray, rows: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the (q, k) documents that codes found, the best by the vectors themselves."""
        found = rows >= 0
        scores = np.full(rows.shape, -np.inf)
        scores[found] = self.score(np.repeat(queries, np.count_nonzero(found, axis=1)), rows[found])
        best = np.argpartition(-scores, min(depth, rows.shape[1]) - 1, axis=1)[:, :depth]
        return np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)

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
        with concurrent.futures.ThreadPoolExecutor(_faiss().omp_get_max_threads()) as threads:
            for _ in threads.map(score_block, starts):
                pass
        return result

    def similarity(self, documents: np.ndarray, others: np.ndarray) -> np.ndarray:
        """(n,) float32 cosine between pairs of documents; NaN where either has no vector."""
        rows, (one, other) = arrays.places(documents, others)
        vectors = arrays.unit(self._documents.gather(rows))
        result = np.empty(len(documents), np.float32)
        for start in range(0, len(documents), _PAIRS):
            here = slice(start, start + _PAIRS)
            result[here] = np.einsum("nd,nd->n", vectors[one[here]], vectors[other[here]])
        return result

    def _blocks(self, allowed: np.ndarray) -> Iterator[block_search.Block]:
        """The allowed documents, many shards at a time; a block lasts until the next."""
        documents = self._documents
        # New memory for every block would cost as much as the copying.
        room = np.empty((min(_BLOCK_ROWS, len(documents)), documents.dimensions), np.float32)
        for first in range(0, len(documents), _BLOCK_ROWS):
            stop = min(first + _BLOCK_ROWS, len(documents))
            searched = allowed[first:stop]
            if searched.any():
                searched = searched & documents.present_in(first, stop)
            rows = first + np.flatnonzero(searched)
            if rows.size:
                yield block_search.Block(rows, documents.copy(rows, room[: rows.size]))

    @property
    def _documents(self) -> lookup.Vectors:
        return lookup.vectors(self.data, f"vectors/{self.encoder}/documents")

    @property
    def _queries(self) -> lookup.Vectors:
        return lookup.vectors(self.data, f"vectors/{self.encoder}/queries")

    def _index_of(self, allowed: np.ndarray) -> Any:
        """The parts of the index that hold allowed documents, as one index."""
        parts = index_parts.parts(self.factory, len(allowed))
        numbers = [number for number, rows in enumerate(parts.values()) if allowed[rows.start : rows.stop].any()]
        assert self.index_path is not None
        return _index(self.data, self.index_path, tuple(numbers or [0]), self.nprobe)


@at_hand.keep
def _index(data: Data, folder: str, numbers: tuple[int, ...], nprobe: int | None) -> Any:
    """Some parts of an index, by their numbers, as one."""
    from gangue.transforms.retrieval import faiss_index

    shards = data.shards(folder)
    index = faiss_index.read([lookup.fetched(data, folder, shards[number]) for number in numbers])
    if nprobe is not None:
        _faiss().extract_index_ivf(index).nprobe = nprobe
    return index
