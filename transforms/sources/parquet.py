"""Rows of Parquet files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from gangue.transforms.datasets import remote
from gangue.transforms.sources.blocks import ROWS
from gangue.transforms.sources.files import File
from gangue.transforms.sources.row import Kind, Row, check_differ, lacks

_WANTED: dict[Kind, str] = {
    "id": "strings or whole numbers",
    "ids": "ids or lists of ids",
    "text": "strings",
    "texts": "strings or lists of strings",
    "passages": "strings, lists of strings or lists of passages with a text",
    "grade": "numbers",
    "label": "numbers, booleans or strings",
    "any": "anything",
}


def parquet_rows(
    file: File, columns: Mapping[str, Kind], optional: Sequence[str], start: int = 0, stop: int | None = None
) -> Iterator[Row]:
    """Rows of a Parquet file, of row groups ``start`` up to ``stop``; memory is bounded by its largest row group."""
    with _opened(file) as parquet:
        fields = parquet.schema_arrow
        absent = set(columns) - set(optional) - set(fields.names)
        if absent:
            raise lacks(file, "column", absent, fields.names)
        check_differ(file, columns, fields.names)
        present = [name for name in columns if name in fields.names]
        for name in present:
            if not _fits(fields.field(name).type, columns[name]):
                raise ValueError(
                    f"{file.path}: column {name} must hold {_WANTED[columns[name]]}, got"
                    f" {fields.field(name).type}. Cast it, or name another column"
                )
        sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        line, groups = sum(sizes[:start]), list(range(len(sizes)))[start:stop]
        for batch in parquet.iter_batches(batch_size=ROWS, columns=present, row_groups=groups):
            values = {name: _values(batch.column(name)) for name in present}
            nothing = [None] * batch.num_rows
            for row in zip(*(values.get(name, nothing) for name in columns), strict=True):
                line += 1
                yield Row(line, row, "")


def parquet_names(file: File) -> list[str]:
    """The names of the columns of a Parquet file."""
    with _opened(file) as parquet:
        return list(parquet.schema_arrow.names)


@contextlib.contextmanager
def _opened(file: File) -> Iterator[pq.ParquetFile]:
    try:
        # Not opened by Arrow, which knows no names that are not UTF-8 and says in its own words what is no file.
        with file.path.open("rb") as stream, pq.ParquetFile(stream) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and (error.errno is not None or remote.by_client(error)):
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{file.path}: must be a whole Parquet file: {reason}. Copy or write it again") from error


def _fits(kind: pa.DataType, wanted: Kind) -> bool:
    if pt.is_dictionary(kind):
        return _fits(kind.value_type, wanted)
    if pt.is_null(kind) or wanted == "any":
        return True
    if wanted == "grade":
        return pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)
    if wanted == "label":
        return pt.is_boolean(kind) or _fits(kind, "grade") or _fits(kind, "text")
    if wanted == "passages" and pt.is_struct(kind):
        return kind.get_field_index("text") >= 0
    if wanted in ("ids", "texts", "passages") and (
        pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)
    ):
        inner: Kind = {"ids": "id", "passages": "passages"}.get(wanted, "text")  # type: ignore[assignment]
        return _fits(kind.value_type, inner)
    stringy = pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind)
    stringy = stringy or pt.is_binary(kind) or pt.is_large_binary(kind)
    return stringy or (wanted in ("id", "ids") and (pt.is_integer(kind) or pt.is_floating(kind)))


def _values(column: Any) -> list[Any]:
    """Values of a column; one that is no UTF-8 comes as bytes, so that it fails alone."""
    if pt.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pt.is_binary(column.type) or pt.is_large_binary(column.type):
        return [_decoded(value) for value in column.to_pylist()]
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar[Any]) -> object:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return b""


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value
