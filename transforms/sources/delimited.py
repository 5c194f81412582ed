"""Rows of CSV and TSV files, whose quotes may be quoting or characters of a text.

In a CSV a field that begins with a quote is quoted, as RFC 4180 has it, and may run over lines. In a TSV it is so only
where that works out; else the quote is a character, as in MS MARCO's ``collection.tsv``. A row over several lines
that does not work out gives back all lines but its first, so that no stray quote swallows rows.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from gangue.transforms.sources import lines
from gangue.transforms.sources.files import File
from gangue.transforms.sources.row import Row, check_differ, lacks
from gangue.transforms.sources.values import Fault

_DELIMITERS = {",": "','", "\t": "tabs", ";": "';'", "|": "'|'"}  # and how a message names them
_INSIDE = re.compile(r'((?:[^"]++|"")*+)"')  # of a quoted field, up to the quote that closes it
_OPEN = "a quote is opened in this line and never closed: double it if it is part of the text"
_SWALLOWS = "a quote is opened in this line and closed after whole rows only: double it if it is part of the text"
_ROWS = 3  # lines within a quoted field of a CSV that are rows of their own: fewer may be chance


def delimited_rows(
    file: File, names: Sequence[str], optional: Sequence[str], note: Callable[[str], None]
) -> Iterator[Row]:
    """Rows of a CSV or TSV file; memory is bounded by its longest row.

    Another delimiter than the file's name says is taken if only that finds the columns in the header, and noted.

    Raises:
      ValueError: the file is no text, lacks a column or has one twice.
    """
    source, required = _Lines(lines.numbered(file)), set(names) - set(optional)
    first = source.take()
    if first is None:
        raise lacks(file, "column", required, [])
    delimiter, header = _headed(file, first, source, required)
    if absent := required - set(header):
        raise lacks(file, "column", absent, header)
    if delimiter != _own(file):
        note(f"{file.path}: read as separated by {_DELIMITERS[delimiter]}, as its first line is")
    check_differ(file, names, header)
    _fields(first, source, delimiter)  # a name may run over lines
    places = [header.index(name) if name in header else None for name in names]
    while line := source.take():
        if not line.whole:
            yield Row(line.number, (), line.text, f"longer than {lines.LINE_BYTES} bytes")
        elif line.text not in ("\n", "\r\n"):
            fields, taken, fault = _fields(line, source, delimiter, len(header))
            raw = "".join(part.text for part in taken)
            if not raw.isascii() and any("\udc80" <= character <= "\udcff" for character in raw):
                fault = lines.NOT_UTF8
            if fault:
                yield Row(line.number, (), raw, fault)
            else:
                yield Row(line.number, tuple([None if at is None else fields[at] for at in places]), raw)


def delimited_names(file: File, required: Collection[str]) -> list[str]:
    """The names of the columns of a CSV or TSV file, of which some are required."""
    source = _Lines(lines.numbered(file))
    first = source.take()
    return [] if first is None else _headed(file, first, source, required)[1]


def fields_of(line: str, delimiter: str, more: Callable[[], str | None] = lambda: None) -> list[str]:
    """Fields of a row that begins with a line; ``more`` gives the next one where a quoted field goes on, or None.

    Raises:
      Fault: a quoted field is not closed, or goes on after its closing quote.

    >>> fields_of('1,"a ""b"", c",5" pipe', ",")
    ['1', 'a "b", c', '5" pipe']
    """
    fields: list[str] = []
    at = 0
    while True:
        if not line.startswith('"', at):
            end = line.find(delimiter, at)
            if end < 0:
                return [*fields, line[at:].removesuffix("\n").removesuffix("\r")]
            fields.append(line[at:end])
            at = end + 1
            continue
        parts, at = [], at + 1
        while not (closed := _INSIDE.match(line, at)):
            parts.append(line[at:])
            following = more()
            if following is None:
                raise Fault(_OPEN)
            line, at = following, 0
        fields.append("".join([*parts, closed[1]]).replace('""', '"'))
        at = closed.end()
        if line[at:] in ("", "\n", "\r\n"):
            return fields
        if line[at] != delimiter:
            raise Fault(f"invalid CSV: {delimiter!r} expected after '\"'")
        at += 1


class _Line(NamedTuple):
    """A line as it stands in the file, with its end; bytes that are no UTF-8 are surrogates."""

    number: int
    text: str
    whole: bool


class _Lines:
    """Lines that can be given back."""

    def __init__(self, numbered: Iterator[tuple[int, bytes, bool]]) -> None:
        self._numbered = numbered
        self._again: collections.deque[_Line] = collections.deque()

    def take(self) -> _Line | None:
        """The next line, None at the end."""
        if self._again:
            return self._again.popleft()
        number, line, whole = next(self._numbered, (0, b"", True))
        return _Line(number, line.decode(errors="surrogateescape"), whole) if number else None

    def give_back(self, taken: Sequence[_Line]) -> None:
        """Lines that were taken last come again."""
        self._again.extendleft(reversed(taken))


def _fields(
    first: _Line, source: _Lines, delimiter: str, width: int | None = None
) -> tuple[list[str], list[_Line], str]:
    """Fields of the row that begins with a line, its lines, and why it cannot be used; a header has any width."""
    if '"' not in first.text:
        fields = fields_of(first.text, delimiter)
        return fields, [first], _width_fault(fields, width)
    taken, characters = [first], len(first.text)

    def more() -> str | None:
        nonlocal characters
        line = source.take()
        if line is None:
            return None
        taken.append(line)
        characters += len(line.text)
        return line.text if line.whole and characters <= lines.LINE_BYTES else None

    try:
        fields = fields_of(first.text, delimiter, more)
        fault = _SWALLOWS if _swallows(taken[1:], delimiter, width) else _width_fault(fields, width)
    except Fault as error:
        fields, fault = [], str(error)
    if not fault:
        return fields, taken, ""
    source.give_back(taken[1:])
    if delimiter == "\t":
        fields = first.text.removesuffix("\n").removesuffix("\r").split(delimiter)
        fault = _width_fault(fields, width)
    return fields, [first], fault


def _width_fault(fields: list[str], width: int | None) -> str:
    return "" if width in (None, len(fields)) else "number of fields differs from the header's"


def _swallows(inner: Sequence[_Line], delimiter: str, width: int | None) -> bool:
    """Whether the lines that a quoted field runs on to look like rows of their own."""
    if width is None or not inner:
        return False
    filled = [line.text for line in inner if line.text.strip()]
    rows = sum(text.count(delimiter) == width - 1 and bool(text.split(delimiter, 1)[0].strip()) for text in filled)
    if delimiter == "\t":  # which no text has by chance
        return rows > len(filled) - rows
    return width > 1 and rows == len(filled) >= _ROWS


def _own(file: File) -> str:
    return "\t" if file.format == ".tsv" else ","


def _headed(file: File, first: _Line, source: _Lines, required: Collection[str]) -> tuple[str, list[str]]:
    """The delimiter that finds most of the required columns in the first line, and the names of all."""
    headers = {delimiter: _header(first, source, delimiter) for delimiter in (_own(file), *_DELIMITERS)}
    return max(headers.items(), key=lambda each: len(set(required).intersection(each[1])))


def _header(first: _Line, source: _Lines, delimiter: str) -> list[str]:
    """The names of the columns, if this is what separates them; the lines are there for the next try."""
    fields, taken, _ = _fields(first, source, delimiter)
    source.give_back(taken[1:])
    return fields
