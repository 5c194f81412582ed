"""Is a job on a cluster as good where workers, the scheduler or the command are killed or stopped?

Usage: python -m benchmarks.cluster_kills [--kills 60] [--stops 20] [--seed 7] [--work DIR] [--output FILE]

The small job of the tests under ``gangue mine``, by a scheduler and three workers of one, one and three threads that
are processes of this machine. Each time it begins in an empty folder, and at a random moment of a stage, all stages in
turn, one of these is struck:

  worker     the process that works; Dask starts another
  machine    that and the one that watches over it
  scheduler  all workers end with it
  command    the caller

It is killed (SIGKILL), or stopped (SIGSTOP) for 2 to 90 seconds and continued: Dask gives up a connection after 30
and here a worker after 60, by default after 300. What of the cluster has ended is started again at once, as Compose
and Kubernetes do; a command that fails is given once more. Prints a JSON line each time, and at the end, or after
Ctrl-C, an object:

  struck       how often what was killed or stopped
  stages       how many different stages, of how many
  runs         how often one run, two or more were needed
  equal        whether the bytes are those of one process, each time
  temporary, half_shards, tracebacks, stuck
               files of no use to anybody, shards that are not whole, errors that are no line, jobs not done in two runs
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import distributed
import psutil
import yaml

from benchmarks import kills

sys.path.insert(0, str(kills.ROOT / "tests"))
elsewhere = importlib.import_module("elsewhere")

TARGETS = ("worker", "machine", "scheduler", "command")
THREADS = (1, 1, 3)
TIMEOUTS = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "60s"}
STOPPED = (2.0, 90.0)  # seconds


class Cluster:
    """A scheduler and workers, processes of this machine; what ends is started again."""

    def __init__(self, folder: pathlib.Path, threads: Sequence[int]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        self.address = f"tcp://127.0.0.1:{self._port}"
        self._folder, self._started, self._stack = folder, 0, contextlib.ExitStack()
        names = ["scheduler", *(f"worker {number}" for number in range(len(threads)))]
        self._threads = dict(zip(names[1:], threads, strict=True))
        folder.mkdir(parents=True)
        self.services: dict[str, subprocess.Popen[bytes]] = {name: self._start(name) for name in names}
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def __enter__(self) -> Cluster:
        """Wait for them."""
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill them."""
        self._over.set()
        self._watcher.join()
        self._stack.close()

    def wait(self) -> None:
        """Until all workers are there and none has anything to do."""
        while True:
            with contextlib.suppress(OSError), self.client() as client:
                client.wait_for_workers(len(self._threads))
                if not any(client.processing().values()):
                    return
            time.sleep(0.2)

    def client(self) -> distributed.Client:
        """One of the scheduler."""
        return distributed.Client(self.address, set_as_default=False)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        self._started += 1
        own = ["--port", self._port] if name == "scheduler" else [self.address, "--nthreads", str(self._threads[name])]
        module = f"distributed.cli.dask_{name.split()[0]}"
        process = elsewhere.process(self._folder / f"{self._started} {name}", module, *own, "--no-dashboard")
        return self._stack.enter_context(process)

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            for name, process in self.services.items():
                if process.poll() is not None:
                    self.services[name] = self._start(name)


class Strike:
    """What happens to one of the processes, once."""

    def __init__(self, cluster: Cluster, target: str, how: signal.Signals, rng: random.Random) -> None:
        self.target, self.how = target, how
        self.seconds = round(rng.uniform(*STOPPED), 1) if how == signal.SIGSTOP else 0.0
        self._cluster = cluster
        self._name = "scheduler" if target == "scheduler" else f"worker {rng.randrange(len(THREADS))}"
        self._continued: threading.Timer | None = None

    def __call__(self, command: int) -> None:
        """Strike it, or the command's own process."""
        struck = list(self._processes(command))
        _send(struck, self.how)
        if self.how == signal.SIGSTOP:
            self._continued = threading.Timer(self.seconds, _send, (struck, signal.SIGCONT))
            self._continued.start()

    def end(self) -> None:
        """Wait until it goes on."""
        if self._continued is not None:
            self._continued.join()

    def _processes(self, command: int) -> Iterator[psutil.Process]:
        if self.target == "command":
            yield psutil.Process(command)
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            service = psutil.Process(self._cluster.services[self._name].pid)
            if self.target != "worker":
                yield service
            yield from service.children(recursive=True)


def _send(processes: Sequence[psutil.Process], how: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(how)


def event(
    job: kills.Project,
    cluster: Cluster,
    stage: tuple[str, str, float],
    strike: Strike,
    rng: random.Random,
    expected: Mapping[str, bytes],
) -> dict[str, Any]:
    """Mine from nothing, strike, mine again where that failed, and hold what is there against what is expected."""
    job.clean()
    name, after, seconds = stage
    attempts = [job.run("mine", after=after, delay=rng.uniform(0, seconds), strike=strike)]
    half = kills.half_shards(job)
    strike.end()
    cluster.wait()
    while attempts[-1].code and len(attempts) < 3:
        attempts.append(job.run("mine"))
        cluster.wait()
        half += kills.half_shards(job)
    final = kills.content(job)
    return {
        "struck": f"{strike.how.name} {strike.target}" if attempts[0].killed_in is not None else "nothing: it was done",
        "stage": name,
        "stopped": strike.seconds,
        "runs": len(attempts),
        "seconds": [round(attempt.seconds, 1) for attempt in attempts],
        "equal": final == expected,
        "different": sorted(name for name in final.keys() & expected.keys() if final[name] != expected[name]),
        "temporary": sorted(final.keys() - expected.keys()),
        "missing": sorted(expected.keys() - final.keys()),
        "half_shards": half,
        "tracebacks": [traceback for attempt in attempts if (traceback := _traceback(attempt))],
        "said": [attempt.last for attempt in attempts if attempt.code],
    }


def _traceback(attempt: kills.Attempt) -> str:
    """What a run said from its first traceback on, as one text; nothing if it said none."""
    lines = [line for _, line in attempt.lines]
    first = next((number for number, line in enumerate(lines) if "Traceback" in line), len(lines))
    return "\n".join(lines[max(0, first - 1) : first + 60] if first < len(lines) else [])


def measured(job: kills.Project, cluster: Cluster, count: Mapping[signal.Signals, int], seed: int) -> dict[str, Any]:
    """Run the job in one process, then on the cluster, then strike it there so many times."""
    values = yaml.safe_load((job.folder / "params.yaml").read_text())
    if (alone := job.run("mine")).code:
        raise RuntimeError(f"the job must end well in one process: {alone.last}")
    expected = kills.content(job)
    (job.folder / "params.yaml").write_text(yaml.safe_dump(values | {"beam": {"cluster": cluster.address}}))
    job.clean()
    if (first := job.run("mine")).code:
        raise RuntimeError(f"the undisturbed job must end well on the cluster: {first.last}")
    found: dict[str, Any] = collections.defaultdict(list)
    found["equal"].append(kills.content(job) == expected)
    stages, rng = kills.timed("mine", first), random.Random(seed)
    turns = [(how, TARGETS[number % len(TARGETS)]) for how, times in count.items() for number in range(times)]
    rng.shuffle(turns)
    places = rng.sample(stages, len(stages))
    with contextlib.suppress(KeyboardInterrupt):
        for turn, (how, target) in enumerate(turns):
            one = event(job, cluster, places[turn % len(places)], Strike(cluster, target, how, rng), rng, expected)
            print(json.dumps(one), flush=True)
            for key, value in one.items():
                (found[key].extend if isinstance(value, list) else found[key].append)(value)
    return {
        "struck": dict(collections.Counter(found["struck"])),
        "stages": len(set(found["stage"])),
        "of": len(stages),
        "undisturbed_seconds": round(first.seconds, 1),
        "runs": dict(collections.Counter(map(str, found["runs"]))),
        "equal": all(found["equal"]),
        "temporary": found["temporary"],
        "half_shards": found["half_shards"],
        "tracebacks": found["tracebacks"],
        "stuck": sum(runs > 2 for runs in found["runs"]),
        "said": dict(collections.Counter(found["said"])),
    }


def good(result: Mapping[str, Any]) -> bool:
    """Whether nothing was lost, left or in need of a third run."""
    return result["equal"] and not any(result[name] for name in ("temporary", "half_shards", "tracebacks", "stuck"))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--work", type=pathlib.Path, help="folder for the clone; none: a temporary one")
    parser.add_argument("--output", type=pathlib.Path, help="JSON file for the result")
    asked = parser.parse_args()
    os.environ |= TIMEOUTS
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.work or pathlib.Path(temporary)
        job = kills.project(work / "project", None)
        with Cluster(work / "cluster", THREADS) as cluster:
            result = measured(job, cluster, {signal.SIGKILL: asked.kills, signal.SIGSTOP: asked.stops}, asked.seed)
    print(json.dumps(result, indent=1))
    if asked.output:
        asked.output.write_text(json.dumps(result, indent=1) + "\n")
    return int(not good(result))


if __name__ == "__main__":
    sys.exit(main())
