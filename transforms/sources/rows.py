"""Rows of JSON Lines, CSV, TSV and Parquet files, one by one, with their line and what is wrong with them.

pyarrow's own CSV and JSON readers forget line numbers and fail a whole file on one bad row.
"""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Reading:
    """A file of rows and what becomes of each row, whatever the others are: any process can read any part of it.

    Attributes:
      file: its suffix says how it is read.
      columns: which to read, and what they hold.
      parse: ``parse(values, line)`` gives the records of a row, or raises ``Fault`` for one that cannot be used.
      optional: columns that the file may lack.
      finish: of all records of a part.
    """

    file: File
    columns: Mapping[str, Kind]
    parse: Callable[[Sequence[Any], int], Iterable[Record]]
    optional: tuple[str, ...] = ()
    finish: Callable[[Iterator[Record]], Iterator[Record]] = iter


@dataclasses.dataclass
class Seen:
    """What a part of a JSON Lines file shows of the file.

    Attributes:
      lines, objects: how many it has.   bad: the first line that is none, and what it is instead.
      present: those of the columns that some object has.   first: the fields of the first object that lacks one.
    """

    lines: int = 0
    objects: int = 0
    bad: str = ""
    present: set[str] = dataclasses.field(default_factory=set)
    first: list[str] = dataclasses.field(default_factory=list)

    def joined(self, later: Seen) -> Seen:
        """What this part and a later one show."""
        present = self.present | later.present
        found = Seen(self.lines + later.lines, self.objects + later.objects, self.bad or later.bad, present)
        found.first = self.first or later.first
        return found

    def check(self, reading: Reading) -> None:
        """Check what all parts of a file showed.

        Raises:
          ValueError: no line is an object, or no object has one of the columns.
        """
        absent = set(reading.columns) - set(reading.optional) - self.present
        if self.bad and not self.objects:
            raise ValueError(
                f"{reading.file.path}: must have one JSON object per line, but no line has, first: {self.bad}."
                " Convert it"
            )
        if self.objects and absent:
            raise lacks(reading.file, "field", absent, self.first)


def records(reading: Reading, start: int = 0, stop: int | None = None, seen: Seen | None = None) -> Iterator[Record]:
    """Records of a file, or of a part of it (``part``).

    Args:
      reading: the file.   start, stop: the part.
      seen: of a part that is not the whole file, where to note what it shows; its lines are numbered from its first.

    Raises:
      ValueError: the file as a whole is not what its name says, or lacks a column.
    """
    return reading.finish(_records(reading, start, stop, seen))


def _records(reading: Reading, start: int, stop: int | None, seen: Seen | None) -> Iterator[Record]:
    origin, parse = reading.file.origin, reading.parse
    for row in _rows(reading, notes.note, start, stop, seen):
        try:
            if row.fault:
                raise Fault(row.fault)
            parsed = list(parse(row.values, row.line))
        except Fault as fault:
            yield rejected(origin, row.line, str(fault), row.raw or _shown(reading.columns, row.values))
        else:
            yield from parsed


def rows(
    file: File, columns: Mapping[str, Kind], optional: Sequence[str] = (), note: Callable[[str], None] = notes.note
) -> Iterator[Row]:
    """Rows of a file; memory is bounded by its longest line or row group. ``note`` is told what else it could be."""
    return _rows(Reading(file, columns, _nothing, tuple(optional)), note)


def _nothing(_: Sequence[Any], __: int) -> Iterable[Record]:
    return ()


def _rows(
    reading: Reading,
    note: Callable[[str], None],
    start: int = 0,
    stop: int | None = None,
    seen: Seen | None = None,
) -> Iterator[Row]:
    file, names = reading.file, tuple(reading.columns)
    if file.format == ".parquet":
        yield from parquet_rows(file, reading.columns, reading.optional, start, stop)
    elif file.format in (".csv", ".tsv"):
        yield from delimited_rows(file, names, reading.optional, note)
    else:
        found = Seen() if seen is None else seen
        yield from _json(reading, names, start, stop, found)
        if seen is None:
            found.check(reading)


def _json(reading: Reading, names: tuple[str, ...], start: int, stop: int | None, seen: Seen) -> Iterator[Row]:
    file, wanted = reading.file, set(names) - set(reading.optional)
    for number, line, whole in lines.numbered(file, start, stop):
        seen.lines = number
        if not line.strip():
            continue
        if not start and not seen.objects and not seen.bad and line.startswith(b"[") and line[1:2] in b"{\r\n":
            raise ValueError(
                f"{file.path}: must have one JSON object per line, but no line has: it is one JSON array."
                " Convert it: jq -c '.[]'"
            )
        value, raw, fault = _object(line, whole)
        if fault:
            seen.bad = seen.bad or f"line {number} is {fault}"
            yield Row(number, (), raw, fault)
            continue
        seen.objects += 1
        if wanted:
            seen.present |= wanted.intersection(value)
            wanted.difference_update(value)
            seen.first = seen.first or list(map(str, value))
        yield Row(number, tuple([value.get(name) for name in names]), raw)


def _object(line: bytes, whole: bool) -> tuple[dict[str, Any], str, str]:
    """The object of a line, the line, and why there is none."""
    try:
        raw = line.decode()
    except UnicodeDecodeError:
        return {}, line[: 4 * EXCERPT].decode(errors="replace"), lines.NOT_UTF8
    if not whole:
        return {}, raw, f"longer than {lines.LINE_BYTES} bytes"
    try:
        value = _DECODER.decode(raw)
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


_DECODER = json.JSONDecoder(object_pairs_hook=_once)  # json.loads makes one for each line: a fifth of the reading


def _shown(columns: Mapping[str, Kind], values: Sequence[Any]) -> str:
    short = {
        name: value[:EXCERPT] if isinstance(value, str | bytes) else value
        for name, value in zip(columns, values, strict=False)
    }
    return json.dumps(short, ensure_ascii=False, default=str)[:EXCERPT]
