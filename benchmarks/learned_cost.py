"""What the learned filter costs a candidate.

Usage: python -m benchmarks.learned_cost --data FOLDER [--repeats 5] [--work DIR] [--output NAME]

Mines a BEIR folder up to the pool and learns, as ``benchmarks.frontier`` does. Then one core, in one process, describes
all candidates of a shard, judges them by a model, and applies a rule to them, several times. One JSON object: the
candidates, the features, and median microseconds of processor time for each candidate

  describe   the features, from ranks, scores, vectors, words and labels
  describe_and_judge   all of it: features, both filters, p_false
  rule       what the cheapest rule takes, ``abs``, with the sampler: to compare with
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import threadpoolctl

from benchmarks import frontier as lines
from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import frontier
from gangue.transforms.relevance import describing, feature_names, learn_note


def microseconds(work: Callable[[], Any], candidates: int, repeats: int) -> float:
    """Median of processor time."""
    found = []
    for _ in range(repeats + 1):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return round(1e6 * statistics.median(found[1:]) / candidates, 2)  # the first one reads files


def main() -> int:
    """Mine, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path, help="BEIR folder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, vectors above all")
    parser.add_argument("--output", help="NAME: also write benchmarks/results/learned_cost_NAME.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, threadpoolctl.threadpool_limits(1):
        work = asked.work or pathlib.Path(scratch)
        p, data = lines.job(work / "source"), Data(str(work / "data"))
        positives = lines.positives_of(asked.data)
        lines.write_source(asked.data, work / "source", positives, lines.hide(positives, 0))
        lines.mine(data, p)
        learned = learn_note.read(data)
        shard = query_shard.load(data, p, data.shards("queries")[0])
        left_out, names = shard.positive_of_pair, feature_names.names(p)
        rule = p.filter.with_rule(rules.Abs(score="dense", abs=0.6))
        steps: dict[str, Callable[[], Any]] = {
            "describe": lambda: describing.matrix(describing.describe(data, p, shard, left_out), names),
            "describe_and_judge": lambda: describing.false_probability(data, p, shard, learned),
            "rule": lambda: frontier.chosen_by(data, p, shard, rule),
        }
        candidates = len(shard.pairs)
        report = {
            "data": asked.data.name,
            "candidates": candidates,
            "features": len(names),
            "microseconds": {name: microseconds(step, candidates, asked.repeats) for name, step in steps.items()},
        }
    print(json.dumps(report))
    if asked.output:
        lines.RESULTS.mkdir(exist_ok=True)
        (lines.RESULTS / f"learned_cost_{asked.output}.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
