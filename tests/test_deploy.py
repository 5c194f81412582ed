"""The files in deploy/ say what works: their commands are run here as processes, as far as one machine goes."""

import contextlib
import json
import os
import pathlib
import shlex
import socket
import subprocess
import sys

import jobs
import pytest
import yaml
from elsewhere import process

from gangue.transforms.datasets.storage import Data
from gangue.transforms.running import cluster

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def test_each_file_is_short_and_its_image_is_built_from_what_is_there():
    for path in DEPLOY.iterdir():
        assert len(path.read_text().splitlines()) <= 20, path
    dockerfile = (ROOT / "containers" / "worker.Dockerfile").read_text()
    for line in dockerfile.splitlines():
        if line.startswith("COPY "):
            assert all((ROOT / name).exists() for name in line.split()[1:-1]), line
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert {service["build"]["dockerfile"] for service in services.values()} == {"containers/worker.Dockerfile"}


def commands(name):
    """Scheduler's and worker's command of a file."""
    values = yaml.safe_load((DEPLOY / name).read_text())
    if name == "compose.yaml":
        return [shlex.split(values["services"][each]["command"]) for each in ("scheduler", "worker")]
    parts = (values["spec"]["scheduler"]["spec"], values["spec"]["worker"]["spec"])
    return [part["containers"][0]["args"] for part in parts]


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_its_commands_make_a_cluster(name, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with contextlib.ExitStack() as stack:
        for number, (dask, kind, *arguments) in enumerate(commands(name)):
            assert dask == "dask"
            here = [word.replace("8786", port).replace("gangue-scheduler", "scheduler") for word in arguments]
            here = [word.replace("//scheduler", "//127.0.0.1") for word in here]
            stack.enter_context(
                process(tmp_path / str(number), f"distributed.cli.dask_{kind}", *here, "--no-dashboard")
            )
        client = stack.enter_context(cluster.connected(f"tcp://127.0.0.1:{port}"))
        assert cluster.faults(client, Data(str(tmp_path / "data")), {}) == []
        assert [worker["nthreads"] for worker in client.scheduler_info()["workers"].values()] == [1]


def test_the_batch_script_mines_without_slurm_too(tmp_path):
    values = jobs.write(tmp_path)
    values |= {"encoders": {}, "scorers": {}, "filter": {"kind": "naive"}, "retrievers": {"bm25": {"kind": "bm25"}}}
    values |= {"pool": {}, "sample": {"kind": "top", "score": "bm25", "negatives": 2}}
    values["beam"] = {"cluster": f"{tmp_path}/job/scheduler.json"}
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    environment.pop("SLURM_JOB_ID", None)
    command = ["bash", str(DEPLOY / "slurm.sh"), f"{tmp_path}/params.yaml", f"{tmp_path}/job"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert sum(Data(f"{tmp_path}/job/data").rows("triplets")) > 0
