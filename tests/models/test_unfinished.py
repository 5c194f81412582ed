"""A killed run goes on from what it had done of a shard, seconds ago, and ends with the bytes of one that was not."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jobs
import numpy as np
import pytest
import whole_path

from gangue.pipeline import embed, ingest, mine, params, score, teach
from gangue.transforms.datasets import disk, manifest, unfinished
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import cross_encoder, encoder
from gangue.transforms.running import progress

ENCODE, SCORE = encoder.Encoder.encode, cross_encoder.CrossEncoder.score


class Killed(Exception):
    """As a kill, but for the process."""


@pytest.fixture
def seconds(monkeypatch):
    """Everything done is written at once, and a slice is small."""
    monkeypatch.setattr(unfinished, "SECONDS", 0.0)
    monkeypatch.setattr(unfinished, "_CHARACTERS", 1)
    monkeypatch.setattr(unfinished, "_BATCHES", 1)


def dying(method, after, done):
    """A method of a model that works so many times, counts what it did, and then kills."""

    def work(self, *arguments, **settings):
        if len(done) == after:
            raise Killed
        done.append(len(arguments[0]))
        return method(self, *arguments, **settings)

    return work


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    jobs.write(folder, documents=60)
    values = json.loads((folder / "params.yaml").read_text())
    values["encoders"]["start"]["tokens_per_batch"] = values["scorers"]["taught"]["tokens_per_batch"] = 64
    values["ingest"] = {}
    (folder / "params.yaml").write_text(json.dumps(values))
    return folder


def test_embed_goes_on_in_the_middle_of_a_shard(job, tmp_path, monkeypatch, seconds):
    p = params.load(str(job / "params.yaml"))
    whole, killed = (Data(str(tmp_path / name)) for name in ("whole", "killed"))
    for data in (whole, killed):
        ingest.run(data, p)
    texts = []
    monkeypatch.setattr(encoder.Encoder, "encode", dying(ENCODE, 10**9, texts))
    embed.run(whole, p, "start")
    assert len(texts) > 6, "several slices"
    first, then = [], []
    with monkeypatch.context() as patch:
        patch.setattr(encoder.Encoder, "encode", dying(ENCODE, 4, first))
        with pytest.raises(RuntimeError, match="Killed"):
            embed.run(killed, p, "start")
    assert killed.files("vectors/start/documents") == [], "what is not whole is no shard"
    monkeypatch.setattr(encoder.Encoder, "encode", dying(ENCODE, 10**9, then))
    counts = embed.run(killed, p, "start")
    assert counts["reused"] == sum(first)
    assert sum(first) + sum(then) == sum(texts)
    assert files(tmp_path / "killed" / "vectors") == files(tmp_path / "whole" / "vectors")


def test_score_goes_on_in_the_middle_of_a_shard(job, tmp_path, monkeypatch, seconds):
    path = str(job / "params.yaml")
    mine.run(path, str(tmp_path / "whole"), str(tmp_path / "reports"))
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "scores" / "taught")
    data, p, first, then = Data(str(tmp_path / "killed")), params.load(path), [], []
    with monkeypatch.context() as patch:
        patch.setattr(cross_encoder.CrossEncoder, "score", dying(SCORE, 3, first))
        with pytest.raises(RuntimeError, match="Killed"):
            score.run(data, p, "taught")
    assert data.files("scores/taught") == []
    monkeypatch.setattr(cross_encoder.CrossEncoder, "score", dying(SCORE, 10**9, then))
    assert score.run(data, p, "taught")["reused"] == sum(first) > 0
    assert then
    assert files(tmp_path / "killed" / "scores") == files(tmp_path / "whole" / "scores")


@pytest.fixture(scope="module")
def taught(job, tmp_path_factory):
    """Datasets to teach on, params with two epochs, the models of a run that was not killed, and its steps."""
    folder = tmp_path_factory.mktemp("taught") / "data"
    values = json.loads((job / "params.yaml").read_text())
    data, settings = Data(str(folder)), values["scorers"]["taught"]["teach"] | {"epochs": 2, "batch_size": 8}
    untaught = {"scorers": {}, "filter": {"kind": "naive"}, "retrievers": {"bm25": values["retrievers"]["bm25"]}}
    whole_path.run(data, params.parse(values | untaught | {"sample": values["sample"] | {"score": "bm25"}}))
    p = params.load(str(job / "params.yaml"))
    teaching = params.Teach(**settings)
    p = p.model_copy(update={"scorers": {"taught": p.scorers["taught"].model_copy(update={"teach": teaching})}})
    steps = taught_in(data, p)
    models = files(folder / "models")
    shutil.rmtree(folder / "models")
    return folder, p, models, steps


def taught_in(data, p, killed_after=None):
    """The steps that teach takes, or took until it was killed."""
    done = []

    def step(rows):
        if rows > 8:  # not a batch: a fold at its end
            return
        if len(done) == killed_after:
            raise Killed
        done.append(rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "advance", step)
        with pytest.raises(RuntimeError, match="Killed") if killed_after else contextlib.nullcontext():
            teach.run(data, p, "taught")
    return len(done)


@pytest.mark.parametrize("share", [0.35, 0.9])  # in the second epoch of each fold
def test_teach_goes_on_in_the_middle_of_a_fold(share, taught, tmp_path, seconds):
    folder, p, models, steps = taught
    shutil.copytree(folder, tmp_path / "data")
    data, killed_after = Data(str(tmp_path / "data")), int(share * steps)
    taught_in(data, p, killed_after)
    left = tmp_path / "data" / "models" / "taught"
    assert {path.name for path in left.iterdir()} <= {".fold-0.unfinished", ".fold-1.unfinished"}
    assert all(len(os.listdir(path)) == 1 for path in left.iterdir()), "one checkpoint at a time"
    assert taught_in(data, p) == steps - killed_after
    assert files(tmp_path / "data" / "models") == models


@pytest.mark.parametrize("what", ["damaged", "of another training", "not whole"])
def test_a_checkpoint_that_is_not_to_be_gone_on_from_is_made_anew(what, taught, tmp_path, seconds):
    folder, p, models, steps = taught
    shutil.copytree(folder, tmp_path / "data")
    data, begun = Data(str(tmp_path / "data")), p
    if what == "of another training":
        scorer = p.scorers["taught"]
        faster = scorer.teach.model_copy(update={"learning_rate": 1e-5})
        begun = p.model_copy(update={"scorers": {"taught": scorer.model_copy(update={"teach": faster})}})
    taught_in(data, begun, 3)
    (left,) = (tmp_path / "data" / "models" / "taught").glob(".fold-*.unfinished/*")
    if what == "damaged":
        content = bytearray((left / "optimizer.pt").read_bytes())
        content[len(content) // 2] ^= 1
        (left / "optimizer.pt").write_bytes(content)
    if what == "not whole":
        (left / ".whole").unlink()
    assert taught_in(data, p) == steps
    assert files(tmp_path / "data" / "models") == models


def test_where_a_checkpoint_finds_no_room_the_model_still_may(taught, tmp_path, monkeypatch, seconds):
    folder, p, models, _ = taught
    shutil.copytree(folder, tmp_path / "data")
    whole, full = disk.whole, []

    def without_room(path):
        if path.endswith(".whole"):
            full.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(path)

    monkeypatch.setattr(disk, "whole", without_room)
    taught_in(Data(str(tmp_path / "data")), p)
    assert full
    assert files(tmp_path / "data" / "models") == models


def test_another_model_does_not_go_on_from_there(job, tmp_path, monkeypatch, seconds):
    p, data, first = params.load(str(job / "params.yaml")), Data(str(tmp_path)), []
    ingest.run(data, p)
    with monkeypatch.context() as patch:
        patch.setattr(encoder.Encoder, "encode", dying(ENCODE, 4, first))
        with pytest.raises(RuntimeError, match="Killed"):
            embed.run(data, p, "start")
    other = p.encoders["start"].model_copy(update={"max_length": 16})
    assert embed.run(data, p.model_copy(update={"encoders": {"start": other}}), "start")["reused"] == 0


@pytest.mark.soak
def test_a_killed_process_leaves_what_it_had_done(job, tmp_path):
    code = (
        "import sys, time\nfrom gangue.pipeline import embed, ingest, params\n"
        "from gangue.transforms.datasets import unfinished\nfrom gangue.transforms.models import encoder\n"
        "from gangue.transforms.datasets.storage import Data\nunfinished.SECONDS = 0\n"
        "unfinished._CHARACTERS = unfinished._BATCHES = 1\n"
        "p, data, whole = params.load(sys.argv[1]), Data(sys.argv[2]), encoder.Encoder.encode\n"
        "ingest.run(data, p)\n"
        "def slow(*a, **k):\n    time.sleep(0.2)\n    return whole(*a, **k)\n"
        "encoder.Encoder.encode = slow\nembed.run(data, p, 'start')\n"
    )
    left = pathlib.Path(tmp_path, "data", "vectors", "start", "documents")
    command = [sys.executable, "-c", code, str(job / "params.yaml"), str(tmp_path / "data")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        for _ in range(600):
            if left.is_dir() and any(name.endswith(".unfinished.arrow") for name in os.listdir(left)):
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    data = Data(str(tmp_path / "data"))
    counts = embed.run(data, params.load(str(job / "params.yaml")), "start")
    assert counts["reused"] > 0
    assert [name for name in os.listdir(left) if name.startswith(".")] == [manifest.NAME]


def test_slices_follow_from_the_texts_alone():
    texts = ["x" * length for length in np.random.default_rng(3).integers(0, 900, 500)]
    parts = list(unfinished.slices(texts, 32))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(500))
    for number, part in enumerate(parts):
        rest = [slice(s.start + part.start, s.stop + part.start) for s in unfinished.slices(texts[part.start :], 32)]
        assert rest == parts[number:]
