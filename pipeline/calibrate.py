"""calibrate: relevance, pairs, scores -> calibration.   Usage: python -m pipeline.calibrate [--data data]

Chooses the cut of the main rule of ``filter`` by the budget ``max_false_negatives``: hides known positives, mines with
every cut, and counts what comes back. A filter without a budget only leaves a note.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from pipeline import commandline, frontier, judging, params, propensity, runner
from transforms import lookup, risk
from transforms.shards import Counts, ForEachShard
from transforms.storage import Data, staged


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> Counts:
    """Choose the loosest cut that keeps the budget.

    Raises:
      ValueError: no cut can be promised to keep it; says what would help.
    """
    if p.filter.max_false_negatives is None:
        with data.staging("calibration"):
            data.write_text(f"{staged('calibration')}/{judging.CUT}", json.dumps({"cut": p.filter.cut}) + "\n")
            data.publish("calibration")
        return Counts()
    ruled = judging.judge_of(data, p)
    filters = [ruled.filter.with_cut(cut) for cut in frontier.cuts(data, p, ruled.filter)]

    def build(root: beam.Pipeline) -> Any:
        pool, work = p.calibrate.pool, functools.partial(measure_shard, data=data, p=p, filters=filters)
        fitted = None if pool is None else propensity.fitting(root, data, p, "calibrate", pool)
        measured = root | beam.Create(data.shards("queries")) | ForEachShard(work, after=fitted)
        choose = functools.partial(choose_cut, data=data, p=ruled)
        return root | "One" >> beam.Create(["cut"]) | "Choose" >> ForEachShard(choose, after=measured)

    rows = sum(data.rows("queries"))
    try:
        return runner.run("calibrate", build, data, p.beam, writes=["calibration"], rows=rows, flags=flags)
    finally:
        propensity.forget(data, "calibrate")


def measure_shard(shard: str, data: Data, p: params.Params, filters: Sequence[params.Filter]) -> Counts:
    """Write what each cut lets through in one shard of queries."""
    pool = p.calibrate.pool
    seen = None if pool is None else propensity.read(data, p, "calibrate", pool)
    measured = frontier.measure(data, p, frontier.load(data, p, shard), filters, p.calibrate, seen=seen)
    output = staged("calibration")
    data.write(output, shard, measured)
    queries = len(lookup.query_rows(data).of(shard))
    tested = int(measured["queries"][0].as_py())
    counts = {"in": queries, "out:tested": tested, "out:not_tested": queries - tested}
    return Counts({**counts, f"rows:{output}": len(measured)})


def bounds_of(points: Sequence[dict[str, Any]], confidence: float | None) -> np.ndarray:
    """(c,) what the share of false negatives stays below at each cut: on average, or with some confidence."""
    queries, losses = points[0]["queries"], np.array([point["loss"] for point in points])
    if confidence is None:
        return risk.expected_bound(losses, queries)
    return risk.confident_bound(losses, queries, confidence)


def choose_cut(_: str, data: Data, p: params.Params) -> Counts:
    """Write the cut, with the whole line it was chosen from."""
    budget, confidence = p.filter.max_false_negatives, p.filter.confidence
    assert budget is not None
    points = frontier.points([data.read(staged("calibration"), shard) for shard in data.shards("queries")])
    queries, bounds = points[0]["queries"], bounds_of(points, confidence)
    place = risk.loosest(bounds, budget)
    if place < 0:
        raise ValueError(
            f"filter.max_false_negatives: must be at least what {queries} queries with a positive to hide can show,"
            f" {bounds.min():.4f}, got {budget}. Raise it, lower filter.confidence, or give more positives"
        )
    lines = [{**point, "bound": float(f"{bound:.6g}")} for point, bound in zip(points, bounds, strict=True)]
    note = {
        "cut": points[place]["setting"],
        "kind": p.filter.kind,
        "budget": budget,
        "confidence": confidence,
        "labelled": p.learn.labelled,
        "pool": p.calibrate.pool,
        "queries": queries,
        "chosen": lines[place],
        "line": lines,
    }
    data.write_text(f"{staged('calibration')}/{judging.CUT}", json.dumps(note, indent=1) + "\n")
    return Counts()


if __name__ == "__main__":
    commandline.main("calibrate", run)
