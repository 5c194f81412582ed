"""ingest: a source -> documents, queries, positives, judged, rejected. Usage: gangue ingest [--data D].

The source is read once, in order, by this process, for lines have numbers and files have headers: some 10 us
a record. Hashing, comparing and writing the texts cost several times that and are shared among workers. How
many shards there are is known only when every run is described: hence the barrier before the plan.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

import apache_beam as beam

from gangue.pipeline import params
from gangue.transforms import sources
from gangue.transforms.datasets import disk
from gangue.transforms.datasets.storage import Data
from gangue.transforms.records import runs, tasks
from gangue.transforms.records.gathering import gather
from gangue.transforms.records.planning import Cut, plan
from gangue.transforms.running import progress, runner
from gangue.transforms.running.shards import Counts, ForEachShard

WRITES = ("documents", "queries", "positives", "judged", "rejected")


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> Counts:
    """Read the source and publish its datasets.

    Raises:
      FileNotFoundError: a file of the source is missing.
      ValueError: the source cannot be read, or nothing of it can be used.
    """
    data.begin("ingest")
    try:
        with progress.shown("ingest: reading the source", None, "records"), disk.answering(p.source.path):
            found = runs.spill(data, sources.read(p.source, p.labels))
        build = functools.partial(_build, data=data, found=found, p=p)
        counts = runner.run("ingest", build, data, p.beam, writes=WRITES, rows=sum(found.rows), flags=flags)
    finally:
        data.begin("ingest")
    cut = f"{_cut(data, 'documents')} of documents, {_cut(data, 'queries')} of queries"
    for line in [cut, *foreseen(p, counts)]:
        print(f"ingest: {line}", file=sys.stderr)  # noqa: T201
    return counts


def foreseen(p: params.Params, counts: Counts) -> list[str]:
    """What the records already say that a user should know before anything else runs, a line each."""
    lines = []
    if p.filter.max_false_negatives is not None and counts["out:positives"] <= counts["out:queries"]:
        lines.append(
            "every query has one positive, so none can be hidden: the leak test will not be measured, and what a budget"
            " promises rests on the labelled share alone. Give more positives a query, or label 200 of the negatives"
            " afterwards (gangue sample-for-labels)"
        )
    if p.source.kind == "pairs" and p.source.negatives and counts.get("out:judged"):
        lines.append(
            f"{counts['out:judged']} pairs are negatives by a column of the source or by labels, whatever rules say of"
            " them. If a miner made the column and nobody judged it, set source.negatives: []"
        )
    return lines


def _cut(data: Data, dataset: str) -> str:
    shards = len(data.shards(dataset))
    return f"{shards} shard" + "s" * (shards > 1)


def _build(root: beam.Pipeline, data: Data, found: runs.Runs, p: params.Params) -> None:
    cut = Cut(p.ingest.documents_per_shard, p.ingest.queries_per_shard, p.ingest.near_duplicate)
    describe = functools.partial(runs.describe, data=data, signatures=cut.near_duplicate is not None)
    unnamed = p.source.without_positive
    described = root | "Runs" >> beam.Create(found.names, reshuffle=False) | "Describe" >> ForEachShard(describe)
    _ = (
        root
        | "One" >> beam.Create(["plan"])
        | "Plan" >> ForEachShard(functools.partial(plan, found=found, cut=cut, unnamed=unnamed), after=described)
        | beam.FlatMap(lambda _: tasks.names(data)).with_output_types(str)  # task
        | "Gather" >> ForEachShard(functools.partial(gather, found=found))
    )
