"""Fetch rows of a dataset by number, across its shards, without holding the dataset; and whole columns that are small.

What the functions return is shared by the work of one process.
"""

from __future__ import annotations

import collections
import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays, at_hand, text
from gangue.transforms.datasets import names, schema
from gangue.transforms.datasets.storage import Data

Result = TypeVar("Result")

_TOGETHER = 32 << 20  # bytes of files of documents whose texts are in memory together, some three times as many
CACHE_BYTES = 16 << 20  # decoded shards kept at hand by each lookup: a stage has several


class Rows:
    """Rows of one dataset by number.

    The most recently used shards stay decoded, up to ``CACHE_BYTES``. Shards that can be mapped all stay mapped: of
    these only pages are read that hold a row which is asked for.
    """

    def __init__(self, data: Data, dataset: str, columns: Sequence[str], *, mapped: bool = False) -> None:
        self._data, self._dataset, self._columns, self._mapped = data, dataset, list(columns), mapped
        self.shards = data.shards(dataset)
        self._number = {shard: number for number, shard in enumerate(self.shards)}
        self.offsets = np.concatenate([[0], np.cumsum(data.rows(dataset))]).astype(np.int64)
        self._cache: collections.OrderedDict[int, pa.Table] = collections.OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def of(self, shard: str) -> np.ndarray:
        """(n,) row numbers of one shard."""
        number = self._number[shard]
        return np.arange(*self.offsets[number : number + 2])

    def shard(self, number: int) -> pa.Table:
        """One shard, from the cache where it is there."""
        with self._lock:
            if number in self._cache:
                self._cache.move_to_end(number)
                return self._cache[number]
            if self._mapped:
                table = self._data.mapped(self._dataset, self.shards[number]).select(self._columns)
            else:
                table = self._data.read(self._dataset, self.shards[number], self._columns)
                self._cached_bytes += table.nbytes
            self._cache[number] = table
            while len(self._cache) > 1 and self._cached_bytes > CACHE_BYTES:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
            return table

    def take(self, rows: np.ndarray) -> pa.Table:
        """The rows of these numbers, in this order, repeats included.

        Args:
          rows: (n,) int64 row numbers over all shards.

        Raises:
          IndexError: a row number is outside the dataset.
        """
        ascending = bool((rows[1:] > rows[:-1]).all())
        wanted, places = (rows, []) if ascending else arrays.places(rows)
        if wanted.size and (wanted[0] < 0 or wanted[-1] >= len(self)):
            raise IndexError(f"{self._dataset}: rows must be in [0, {len(self)}), got {wanted[0]}..{wanted[-1]}")
        bounds = np.searchsorted(wanted, self.offsets)
        parts = [
            self.shard(number).take(pa.array(wanted[start:stop] - self.offsets[number]))
            for number, (start, stop) in enumerate(itertools.pairwise(bounds))
            if stop > start
        ]
        if not parts:
            return self.shard(0).slice(0, 0)
        found = pa.concat_tables(parts).combine_chunks()
        return found if ascending else found.take(pa.array(places[0]))

    def held(self, *rows: np.ndarray) -> Held:
        """The rows of these numbers in memory: shards of queries that are worked on together read documents once."""
        different = arrays.places(*rows)[0]
        different = different[(different >= 0) & (different < len(self))]  # whoever takes others is told
        return Held(self._dataset, len(self), different, self.take(different))


class Held:
    """Some rows of a dataset, in memory, by number."""

    def __init__(self, dataset: str, total: int, rows: np.ndarray, table: pa.Table) -> None:
        self._dataset, self._total, self._rows, self._table = dataset, total, rows, table

    def __len__(self) -> int:
        return self._total

    def take(self, rows: np.ndarray) -> pa.Table:
        """As ``Rows.take``, of those that are held.

        Raises:
          IndexError: a row is not held.
        """
        place = np.searchsorted(self._rows, rows)
        missing = place == len(self._rows)
        missing[~missing] = self._rows[place[~missing]] != rows[~missing]
        if missing.any():
            raise IndexError(f"{self._dataset}: row {rows[missing][0]} is not among the {len(self._rows)} held")
        return self._table.take(pa.array(place))


class Vectors:
    """An encoder's vectors by row number, mapped shard by shard as they are asked for: never in memory."""

    def __init__(self, data: Data, dataset: str) -> None:
        self._data, self._dataset = data, dataset
        self._shards = data.shards(dataset)
        self.offsets = np.concatenate([[0], np.cumsum(data.rows(dataset))]).astype(np.int64)
        self._mapped: list[tuple[np.ndarray, np.ndarray | None] | None] = [None] * len(self._shards)
        self._model: bytes | None = None
        self._lock = threading.Lock()
        self.dimensions = self._shard(0)[0].shape[1]

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def _shard(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        """(n, d) vectors of a shard, and (n,) which of them there are; None: all."""
        with self._lock:
            found = self._mapped[number]
            if found is None:
                table = self._data.mapped(self._dataset, self._shards[number])
                model = (table.schema.metadata or {}).get(schema.FINGERPRINT, b"")
                self._model = model if self._model is None else self._model
                if model != self._model:  # embed was stopped halfway through another model's
                    raise ValueError(
                        f"{self._data.shown(self._dataset)}: all vectors must be of one model, found 2."
                        " Embed again: gangue mine, or dvc repro"
                    )
                present = arrays.present(table) if table["vector"].null_count else None
                found = self._mapped[number] = (arrays.matrix(table), present)
            return found

    @functools.cached_property
    def present(self) -> np.ndarray:
        """(n,) bool: which rows have a vector."""
        return self.present_in(0, len(self))

    def present_in(self, first: int, stop: int) -> np.ndarray:
        """(n,) bool: which of the rows from ``first`` to before ``stop`` have a vector."""
        result = np.ones(stop - first, bool)
        numbers = np.searchsorted(self.offsets, first, "right") - 1, np.searchsorted(self.offsets, stop)
        shards = range(*map(int, numbers))
        for number in shards if stop > first else ():
            start, present = int(self.offsets[number]), self._shard(number)[1]
            if present is not None:
                here = slice(max(first - start, 0), stop - start)
                result[max(start - first, 0) :][: len(present[here])] = present[here]
        return result

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """(n, d) float32 vectors of these rows; NaN where the row has none."""
        if not len(rows):
            return np.empty((0, self.dimensions), np.float32)
        result = np.empty((len(rows), self.dimensions), np.float32)
        if (rows[1:] >= rows[:-1]).all():
            return self.copy(rows, result)
        order = np.argsort(rows, kind="stable")
        result[order] = self.copy(rows[order], np.empty_like(result))
        return result

    def copy(self, rows: np.ndarray, into: np.ndarray) -> np.ndarray:
        """The vectors of ascending rows, written into (n, d) float32 memory, which is returned."""
        bounds = np.searchsorted(rows, self.offsets)
        for number in np.flatnonzero(np.diff(bounds)):
            here = slice(bounds[number], bounds[number + 1])
            local = rows[here] - self.offsets[number]
            vectors, present = self._shard(int(number))
            np.take(vectors, local, axis=0, out=into[here], mode="clip")  # "raise" would copy twice
            if present is not None:
                into[here][~present[local]] = np.nan
        return into

    def all(self) -> np.ndarray:
        """(n, d) float32 vectors of every row, zeros where it has none: for datasets that fit in memory."""
        return np.nan_to_num(self.gather(np.arange(len(self))), copy=False)


@at_hand.keep
def rows(data: Data, dataset: str, columns: tuple[str, ...]) -> Rows:
    """Rows of a dataset."""
    return Rows(data, dataset, columns)


@at_hand.keep
def mapped_rows(data: Data, dataset: str, columns: tuple[str, ...]) -> Rows:
    """Rows of a dataset that is Arrow without compression."""
    return Rows(data, dataset, columns, mapped=True)


def together(data: Data, dataset: str, workers: int) -> dict[str, list[str]]:
    """First shard -> shards of ``dataset``, a document for each row, that share one pass over these; some a worker."""
    rows, documents = data.rows(dataset), data.manifest("documents")
    if documents is None:
        raise data.missing("documents")
    stored = sum(file.bytes for file in documents.files.values()) / max(1, sum(documents.rows))
    most = int(_TOGETHER / max(1.0, stored))
    return names.together(data.shards(dataset), rows, min(most, sum(rows) // (2 * workers)) if workers > 1 else most)


def query_rows(data: Data) -> Rows:
    """Which rows the queries of each shard are, and their ids."""
    return rows(data, "queries", ("query_id",))


@at_hand.keep
def vectors(data: Data, dataset: str) -> Vectors:
    """Vectors of an encoder."""
    return Vectors(data, dataset)


@at_hand.keep
def representatives(data: Data) -> np.ndarray:
    """(documents,) bool: the first document of each text; copies of it are never retrieved."""
    first = []
    for shard in data.shards("documents"):
        hashes = text.hash_numbers(data.read("documents", shard, ["text_hash"])["text_hash"])
        mask = np.zeros(len(hashes), bool)
        mask[np.unique(hashes, axis=0, return_index=True)[1]] = True
        first.append(mask)
    return np.concatenate(first)


@at_hand.keep
def clusters(data: Data, encoder: str) -> np.ndarray:
    """(documents,) cluster of every document, -1 where it has none; four bytes a document."""
    column = data.read_all(f"clusters/{encoder}/documents", ["cluster"])["cluster"]
    return column.fill_null(-1).to_numpy().astype(np.int32)


def labels(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """(p,) query rows and (p,) document rows of all known positives; sixteen bytes a positive."""
    query, document = [], []
    for shard in query_rows(data).shards:
        ids = data.read("queries", shard, ["query_id"])["query_id"]
        positives = data.read("positives", shard, ["query_id", "document_row"])
        query.append(query_rows(data).of(shard)[arrays.place_among(positives["query_id"], ids)])
        document.append(positives["document_row"].to_numpy())
    return np.concatenate(query), np.concatenate(document)


@at_hand.keep
def usage(data: Data, retrievers: tuple[str, ...]) -> np.ndarray:
    """(documents,) int32, for how many queries each document is retrieved; four bytes a document."""
    times = np.zeros(sum(data.rows("documents")), np.int32)
    for shard in data.shards("pairs"):
        pairs = data.read("pairs", shard, ["document_row", *(f"rank_{name}" for name in retrievers)])
        found = np.any([pairs[f"rank_{name}"].is_valid().to_numpy() for name in retrievers], axis=0)
        np.add.at(times, pairs["document_row"].to_numpy()[found], 1)
    return times


@at_hand.keep
def vocabulary(data: Data, dataset: str) -> dict[str, int]:
    """Token -> its number, of a lexical index; a process holds it once, however many shards it works on."""
    tokens = data.read_all(dataset, ["token"])["token"].to_pylist()
    return {token: number for number, token in enumerate(tokens)}


@at_hand.keep
def languages(data: Data, vocabulary: str) -> tuple[str | None, str | None]:
    """Of which language a vocabulary lacks the stop words, and by which it is stemmed; None: of none."""
    metadata = data.metadata(vocabulary, "token")
    of_stopwords, of_stems = (metadata.get(key, b"").decode() or None for key in (schema.STOPWORDS, schema.STEM))
    return of_stopwords, of_stems


@functools.partial(at_hand.keep, most=None)  # what were forgotten would stay on the disk, and be copied again
def fetched(data: Data, dataset: str, shard: str) -> str:
    """Path of a shard on this machine's disk, copied at most once."""
    return data.fetched(dataset, shard)


@at_hand.keep
def derived(data: Data, make: Callable[..., Result], *names: str) -> Result:
    """What ``make`` works out from whole datasets, and these names."""
    return make(data, *names)
