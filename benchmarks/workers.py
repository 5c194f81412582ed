"""Does every run with several worker processes give the same bytes, and how much faster is it?

Usage: python -m benchmarks.workers [--queries 100000] [--runs 20] [--workers 2] [--work DIR] [--output]

Pool, filter, sample and export mine 200 candidates of each query, as in ``benchmarks.candidates``: once with one
process, then ``--runs`` times with several. One JSON object: gigabytes that a run reads and writes, seconds of each
stage with one process and the median with several, their ratio, and how many of the runs left other bytes than the
first, in pairs, verdicts, negatives, triplets or anything else. Exits with 1 if one did.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import statistics
import sys
import tempfile
from typing import Any

from benchmarks.candidates import RESULTS, STAGES, prepare, run_stages

WRITTEN = ("pairs", "verdicts", "negatives", "shortfalls", "triplets", "views")


def digest(root: pathlib.Path) -> str:
    """Of the names and bytes of all files that the stages write."""
    result = hashlib.blake2b(digest_size=16)
    for path in sorted(path for name in WRITTEN for path in (root / name).rglob("*") if path.is_file()):
        result.update(str(path.relative_to(root)).encode())
        with open(path, "rb") as file:
            result.update(hashlib.file_digest(file, "blake2b").digest())
    return result.hexdigest()


def size(root: pathlib.Path) -> int:
    """Bytes of all datasets: what is read, and what is written."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def main() -> int:
    """Write, run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--queries-per-shard", type=int, default=512)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, and use those that are here")
    parser.add_argument("--output", action="store_true", help="also write benchmarks/results/workers.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = asked.work or pathlib.Path(scratch)
        data = prepare(work, asked.queries, asked.queries_per_shard)
        root = pathlib.Path(data.root)
        alone = run_stages(work, data, asked.queries_per_shard, 1)
        expected, gigabytes = digest(root), size(root) / 1e9
        runs, differing = [], 0
        for number in range(asked.runs):
            runs.append(run_stages(work, data, asked.queries_per_shard, asked.workers))
            differing += digest(root) != expected
            print(f"run {number + 1} of {asked.runs}, {differing} with other bytes", file=sys.stderr, flush=True)
    stages: dict[str, Any] = {}
    for stage in STAGES:
        one, several = alone[stage]["seconds"], statistics.median(run[stage]["seconds"] for run in runs)
        stages[stage] = {"one": one, "several": several, "ratio": round(one / several, 2)}
    total = {key: sum(stage[key] for stage in stages.values()) for key in ("one", "several")}
    report = {
        "queries": asked.queries,
        "workers": asked.workers,
        "gigabytes": round(gigabytes, 2),
        "runs": asked.runs,
        "with_other_bytes": differing,
        "stages": stages,
        "seconds": {key: round(value, 1) for key, value in total.items()},
        "ratio": round(total["one"] / total["several"], 2),
    }
    print(json.dumps(report, indent=1))
    if asked.output:
        (RESULTS / "workers.json").write_text(json.dumps(report, indent=1) + "\n")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
