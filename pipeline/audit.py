"""audit: everything -> audit, and metrics, plots and the report.

Usage: gangue audit [--data data] [--reports reports]

A broken invariant fails the stage and names the rows; a statistic never can.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pydantic

from gangue.pipeline import params
from gangue.pipeline.report import page
from gangue.transforms.candidates import query_shard
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import invariants, leak, lineage, statistics
from gangue.transforms.evidence.tallies import Evidence, collect
from gangue.transforms.relevance import learn_note, propensity
from gangue.transforms.retrieval import protocol, recall
from gangue.transforms.running import progress, runner
from gangue.transforms.running.shards import Counts, ForEachShard
from gangue.transforms.views.recipe import COUNTED, RECIPE

_EVIDENCE = pydantic.TypeAdapter(Evidence)


def run(data: Data, p: params.Params, reports: str = "reports", flags: Sequence[str] = ()) -> Counts:
    """Check every row, measure the whole, and write metrics, plots and the report.

    Args:
      data: where the datasets are.
      p: params.
      reports: folder for ``report.html``, ``metrics.json``, ``audit.json`` and ``plots``, or an fsspec path.
      flags: further Beam flags.

    Returns:
      The stage's counts.

    Raises:
      ValueError: an invariant is broken; names the rows.
    """
    data = data.deriving_from("triplets", *(f"views/{view}" for view in p.export.views))
    view_rows = lineage.check_shards(data, p)
    lineage.check_rejected_texts(data, protocol.encoders(p.retrievers))
    rows = {name: sum(data.rows(name)) for name in COUNTED}

    def build(root: beam.Pipeline) -> beam.PCollection:
        groups = lookup.together(data, "triplets", p.beam.sharers)
        work = functools.partial(audit_shards, groups=groups, data=data, p=p, rows=rows, view_rows=view_rows)
        return root | beam.Create(list(groups), reshuffle=False) | ForEachShard(work)

    triplets = sum(data.rows("triplets"))
    counts = runner.run("audit", build, data, p.beam, writes=["audit"], rows=triplets, flags=flags)
    evidence = Evidence(p.audit.examples)
    for shard in data.shards("audit"):
        evidence += _EVIDENCE.validate_json(data.read("audit", shard)["evidence"][0].as_py())
    if p.sample.reuse is not None:
        invariants.check_reuse(data, p.sample.reuse)
    page.write(
        Data(reports),
        p,
        evidence,
        lineage.recipe(data),
        reuse=_reuse(data),
        recall={name: found._asdict() for name in p.retrievers if (found := recall.measured(data, name))},
        rejected=lineage.rejected_texts(data, p.encoders, p.audit.examples),
        triplets=data.checksum("triplets"),
        learned=learn_note.read(data) if p.filter.asks_to_learn else None,
        budget=data.read_note("calibration", query_shard.CUT) if p.filter.max_false_negatives is not None else None,
    )
    return counts


def audit_shards(
    first: str,
    groups: Mapping[str, Sequence[str]],
    data: Data,
    p: params.Params,
    rows: dict[str, int],
    view_rows: dict[str, dict[str, int]],
) -> Counts:
    """Check and measure the shards whose ``first`` is named."""
    shards = groups[first]
    negatives = {shard: data.read("negatives", shard) for shard in shards}
    wanted = [table[f"{role}_row"].to_numpy() for table in negatives.values() for role in ("positive", "negative")]
    wanted += [data.read("positives", shard, ["document_row"])["document_row"].to_numpy() for shard in shards]
    documents = lookup.rows(data, "documents", invariants.READ).held(*wanted)
    counts = Counts()
    for shard, table in negatives.items():
        counted = audit_shard(shard, table, documents, data, p, rows, view_rows)
        progress.advance(counted["in"])
        counts.update(counted)
    return counts


def audit_shard(
    shard: str,
    negatives: pa.Table,
    documents: lookup.Held,
    data: Data,
    p: params.Params,
    rows: dict[str, int],
    view_rows: dict[str, dict[str, int]],
) -> Counts:
    """Check and measure one shard."""
    triplets = data.read("triplets", shard)
    verdicts, shortfalls = data.read("verdicts", shard), data.read("shortfalls", shard)
    first = lookup.rows(data, "triplets", ("query_id",)).shard(0)
    lineage.check_recipe(_footer(triplets), _footer(first), p, rows)
    invariants.check_triplets(data, p, shard, triplets, negatives, documents)
    invariants.check_relations(data, p, shard, triplets, negatives, documents)
    invariants.check_quotas(data, p, shard, triplets, shortfalls)
    ruled = query_shard.in_force(data, p)
    loaded = query_shard.load(data, ruled, shard)
    invariants.check_verdicts(ruled, loaded, verdicts, triplets)
    invariants.check_views(data, p, shard, view_rows, triplets)
    seen = None if p.calibrate.pool is None else propensity.read(data, p, p.calibrate.pool)
    evidence = collect(ruled, loaded, triplets, verdicts, shortfalls, leak.measure(data, ruled, loaded, seen))
    output = staged("audit")
    data.write(output, shard, pa.table({"evidence": [_EVIDENCE.dump_json(evidence).decode()]}))
    return Counts({"in": len(triplets), "out:checked": len(triplets), f"rows:{output}": 1})


def _footer(triplets: pa.Table) -> bytes | None:
    return (triplets.schema.metadata or {}).get(RECIPE)


def _reuse(data: Data) -> dict[str, Any]:
    """How many documents serve as negatives how often, and which serves most."""
    times = np.zeros(sum(data.rows("documents")), np.int32)
    for shard in data.shards("negatives"):
        np.add.at(times, data.read("negatives", shard, ["negative_row"])["negative_row"].to_numpy(), 1)
    result: dict[str, Any] = {
        "documents": len(times),
        "times": statistics.reuse(times),
        "most": int(times.max(initial=0)),
    }
    if result["most"]:
        most = lookup.rows(data, "documents", ("document_id",)).take(np.array([times.argmax()]))
        result["most_id"] = most["document_id"][0].as_py()
    return result
