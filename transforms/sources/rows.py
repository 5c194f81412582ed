"""Rows of JSON Lines, CSV, TSV and Parquet files, one by one, with their line and what is wrong with them.

pyarrow's own CSV and JSON readers forget line numbers and fail a whole file on one bad row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gangue.transforms.sources import lines, notes
from gangue.transforms.sources.blocks import EXCERPT, Record, rejected
from gangue.transforms.sources.delimited import delimited_rows
from gangue.transforms.sources.files import File
from gangue.transforms.sources.parquet import parquet_rows
from gangue.transforms.sources.row import Kind, Row, lacks
from gangue.transforms.sources.values import Fault


def records(
    file: File,
    columns: Mapping[str, Kind],
    parse: Callable[[Sequence[Any], int], Iterable[Record]],
    optional: Sequence[str] = (),
) -> Iterator[Record]:
    """Records of a file: what ``parse(values, line)`` makes of each row; a ``Fault`` rejects the row.

    Args:
      file: its suffix says how it is read.
      columns: which to read, and what they hold.
      parse: raises ``Fault`` for a row that cannot be used.
      optional: columns that the file may lack.

    Raises:
      ValueError: the file as a whole is not what its name says, or lacks a column.
    """
    for row in rows(file, columns, optional):
        try:
            if row.fault:
                raise Fault(row.fault)
            parsed = list(parse(row.values, row.line))
        except Fault as fault:
            yield rejected(file.origin, row.line, str(fault), row.raw or _shown(columns, row.values))
        else:
            yield from parsed


def rows(
    file: File, columns: Mapping[str, Kind], optional: Sequence[str] = (), note: Callable[[str], None] = notes.note
) -> Iterator[Row]:
    """Rows of a file; memory is bounded by its longest line or row group. ``note`` is told what else it could be."""
    if file.format == ".parquet":
        return parquet_rows(file, columns, optional)
    if file.format in (".csv", ".tsv"):
        return delimited_rows(file, tuple(columns), optional, note)
    return _json(file, tuple(columns), optional)


def _json(file: File, names: tuple[str, ...], optional: Sequence[str]) -> Iterator[Row]:
    absent, objects, bad = set(names) - set(optional), 0, ""
    first: list[str] = []
    for number, line, whole in lines.numbered(file):
        if not line.strip():
            continue
        if not objects and not bad and line.startswith(b"[") and line[1:2] in b"{\r\n":
            raise ValueError(
                f"{file.path}: must have one JSON object per line, but no line has: it is one JSON array."
                " Convert it: jq -c '.[]'"
            )
        value, raw, fault = _object(line, whole)
        if fault:
            bad = bad or f"line {number} is {fault}"
            yield Row(number, (), raw, fault)
            continue
        objects += 1
        if absent:
            absent.difference_update(value)
            first = first or list(map(str, value))
        yield Row(number, tuple([value.get(name) for name in names]), raw)
    if bad and not objects:
        raise ValueError(f"{file.path}: must have one JSON object per line, but no line has, first: {bad}. Convert it")
    if objects and absent:
        raise lacks(file, "field", absent, first)


def _object(line: bytes, whole: bool) -> tuple[dict[str, Any], str, str]:
    """The object of a line, the line, and why there is none."""
    try:
        raw = line.decode()
    except UnicodeDecodeError:
        return {}, line[: 4 * EXCERPT].decode(errors="replace"), lines.NOT_UTF8
    if not whole:
        return {}, raw, f"longer than {lines.LINE_BYTES} bytes"
    try:
        value = json.loads(raw, object_pairs_hook=_once)
    except Fault as fault:
        return {}, raw, str(fault)
    except (ValueError, RecursionError):
        comma = raw.rstrip().endswith("},")
        return {}, raw, "invalid JSON: it ends in a comma" if comma else "invalid JSON"
    return (value, raw, "") if isinstance(value, dict) else ({}, raw, "not a JSON object")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise Fault("a JSON object has a key twice")
    return value


def _shown(columns: Mapping[str, Kind], values: Sequence[Any]) -> str:
    short = {
        name: value[:EXCERPT] if isinstance(value, str | bytes) else value
        for name, value in zip(columns, values, strict=False)
    }
    return json.dumps(short, ensure_ascii=False, default=str)[:EXCERPT]
