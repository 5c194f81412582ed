"""Ids of one thing that two files write in two ways: ``1`` and, by way of a column of floats, ``1.0``.

pandas makes floats of whole numbers where one is missing, and writes them so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays
from gangue.transforms.records.runs import Runs
from gangue.transforms.sources.blocks import Dataset

_PAIRS: tuple[Dataset, ...] = ("positives", "judged")

Spell = Callable[["pa.ChunkedArray[Any]"], "pa.ChunkedArray[Any]"]


def without_point(ids: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Ids, whole numbers among them written without a point.

    >>> without_point(pa.chunked_array([["7.0", "7.00", "a.0", "8"]])).to_pylist()
    ['7', '7.00', 'a.0', '8']
    """
    return pc.replace_substring_regex(ids, r"^(\p{Nd}+)\.0$", r"\1")


def with_point(ids: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Ids, whole numbers among them written with a point.

    >>> with_point(pa.chunked_array([["7", "7.0", "a"]])).to_pylist()
    ['7.0', '7.0', 'a']
    """
    return pc.replace_substring_regex(ids, r"^(\p{Nd}+)$", r"\1.0")


def alike(found: Runs, note: Callable[[str], None]) -> Runs:
    """The runs; their pairs name queries and documents as the records of these do, where all of these do it one way."""
    spelled: dict[str, Spell] = {}
    sides: tuple[tuple[str, Dataset], ...] = (("query_id", "queries"), ("document_id", "documents"))
    for column, dataset in sides:
        spell = _spelling(found, column, dataset)
        if spell is not None:
            spelled[column] = spell
    if not spelled:
        return found
    for line in _said(found, spelled):
        note(line)
    return dataclasses.replace(found, spelled=spelled)


def _spelling(found: Runs, column: str, dataset: Dataset) -> Spell | None:
    """How to write the ids of pairs, if some are written otherwise than all of the dataset's."""
    pairs = [found.column(kind, column) for kind in _PAIRS]
    for spell, other in ((without_point, with_point), (with_point, without_point)):
        # Both ways among the dataset's own ids: each stands for itself.
        if (
            _changes(spell, pairs)
            and not _changes(spell, _ids(found, dataset))
            and _changes(other, _ids(found, dataset))
        ):
            return spell
    return None


def _ids(found: Runs, dataset: Dataset) -> Iterable[pa.ChunkedArray[Any]]:
    """The ids of a dataset, run by run."""
    name = found.id_column(dataset)
    return (found.read(number, [name]).column(0) for number in found.of(dataset))


def _changes(spell: Spell, columns: Iterable[pa.ChunkedArray[Any]]) -> bool:
    return any(not spell(column).equals(column) for column in columns)


def _said(found: Runs, spelled: dict[str, Spell]) -> list[str]:
    """A line for each file that is read otherwise than it is written."""
    lines = []
    for dataset in _PAIRS:
        origin = found.column(dataset, "origin")
        written = {name: found.column(dataset, name) for name in spelled}
        read = {name: spell(written[name]) for name, spell in spelled.items()}
        changed = {name: arrays.one_array(pc.not_equal(written[name], read[name])) for name in spelled}
        either = next(iter(changed.values())) if len(changed) == 1 else pc.or_(*changed.values())
        counts = pc.value_counts(origin.filter(either)).to_pylist() if len(origin) else []
        for each in counts:
            here = arrays.one_array(pc.and_(arrays.one_array(pc.equal(origin, each["values"])), either))
            row = pc.index(here, True).as_py()
            name = next(name for name in spelled if changed[name][row].as_py())
            lines.append(
                f"{each['values']}: {each['counts']} ids are read as {read[name][row]} where they are written"
                f" {written[name][row]}, as the files of queries and documents write them"
            )
    return lines
