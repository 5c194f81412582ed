"""Rows of JSON Lines, CSV, TSV and Parquet files, one by one, with their line and what is wrong with them.

pyarrow's own CSV and JSON readers forget line numbers and fail a whole file on one bad row.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from transforms.sources.blocks import EXCERPT, Record, rejected
from transforms.sources.files import File
from transforms.sources.parquet import parquet_rows
from transforms.sources.row import Kind, Row, lacks
from transforms.sources.values import Fault

LINE_BYTES = 10_000_000
_BOM = b"\xef\xbb\xbf"


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


def rows(file: File, columns: Mapping[str, Kind], optional: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of a file; memory is bounded by its longest line or row group."""
    names = tuple(columns)
    if file.path.suffix == ".parquet":
        return parquet_rows(file, columns, optional)
    if file.path.suffix in (".csv", ".tsv"):
        return _csv(file, names, optional)
    return _json(file, names, optional)


def lines(stream: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """Number and bytes of each line, and whether it is whole: of one over ``LINE_BYTES`` only the start."""
    number = 0
    while line := stream.readline(LINE_BYTES + 1):
        number += 1
        whole = len(line) <= LINE_BYTES
        rest = line
        while not whole and rest and not rest.endswith(b"\n"):
            rest = stream.readline(LINE_BYTES)
        if number == 1:
            line = line.removeprefix(_BOM)
        yield number, line if whole else line[:EXCERPT], whole


def _json(file: File, names: tuple[str, ...], optional: Sequence[str]) -> Iterator[Row]:
    absent, first, objects, bad = set(names) - set(optional), "", 0, ""
    value: Any
    with file.path.open("rb") as stream:
        for number, line, whole in lines(stream):
            if not line.strip():
                continue
            fault, value = "", None
            try:
                raw = line.decode()
            except UnicodeDecodeError:
                fault, raw = "not UTF-8", line[: 4 * EXCERPT].decode(errors="replace")
            if not whole:
                fault = f"longer than {LINE_BYTES} bytes"
            if not fault:
                try:
                    value = json.loads(raw)
                except (ValueError, RecursionError):
                    fault = "invalid JSON"
            if not fault and not isinstance(value, dict):
                fault = "not a JSON object"
            if fault:
                bad = bad or f"line {number} is {fault}"
                yield Row(number, (), raw, fault)
                continue
            objects += 1
            if absent:
                absent.difference_update(value)
                first = first or ", ".join(map(str, value))
            yield Row(number, tuple([value.get(name) for name in names]), raw)
    if bad and not objects:
        raise ValueError(f"{file.path}: must have one JSON object per line, but no line has, first: {bad}. Convert it")
    if objects and absent:
        raise lacks(file, "field", absent, first)


def _csv(file: File, names: tuple[str, ...], optional: Sequence[str]) -> Iterator[Row]:
    with file.path.open("rb") as stream:
        source = _CsvLines(stream)
        csv.field_size_limit(LINE_BYTES)
        reader = csv.reader(source, delimiter="\t" if file.path.suffix == ".tsv" else ",", strict=True)
        header: list[str] | None = None
        places: list[int | None] = []
        while True:
            source.begin = source.number + 1
            source.raw, source.fault = [], ""
            try:
                fields = next(reader, None)
            except csv.Error as error:
                if "unexpected end" in str(error):
                    raise ValueError(
                        f"{file.path}: line {source.begin}: a quote must be closed, found the file's end."
                        " Close it, or double it if it is part of the text"
                    ) from None
                fields, source.fault = [""], source.fault or f"invalid CSV: {error}"
            if fields is None:
                break
            if header is None:
                header = fields
                places = _places(file, header, names, optional)
            elif fields or source.fault:
                yield _csv_row(source, fields, header, places)
    if header is None:
        _places(file, [], names, optional)


def _places(file: File, header: list[str], names: tuple[str, ...], optional: Sequence[str]) -> list[int | None]:
    absent = set(names) - set(optional) - set(header)
    if absent:
        raise lacks(file, "column", absent, ", ".join(header)[:EXCERPT].encode(errors="replace").decode())
    twice = [name for name in names if header.count(name) > 1]
    if twice:
        raise ValueError(f"{file.path}: column names must differ, but {twice[0]} comes twice. Rename one")
    return [header.index(name) if name in header else None for name in names]


def _csv_row(source: _CsvLines, fields: list[str], header: list[str], places: list[int | None]) -> Row:
    raw = "".join(source.raw)
    fault = source.fault
    if not fault and not raw.isascii() and any("\udc80" <= character <= "\udcff" for character in raw):
        fault = "not UTF-8"
    if not fault and len(fields) != len(header):
        fault = "number of fields differs from the header's"
    if fault:
        return Row(source.begin, (), raw, fault)
    return Row(source.begin, tuple([None if at is None else fields[at] for at in places]), raw)


class _CsvLines:
    """Lines for ``csv.reader``, which may take several for a row; bytes that are no UTF-8 are surrogates."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = lines(stream)
        self.number = 0
        self.begin = 1
        self.raw: list[str] = []
        self.fault = ""

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        self.number, line, whole = next(self._lines)
        string = line.decode(errors="surrogateescape")
        self.raw.append(string)
        if not whole:
            self.fault = f"longer than {LINE_BYTES} bytes"
            return "\n"
        return string


def _shown(columns: Mapping[str, Kind], values: Sequence[Any]) -> str:
    short = {
        name: value[:EXCERPT] if isinstance(value, str | bytes) else value
        for name, value in zip(columns, values, strict=False)
    }
    return json.dumps(short, ensure_ascii=False, default=str)[:EXCERPT]
