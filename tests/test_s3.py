"""A whole job on an S3 server, where there are no folders to move and no file to rename."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import fsspec
import jobs
import pytest
from elsewhere import assert_same, mined
from typer.testing import CliRunner

from gangue.pipeline import params as settings
from gangue.pipeline.command import cli
from gangue.transforms import at_hand
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import configured


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
        ("--params", {}, "no-such-bucket/job", "its bucket does not exist: correct its name"),
        ("source", {}, "no-such-bucket/job", "job: must be in a bucket that exists, this one does not"),
        ("--data", {}, "no-such-bucket/job", "job: must be in a bucket that exists, this one does not"),
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


def test_a_folder_that_a_console_made_is_nobodys_file(s3):
    filesystem = fsspec.filesystem("s3", use_listings_cache=False)
    filesystem.pipe_file("gangue/marked/documents/", b"")
    Data("s3://gangue/marked").check_ours("documents")
    filesystem.pipe_file("gangue/marked/documents/mine.txt", b"of mine")
    with pytest.raises(ValueError, match=r"s3://gangue/marked/documents/mine\.txt: must be written by Gangue"):
        Data("s3://gangue/marked").check_ours("documents")


@pytest.mark.parametrize("root", ["s3://gangue//job", "s3://gangue/a//job/", "memory://a//job"])
def test_a_path_with_two_slashes_in_a_row_is_refused(root):
    with pytest.raises(ValueError, match=rf"^{root}: must have one slash between its parts\. Write \w+://\w+(/\w+)+$"):
        Data(root)


@pytest.mark.parametrize("root", ["s3://", "s3:///job", "gs:///job/x", "az://"])
def test_a_path_without_a_bucket_is_refused(root):
    with pytest.raises(ValueError, match=rf"^{root}: must name a bucket\. Write \w+://BUCKET(/job(/x)?)?$"):
        Data(root)


def test_a_slash_at_the_end_of_a_path_does_not_count(s3):
    one, other = Data("s3://gangue/slashes"), Data("s3://gangue/slashes//")
    assert one == other
    other.write_text("note.txt", "here")
    with open(one.local_copy("note.txt")) as file:
        assert file.read() == "here"


def test_temporary_files_that_somebody_removed_are_not_taken_for_the_stores(s3, tmp_path, monkeypatch):
    data = Data("s3://gangue/cleaned")
    data.write_text("note.txt", "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    at_hand.forget()
    shutil.rmtree(os.path.dirname(os.path.dirname(data.local_copy("note.txt"))))
    with pytest.raises(OSError, match=r"the folder of temporary files must stay, it is gone\. Run it again"):
        data.local_copy("note.txt")
    at_hand.forget()


def test_a_model_in_a_bucket_that_is_none_is_named_as_the_params_do(s3):
    fsspec.filesystem("s3").pipe_file("gangue/models/none/notes.txt", b"no model")
    encoder = settings.Encoder(model="s3://gangue/models/none")
    with pytest.raises(ValueError, match=r"model s3://gangue/models/none: must be"):
        configured.load_encoder(configured.find(encoder), encoder)
