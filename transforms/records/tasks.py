"""Ranges of shards that are written together, each with a small table of what goes into them.

Every run is opened once for a task, not once for a shard: the number of openings would else grow with the
square of the corpus.
"""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pyarrow as pa

from gangue.transforms.datasets.storage import Data
from gangue.transforms.records import portions
from gangue.transforms.records.runs import AREA

_PLAN = f"{AREA}/plan"
_LIST = f"{_PLAN}/tasks.json"
_ROWS_AT_ONCE = 32768  # what a worker holds, with their texts, at least
_BYTES_AT_ONCE = 1 << 27  # of texts, if these are more rows
_TASKS_AT_LEAST = 16  # so that workers can share them, where there are so many shards


@dataclasses.dataclass(frozen=True)
class Task:
    """Shards ``first`` up to ``stop`` of a dataset of so many ``shards``.

    >>> Task.named("documents/00016-00032-of-00064")
    Task(dataset='documents', first=16, stop=32, shards=64)
    """

    dataset: str
    first: int
    stop: int
    shards: int

    @property
    def name(self) -> str:
        """The task as a string: Beam hands out strings."""
        return f"{self.dataset}/{self.first:05d}-{self.stop:05d}-of-{self.shards:05d}"

    @staticmethod
    def named(name: str) -> Task:
        """The task of a name."""
        dataset, place = name.split("/")
        shards, count = place.split("-of-")
        first, stop = shards.split("-")
        return Task(dataset, int(first), int(stop), int(count))


def shards_at_once(shards: int, rows_per_shard: int, bytes_per_row: int = 0) -> int:
    """Shards of one task.

    >>> [shards_at_once(shards, 4096) for shards in (1, 64, 1024, 4096)]
    [1, 4, 32, 64]
    >>> shards_at_once(4096, 4096, 8192)
    8
    """
    rows = portions.at_once(_ROWS_AT_ONCE, shards * rows_per_shard)
    rows = min(rows, max(_ROWS_AT_ONCE, _BYTES_AT_ONCE // max(1, bytes_per_row)))
    return max(1, min(rows // rows_per_shard, shards // _TASKS_AT_LEAST))


def of(dataset: str, shards: int, rows_per_shard: int, bytes_per_row: int = 0) -> list[Task]:
    """All tasks of a dataset of so many shards, empty ones included, of about so many rows each.

    >>> [task.name for task in of("queries", 2, 1024)]
    ['queries/00000-00001-of-00002', 'queries/00001-00002-of-00002']
    """
    edges = [*range(0, shards, shards_at_once(shards, rows_per_shard, bytes_per_row)), shards]
    return [Task(dataset, first, stop, shards) for first, stop in itertools.pairwise(edges)]


def write(data: Data, task: Task, table: pa.Table) -> str:
    """Write the table of a task: its rows in their order, with the ``shard`` of each; returns the task's name."""
    data.write(f"{_PLAN}/{task.dataset}", task.name.split("/")[1], table, suffix=".arrow")
    return task.name


def write_all(data: Data, dataset: str, table: pa.Table, shards: int, rows_per_shard: int) -> list[str]:
    """Write the tasks of a dataset from the table of all its rows; returns their names."""
    every = of(dataset, shards, rows_per_shard)
    cuts = np.searchsorted(table["shard"].to_numpy(), [*(task.first for task in every), shards])
    slices = (table[int(begin) : int(end)] for begin, end in itertools.pairwise(cuts))
    return [write(data, task, part) for task, part in zip(every, slices, strict=True)]


def read(data: Data, name: str) -> pa.Table:
    """The table of a task."""
    dataset, place = name.split("/")
    return data.read(f"{_PLAN}/{dataset}", place)


def save_names(data: Data, names: list[str]) -> None:
    """Keep which tasks the plan has."""
    data.write_text(_LIST, json.dumps(names))


def names(data: Data) -> list[str]:
    """All tasks of the plan."""
    return [str(name) for name in data.read_json(_LIST)]
