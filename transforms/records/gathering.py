"""Shards as planned, their texts fetched from the runs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gangue.transforms.datasets import schema
from gangue.transforms.datasets.names import shard_names, staged
from gangue.transforms.records import tasks
from gangue.transforms.records.runs import Runs, excerpts
from gangue.transforms.records.tasks import Task
from gangue.transforms.running.counts import Counts

_SCHEMAS = {
    "documents": schema.DOCUMENTS,
    "queries": schema.QUERIES,
    "positives": schema.POSITIVES,
    "judged": schema.JUDGED,
    "rejected": schema.REJECTED,
}


def gather(name: str, found: Runs) -> Counts:
    """Write the shards of a task; counts their rows as ``out:DATASET``."""
    task = Task.named(name)
    plan = tasks.read(found.data, name)
    # The pages of a Parquet file follow the chunks of a column, and the chunks would follow the runs.
    table = schema.conform(_filled(task.dataset, plan, found), _SCHEMAS[task.dataset], name).combine_chunks()
    shards = shard_names(task.shards)
    cuts = np.searchsorted(plan["shard"].to_numpy(), np.arange(task.first, task.stop + 1))
    for number in range(task.first, task.stop):
        begin, end = cuts[number - task.first : number - task.first + 2]
        found.data.write(staged(task.dataset), shards[number], table[int(begin) : int(end)])
    return Counts({f"out:{task.dataset}": len(table), f"rows:{staged(task.dataset)}": len(table)})


def _filled(dataset: str, plan: pa.Table, found: Runs) -> pa.Table:
    """The plan's rows with the columns that are in the runs."""
    if dataset in ("positives", "judged") or not len(plan):
        return _with_empty(plan, dataset)
    parts, positions = [], []
    for part, table in found.taken(plan["run"].to_numpy(), plan["row"].to_numpy()):
        if dataset == "rejected":
            table = pa.table({"record": pa.array(excerpts(table), pa.string())})
        parts.append(table)
        positions.append(part)
    fetched = pa.concat_tables(parts).take(np.argsort(np.concatenate(positions)))
    for column in fetched.column_names:
        if column not in plan.column_names:
            plan = plan.append_column(column, fetched[column])
    return plan


def _with_empty(plan: pa.Table, dataset: str) -> pa.Table:
    for field in _SCHEMAS[dataset]:
        if field.name not in plan.column_names:
            plan = plan.append_column(field.name, pa.array([], field.type))
    return plan
