"""What a source yields: records, collected into Arrow tables of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from gangue.transforms import text
from gangue.transforms.datasets import schema

Dataset = Literal["documents", "queries", "positives", "judged", "rejected"]
_PLACE: list[tuple[str, Any]] = [
    ("origin", pa.string()),
    ("line", pa.int64()),
]  # file below the source's path, 1-based line or row
RECORDS: dict[Dataset, pa.Schema] = {
    "documents": pa.schema([("document_id", pa.string()), ("title", pa.string()), ("text", pa.string()), *_PLACE]),
    "queries": pa.schema(
        [("query_id", pa.string()), ("text", pa.string()), ("answers", pa.list_(pa.string())), *_PLACE]
    ),
    "positives": pa.schema([("query_id", pa.string()), ("document_id", pa.string()), ("grade", pa.float32()), *_PLACE]),
    "judged": pa.schema(
        [
            ("query_id", pa.string()),
            ("document_id", pa.string()),
            ("grade", pa.float32()),
            ("source", pa.string()),
            *_PLACE,
        ]
    ),
    "rejected": schema.REJECTED,
}
_LONG = {
    "documents": 1,
    "queries": 0,
    "positives": 0,
    "judged": 0,
    "rejected": 2,
}  # the first of two columns that may be long
ROWS = 8192
CHARACTERS = 1 << 25
EXCERPT = 500  # characters of a rejected record


class Record(NamedTuple):
    """One record and where it belongs; ``values`` are those of ``RECORDS[dataset]``."""

    dataset: Dataset
    values: tuple[Any, ...]


class Block(NamedTuple):
    """Some records of one dataset, at most ``ROWS``."""

    dataset: Dataset
    table: pa.Table


def rejected(origin: str, line: int, reason: str, record: str) -> Record:
    """A record that cannot be used, with its place, the reason and how it begins."""
    excerpt = record[:EXCERPT].encode("utf-8", "replace").decode()
    return Record("rejected", (origin, line, reason, excerpt))


def in_blocks(records: Iterable[Record]) -> Iterator[Block]:
    """Collect records into blocks; the order within a dataset stays.

    >>> [(block.dataset, block.table.num_rows) for block in in_blocks([rejected("a.csv", 2, "empty", ""),
    ...     Record("queries", ("q", "why", [], "a.csv", 3))])]
    [('queries', 1), ('rejected', 1)]
    """
    waiting: dict[Dataset, list[tuple[Any, ...]]] = {dataset: [] for dataset in RECORDS}
    characters = dict.fromkeys(RECORDS, 0)
    for dataset, values in records:
        rows = waiting[dataset]
        rows.append(values)
        long = _LONG[dataset]
        characters[dataset] += len(values[long]) + len(values[long + 1])
        if len(rows) >= ROWS or characters[dataset] >= CHARACTERS:
            yield _block(dataset, rows)
            waiting[dataset], characters[dataset] = [], 0
    for dataset, rows in waiting.items():
        if rows:
            yield _block(dataset, rows)


def _block(dataset: Dataset, rows: list[tuple[Any, ...]]) -> Block:
    fields = RECORDS[dataset]
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]
    return Block(dataset, pa.Table.from_arrays(arrays, schema=fields))


def content_ids(prefix: str, texts: Sequence[str]) -> list[str]:
    """Ids made of the texts: texts that differ only in case and white space get the same.

    >>> content_ids("d-", ["The  law", "the law"])
    ['d-490cb43960527e8f', 'd-490cb43960527e8f']
    """
    hashes: list[Any] = text.hashes(text.normalise(pa.chunked_array([texts], pa.string()))).to_pylist()
    return [prefix + digest.hex()[:16] for digest in hashes]
