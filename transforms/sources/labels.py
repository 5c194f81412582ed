"""Labels of single pairs: what somebody said who was asked (``gangue sample-for-labels``)."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gangue.transforms.settings.section import Place, Section
from gangue.transforms.sources import files, notes, rows
from gangue.transforms.sources.blocks import Record
from gangue.transforms.sources.files import File
from gangue.transforms.sources.row import Kind
from gangue.transforms.sources.values import Fault, as_id

YES = ("1", "1.0", "true", "yes", "y", "positive", "relevant")
NO = ("0", "0.0", "false", "no", "n", "negative", "irrelevant")


class Labels(Section):
    """What ``gangue sample-for-labels`` asked and somebody answered."""

    path: Place | None = None  # a file, or a folder of files; null: none
    wrong: Annotated[float, Field(ge=0, lt=0.5)] = 0.0  # share of the labels that are; 0: they are believed

    def records(self) -> Iterator[Record]:
        """A judged pair for each label, and a positive for each that says so, unless some labels are wrong.

        Raises:
          FileNotFoundError: no such file or folder.   ValueError: a file is not what its name says, or lacks a column.
        """
        if self.path is None:
            return
        for file in _files(self.path):
            columns: dict[str, Kind] = {"query_id": "id", "document_id": "id", "label": "label"}
            answered: collections.Counter[bool] = collections.Counter()
            yield from rows.records(rows.Reading(file, columns, _parse(file, self, answered)))
            if answered[True] and answered[False]:
                notes.note(
                    f"labels.path: {answered[False]} of the {answered.total()} pairs in {file.origin} have no label. If"
                    " those that are hard to tell were left out, what is promised by the others is too good: label all"
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


def _parse(file: File, labels: Labels, answered: collections.Counter[bool]) -> Any:
    def parse(values: Sequence[Any], line: int) -> Iterable[Record]:
        query_id, document_id = as_id(values[0], "query_id"), as_id(values[1], "document_id")
        label = "" if values[2] is None else str(values[2]).strip()
        answered[bool(label)] += 1
        if not label:
            return []  # nobody has answered yet
        grade = float(as_label(values[2]))
        pair = (query_id, document_id, grade)
        found = [Record("judged", (*pair, "label", file.origin, line))]
        if grade and not labels.wrong:
            found.append(Record("positives", (*pair, file.origin, line)))
        return found

    return parse


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
