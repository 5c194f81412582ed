"""A whole job in this process, and the same one elsewhere: the bytes are compared."""

import collections
import contextlib
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
from gangue.transforms.datasets import occupancy
from gangue.transforms.datasets.storage import Data


@contextlib.contextmanager
def process(folder, module, *arguments):
    """A process with a working folder and a home of its own."""
    folder.mkdir()
    here = pathlib.Path(__file__).parents[1]
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))  # Beam's pool starts a python of it
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(here), "HOME": str(folder)}
    command = [sys.executable, "-m", module, *arguments]
    with open(folder / "log", "w") as log:
        started = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield started
    finally:
        for each in [*psutil.Process(started.pid).children(recursive=True), started]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        started.wait()


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


def mined(folder, name, params="params.yaml"):
    """Mine it into a folder of this name."""
    mine.run(str(folder / params), str(folder / name / "data"), str(folder / name / "reports"))


def assert_same(folder, name):
    """Assert that what was mined under this name has the bytes of the job in one process."""
    one, other = content(folder / "alone"), content(folder / name)
    assert one.keys() == other.keys()
    assert [file for file in one if one[file] != other[file]] == []


def content(folder):
    """Every file but the note of how the last run ended."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != occupancy.NAME)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
