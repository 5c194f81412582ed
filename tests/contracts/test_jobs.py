"""Jobs in object stores, also behind a network that spoils one answer of twenty, have the bytes of a local job."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import elsewhere
import faulty
import pyarrow as pa
import pytest
import s3fs
import versions

from gangue.pipeline import export, filter, params
from gangue.transforms.datasets import disk, occupancy, remote
from gangue.transforms.datasets.storage import Data

MINE = "import sys; from gangue.pipeline import mine; mine.run(*sys.argv[1:])"


def mined(whole_job, root, **environment):
    """Mine the job into a root by a process of its own."""
    places = str(whole_job / "params.yaml"), f"{root}/data", f"{root}/reports"
    command = [sys.executable, "-c", MINE, *places]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def through(proxy):
    """Have this process go to S3 through a proxy."""
    waits = {"read_timeout": 1, "connect_timeout": 1}
    filesystem = s3fs.S3FileSystem(
        endpoint_url=proxy.address, config_kwargs=waits, use_listings_cache=False, skip_instance_cache=True
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(disk, "filesystem_of", lambda path: _told(filesystem, path))
        yield


def _told(filesystem, path):
    inside = path.removeprefix("s3://").rstrip("/")
    return remote.Store(filesystem, path, inside), inside


def assert_same(whole_job, root):
    """Assert that the job at a root has the bytes of the one in this process alone."""
    filesystem, folder = disk.filesystem_of(root)
    filesystem.invalidate_cache()
    found = {name[len(folder) + 1 :].removeprefix("/"): name for name in filesystem.find(folder)}
    alone = elsewhere.content(whole_job / "alone")
    assert found.keys() == alone.keys()
    assert [name for name in alone if filesystem.cat_file(found[name]) != alone[name]] == []


def test_stages_behind_a_faulty_network_write_the_bytes_of_a_local_job(whole_job, tmp_path, s3):
    shutil.copytree(whole_job / "alone", tmp_path / "job", ignore=shutil.ignore_patterns(occupancy.NAME))
    for dataset in ("verdicts", "triplets", "views"):
        shutil.rmtree(tmp_path / "job" / "data" / dataset)
    filesystem, folder = disk.filesystem_of(f"{s3}/faulty")
    filesystem.put(f"{tmp_path}/job/", f"{folder}/", recursive=True)
    p = params.load(str(whole_job / "params.yaml"))
    with faulty.proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy, through(proxy):
        for stage in (filter, export):
            stage.run(Data(f"{s3}/faulty/data"), p)
    assert sum(proxy.faults.values()) > 5, proxy.faults
    assert_same(whole_job, f"{s3}/faulty")


@pytest.mark.soak
def test_a_job_behind_a_faulty_network_has_the_bytes_of_a_local_one(whole_job, s3):
    waits = {"config_kwargs": {"read_timeout": 1, "connect_timeout": 1}}
    with faulty.proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        mined(whole_job, f"{s3}/all", AWS_ENDPOINT_URL=proxy.address, FSSPEC_S3=json.dumps(waits))
    assert all(proxy.faults.values()), proxy.faults
    assert_same(whole_job, f"{s3}/all")


@pytest.mark.soak
@pytest.mark.parametrize("store", ["gs", "azure"])
def test_a_job_in_another_store_has_the_bytes_of_a_local_one(whole_job, request, store):
    root = f"{request.getfixturevalue(store)}/job"
    for _ in range(2):  # a second time nothing is new
        mined(whole_job, root)
        assert_same(whole_job, root)


def test_no_half_answer_is_taken_for_a_whole_one(s3, tmp_path, monkeypatch):
    data = Data(f"{s3}{tmp_path}")
    versions.write(data, 12, 2)
    large = pa.table({"of": range(200_000)})  # of which only the footer is read to count its rows
    data.write("large", "part-00000-of-00001", large, suffix=".arrow")
    data.publish("things")
    name, shard = data.files("things")[0], data.shards("things")[0]
    readings = {
        "manifest": lambda: data.manifest("things"),
        "shard": lambda: data.read("things", shard),
        "unlisted": lambda: data.read_file("things", name),
        "note": lambda: data.read_note("things", "note.json"),
        "copy": lambda: data.local_copy(f"things/{name}"),
        "footers": lambda: data.describe("large"),
        "file": lambda: remote.content(*disk.filesystem_of(f"{s3}{tmp_path}/things/{name}"), size=600),
    }
    data.read("things", shard)  # so that its name is known
    with faulty.proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy, through(proxy):
        monkeypatch.setattr(proxy, "fault", lambda method: "short" if method == "GET" else None)
        for what, read in readings.items():
            with pytest.raises((ValueError, OSError), match=r"whole|bytes must follow|Internal Server Error"):
                pytest.fail(f"{what}: {read()}")
    data.read_all("things")
