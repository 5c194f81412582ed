"""How many candidates a second go from pool to triplets, and in how much memory.

Usage: python -m benchmarks.candidates [--queries 100000] [--workers 2] [--runs 3] [--work DIR] [--output NAME]

Writes what retrieval would leave: documents of random words, one positive a query, random unit vectors under two
encoders, and the 120 candidates that each of two retrievers found for every query, 200 different ones in all. Then
pool, filter, sample and export run as commands, each on its own, and beside them a plain read and write of the columns
that they read and write. One JSON object: medians of the seconds of each stage and of those in which it worked (as it
says itself, its libraries loaded), candidates per second of all, and the highest peak of memory.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import psutil

from benchmarks import synthetic
from benchmarks.synthetic import EACH, PER_QUERY
from gangue.pipeline import params
from gangue.transforms.datasets.storage import Data

RESULTS = pathlib.Path(__file__).parent / "results"
DIMENSIONS, DOCUMENTS = 32, 100_000
QUERIES_PER_SHARD = 2048  # each shard looks through all documents: a few large ones are faster than many
STAGES = ("pool", "filter", "sample", "export")
# What the four stages read and write, candidate by candidate: (dataset, columns read, written again)
FLOOR = (("pairs", None, True), ("pairs", None, False), ("verdicts", None, True), ("verdicts", None, False))


def job(queries_per_shard: int, workers: int) -> dict[str, Any]:
    """Params of two dense retrievers, a rule on the positive, and the hardest five."""
    return {
        "source": {"kind": "beir", "path": "none"},
        "ingest": {"queries_per_shard": queries_per_shard},
        "encoders": {name: {"model": "none"} for name in ("one", "two")},
        "retrievers": {name: {"kind": "dense", "encoder": name, "depth": EACH} for name in ("one", "two")},
        "filter": {"kind": "perc", "score": "one", "perc": 0.95},
        "sample": {"kind": "top", "score": "one", "negatives": 5},
        "beam": {"workers": workers},
    }


GANGUE = str(pathlib.Path(sys.executable).with_name("gangue"))


def measured(command: list[str]) -> dict[str, float]:
    """Seconds, and the peak of all its processes together, of a command."""
    started, process = time.monotonic(), psutil.Popen(command, stderr=subprocess.PIPE, text=True)
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            try:
                tree = [process, *process.children(recursive=True)]
                peak[0] = max(peak[0], sum(p.memory_info().rss for p in tree if p.is_running()))
            except psutil.Error:
                continue

    thread = threading.Thread(target=watch)
    thread.start()
    _, said = process.communicate()
    ended.set()
    thread.join()
    if process.returncode:
        raise RuntimeError(said)
    worked = sum(map(float, re.findall(r"\(([\d.]+) s\)", said)))  # plan, which has no pipeline, says nothing
    return {"seconds": time.monotonic() - started, "worked": worked, "peak_mib": peak[0] / (1 << 20)}


def prepare(work: pathlib.Path, queries: int, queries_per_shard: int) -> Data:
    """What retrieval would leave, written where it is not there yet."""
    data = Data(str(work / "data"))
    if not data.exists("candidates/two"):
        size = {"queries": queries, "documents": DOCUMENTS, "queries_per_shard": queries_per_shard}
        synthetic.write(data, **size, dimensions=DIMENSIONS, documents_per_shard=4096)
        synthetic.write_candidates(data, **size)
    return data


def run_stages(work: pathlib.Path, data: Data, queries_per_shard: int, workers: int) -> dict[str, dict[str, float]]:
    """Run each stage as a command of its own: seconds and peak memory of each."""
    settings = job(queries_per_shard, workers)
    params.parse(settings)
    (work / "params.yaml").write_text(json.dumps(settings))
    places = ["--data", data.root, "--params", str(work / "params.yaml")]
    stages = {}
    for stage in STAGES:
        found = measured([GANGUE, stage, *places])
        stages[stage] = {key: round(value, 1) for key, value in found.items()}
        print(stage, stages[stage], file=sys.stderr)
    return stages


def main() -> None:
    """Write, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--queries-per-shard", type=int, default=QUERIES_PER_SHARD)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, and use those that are here")
    parser.add_argument("--output", help="NAME: also write benchmarks/results/candidates_NAME.json")
    arguments = parser.parse_args()
    work = arguments.work or pathlib.Path(tempfile.mkdtemp())
    data = prepare(work, arguments.queries, arguments.queries_per_shard)
    runs = [run_stages(work, data, arguments.queries_per_shard, arguments.workers) for _ in range(arguments.runs)]
    candidates = arguments.queries * PER_QUERY
    stages = {
        stage: {
            "seconds": round(statistics.median(run[stage]["seconds"] for run in runs), 1),
            "worked": round(statistics.median(run[stage]["worked"] for run in runs), 1),
            "peak_mib": max(run[stage]["peak_mib"] for run in runs),
        }
        for stage in STAGES
    }
    seconds, worked = (
        statistics.median(sum(stage[key] for stage in run.values()) for run in runs) for key in ("seconds", "worked")
    )
    started = time.monotonic()
    for dataset, columns, again in FLOOR:
        for shard in data.shards(dataset):
            table = data.read(dataset, shard, columns)
            if again:
                data.write("floor", shard, table, intermediate=True)
    floor = time.monotonic() - started
    result = {
        "queries": arguments.queries,
        "candidates": candidates,
        "workers": arguments.workers,
        "runs": arguments.runs,
        "stages": stages,
        "seconds": round(seconds, 1),
        "candidates_per_second": round(candidates / seconds),
        "candidates_per_second_worked": round(candidates / worked),
        "peak_mib": max(stage["peak_mib"] for stage in stages.values()),
        "read_and_write_alone_s": round(floor, 1),
    }
    print(json.dumps(result, indent=1))
    if arguments.output:
        (RESULTS / f"candidates_{arguments.output}.json").write_text(json.dumps(result, indent=1) + "\n")
    if arguments.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
