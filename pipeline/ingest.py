"""ingest: a source -> documents, queries, positives, judged, rejected. Usage: gangue ingest [--data D].

Workers read large files of rows in parts, where they see the source; else this process reads, in order, some 20 us a
record. Hashing, comparing and writing the texts cost several times that and are shared among workers. How many shards
there are is known only when every run is described: hence the barrier before the plan.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import apache_beam as beam
import pyarrow.compute as pc

from gangue.pipeline import params
from gangue.transforms import log, sources
from gangue.transforms.datasets.storage import Data
from gangue.transforms.records import reading, runs, tasks
from gangue.transforms.records.gathering import gather
from gangue.transforms.records.planning import Cut, plan
from gangue.transforms.running import progress, runner
from gangue.transforms.running.shards import Counts, ForEachShard
from gangue.transforms.sources import parts

WRITES = ("documents", "queries", "positives", "judged", "rejected")


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> Counts:
    """Read the source and publish its datasets.

    Raises:
      FileNotFoundError: a file of the source is missing.
      ValueError: the source cannot be read, or nothing of it can be used.
    """
    runner.options(p.beam, flags)  # what is wrong with them is said before the source is read
    data.begin("ingest")
    try:
        found = _read(data, p, flags)
        labels = pc.sum(pc.equal(found.column("judged", "source"), "label")).as_py() or 0
        build = functools.partial(_build, data=data, found=found, p=p)
        counts = runner.run("ingest", build, data, p.beam, writes=WRITES, rows=sum(found.rows), flags=flags)
    finally:
        data.begin("ingest")
    cut = f"{_cut(data, 'documents')} of documents, {_cut(data, 'queries')} of queries"
    for line in [cut, *foreseen(p, counts, labels, _by_judge(data) if counts["out:judged"] else {})]:
        log.say("ingest", line)
    return counts


def _read(data: Data, p: params.Params, flags: Sequence[str]) -> runs.Runs:
    """The source as runs: read by workers in parts, if there are several parts and workers that can read them."""
    with sources.telling(p.source.path):
        readings = p.source.readings()
        cut = parts.cut(readings, parts.BYTES) if _shared(p) else []
    if len(cut) < 2:
        with progress.shown("ingest: reading the source", None, "records"):
            return reading.read(data, p.source, p.labels, readings)

    def build(root: beam.Pipeline) -> None:
        read = functools.partial(
            reading.read_part, data=data, path=p.source.path, readings=tuple(readings), parts=tuple(cut)
        )
        _ = root | "Parts" >> beam.Create(reading.names(cut), reshuffle=False) | "Read" >> ForEachShard(read)

    runner.run("ingest: reading the source", build, data, p.beam, rows=None, flags=flags)
    return reading.joined(data, p.source, p.labels, readings, cut)


def _shared(p: params.Params) -> bool:
    """Whether there are workers that can read the source: processes of this machine, or any if it is on a store."""
    if p.beam.cluster is None and not p.beam.elsewhere:
        return p.beam.workers > 1
    return "://" in p.source.path


def foreseen(p: params.Params, counts: Counts, labels: int = 0, judged: Mapping[str, int] = {}) -> list[str]:
    """What the records already say that a user should know before anything else runs, a line each.

    ``labels``: how many were read.   ``judged``: who judged pairs (``schema.JUDGES``) -> how many are kept.
    """
    lines = []
    if p.filter.max_false_negatives is not None and counts["out:positives"] <= counts["out:queries"]:
        lines.append(
            "every query has one positive, so none can be hidden: the leak test will not be measured, and what a budget"
            " promises rests on the labelled share alone. Give more positives a query, or label 200 of the negatives"
            " afterwards (gangue sample-for-labels)"
        )
    if by_column := judged.get("column"):
        lines.append(
            f"{by_column} pairs are negatives by a column of the source, whatever rules say of them. If a miner made"
            " the column and nobody judged it, set source.negatives: []"
        )
    if labels and not judged.get("label"):
        lines.append(
            f"none of the {labels} labels in labels.path can be used, the dataset rejected says why. Correct their ids,"
            " if the source's are others"
        )
    return lines


def _by_judge(data: Data) -> Counts:
    """Who judged pairs -> how many; of a pair that several judged, the first of ``schema.JUDGES``."""
    found = Counts()
    for shard in data.shards("judged"):
        for each in pc.value_counts(data.read("judged", shard, ["source"])["source"]).to_pylist():
            found[each["values"]] += each["counts"]
    return found


def _cut(data: Data, dataset: str) -> str:
    shards = len(data.shards(dataset))
    return f"{shards} shard" + "s" * (shards > 1)


def _build(root: beam.Pipeline, data: Data, found: runs.Runs, p: params.Params) -> None:
    cut = Cut(p.ingest.documents_per_shard, p.ingest.queries_per_shard, p.ingest.near_duplicate)
    describe = functools.partial(runs.describe, data=data, sketches=cut.near_duplicate is not None)
    unnamed = p.source.without_positive
    described = root | "Runs" >> beam.Create(found.names, reshuffle=False) | "Describe" >> ForEachShard(describe)
    _ = (
        root
        | "One" >> beam.Create(["plan"])
        | "Plan" >> ForEachShard(functools.partial(plan, found=found, cut=cut, unnamed=unnamed), after=described)
        | beam.FlatMap(lambda _: tasks.names(data)).with_output_types(str)  # task
        | "Gather" >> ForEachShard(functools.partial(gather, found=found))
    )
