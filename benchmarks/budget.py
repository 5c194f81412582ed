"""Does the budget hold? Many random hidings, each calibrated without them, on any BEIR folder.

Usage: python -m benchmarks.budget --data FOLDER [--splits 100] [--queries 200] [--work DIR] [--output NAME]

In each split half of the positives of every query that has several are hidden from everything. The learned filter is
taught and calibrated on the other half, for each budget on average and with 90 % confidence, mines, and the hidden
positives that come back are counted. Beside it every rule with fixed cuts, on the same splits. A split exceeds a
budget where the share that came back is above it. Prints one JSON line per (budget, confidence) with

  exceeded          share of the splits above the budget
  fn_rate, worst    mean and highest share of false negatives
  hardness, per_query   means over splits
  failed            splits where the stage would stop: the budget cannot be shown
  rule              of the fixed rules that exceed in at most a tenth of the splits, the hardest one at 4.95 negatives
                    per query and more, with its figures; and the strictest one
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

from benchmarks import frontier as lines
from pipeline import (
    calibrate,
    cluster,
    describing,
    embed,
    frontier,
    ingest,
    judging,
    leak,
    learn,
    params,
    pool,
    quota,
    retrieve,
)
from transforms import randomness, risk, rules
from transforms.storage import Data

BUDGETS = (0.02, 0.05)
CONFIDENCES = (None, 0.9)
PROMISED = 0.1  # share of the splits that may exceed


def prepare(folder: pathlib.Path, work: pathlib.Path, queries: int) -> tuple[Data, params.Params]:
    """Mine up to the pool with every positive known; all queries in one shard."""
    p = lines.job(work / "source")
    p = p.model_copy(update={"ingest": p.ingest.model_copy(update={"queries_per_shard": 1 << 20})})
    p = p.model_copy(update={"calibrate": p.calibrate.model_copy(update={"rounds": 1})})
    data = Data(str(work / "data"))
    positives = lines.positives_of(folder)
    several = [query for query, documents in positives.items() if len(documents) > 1][:queries]
    single = [query for query, documents in positives.items() if len(documents) == 1][: max(0, queries - len(several))]
    lines.write_source(folder, work / "source", {query: positives[query] for query in several + single}, {})
    ingest.run(data, p)
    for name in p.encoders:
        embed.run(data, p, name)
        cluster.run(data, p, name)
    quota.run(data, p)
    for name in p.retrievers:
        retrieve.run(data, p, name)
    pool.run(data, p)
    return data, p


def split(data: Data, p: params.Params, whole: judging.Shard, seed: int) -> dict[str, Any]:
    """Hide, teach, calibrate, mine and count once: name -> (share that came back, hardness, negatives per query)."""
    block = whole.block
    hidden = leak.hidden_positives(block.positive_query, whole.positive_words, 0.5, randomness.mix(seed, 77))
    tested = np.bincount(block.positive_query[hidden], minlength=whole.queries) > 0
    data.write_text(f"relevance/{judging.MODEL}", json.dumps({"usable": False}))
    unaware = leak.hide(data, p, whole, hidden)
    note = learn.taught(learn.examples(data, p, unaware), describing.names(p))
    data.write_text(f"relevance/{judging.MODEL}", json.dumps(note))
    unaware = leak.hide(data, p, whole, hidden)  # again, now that there is a model to judge by
    answers = leak.answers(data, block, unaware, hidden)

    def outcome(stack: params.Filter) -> tuple[float, float, float]:
        pair = frontier.chosen_by(data, p, unaware, stack)
        pair = pair[tested[unaware.candidates.query[pair]]]
        if not len(pair):  # a rule may leave nothing
            return 0.0, float("nan"), 0.0
        hardness = unaware.candidates.scores["dense"][pair]
        return float(answers[pair].mean()), float(hardness.mean()), len(pair) / int(tested.sum())

    result: dict[str, Any] = {}
    if note["usable"]:
        filters = [p.filter.with_cut(cut) for cut in frontier.cuts(data, p, p.filter)[::2]]
        points = frontier.points([frontier.measure(data, p, unaware, filters, p.calibrate)])
        for confidence in CONFIDENCES:
            bounds = calibrate.bounds_of(points, confidence)
            for budget in BUDGETS:
                place = risk.loosest(bounds, budget)
                result[f"learned {budget} {confidence}"] = outcome(filters[place]) if place >= 0 else None
    for (kind, cut), variant in lines.variants(p).items():
        if kind != "learned":
            result[f"{kind} {cut}"] = outcome(variant.filter)
    return result


def report(splits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per budget and confidence."""
    fixed = [name for name in splits[0] if not name.startswith("learned")]
    result = []
    for budget in BUDGETS:
        holds = [summary(name, splits, budget) for name in fixed]
        holds = [line for line in holds if line["exceeded"] <= PROMISED]
        full = [line for line in holds if line["per_query"] >= 4.95]
        for confidence in CONFIDENCES:
            line = summary(f"learned {budget} {confidence}", splits, budget)
            line |= {"budget": budget, "confidence": confidence}
            line["rule"] = max(full, key=lambda rule: rule["hardness"], default=None)
            line["strictest_rule"] = min(holds, key=lambda rule: rule["hardness"], default=None)
            result.append(line)
    return result


def summary(name: str, splits: list[dict[str, Any]], budget: float) -> dict[str, Any]:
    """Figures of one filter over all splits."""
    done = np.array([found for one in splits if (found := one.get(name)) is not None])
    if not len(done):
        return {"filter": name, "splits": len(splits), "failed": len(splits)}
    figures = {
        "exceeded": (done[:, 0] > budget).mean(),
        "fn_rate": done[:, 0].mean(),
        "worst": done[:, 0].max(),
        "hardness": done[:, 1].mean(),
        "per_query": done[:, 2].mean(),
    }
    rounded = {key: float(f"{value:.4g}") for key, value in figures.items()}
    return {"filter": name, "splits": len(splits), "failed": len(splits) - len(done), **rounded}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budget", description=__doc__)
    parser.add_argument("--data", required=True, type=pathlib.Path, help="BEIR folder")
    parser.add_argument("--splits", type=int, default=100, help="random hidings")
    parser.add_argument("--queries", type=int, default=200, help="queries at most, those with several positives first")
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, vectors above all")
    parser.add_argument("--output", help="NAME: also write benchmarks/results/budget_NAME.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data, p = prepare(asked.data, asked.work or pathlib.Path(scratch), asked.queries)
        (shard,) = data.shards("queries")
        whole = judging.load(data, p, shard, judged=False)
        unknown = np.full(len(whole.pairs), np.nan, np.float32)
        scores = {**whole.candidates.scores, rules.P_FALSE: unknown}  # nothing is learned yet
        whole = dataclasses.replace(whole, candidates=dataclasses.replace(whole.candidates, scores=scores))
        splits = []
        for seed in range(asked.splits):
            splits.append(split(data, p, whole, seed))
            print(f"split {seed + 1} of {asked.splits}", file=sys.stderr, flush=True)
    found = report(splits)
    for line in found:
        print(json.dumps(line))
    if asked.output:
        lines.RESULTS.mkdir(exist_ok=True)
        note = {"data": asked.data.name, "queries": whole.queries, "lines": found}
        (lines.RESULTS / f"budget_{asked.output}.json").write_text(json.dumps(note, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
