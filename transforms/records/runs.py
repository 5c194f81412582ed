"""Records on disk between reading and writing: runs of some thousand and more, with hashes and sketches beside.

Texts stay in the runs until the shard they belong to is written; planning reads ids and hashes only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays, text
from gangue.transforms.datasets import sharding
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.scratch import scratch
from gangue.transforms.datasets.storage import Data
from gangue.transforms.records import duplicates, portions
from gangue.transforms.records.duplicates import Sketches
from gangue.transforms.running import progress
from gangue.transforms.running.counts import Counts
from gangue.transforms.sources.blocks import CHARACTERS, EXCERPT, RECORDS, ROWS, Block, Dataset

AREA = staged("ingest")
_DESCRIBED = posixpath.join(AREA, "described")
_SIGNATURE, _BANDS = pa.binary(4 * duplicates.PERMUTATIONS), pa.binary(8 * duplicates.BANDS)


@dataclasses.dataclass(frozen=True)
class Runs:
    """The runs of one source, in the order in which they were read.

    Attributes:
      data: where they are.
      names: ``documents/000000-000000`` and so on.
      rows: number of records of each.
      bytes: of all documents, in memory.
      before: how many lines of its file lie before the part that each run was read from.
      spelled: column of pairs of ids -> how these are spelled as those of queries and documents are.
    """

    data: Data
    names: tuple[str, ...]
    rows: tuple[int, ...]
    bytes: int
    before: tuple[int, ...]
    spelled: Mapping[str, Callable[[pa.ChunkedArray[Any]], pa.ChunkedArray[Any]]] = dataclasses.field(
        default_factory=dict
    )

    @staticmethod
    def id_column(dataset: Dataset) -> str:
        """Name of the column with the ids of a dataset's records."""
        return RECORDS[dataset].names[0]

    def of(self, dataset: Dataset) -> range:
        """Numbers of the runs that hold records of one dataset: they lie together."""
        numbers = [i for i, name in enumerate(self.names) if name.startswith(f"{dataset}/")]
        return range(numbers[0], numbers[-1] + 1) if numbers else range(0)

    def count(self, dataset: Dataset) -> int:
        """Number of records of a dataset."""
        return sum(self.rows[number] for number in self.of(dataset))

    def located(self, dataset: Dataset, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run number and row of records, which are numbered over all runs of their dataset."""
        numbers = self.of(dataset)
        starts = np.cumsum([0, *(self.rows[number] for number in numbers)])
        part = np.searchsorted(starts, records, side="right") - 1
        return part + numbers.start, records - starts[part]

    def column(self, dataset: Dataset, name: str) -> pa.ChunkedArray[Any]:
        """One column of all records of a dataset; not for texts."""
        parts = [self.read(number, [name]).column(0) for number in self.of(dataset)]
        kind = RECORDS[dataset].field(name).type
        column: Any = pa.chunked_array(itertools.chain.from_iterable(part.chunks for part in parts), kind)
        spell = self.spelled.get(name) if dataset in ("positives", "judged") else None
        return spell(column) if spell else column

    def read(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """A run, memory-mapped where it can be."""
        table = self.data.read(*_place(AREA, self.names[number]), columns)
        if self.before[number] and "line" in table.column_names:
            place, lines = table.column_names.index("line"), pc.add(table["line"], self.before[number])
            table = table.set_column(place, "line", lines)
        return table

    def hashes(self, dataset: Dataset, name: str) -> np.ndarray:
        """(n, 2) uint64 ``text_hash`` or ``content_hash`` of all records of a dataset."""
        parts = [text.hash_numbers(self._description(number, [name])[name]) for number in self.of(dataset)]
        return np.concatenate([np.empty((0, 2), np.uint64), *parts])

    def copy_sketches(self, numbers: np.ndarray, rows: np.ndarray, target: Sketches, places: np.ndarray) -> None:
        """Copy the sketches of records, by run number and row, to these places."""
        for part in _by_run(numbers, rows):
            described = self._description(int(numbers[part[0]]), ["signature", "bands"])
            target.signatures[places[part]] = _words(described["signature"], "<u4")[rows[part]]
            target.bands[:, places[part]] = _words(described["bands"], "<u8")[rows[part]].T

    def bucket(self, dataset: Dataset, number: int, buckets: int) -> np.ndarray:
        """Records whose ids have their hashes in one of equal ranges, ascending, numbered over all runs."""
        edges = sharding.shard_edges([number, number + 1], buckets)
        first, found = 0, [np.empty(0, np.int64)]
        for run in self.of(dataset):
            described = self._description(run, ["id_prefix", "by_id"])
            begin, end = np.searchsorted(arrays.one_array(described["id_prefix"]).to_numpy(), edges)
            found.append(first + np.sort(arrays.one_array(described["by_id"][int(begin) : int(end)]).to_numpy()))
            first += self.rows[run]
        return np.concatenate(found)

    def taken(
        self, numbers: np.ndarray, rows: np.ndarray, columns: list[str] | None = None
    ) -> Iterator[tuple[np.ndarray, pa.Table]]:
        """Records by run number and row, run by run: where they stood in the arguments, and their table."""
        for part in _by_run(numbers, rows):
            yield part, self.read(int(numbers[part[0]]), columns).take(rows[part])

    def identified(self, dataset: Dataset, records: np.ndarray) -> tuple[pa.ChunkedArray[Any], np.ndarray, np.ndarray]:
        """Of ascending records, (n,) ids, and (n, 2) uint64 ``text_hash`` and ``content_hash``."""
        ids, hashes = [], []
        numbers, rows = self.located(dataset, records)
        for part in _by_run(numbers, rows):
            number, name = int(numbers[part[0]]), self.id_column(dataset)
            ids += self.read(number, [name]).column(0).take(rows[part]).chunks
            described = self._description(number, ["text_hash", "content_hash"]).take(rows[part])
            hashes.append([text.hash_numbers(column) for column in described.columns])
        empty = np.empty((0, 2), np.uint64)
        texts, contents = (np.concatenate([empty, *(pair[side] for pair in hashes)]) for side in (0, 1))
        return pa.chunked_array(ids, pa.string()), texts, contents

    def _description(self, number: int, columns: list[str]) -> pa.Table:
        return self.data.read(*_place(_DESCRIBED, self.names[number]), columns)


def _by_run(numbers: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Positions of the records of each run, by run number and row, in ascending order of the rows."""
    order = np.lexsort((rows, numbers))
    yield from np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []


def spill(data: Data, blocks: Iterable[Block], part: int = 0) -> Runs:
    """Write blocks as runs, several as one where there are many; those of each ``part`` of a source by other names."""
    rows: dict[Dataset, list[int]] = {dataset: [] for dataset in RECORDS}
    waiting: dict[Dataset, list[pa.Table]] = {dataset: [] for dataset in RECORDS}
    size = 0

    def write(dataset: Dataset) -> None:
        run = pa.concat_tables(waiting[dataset]).combine_chunks()
        data.write(*_place(AREA, _name(dataset, part, len(rows[dataset]))), run, suffix=".arrow")
        rows[dataset].append(run.num_rows)
        waiting[dataset] = []

    for dataset, table in blocks:
        waiting[dataset].append(table)
        held, read = sum(map(len, waiting[dataset])), sum(rows[dataset])
        if held + ROWS > portions.at_once(ROWS, read) or sum(t.nbytes for t in waiting[dataset]) > CHARACTERS:
            write(dataset)
        size += table.nbytes if dataset == "documents" else 0
        progress.advance(table.num_rows)
    for dataset, tables in waiting.items():
        if tables:
            write(dataset)
    names = tuple(_name(dataset, part, number) for dataset, counts in rows.items() for number in range(len(counts)))
    return Runs(data, names, tuple(itertools.chain.from_iterable(rows.values())), size, (0,) * len(names))


def describe(name: str, data: Data, *, sketches: bool) -> Counts:
    """Write the hashes of a run's records, and their sketches if wanted; count the records as ``in``."""
    table = data.read(*_place(AREA, name))
    if name.startswith(("documents/", "queries/")):
        texts = table["text"]
        titles = table["title"] if "title" in table.column_names else pa.chunked_array([[""] * len(texts)])
        full = text.full_text(titles, texts)
        normal = text.normalise(full)
        answers = table["answers"].to_pylist() if "answers" in table.column_names else [[]] * len(texts)
        exact = zip(titles.to_pylist(), texts.to_pylist(), answers, strict=True)
        prefixes = sharding.prefixes(text.hash_numbers(text.hashes(table.column(0))))
        # The length keeps a title from growing into the text unnoticed.
        contents = text.hash_numbers(
            text.hashes([f"{len(str(title))}:{title}{body}{given or ''}" for title, body, given in exact])
        )
        # The smallest stands for the records of an id: one with characters that nobody sees only where all have such.
        contents[text.holds_invisible(full).to_numpy(), 0] = np.iinfo(np.uint64).max
        columns: dict[str, Any] = {
            "id_prefix": pa.array(np.sort(prefixes)),
            "by_id": pa.array(np.argsort(prefixes, kind="stable")),
            "content_hash": hash_column(contents),
            "text_hash": text.hashes(normal),
        }
        if sketches:
            found = Sketches.of(duplicates.signatures(normal))
            columns["signature"] = _column(found.signatures.astype("<u4"), _SIGNATURE)
            columns["bands"] = _column(found.bands.T.astype("<u8"), _BANDS)
        data.write(*_place(_DESCRIBED, name), pa.table(columns), suffix=".arrow")
    progress.advance(table.num_rows)
    return Counts({"in": table.num_rows})


def excerpts(table: pa.Table) -> list[str]:
    """The beginning of each record, as JSON, for those that are rejected after they were read."""
    if "record" in table.column_names:
        return [str(record) for record in table["record"].to_pylist()]
    return [
        json.dumps(
            {
                name: value[:EXCERPT] if isinstance(value, str) else value
                for name, value in record.items()
                if name not in ("origin", "line") and value != []
            },
            ensure_ascii=False,
        )[:EXCERPT]
        for record in table.to_pylist()
    ]


def hash_column(hashes: np.ndarray) -> pa.Array[Any]:
    """Column of hashes from their (n, 2) uint64 view: the inverse of ``text.hash_numbers``.

    >>> hash_column(text.hash_numbers(text.hashes(["a"]))) == text.hashes(["a"])
    True
    """
    return _column(hashes.astype(">u8"), text.HASH)


def _column(words: np.ndarray, kind: pa.DataType) -> pa.Array[Any]:
    """Column of binary values of one size from the rows of (n, w) words."""
    return pa.Array.from_buffers(kind, len(words), [None, pa.py_buffer(words.tobytes())])


def _words(column: pa.ChunkedArray[Any], dtype: str) -> np.ndarray:
    """(n, w) words of a column of binary values of one size: the inverse of ``_column``."""
    array: Any = arrays.one_array(column)
    return np.frombuffer(array.buffers()[1], dtype).reshape(len(array), -1)


@contextlib.contextmanager
def sketches(data: Data, texts: int) -> Iterator[Sketches]:
    """Room on disk for the sketches of so many texts: they are 640 bytes each."""
    with (
        scratch(data, AREA, (texts, duplicates.PERMUTATIONS), np.uint32) as signatures,
        scratch(data, AREA, (duplicates.BANDS, texts), np.uint64) as bands,
    ):
        yield Sketches(signatures, bands)


def _name(dataset: str, part: int, number: int) -> str:
    return f"{dataset}/{part:06d}-{number:06d}"


def _place(area: str, name: str) -> tuple[str, str]:
    dataset, number = posixpath.split(name)
    return posixpath.join(area, dataset), number
