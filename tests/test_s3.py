"""A whole job on an S3 server, where there are no folders to move and no file to rename."""

import json
import os
import subprocess
import sys

import fsspec
import jobs
import pytest
from typer.testing import CliRunner

from gangue.pipeline.command import cli
from gangue.transforms.datasets import occupancy


def mine(path, folder):
    """By the command, whose workers are forks."""
    command = [os.path.join(os.path.dirname(sys.executable), "gangue"), "mine", "--params", path]
    command += ["--data", f"{folder}/data", "--reports", f"{folder}/reports"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_on_s3_has_the_bytes_of_a_local_one(tmp_path, s3, workers):
    values = jobs.write(tmp_path)
    values["retrievers"]["ivf"] = {"kind": "dense", "encoder": "tiny", "depth": 12, "index": "IVF4,Flat", "nprobe": 2}
    values["sample"]["reuse"] = 4
    values["beam"] = {"workers": workers}
    path, there = str(tmp_path / "params.yaml"), f"{s3}/job{workers}"
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    mine(path, tmp_path)
    filesystem = fsspec.filesystem("s3", use_listings_cache=False)
    local = {
        str(file.relative_to(tmp_path)): file.read_bytes()
        for name in ("data", "reports")
        for file in (tmp_path / name).rglob("*")
        if file.is_file() and file.name != occupancy.NAME  # the lock: remote storage has none
    }
    for _ in range(3 - workers):  # a second time nothing is new, and what the first one left is replaced
        mine(path, there)
        found = filesystem.find(there.removeprefix("s3://"))
        remote = {name.removeprefix(f"gangue/job{workers}/"): filesystem.cat_file(name) for name in found}
        assert remote.keys() == local.keys()
        assert [name for name in local if local[name] != remote[name]] == []
    done = CliRunner().invoke(
        cli.app, ["summary", "--params", path, "--data", f"{there}/data", "--reports", f"{there}/reports"]
    )
    assert done.exit_code == 0, done.output
    assert "Note" not in done.output
