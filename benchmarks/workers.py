"""Does every run with several worker processes give the same bytes, and how much faster is it?

Usage: python -m benchmarks.workers [--queries 300000] [--runs 20] [--workers 2] [--work DIR] [--output]

Pool, filter, sample and export mine 200 candidates of each query, as in ``benchmarks.candidates``: ``--runs`` times
with several processes, and with one before every fifth of these. One JSON object: gigabytes that a run reads and
writes; median seconds of each stage with one process and with several, and their ratio, of the commands and of the
work alone, their libraries loaded; and how many of the runs left other bytes than the first, in pairs, verdicts,
negatives, triplets or anything else. Exits with 1 if one did.
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

from benchmarks.candidates import QUERIES_PER_SHARD, RESULTS, STAGES, prepare, run_stages

EVERY = 5
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
    parser.add_argument("--queries", type=int, default=300_000)
    parser.add_argument("--queries-per-shard", type=int, default=QUERIES_PER_SHARD)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, and use those that are here")
    parser.add_argument("--output", action="store_true", help="also write benchmarks/results/workers.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = asked.work or pathlib.Path(scratch)
        data = prepare(work, asked.queries, asked.queries_per_shard)
        root = pathlib.Path(data.root)
        runs: dict[str, list[dict[str, dict[str, float]]]] = {"one": [], "several": []}
        digests: list[str] = []
        for number in range(asked.runs):
            if number % EVERY == 0:
                runs["one"].append(run_stages(work, data, asked.queries_per_shard, 1))
                digests.append(digest(root))
            runs["several"].append(run_stages(work, data, asked.queries_per_shard, asked.workers))
            digests.append(digest(root))
            print(f"run {number + 1} of {asked.runs}, {len(set(digests))} different bytes", file=sys.stderr, flush=True)
        gigabytes, differing = size(root) / 1e9, sum(found != digests[0] for found in digests)

    def compared(what: str, *stages: str) -> dict[str, float]:
        """Median seconds of some stages together, and the ratio."""
        one, several = (
            statistics.median(sum(run[stage][what] for stage in stages) for run in runs[key]) for key in runs
        )
        return {"one": round(one, 1), "several": round(several, 1), "ratio": round(one / several, 2)}

    report: dict[str, Any] = {
        "queries": asked.queries,
        "workers": asked.workers,
        "gigabytes": round(gigabytes, 2),
        "runs": asked.runs,
        "with_other_bytes": differing,
        "stages": {stage: compared("seconds", stage) for stage in STAGES},
        "commands": compared("seconds", *STAGES),
        "work": compared("worked", *STAGES),
    }
    print(json.dumps(report, indent=1))
    if asked.output:
        (RESULTS / "workers.json").write_text(json.dumps(report, indent=1) + "\n")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
