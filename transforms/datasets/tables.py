"""How a shard's table lies in a file: Parquet for whoever reads it, Arrow between stages, one block each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gangue.transforms.datasets import schema

SUFFIXES = (".parquet", ".arrow")
_HARDLY_REPEATED = ("document_id", "text")  # within a shard


def fields(columns: pa.Schema) -> str:
    """Names and types of the columns, in words.

    >>> fields(pa.schema([pa.field("query_id", pa.string(), nullable=False), ("rank", pa.int32())]))
    'query_id: string not null, rank: int32'
    """
    return ", ".join(f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in columns)


def recipe(columns: pa.Schema) -> dict[str, Any] | None:
    """How the rows were made, where the file says so."""
    try:
        return json.loads((columns.metadata or {})[schema.RECIPE])
    except (KeyError, ValueError):
        return None


def footer(source: Any, name: str) -> tuple[int, pa.Schema]:
    """Rows and columns of a shard; of an Arrow file the first column is read, since vectors come later."""
    if name.endswith(".parquet"):
        with pq.ParquetFile(source) as file:
            return int(file.metadata.num_rows), file.schema_arrow
    reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=[0]))
    rows = sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
    return rows, pa.ipc.open_file(source).schema


def read_arrow(source: Any, columns: Sequence[str] | None) -> pa.Table:
    """Columns of an Arrow file, in this order; of a compressed one, no others are decompressed."""
    if columns is None:
        return pa.ipc.open_file(source).read_all()
    known = pa.ipc.open_file(source).schema
    wanted = sorted({known.get_field_index(name) for name in columns if name in known.names})
    options = pa.ipc.IpcReadOptions(included_fields=wanted)
    return pa.ipc.open_file(source, options=options).read_all().select(columns)


def write(table: pa.Table, file: Any, suffix: str, compression: str | None) -> None:
    """Write a shard; ``compression``: of an Arrow file, None: one that can be mapped."""
    table = table.combine_chunks()  # the layout of the file follows the chunks
    rows = max(1, table.num_rows)
    if suffix == ".parquet":
        # One row group per shard: a block is a row group. A dictionary is tried only where values come again: twice
        # as fast, and smaller. Page checksums are for other programs that read it.
        repeated = [f.name for f in table.schema if f.type == pa.string() and f.name not in _HARDLY_REPEATED]
        settings: dict[str, Any] = {"use_dictionary": repeated or False, "write_page_checksum": True}
        with pq.ParquetWriter(file, table.schema, compression="zstd", **settings) as writer:
            if len(table):  # readers take the rows of the first row group for a batch, and none is not a size
                writer.write_table(table, row_group_size=rows)
        return
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
