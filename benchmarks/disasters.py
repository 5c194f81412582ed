"""What a job does when the disk is full, may not be written or is damaged, and when a worker process is killed.

Usage: python -m benchmarks.disasters [--damages 12] [--seed 7] [--work DIR] [--output FILE]

The small job of the tests under ``gangue mine``. Each disaster must end in one line that says where, rule, value and
cure, leave what stood there before as it was, and the next run must end with the bytes of an undisturbed one:

  limited     no file may be larger than so many KiB (``ulimit -f``), over the outputs of a finished run
  full        the outputs are on a tmpfs that is too small, then larger (needs the right to mount)
  read_only   the outputs of a finished run are on a tmpfs that is mounted read-only (the same)
  worker      ``beam.workers: 2``, and one of the two is killed as the system does when memory is short
  damaged     a file of a finished run has a bit flipped, is cut or emptied: the next run must not use it

Prints one JSON line per disaster.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import psutil
import yaml

from benchmarks import kills

_CURE = re.compile(r"^gangue: .*: .*must .*\. [A-Z][^.]+")


def outcome(job: kills.Project, attempt: kills.Attempt, expected: dict[str, bytes]) -> dict[str, Any]:
    """How an attempt under a disaster ended."""
    return {
        "code": attempt.code,
        "in_form": bool(_CURE.match(attempt.last)),
        "says": attempt.last.replace(str(job.folder), ".")[:400],
        "traceback": any("Traceback" in line for _, line in attempt.lines),
        "untouched": kills.content(job).items() <= expected.items(),
    }


def limited(job: kills.Project, expected: dict[str, bytes], kib: int) -> dict[str, Any]:
    """Run over a finished job with a limit on the size of files."""
    attempt = job.run("mine", prefix=["bash", "-c", 'ulimit -f "$0"; exec "$@"', str(kib)])
    found = {"disaster": "limited", "kib": kib, **outcome(job, attempt, expected)}
    return found | {"all_there": kills.content(job) == expected} | mended(job, expected)


@contextlib.contextmanager
def small_disk(path: pathlib.Path, kib: int) -> Iterator[None]:
    """A tmpfs of some size at the path.

    Raises:
      PermissionError: this process may not mount.
    """
    path.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(path)], capture_output=True)
    if mounted.returncode:
        raise PermissionError(mounted.stderr.decode())
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def full(job: kills.Project, expected: dict[str, bytes], share: float) -> dict[str, Any]:
    """Run on a disk that holds a share of the outputs, then on a large one."""
    job.clean()
    whole = sum(len(value) for value in expected.values()) // 1024
    with small_disk(job.folder / "data", int(whole * share)):
        found = {"disaster": "full", "share": share, **outcome(job, job.run("mine"), expected)}
        subprocess.run(["mount", "-o", f"remount,size={50 * whole}k", str(job.folder / "data")], check=True)
        return found | mended(job, expected)


def read_only(job: kills.Project, expected: dict[str, bytes]) -> dict[str, Any]:
    """Run where a finished job may not be written, then where it may."""
    job.clean()
    with small_disk(job.folder / "data", 1 << 18):
        mended(job, expected)
        subprocess.run(["mount", "-o", "remount,ro", str(job.folder / "data")], check=True)
        found = {"disaster": "read_only", **outcome(job, job.run("mine"), expected)}
        subprocess.run(["mount", "-o", "remount,rw", str(job.folder / "data")], check=True)
        return found | mended(job, expected)


def worker(job: kills.Project, expected: dict[str, bytes], after: str, delay: float) -> dict[str, Any]:
    """Kill one of two worker processes some seconds after a stage."""
    path = job.folder / "params.yaml"
    before = path.read_text()
    path.write_text(yaml.safe_dump(yaml.safe_load(before) | {"beam": {"workers": 2}}))
    struck: list[int] = []

    def strike(group: int) -> None:
        found = psutil.Process(group).children(recursive=True)
        if found:
            struck.append(found[0].pid)
            found[0].kill()

    try:
        attempt = job.run("mine", after=after, delay=delay, strike=strike)
    finally:
        path.write_text(before)
    found = {"disaster": "worker", "after": after, "struck": len(struck), **outcome(job, attempt, expected)}
    return found | mended(job, expected)


def damaged(job: kills.Project, expected: dict[str, bytes], rng: random.Random) -> dict[str, Any]:
    """Damage one file of a finished run, as a disk would: its time and name stay."""
    name = rng.choice(sorted(name for name in expected if name.startswith("data/") and expected[name]))
    path, content = job.folder / name, bytearray(expected[name])
    how = rng.choice(("flipped", "cut", "emptied"))
    if how == "flipped":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    else:
        del content[0 if how == "emptied" else rng.randrange(len(content)) :]
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return {"disaster": "damaged", "file": name, "how": how} | mended(job, expected)


def mended(job: kills.Project, expected: dict[str, bytes]) -> dict[str, Any]:
    """Whether the next run ends with the bytes of an undisturbed one, and nothing else."""
    attempt = job.run("mine")
    return {"next_code": attempt.code, "equal": kills.content(job) == expected}


def good(found: dict[str, Any]) -> bool:
    """Whether a disaster ended as it must."""
    ended = "code" not in found or (
        found["code"] == 1 and found["in_form"] and not found["traceback"] and found["untouched"]
    )
    return bool(ended and found["next_code"] == 0 and found["equal"] and found.get("all_there", True))


def main() -> None:
    """Command line."""
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # where a limit cuts a module's bytecode, Python 3.11 keeps the half
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damages", type=int, default=12)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--work", help="folder for the clone; none: a temporary one")
    parser.add_argument("--output", help="JSON file for the results")
    arguments = parser.parse_args()
    rng, results = random.Random(arguments.seed), []

    def note(found: dict[str, Any]) -> None:
        results.append(found | {"good": good(found)})
        print(json.dumps(results[-1]), flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        job = kills.project(pathlib.Path(arguments.work or temporary) / "project", None)
        first = job.run("mine")
        if first.code:
            raise RuntimeError(f"the undisturbed job must end well: {first.last}")
        expected = kills.content(job)
        stages = [stage for stage, _, _ in kills.timed("mine", first)]
        # Models are larger than a shard, and the report than models.
        sizes = sorted({len(value) // 1024 for value in expected.values()})
        for kib in sorted({sizes[0] + 1, sizes[len(sizes) // 2], sizes[-1] // 2, sizes[-1]}):
            note(limited(job, expected, kib))
        for _ in range(arguments.damages):
            note(damaged(job, expected, rng))
        for stage in rng.sample(stages[:6], 2):
            note(worker(job, expected, stage, 7.0))
        try:
            for share in (0.1, 0.5, 0.9):
                note(full(job, expected, share))
            note(read_only(job, expected))
        except PermissionError as error:
            print(f"full and read_only: left out, this process may not mount: {error}", file=sys.stderr)
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(not all(result["good"] for result in results))


if __name__ == "__main__":
    main()
