"""What does a cluster cost, and what do its workers gain?

Usage: python -m benchmarks.cluster_cost [--parts job empty stages] [--packages NAME ...] [--documents 50000]
       [--repeats 3] [--work DIR] [--output FILE]

Two clusters of this machine: a scheduler with one worker of one thread, and a scheduler with two.

  job     the default job by ``gangue mine``, on the two workers and with ``beam.workers: 2``; of a source of kind
          python_code only ``--packages``, if they are named. The bytes of their triplets must be equal
  empty   a stage without work: what it takes longer on a cluster, and how much longer the first of a process, which
          loads Dask
  stages  embed of that job's texts, score of its pairs by a cross-encoder of MiniLM's size, and exact retrieve among
          ``--documents`` made-up vectors of 384 dimensions: on one worker and on two. Each is kept to a core of its
          own, as on a machine that has one: the tokenizer of a worker that is alone would use them all

All sides run in turn, ``--repeats`` times, those of stages once more before; one JSON object of seconds, and medians
of the ratios of each turn. Beside the clock's stand the processor's, which other programs of the machine change little:
for a job those of all its processes, for an empty stage those of the caller, for others those of the caller and of its
busiest worker. ``load``: programs that wanted a core meanwhile. Of parts that are not named the file keeps what it has;
``stages`` needs the job in ``--work``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import apache_beam as beam

from benchmarks import determinism, kills, synthetic
from benchmarks.changes import write_cross_encoder
from benchmarks.cluster_kills import Cluster
from gangue.pipeline import embed, params, plan, retrieve, score
from gangue.transforms.datasets.storage import Data
from gangue.transforms.running import runner
from gangue.transforms.settings import sections

PARTS = ("empty", "job", "stages")
DIMENSIONS, DEPTH, QUERIES = 384, 100, 8192


def job(work: pathlib.Path, values: Mapping[str, Any], two: Cluster, repeats: int) -> dict[str, Any]:
    """The whole job on two workers and with two processes; it stays in the folder ``cluster``."""
    sides = {"cluster": {"cluster": two.address}, "workers": {"workers": 2}}
    clock: dict[str, list[float]] = {name: [] for name in sides}
    processor: dict[str, list[float]] = {name: [] for name in sides}
    triplets = set()
    for turn in range(repeats):
        for name in sorted(sides, reverse=bool(turn % 2)):
            shutil.rmtree(work / name, ignore_errors=True)
            before = sum(worked(two).values()) + of_children()
            found = determinism.mine(name, {**values, "beam": sides[name]}, work / name)
            clock[name].append(round(found.seconds, 1))
            processor[name].append(round(sum(worked(two).values()) + of_children() - before, 1))
            triplets.add(found.bytes)
            print(name, clock[name], processor[name], file=sys.stderr, flush=True)
    return {"equal": len(triplets) == 1, **compared(clock, processor)}


def compared(clock: Mapping[str, list[float]], processor: Mapping[str, list[float]]) -> dict[str, Any]:
    """Seconds of two sides, and the medians of the first over the second."""
    result: dict[str, Any] = {"clock": clock, "processor": processor}
    for kind in ("clock", "processor"):
        ratios = [one / other for one, other in zip(*result[kind].values(), strict=True)]
        result[f"ratio_by_{kind}"] = round(statistics.median(ratios), 2)
    return result


def worked(cluster: Cluster) -> dict[str, float]:
    """Seconds of a core that each worker has used."""
    with cluster.client() as client:
        return dict(client.run(time.process_time))


def keep_apart(cluster: Cluster) -> None:
    """Have each worker stay on a core of its own."""
    cores = itertools.cycle(sorted(os.sched_getaffinity(0)))
    with cluster.client() as client:
        for worker, core in zip(sorted(client.scheduler_info()["workers"]), cores, strict=False):
            client.run(_stay, core, workers=[worker])


def _stay(core: int) -> None:
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {core})


def of_children() -> float:
    """Seconds of a core that commands run by this process have used, and their processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def empty(data: Data, two: Cluster, repeats: int) -> dict[str, Any]:
    """A stage without work, in this process alone and on the cluster."""
    sides = {"cluster": sections.Beam(cluster=two.address), "alone": sections.Beam()}
    result: dict[str, Any] = {"clock": {name: [] for name in sides}, "processor": {name: [] for name in sides}}
    for _ in range(repeats * 5):
        for name, settings in sides.items():
            started, own = time.monotonic(), time.process_time()
            runner.run("empty", lambda root: root | beam.Create([]), data, settings, rows=0)
            result["clock"][name].append(round(time.monotonic() - started, 3))
            result["processor"][name].append(round(time.process_time() - own, 3))
    for kind in ("clock", "processor"):
        adds = [one - other for one, other in zip(*result[kind].values(), strict=True)]
        result |= {f"adds_by_{kind}": round(statistics.median(adds), 3), f"first_adds_by_{kind}": round(adds[0], 3)}
    return result


def stages(
    runs: Mapping[str, tuple[Callable[[sections.Beam], object], pathlib.Path]],
    clusters: Mapping[str, Cluster],
    repeats: int,
) -> dict[str, Any]:
    """Each stage on one worker and on two."""
    result = {}
    for cluster in clusters.values():
        keep_apart(cluster)
    for stage, (run, written) in runs.items():
        clock: dict[str, list[float]] = {name: [] for name in clusters}
        processor: dict[str, list[float]] = {name: [] for name in clusters}
        for turn in range(repeats + 1):
            for name, cluster in clusters.items():
                shutil.rmtree(written, ignore_errors=True)
                before, own, started = worked(cluster), time.process_time(), time.monotonic()
                run(sections.Beam(cluster=cluster.address))
                if turn:  # first they load their libraries
                    clock[name].append(round(time.monotonic() - started, 2))
                    own, after = time.process_time() - own, worked(cluster)
                    processor[name].append(round(own + max(after[worker] - before[worker] for worker in after), 2))
            print(stage, clock, processor, file=sys.stderr, flush=True)
        result[stage] = compared(clock, processor)
    return result


def prepared(
    work: pathlib.Path, values: Mapping[str, Any], documents: int
) -> dict[str, tuple[Callable[[sections.Beam], object], pathlib.Path]]:
    """What runs each stage, and the folder that it writes."""
    mined, made_up = Data(str(work / "cluster" / "data")), Data(str(work / "search"))
    write_cross_encoder(work / "cross", values["encoders"]["minilm"]["model"])
    cross = {"model": str(work / "cross"), "depth": 5, "max_length": 96}
    p = params.parse({**values, "scorers": {"cross": cross}})
    synthetic.write(
        made_up,
        queries=QUERIES,
        documents=documents,
        dimensions=DIMENSIONS,
        queries_per_shard=512,
        documents_per_shard=4096,
    )
    exact = params.parse(
        {
            "source": {"kind": "beir", "path": "none"},
            "encoders": {"one": {"model": "none"}},
            "retrievers": {"one": {"kind": "dense", "encoder": "one", "depth": DEPTH}},
            "filter": {"kind": "naive"},
            "sample": {"kind": "top", "score": "one"},
        }
    )
    plan.run(made_up, exact)

    def on(settings: sections.Beam, given: params.Params) -> params.Params:
        return given.model_copy(update={"beam": settings})

    return {
        "embed": (lambda b: embed.run(mined, on(b, p), "minilm"), work / "cluster" / "data" / "vectors"),
        "score": (lambda b: score.run(mined, on(b, p), "cross"), work / "cluster" / "data" / "scores"),
        "retrieve": (lambda b: retrieve.run(made_up, on(b, exact), "one"), work / "search" / "candidates"),
    }


def main() -> int:
    """Measure, print; 1 where the bytes differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--packages", nargs="+", help="of the default job's source: only these")
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=pathlib.Path, help="folder for the jobs, kept; none: a temporary one")
    parser.add_argument("--output", type=pathlib.Path, help="JSON file for the result")
    asked = parser.parse_args()
    values = determinism.job(kills.ROOT / "params.yaml", asked.packages)
    values["ingest"] = {**values["ingest"], "documents_per_shard": 64, "queries_per_shard": 64}
    result = json.loads(asked.output.read_text()) if asked.output and asked.output.exists() else {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Cluster(pathlib.Path(folder) / "one", [1]) as one,
        Cluster(pathlib.Path(folder) / "two", [1, 1]) as two,
    ):
        work = asked.work or pathlib.Path(folder)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "empty": lambda: empty(Data(str(work / "empty")), two, asked.repeats),
            "job": lambda: {"packages": asked.packages} | job(work, values, two, asked.repeats),
            "stages": lambda: stages(prepared(work, values, asked.documents), {"one": one, "two": two}, asked.repeats),
        }
        for name in [name for name in parts if name in asked.parts]:
            result[name] = parts[name]() | {"load": round(os.getloadavg()[1], 1)}
            if asked.output:
                asked.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return int("job" in result and not result["job"]["equal"])


if __name__ == "__main__":
    sys.exit(main())
