"""A whole job on an S3 server, where there are no folders to move and no file to rename."""

import json
import os
import subprocess
import sys

import jobs
import pytest
from elsewhere import assert_same, mined
from typer.testing import CliRunner

from gangue.pipeline.command import cli


def test_a_job_on_s3_has_the_bytes_of_a_local_one(whole_job, s3):
    """By the command, whose workers are forks; a second time nothing is new, and what the first left is replaced."""
    values = json.loads((whole_job / "params.yaml").read_text())
    params = whole_job / "workers.yaml"
    params.write_text(json.dumps({**values, "beam": {"workers": 2}}))
    at = ["--params", str(params), "--data", f"{s3}/commands/data", "--reports", f"{s3}/commands/reports"]
    command = [os.path.join(os.path.dirname(sys.executable), "gangue"), "mine", *at]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_same(whole_job, "commands", s3)
    mined(whole_job, "commands", root=s3)
    assert_same(whole_job, "commands", s3)
    shown = CliRunner().invoke(cli.app, ["summary", *at])
    assert shown.exit_code == 0, shown.output
    assert "Note" not in shown.output


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
