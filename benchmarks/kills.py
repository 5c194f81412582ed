"""Is a job that was killed as good as one that was not? Kill it in every stage, start it again, compare the bytes.

Usage: python -m benchmarks.kills [--params FILE] [--kills 30] [--ways mine dvc] [--signal SIGKILL] [--work DIR]
[--output FILE]

Without ``--params`` the job is the small one of the tests. It is mined once undisturbed, which also tells when each
stage runs. Then every stage in turn is killed, with its whole process group, at a random moment of its time, and the
same command is given again until it ends: under ``gangue mine`` and under ``dvc repro``. Prints one JSON line per way:

  kills, stages      how many, and in how many different stages
  equal              whether the final bytes are those of the undisturbed run
  half_shards        shards that a reader could see after a kill and that were not whole
  temporary          files in data or reports that are none of the undisturbed run's when all is done
  repeated           texts and pairs encoded or scored though a shard of an earlier attempt had them
  exit_codes         how the killed attempts ended (-9: by the signal)
  last_lines         what they said last, where the signal can be caught
  stuck              attempts that ended by themselves with an error, or not after a signal: what they said
  dvc_locks_mended   how often DVC died while it wrote dvc.lock, or its own note of who reads what, .dvc/tmp/rwlock, and
                     could not read it again; it is removed then, as ``make mine`` does
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from gangue.transforms.datasets import checksums, occupancy
from gangue.transforms.datasets.manifest import NAME as MANIFEST
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import vector_store

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMMANDS = {"mine": ["gangue", "mine"], "dvc": ["dvc", "repro"]}
LEARNED = {
    "kind": "learned",
    "max_false_negatives": 0.3,
    "fallback": {"kind": "shifted", "score": "dense", "shift": 1},  # so few queries teach nothing
}
_DVC_STAGE = re.compile(r"Running stage '([^']+)'")
_OUR_STAGE = re.compile(r"^(\w+(?:@\w+)?): .*\(\d+\.\d s\)$")
_COUNT = re.compile(r"\b(encoded|predicted|reused) (\d+)")
_LONGEST = 3600.0  # seconds of one attempt
_ENDS = 120.0  # seconds after a signal


@dataclasses.dataclass
class Attempt:
    """One run of a command: what it said and when, and how it ended."""

    code: int
    lines: list[tuple[float, str]]
    seconds: float
    killed_in: str | None = None
    hung: bool = False

    @property
    def last(self) -> str:
        """Its last line."""
        return self.lines[-1][1] if self.lines else ""


@dataclasses.dataclass(frozen=True)
class Project:
    """A clone of the project with a job in it."""

    folder: pathlib.Path

    def run(
        self,
        way: str,
        *,
        after: str | None = None,
        delay: float = 0.0,
        strike: Callable[[int], object] = lambda group: os.killpg(group, signal.SIGKILL),
        prefix: Sequence[str] = (),
    ) -> Attempt:
        """Run a command to its end, or strike its process group ``delay`` seconds after the mark of a stage."""
        path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
        own = {"PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(self.scratch)}
        started = time.monotonic()
        process = subprocess.Popen(
            [*prefix, *COMMANDS[way]],
            cwd=self.folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        lines: list[tuple[float, str]] = []
        stage, reached = "", threading.Event()
        if after == "":
            reached.set()

        def listen() -> None:
            nonlocal stage
            assert process.stdout is not None
            for line in process.stdout:
                lines.append((time.monotonic() - started, line.rstrip()))
                if (marked := mark(way, line)) is not None:
                    stage = marked
                    if marked == after:
                        reached.set()
            reached.set()

        listener = threading.Thread(target=listen)
        listener.start()
        killed_in = None
        if after is not None:
            reached.wait(_LONGEST)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(delay)
            if process.poll() is None:
                killed_in = stage
                strike(process.pid)
        hung = False
        try:
            process.wait(_LONGEST if killed_in is None else _ENDS)
        except subprocess.TimeoutExpired:
            hung = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # nothing of it may go on
        process.wait()
        listener.join()
        return Attempt(process.returncode, lines, time.monotonic() - started, killed_in, hung)

    @property
    def scratch(self) -> pathlib.Path:
        """Where it keeps temporary files."""
        return self.folder.parent / "tmp"

    def mend_lock(self, attempt: Attempt) -> bool:
        """Remove what DVC left that it cannot read, its note of who reads what or ``dvc.lock``; whether it had."""
        note, lock = self.folder / ".dvc" / "tmp" / "rwlock", self.folder / "dvc.lock"
        if note.is_file() and not note.stat().st_size:
            note.unlink()
            return True
        if any(line.startswith("'./dvc.lock'") for _, line in attempt.lines):
            lock.unlink()
            return True
        return False

    def clean(self) -> None:
        """As if nothing had ever run."""
        for name in ("data", "reports", "dvc.lock", ".dvc/cache", ".dvc/tmp"):
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def mark(way: str, line: str) -> str | None:
    """The stage that a line is of: DVC says what begins, we say what ended.

    >>> mark("dvc", "Running stage 'embed@tiny':"), mark("mine", "embed@tiny: encoded 4 (0.4 s)")
    ('embed@tiny', 'embed@tiny')
    """
    found = (_DVC_STAGE.search if way == "dvc" else _OUR_STAGE.search)(line.strip())
    return found[1] if found else None


def project(folder: pathlib.Path, params: str | None) -> Project:
    """Copy the project, with the small job or with that of a params file, and make it a DVC repository."""
    folder.mkdir(parents=True)
    for name in ("pipeline", "transforms", "labels"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    if params is None:
        sys.path.insert(0, str(ROOT / "tests"))
        importlib.import_module("jobs").write(folder)
        values = yaml.safe_load((folder / "params.yaml").read_text())
        values["filter"], values["source"]["path"] = LEARNED, "source"
    else:
        values = yaml.safe_load(pathlib.Path(params).read_text())
        source = pathlib.Path(params).resolve().parent / values["source"]["path"]
        values["source"]["path"] = "source"
        (folder / "source").symlink_to(source.resolve())
    values["labels"] = {"path": "labels"}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    result = Project(folder)
    result.scratch.mkdir()
    script = "git init -q . && git config user.email a@b.c && git config user.name n && dvc init -q && git add -A"
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", script], cwd=folder, env=os.environ | {"PATH": path}, check=True)
    return result


def content(job: Project) -> dict[str, bytes]:
    """Every file of data and reports, but the note of how the last run ended."""
    return {
        str(path.relative_to(job.folder)): path.read_bytes()
        for name in ("data", "reports")
        for path in sorted((job.folder / name).rglob("*"))
        if path.is_file() and path.name != occupancy.NAME
    }


def half_shards(job: Project) -> list[str]:
    """Files that a reader could open now, by a manifest or by their names, and that are not whole."""
    bad = []
    for path in (job.folder / "data").rglob("*-*"):
        hidden = any(part.startswith(".") for part in path.relative_to(job.folder).parts)
        if hidden or not checksums.untagged(path.name):
            continue
        try:
            checksums.check(path.name, checksums.tag_of(str(path)))
        except ValueError as error:
            bad.append(f"{path.relative_to(job.folder)}: {error}")
    data = Data(str(job.folder / "data"))
    for path in (job.folder / "data").rglob(MANIFEST):
        dataset = path.parent.relative_to(job.folder / "data").as_posix()
        found = data.manifest(dataset)
        bad += [f"{path}: lists {name}" for name in found.files if not (path.parent / name).exists()] if found else []
    return bad


def kept(job: Project) -> dict[str, int]:
    """Rows of finished shards of each store that must not be made again."""
    data = Data(str(job.folder / "data"))
    stores = [path for path in (job.folder / "data").glob("vectors/*/*")] + list((job.folder / "data").glob("scores/*"))
    names = [str(path.relative_to(job.folder / "data")) for path in stores if path.is_dir()]
    return {name: sum(_shards(data, name).values()) for name in names}


def _shards(data: Data, dataset: str) -> dict[tuple[int, int], int]:
    """Rows of each finished shard, whether a manifest lists it or not."""
    found = [file for file in vector_store.left(data, dataset) if not file.unfinished]
    return {(file.shards, file.place): len(data.read_file(dataset, file.name)) for file in found}


def repeated(before: Mapping[str, int], whole: Mapping[str, int], attempt: Attempt) -> int:
    """Texts and pairs made in an attempt though a shard had them before it began."""
    surplus = 0
    for _, line in attempt.lines:
        stage = _OUR_STAGE.search(line)
        if not stage or not stage[1].startswith(("embed@", "score@")):
            continue
        counts = {name: int(count) for name, count in _COUNT.findall(line)}
        kind, name = stage[1].split("@")
        store = f"vectors/{name}/" if kind == "embed" else f"scores/{name}"
        had = sum(rows for key, rows in before.items() if key.startswith(store))
        total = sum(rows for key, rows in whole.items() if key.startswith(store))
        surplus += max(0, counts.get("encoded", 0) + counts.get("predicted", 0) - (total - had))
    return surplus


def timed(way: str, attempt: Attempt) -> list[tuple[str, str, float]]:
    """Stages of an undisturbed attempt in their order: name, the mark after which each runs, and its seconds."""
    marks = [(at, stage) for at, line in attempt.lines if (stage := mark(way, line)) is not None]
    if way == "dvc":
        ends = [at for at, _ in marks[1:]] + [attempt.seconds]
        return [(stage, stage, end - at) for (at, stage), end in zip(marks, ends, strict=True)]
    starts = [(0.0, ""), *marks[:-1]]
    return [(stage, before, at - begun) for (at, stage), (begun, before) in zip(marks, starts, strict=True)]


def struck(job: Project, way: str, after: str, delay: float, how: signal.Signals) -> Attempt:
    """An attempt whose whole process group gets a signal, some time after the mark of a stage."""
    return job.run(way, after=after, delay=delay, strike=lambda group: os.killpg(group, how))


def disturb(job: Project, way: str, kills: int, how: signal.Signals, seed: int) -> dict[str, Any]:
    """Run the job once undisturbed, then kill it so many times, in every stage, and hold the bytes together."""
    job.clean()
    first = job.run(way)
    if first.code:
        raise RuntimeError(f"{way}: the undisturbed job must end well: {first.last}")
    expected, whole, stages = content(job), kept(job), timed(way, first)
    job.clean()
    rng = random.Random(seed)
    turns = sorted(range(kills), key=lambda kill: kill % len(stages))
    found: dict[str, Any] = collections.defaultdict(list)
    attempts, killed = 0, collections.Counter[str]()
    for turn in [*turns, None]:
        before = kept(job)
        if turn is None:
            attempt = job.run(way)
        else:
            _, after, seconds = stages[turn % len(stages)]
            attempt = struck(job, way, after, rng.uniform(0, seconds), how)
            if attempt.killed_in is None and not attempt.code:  # the stage was done before: from the start, then
                attempts += 1
                job.clean()
                before = {}
                attempt = struck(job, way, after, rng.uniform(0, seconds), how)
        while attempt.killed_in is None and job.mend_lock(attempt):
            attempts += 1
            found["locks_mended"].append(attempt.last)
            attempt = job.run(way) if turn is None else struck(job, way, after, rng.uniform(0, seconds), how)
        attempts += 1
        found["half_shards"] += half_shards(job)
        found["repeated"].append(repeated(before, whole, attempt))
        if attempt.killed_in is not None and turn is not None:
            killed[stages[turn % len(stages)][0]] += 1
            found["exit_codes"].append(attempt.code)
            found["last_lines"].append(re.sub(r"^ERROR: .*", "ERROR", attempt.last))
        elif attempt.code:
            found["stuck"].append(attempt.last.replace(str(job.folder), "."))
        if attempt.hung:
            found["stuck"].append(f"did not end: {attempt.last}")
    final = content(job)
    return {
        "way": way,
        "signal": how.name,
        "kills": sum(killed.values()),
        "stages": len(killed),
        "of": len(stages),
        "attempts": attempts,
        "undisturbed_seconds": round(first.seconds, 1),
        "equal": final == expected,
        "different": sorted(name for name in final.keys() & expected.keys() if final[name] != expected[name]),
        "half_shards": found["half_shards"],
        "temporary": sorted(final.keys() - expected.keys()),
        "missing": sorted(expected.keys() - final.keys()),
        "left_in_tmp": sum(1 for path in job.scratch.rglob("*") if path.is_file()),
        "repeated": sum(found["repeated"]),
        "exit_codes": dict(collections.Counter(map(str, found["exit_codes"]))),
        "last_lines": dict(collections.Counter(found["last_lines"])) if how != signal.SIGKILL else {},
        "stuck": found["stuck"],
        "dvc_locks_mended": len(found["locks_mended"]),
    }


def good(result: Mapping[str, Any]) -> bool:
    """Whether nothing was lost, left or done twice."""
    bad = ("different", "half_shards", "temporary", "missing", "repeated", "stuck")
    return bool(result["equal"]) and not any(result[name] for name in bad)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", help="params file of another job; it needs what its source and models need")
    parser.add_argument("--kills", type=int, default=30, help="of each way")
    parser.add_argument("--ways", nargs="+", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--signal", default="SIGKILL", choices=("SIGKILL", "SIGTERM", "SIGINT"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--work", help="folder for the clone; none: a temporary one")
    parser.add_argument("--output", help="JSON file for the results")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and pass that on
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        job = project(pathlib.Path(arguments.work or temporary) / "project", arguments.params)
        for way in arguments.ways:
            result = disturb(job, way, arguments.kills, signal.Signals[arguments.signal], arguments.seed)
            print(json.dumps(result), flush=True)
            results.append(result)
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(not all(map(good, results)))


if __name__ == "__main__":
    main()
