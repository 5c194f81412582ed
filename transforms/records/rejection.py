"""Records that are rejected: why, where they came from, and what to say when nothing else is left."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms.records.runs import Runs
from gangue.transforms.sources.blocks import Dataset

CONTRADICTORY = "duplicate id with different text"
UNANSWERED = "no positive"
UNKNOWN_QUERY = "query is unknown or rejected"
UNKNOWN_DOCUMENT = "document is unknown or rejected"
BOTH = "judged no positive, and a positive too"
UNPAIRED = "judged, and its query has no positive"
_CURES = {UNPAIRED: "Give positives a grade above 0, or name the files and columns that have them in source"}


@dataclasses.dataclass(frozen=True)
class Fall:
    """Records of a dataset that are rejected for one reason."""

    dataset: Dataset
    records: np.ndarray
    reason: str


def rejected_records(found: Runs, falls: Sequence[Fall]) -> pa.Table:
    """(run, row, origin, line, reason) of all rejected records, in the order of the last three."""
    parts = []
    for fall in falls:
        runs, rows = found.located(fall.dataset, fall.records)
        for part, table in found.taken(runs, rows, ["origin", "line"]):
            table = table.append_column("reason", pa.array([fall.reason] * len(part), pa.string()))
            parts.append(_with_place(table, runs[part], rows[part]))
    for run in found.of("rejected"):
        table = found.read(run, ["origin", "line", "reason"])
        parts.append(_with_place(table, np.full(len(table), run), np.arange(len(table))))
    if not parts:
        nothing = pa.array([], pa.string())
        numbers = pa.array([], pa.int64())
        return pa.table({"origin": nothing, "line": numbers, "reason": nothing, "run": numbers, "row": numbers})
    table = pa.concat_tables(parts)
    keys: list[Any] = [(name, "ascending") for name in ("origin", "line", "reason", "run", "row")]
    return table.take(pc.sort_indices(table, sort_keys=keys)).combine_chunks()


def _with_place(table: pa.Table, runs: np.ndarray, rows: np.ndarray) -> pa.Table:
    return table.append_column("run", pa.array(runs, pa.int64())).append_column("row", pa.array(rows, pa.int64()))


def nothing_left(dataset: str, rejected: pa.Table, unnamed: str) -> str:
    """What to tell when a dataset is empty: the commonest reason that is not the consequence of another."""
    counts = collections.Counter(rejected["reason"].to_pylist())
    if not counts:
        return f"no {dataset}: the source must have some, found none. Correct source in the params"
    for later in ({UNANSWERED, unnamed}, {UNPAIRED}, {UNKNOWN_QUERY, UNKNOWN_DOCUMENT}):
        counts = collections.Counter({k: n for k, n in counts.items() if k not in later}) or counts
    reason, most = max(counts.items(), key=lambda item: (item[1], item[0]))
    first = next(row for row in rejected.select(["origin", "line", "reason"]).to_pylist() if row["reason"] == reason)
    return (
        f"no {dataset}: {len(rejected)} records were rejected, {most} of them for '{reason}',"
        f" first {first['origin']} line {first['line']}."
        f" {_CURES.get(reason, 'Correct source in the params, or the data')}"
    )
