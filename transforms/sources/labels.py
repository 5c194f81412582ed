"""Labels of single pairs: what somebody said who was asked (``gangue sample-for-labels``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gangue.transforms.settings.section import Place, Section
from gangue.transforms.sources import files, notes, rows
from gangue.transforms.sources.blocks import Record
from gangue.transforms.sources.files import File
from gangue.transforms.sources.row import Kind
from gangue.transforms.sources.values import Fault, as_id, is_missing

YES = ("1", "1.0", "1,0", "true", "yes", "y", "positive", "relevant")
NO = ("0", "0.0", "0,0", "false", "no", "n", "negative", "irrelevant")
DRAW = ("pairs", "seed", "drawn")  # columns that say which draw a row is of: how many were asked for, how many came

Pair = tuple[str, str]


class Labels(Section):
    """What ``gangue sample-for-labels`` asked and somebody answered."""

    path: Place | None = None  # a file, or a folder of files; null: none
    wrong: Annotated[float, Field(ge=0, lt=0.5)] = 0.0  # share of the labels that are; 0: they are believed

    def records(self) -> Iterator[Record]:
        """A judged pair for each label, and a positive for each that says so, unless some labels are wrong.

        Raises:
          FileNotFoundError: no such file or folder.   ValueError: a file is not what its name says, or lacks a column;
            pairs of a drawn sample have no label in any file, or are in none.
        """
        if self.path is None:
            return
        columns: dict[str, Kind] = {"query_id": "id", "document_id": "id", "label": "label"}
        columns |= dict.fromkeys(DRAW, "any")
        samples = _Samples()
        for file in _files(self.path):
            own: list[str] = []  # of each pair that was not drawn why it has no label, or ''
            yield from rows.records(rows.Reading(file, columns, _parse(file, self, samples, own), DRAW))
            if lacking := [fault for fault in own if fault]:
                notes.note(
                    f"labels.path: {len(lacking)} of {len(own)} pairs in {file.origin} have no label, first"
                    f" {lacking[0]}. If those are hard to tell, what is promised by the others is too good"
                )
        samples.check(self.path)


class _Samples:
    """The pairs that ``gangue sample-for-labels`` drew, in however many files their labels are."""

    def __init__(self) -> None:
        self._lacking: dict[Pair, str] = {}  # pair -> its first row without a label, '' if there is a row with one
        self._drawn: dict[tuple[str, ...], set[Pair]] = {}  # what the draw wrote beside its pairs -> these

    def add(self, draw: tuple[str, ...], pair: Pair, lacking: str) -> None:
        """A row; ``lacking`` says where it is, and why it has no label, if it has none."""
        self._drawn.setdefault(draw, set()).add(pair)
        self._lacking[pair] = lacking and self._lacking.get(pair, lacking)

    def check(self, path: str) -> None:
        """Check that every pair has a label: without those that are hard to tell the others promise too much.

        Raises:
          ValueError: some have none, or their rows are not there.
        """
        if lacking := [where for where in self._lacking.values() if where]:
            raise incomplete(lacking[0], len(lacking), len(self._lacking))
        for (*_, drawn), pairs in self._drawn.items():
            if drawn.isdecimal() and len(pairs) < int(drawn):
                missing = f"labels.path: {path} must hold every row of a sample that was drawn"
                raise incomplete(missing, int(drawn) - len(pairs), int(drawn))


def incomplete(first: str, lacking: int, drawn: int) -> ValueError:
    """The error of a drawn sample of which some pairs have no label; ``first`` says where, and the rule."""
    return ValueError(
        f"{first}; {lacking} of the {drawn} pairs that were drawn have no label. Leave no pair out: those that are hard"
        " to tell decide. Label them too, or draw fewer in place of these: gangue sample-for-labels --pairs N"
    )


def as_label(value: object) -> int:
    """1: the document answers the query, or 0.

    Raises:
      Fault: it is neither.

    >>> as_label("yes"), as_label(0), as_label(True)
    (1, 0, 1)
    """
    word = str("" if value is None else value).strip().lower()
    if word in YES or word in NO:
        return int(word in YES)
    raise Fault(f"label must be 1 (the document answers the query) or 0, got {value!r}")


def _parse(file: File, labels: Labels, samples: _Samples, own: list[str]) -> Any:
    def parse(values: Sequence[Any], line: int) -> Iterable[Record]:
        pair = as_id(values[0], "query_id"), as_id(values[1], "document_id")
        draw = tuple("" if is_missing(value) else str(value).strip().removesuffix(".0") for value in values[3:])
        fault = _fault(values[2])
        if all(draw[:2]):
            samples.add(draw, pair, fault and f"{file.path}:{line}: {fault}")
        else:
            own.append(fault and f"line {line}: {fault}")
        if is_missing(values[2]):
            return []  # nobody has answered yet
        grade = float(as_label(values[2]))
        found = [Record("judged", (*pair, grade, "label", file.origin, line))]
        if grade and not labels.wrong:
            found.append(Record("positives", (*pair, grade, file.origin, line)))
        return found

    return parse


def _fault(label: object) -> str:
    """Why a label is none, '' if it is one."""
    try:
        as_label(label)
    except Fault as fault:
        return str(fault)
    return ""


def _files(path: str) -> list[File]:
    found = files.at(path)
    if found.is_dir():
        return [File(entry, files.origin(entry, found)) for entry in files.readable(found)]
    if not found.is_file() or not files.split(found)[1]:
        raise FileNotFoundError(
            f"labels.path: {path} must be a folder or a file that ends in {files.NAMES}, found none."
            " gangue sample-for-labels writes one to fill in"
        )
    return [File(found, Path(str(found)).name)]
