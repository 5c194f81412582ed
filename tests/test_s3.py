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


NO_KEY = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
NO_ANSWER = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("what", "changed", "where", "said"),
    [
        ("--data", NO_KEY, "gangue/none", "credentials"),
        ("--data", NO_ANSWER, "gangue/none", "connect"),
        ("--data", {}, "no-such-bucket/job", "bucket"),
        ("--params", NO_KEY, "gangue/none", "credentials"),
        ("--reports", {}, "no-such-bucket/job", "bucket"),
        ("source", NO_ANSWER, "gangue/none", "connect"),
    ],
)
def test_a_store_that_lets_nobody_in_is_a_line_before_anything_runs(tmp_path, s3, what, changed, where, said):
    values = jobs.write(tmp_path)
    values["source"]["path"] = f"s3://{where}" if what == "source" else values["source"]["path"]
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    places = {"--params": f"{tmp_path}/params.yaml", "--data": f"{tmp_path}/data", "--reports": f"{tmp_path}/reports"}
    if what != "source":
        places[what] = f"s3://{where}/params.yaml" if what == "--params" else f"s3://{where}"
    own = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1", **changed}
    environment = {name: value for name, value in {**os.environ, **own}.items() if value is not None}
    gangue = os.path.join(os.path.dirname(sys.executable), "gangue")
    command = [gangue, "mine", *(word for place in places.items() for word in place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (last,) = [line for line in done.stderr.splitlines() if line.startswith("gangue: ")]
    assert f"s3://{where}" in last
    assert said in last.lower()
    assert not (tmp_path / "data" / "documents").exists()
