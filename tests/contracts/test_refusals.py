"""A store that refuses, or goes away in the middle of the work, is one line: which path, what it says, what to do."""

import functools
import gzip
import json
import os
import re

import apache_beam as beam
import faulty
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import versions
from test_jobs import through
from typer.testing import CliRunner

from gangue.pipeline import params
from gangue.pipeline.command import cli
from gangue.transforms import sources
from gangue.transforms.datasets import remote
from gangue.transforms.datasets.names import shard_names, staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts, ForEachShard

AGAIN = r"[Rr]un the same command again: what was finished is kept"
SAID = {
    "denied": r"must be in a store .* it says: Access Denied\. Check the credentials, .* and " + AGAIN,
    "expired": r"must be in a store .* it says: The provided token has expired\. Check the credentials, .* and "
    + AGAIN,
    "over quota": r"must be in a store .* it says: .*The quota is exceeded\. Check .*quota, and " + AGAIN,
    "refused": r"must be in a store .* it says: Please reduce your request rate\. " + AGAIN,
    "reset": r"must be in a store .* it says: (Could not connect|Connection was closed).* " + AGAIN,
    "no bucket": r"must be in a bucket that exists, this one does not\. Correct its name, or make it",
}


@pytest.fixture
def proxy(s3, monkeypatch):
    """A proxy in front of S3, which spoils nothing before ``fault`` is set; the client tries once where it can wait."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with faulty.proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setattr(proxy, "fault", lambda method: None)
        yield proxy


@pytest.mark.parametrize("answer", SAID)
def test_a_command_names_the_path_and_the_cure(s3, tmp_path, proxy, monkeypatch, answer):
    data = Data(f"{s3}{tmp_path}")
    data.write(staged("triplets"), shard_names(1)[0], pa.table({"query_id": ["q"]}))
    data.publish("triplets")
    monkeypatch.setattr(proxy, "fault", lambda method: answer)
    with through(proxy):
        shown = CliRunner().invoke(cli.app, ["show", "--data", data.root])
    assert shown.exit_code == 1
    (line,) = shown.stderr.splitlines()
    assert re.fullmatch(f"gangue: {data.root}/triplets/.manifest.json: {SAID[answer]}", line), line


def read(shard, data):
    return Counts({"in": len(data.read("things", shard))})


@pytest.mark.parametrize("answer", ["denied", "refused", "reset"])
def test_in_the_middle_of_a_stage_it_is_no_damaged_shard(s3, tmp_path, proxy, monkeypatch, answer):
    data = Data(f"{s3}{tmp_path}")
    versions.write(data, 1, 2)
    data.publish("things")
    shards = data.shards("things")

    def build(root):
        return root | beam.Create(shards) | ForEachShard(functools.partial(read, data=data))

    monkeypatch.setattr(proxy, "fault", lambda method: answer)
    said = rf"^test: {data.root}/things/part-.*: {SAID[answer]} \(in part-0000\d-of-00002\)$"
    with through(proxy), pytest.raises(ValueError, match=said):
        runner.run("test", build, data, params.Beam(), rows=2)


@pytest.mark.parametrize("answer", ["denied", "over quota"])
def test_what_cannot_be_written_or_published_names_its_path(s3, tmp_path, proxy, monkeypatch, answer):
    data = Data(f"{s3}{tmp_path}")
    versions.write(data, 1, 2)
    calls = {
        "shard": lambda: data.write(staged("more"), shard_names(1)[0], pa.table({"n": [1]})),
        "text": lambda: data.write_text("report.html", "<p>"),
        "dataset": lambda: data.publish("things"),
    }
    monkeypatch.setattr(proxy, "fault", lambda method: answer if method == "PUT" else None)
    with through(proxy):
        for call in calls.values():
            with pytest.raises(remote.StoreError, match=rf"^{data.root}/.*: {SAID[answer]}$"):
                call()


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl.gz", "labels.parquet"])
@pytest.mark.parametrize("answer", ["denied", "refused", "reset"])
def test_a_file_of_labels_is_named_and_not_the_source(s3, tmp_path, proxy, monkeypatch, name, answer):
    row = {"query_id": "q", "document_id": "d", "label": "1"}
    content = {
        "labels.csv": b"query_id,document_id,label\nq,d,1\n",
        "labels.jsonl.gz": gzip.compress(json.dumps(row).encode()),
        "labels.parquet": pq_bytes(pa.table({key: [value] for key, value in row.items()})),
    }
    place = f"{s3}{tmp_path}/{name}"
    fsspec.filesystem("s3").pipe_file(place, content[name])
    source = sources.Tables(kind="tables", path=str(tmp_path), documents="d", queries="q", positives="p")
    labels = sources.Labels(path=place)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": proxy.address})
    monkeypatch.setattr(proxy, "fault", lambda method: None)
    blocks = list(sources.read(source, labels, []))
    assert len(blocks) == 2, "a judged pair and a positive"
    monkeypatch.setattr(proxy, "fault", lambda method: answer)
    with pytest.raises(remote.StoreError, match=rf"^{place}: {SAID[answer]}$"):
        list(sources.read(source, labels, []))


def pq_bytes(table):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()
