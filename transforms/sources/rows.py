"""Rows of JSON Lines, CSV, TSV and Parquet files, one by one, with their line and what is wrong with them.

pyarrow's own CSV and JSON readers forget line numbers and fail a whole file on one bad row.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gangue.transforms.datasets import remote
from gangue.transforms.sources import lines, notes
from gangue.transforms.sources.blocks import EXCERPT, Record, rejected
from gangue.transforms.sources.delimited import delimited_names, delimited_rows
from gangue.transforms.sources.files import File
from gangue.transforms.sources.parquet import parquet_names, parquet_rows
from gangue.transforms.sources.row import Kind, Row, lacks
from gangue.transforms.sources.values import Fault

_FIRST = 1000  # lines of a file that show its fields


@dataclasses.dataclass(frozen=True)
class Reading:
    """A file of rows and what becomes of each row, whatever the others are: any process can read any part of it.

    Attributes:
      file: its suffix says how it is read.
      columns: which to read, and what they hold.
      parse: ``parse(values, line)`` gives the records of a row, or raises ``Fault`` for one that cannot be used.
      optional: columns that the file may lack.
      finish: what becomes of all records of a part.
    """

    file: File
    columns: Mapping[str, Kind]
    parse: Callable[[Sequence[Any], int], Iterable[Record]]
    optional: tuple[str, ...] = ()
    finish: Callable[[Iterator[Record]], Iterator[Record]] = iter

    @property
    def required(self) -> set[str]:
        """The columns that the file may not lack."""
        return set(self.columns) - set(self.optional)


@dataclasses.dataclass
class Seen:
    """What a part of a JSON Lines file shows of the file.

    Attributes:
      lines, objects: how many it has.   bad, bad_line: what the first line that is none is instead, and its number.
      present: those of the required columns that some object has.   first: the fields of the first object.
    """

    lines: int = 0
    objects: int = 0
    bad: str = ""
    bad_line: int = 0
    present: set[str] = dataclasses.field(default_factory=set)
    first: list[str] = dataclasses.field(default_factory=list)

    def joined(self, later: Seen) -> Seen:
        """What this part and a later one show."""
        present = self.present | later.present
        bad = (self.bad, self.bad_line) if self.bad else (later.bad, self.lines + later.bad_line)
        return Seen(
            self.lines + later.lines, self.objects + later.objects, *bad, present, first=self.first or later.first
        )

    def check(self, file: File, required: set[str]) -> None:
        """Check what all parts of a file showed.

        Raises:
          ValueError: no line is an object, or no object has one of the required columns.
        """
        if self.bad and not self.objects:
            raise ValueError(
                f"{file.path}: must have one JSON object per line, but no line has, first: line {self.bad_line} is"
                f" {self.bad}. Convert it"
            )
        if self.objects and not required <= self.present:
            raise lacks(file, "field", required - self.present, self.first)


def records(reading: Reading, start: int = 0, stop: int | None = None, seen: Seen | None = None) -> Iterator[Record]:
    """Records of a file, or of a part of it as ``parts`` cuts it.

    Args:
      reading: the file.   start, stop: the part.
      seen: of a part that is not the whole file, where to note what it shows; its lines are numbered from its first.

    Raises:
      ValueError: the file as a whole is not what its name says, or lacks a column.
    """
    return reading.finish(_records(reading, start, stop, seen))


def _records(reading: Reading, start: int, stop: int | None, seen: Seen | None) -> Iterator[Record]:
    origin, columns, parse = reading.file.origin, reading.columns, reading.parse
    for row in rows(reading.file, columns, reading.optional, start=start, stop=stop, seen=seen):
        try:
            if row.fault:
                raise Fault(row.fault)
            parsed = list(parse(row.values, row.line))
        except Fault as fault:
            yield rejected(origin, row.line, str(fault), row.raw or _shown(columns, row.values))
        else:
            yield from parsed


def rows(
    file: File,
    columns: Mapping[str, Kind],
    optional: Sequence[str] = (),
    note: Callable[[str], None] = notes.note,
    start: int = 0,
    stop: int | None = None,
    seen: Seen | None = None,
) -> Iterator[Row]:
    """Rows of a file, or of a part of it as ``records`` has it; memory is bounded by its longest line or row group.

    ``note`` is told what else it could be.
    """
    with remote.answering(str(file.path)):
        if file.format == ".parquet":
            yield from parquet_rows(file, columns, optional, start, stop)
        elif file.format in (".csv", ".tsv"):
            yield from delimited_rows(file, tuple(columns), optional, note)
        else:
            found, required = Seen() if seen is None else seen, set(columns) - set(optional)
            yield from _json(file, tuple(columns), required, start, stop, found)
            if seen is None:
                found.check(file, required)


def names(file: File, required: Collection[str]) -> list[str]:
    """The columns of a file, of which some are required; of JSON Lines the fields of its first objects."""
    with remote.answering(str(file.path)):
        if file.format == ".parquet":
            return parquet_names(file)
        if file.format in (".csv", ".tsv"):
            return delimited_names(file, required)
        first = itertools.islice(lines.numbered(file), _FIRST)
        return list(dict.fromkeys(str(name) for _, line, whole in first for name in _object(line, whole)[0]))


def _json(
    file: File, names: tuple[str, ...], required: set[str], start: int, stop: int | None, seen: Seen
) -> Iterator[Row]:
    absent = set(required)
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
            seen.bad, seen.bad_line = (seen.bad, seen.bad_line) if seen.bad else (fault, number)
            yield Row(number, (), raw, fault)
            continue
        seen.objects += 1
        if absent:
            seen.present |= absent.intersection(value)
            absent.difference_update(value)
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
