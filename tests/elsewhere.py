"""A whole job in this process, and the same one elsewhere: the bytes are compared."""

import collections
import contextlib
import functools
import importlib
import json
import os
import pathlib
import subprocess
import sys
from unittest import mock

import jobs
import psutil

from gangue.pipeline import STAGES, mine
from gangue.transforms.datasets import disk, occupancy
from gangue.transforms.datasets.storage import Data

_HIDING = 'for folder in $HIDDEN; do mount -t tmpfs none "$folder"; done; exec "$@"'


@functools.cache
def namespaces():
    """The command that gives a process mounts of its own; empty where this machine does not allow it."""
    command = ["unshare", "--mount", "--map-root-user"]
    try:
        allowed = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    except FileNotFoundError:
        return []
    return [] if allowed.returncode else command


@contextlib.contextmanager
def process(folder, module, *arguments, hidden=(), here=pathlib.Path(__file__).parents[1]):
    """A process with a working folder and a home of its own; where this machine lets it, it sees folders empty.

    ``here``: where its Gangue is.
    """
    folder.mkdir()
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))  # Beam's pool starts a python of it
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(here), "HOME": str(folder), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", module, *arguments]
    if hidden and namespaces():
        environment["HIDDEN"] = " ".join(map(str, hidden))
        command = [*namespaces(), "sh", "-c", _HIDING, "sh", *command]
    with open(folder / "log", "w") as log:
        started = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield started
    finally:
        for each in children(started.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        started.kill()
        started.wait()


def children(pid):
    """All processes that a process started; none where it is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def whole_job(folder):
    """Write a job with everything in it, and mine it in this process alone."""
    values = jobs.write(folder, documents=120)
    values["retrievers"]["ivf"] = {"kind": "dense", "encoder": "tiny", "depth": 12, "index": "IVF4,Flat", "nprobe": 2}
    values["filter"] = {"kind": "learned", "max_false_negatives": 0.3, "fallback": {"kind": "naive"}}
    values["pool"]["next_cluster"] = {"encoder": "tiny", "documents": 2}
    values["sample"] |= {"reuse": 4, "next_cluster": 1, "negatives": 4}
    (folder / "params.yaml").write_text(json.dumps(values))
    with reads() as found:
        mined(folder, "alone")
    (folder / "reads.json").write_text(json.dumps({stage: sorted(paths) for stage, paths in found.items()}))
    return folder


@contextlib.contextmanager
def reads():
    """Stage -> what it asks its datasets for, while the block mines in this process."""
    found = collections.defaultdict(set)

    def noting(stage, run):
        def noted(data, *given, **named):
            def asked(function):
                def ask(self, place, *rest):
                    if self.root == data.root:  # not the reports
                        found[stage].add(place)
                    return function(self, place, *rest)

                return ask

            with (
                mock.patch.object(Data, "path", asked(Data.path)),
                mock.patch.object(Data, "local_copy", asked(Data.local_copy)),
            ):
                return run(data, *given, **named)

        return noted

    with contextlib.ExitStack() as stack:
        for stage in STAGES:
            module = importlib.import_module(f"gangue.pipeline.{stage}")
            stack.enter_context(mock.patch.object(module, "run", noting(stage, module.run)))
        yield found


def mined(folder, name, params="params.yaml", root=None):
    """Mine it into a folder of this name, beside it or under another root."""
    mine.run(str(folder / params), f"{root or folder}/{name}/data", f"{root or folder}/{name}/reports")


def assert_same(folder, name, root=None):
    """Assert that what was mined under this name has the bytes of the job in one process."""
    one, other = content(folder / "alone"), content(f"{root or folder}/{name}")
    assert one.keys() == other.keys()
    assert [file for file in one if one[file] != other[file]] == []


def content(folder):
    """Every file but the note of how the last run ended, which remote storage has not."""
    filesystem, inside = disk.filesystem_of(str(folder))
    found = {name.removeprefix(f"{inside}/"): name for name in filesystem.find(inside)}
    kept = {name: path for name, path in found.items() if os.path.basename(name) != occupancy.NAME}
    files = filesystem.cat(list(kept.values()))
    return {name: files[path] for name, path in kept.items()}
