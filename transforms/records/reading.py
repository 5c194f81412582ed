"""A source read into runs: by this process, or part by part by workers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from gangue.transforms import sources
from gangue.transforms.datasets.storage import Data
from gangue.transforms.records import runs, spelling
from gangue.transforms.records.runs import AREA, Runs
from gangue.transforms.running.counts import Counts
from gangue.transforms.sources import notes
from gangue.transforms.sources.blocks import RECORDS, Record, in_blocks
from gangue.transforms.sources.parts import Part
from gangue.transforms.sources.rows import Reading, Seen, records


def read(
    data: Data,
    source: sources.SourceSection,
    told: sources.Labels | None = None,
    readings: Sequence[Reading] | None = None,
) -> Runs:
    """All of a source and of labels, read by this process; ``readings``: the source's, where they are known already."""
    return spelling.alike(runs.spill(data, sources.read(source, told, readings)), notes.note)


def names(parts: Sequence[tuple[Part, ...]]) -> list[str]:
    """The names of parts, for ``read_part``."""
    return [f"part {number} of {len(parts)}" for number in range(1, len(parts) + 1)]


def read_part(
    name: str, data: Data, path: str, readings: Sequence[Reading], parts: Sequence[tuple[Part, ...]]
) -> Counts:
    """Write the runs of one of the parts of a source, at this path, and a note of what it shows of its file."""
    number, seen = int(name.split()[1]) - 1, Seen()

    def every() -> Iterator[Record]:
        for reading, start, stop in parts[number]:
            yield from records(readings[reading], start, stop, None if stop is None else seen)

    with sources.telling(path):
        found = runs.spill(data, in_blocks(every()), number)
    shown = dataclasses.asdict(seen) | {"present": sorted(seen.present)}
    note = {"names": found.names, "rows": found.rows, "bytes": found.bytes, "seen": shown}
    data.write_text(_note(number), json.dumps(note))
    return Counts({"in": sum(found.rows), "out:records": sum(found.rows)})


def joined(
    data: Data,
    source: sources.SourceSection,
    told: sources.Labels | None,
    readings: Sequence[Reading],
    parts: Sequence[tuple[Part, ...]],
) -> Runs:
    """The runs of all parts, as ``read_part`` wrote them, and of what is in no part.

    Raises:
      ValueError: all parts of a file together show that it is not what its name says, or lacks a column.
    """
    found: list[Runs] = []
    seen: dict[int, Seen] = {}
    for number, part in enumerate(parts):
        one, first = data.read_json(_note(number)), part[0].reading
        before = seen.get(first, Seen())
        names, rows = tuple(one["names"]), tuple(one["rows"])
        found.append(Runs(data, names, rows, one["bytes"], (before.lines,) * len(names)))
        here = Seen(**{**one["seen"], "present": set(one["seen"]["present"])})
        seen[first] = before.joined(here)
    for reading, shown in seen.items():
        shown.check(readings[reading].file, readings[reading].required)
    found.append(runs.spill(data, sources.read(source, told, ()), len(parts)))
    return spelling.alike(_together(found), notes.note)


def _together(found: Sequence[Runs]) -> Runs:
    """Runs of several parts, those of a dataset beside each other."""
    every = [row for one in found for row in zip(one.names, one.rows, one.before, strict=True)]
    each = [row for dataset in RECORDS for row in every if row[0].startswith(f"{dataset}/")]
    columns: Any = tuple(zip(*each, strict=True)) or ((), (), ())
    return Runs(found[0].data, columns[0], columns[1], sum(one.bytes for one in found), columns[2])


def _note(number: int) -> str:
    return f"{AREA}/read/{number:06d}.json"
