"""Killed, interrupted, without room, over damaged files: short forms of what ``make soak`` does at length."""

import json
import multiprocessing
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import weakref

import numpy as np
import psutil
import pyarrow as pa
import pytest
import yaml
from models import static_encoder

from benchmarks import fuzz, kills
from gangue.pipeline import ingest, params
from gangue.pipeline.command import cli
from gangue.transforms import at_hand
from gangue.transforms.datasets import checksums, disk, lookup, manifest, tables
from gangue.transforms.datasets.names import shard_names
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import encoder, vector_store
from gangue.transforms.relevance import learn_note
from gangue.transforms.retrieval import faiss_index
from gangue.transforms.running import interruption, runner, shards, workers

TABLE = pa.table({"document_id": [f"d{i}" for i in range(40)], "n": list(range(40))})
HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]

# ---- killed


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A clone of the project with a small job that needs no model: it starts in seconds."""
    made = kills.project(tmp_path_factory.mktemp("kills") / "project", None)
    path = made.folder / "params.yaml"
    values = yaml.safe_load(path.read_text())
    values |= {"encoders": {}, "scorers": {}, "filter": {"kind": "naive"}}
    values["retrievers"] = {"bm25": values["retrievers"]["bm25"]}
    values["sample"]["score"] = "bm25"
    values["export"] = {"views": ["triplet"]}
    path.write_text(yaml.safe_dump(values))
    return made


def test_a_job_killed_in_its_stages_ends_with_the_bytes_of_one_that_was_not(job):
    result = kills.disturb(job, "mine", 2, signal.SIGKILL, seed=1)
    assert kills.good(result), result
    assert result["exit_codes"] == {"-9": result["kills"]}
    assert result["kills"] > 0


@pytest.mark.parametrize("torn", ["", "schema: '2.0'\nstages:\n  one:\n    cm", "schema: '2.0'\nstages:\n  one:\n"])
def test_make_goes_on_where_dvc_was_killed_while_it_wrote_its_lock(tmp_path, torn):
    programs = pathlib.Path(sys.executable).parent
    subprocess.run([programs / "dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: echo done > one, outs: [one]}}")
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "dvc.lock").write_text(torn)
    (tmp_path / ".dvc" / "tmp" / "rwlock").touch()
    subprocess.run(["make", "--old-file=install", f"BIN={programs}", "mine"], cwd=tmp_path, capture_output=True)
    assert (tmp_path / "one").read_text() == "done\n"
    assert "one" in yaml.safe_load((tmp_path / "dvc.lock").read_text())["stages"]
    assert (tmp_path / "dvc.lock.torn").read_text() == torn


@pytest.mark.parametrize(("number", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_a_signal_ends_a_job_in_one_clear_line(job, number, code, word):
    how = signal.Signals[number]
    ended = job.run("mine", after="ingest", delay=0.2, strike=lambda group: os.killpg(group, how))
    assert ended.code == code, ended.lines
    assert ended.last == f"gangue: {word}; what was finished is kept. Run the same command to go on"
    assert not any("Traceback" in line for _, line in ended.lines)


LEAKING = """
import os, signal, sys, threading, time
from gangue.pipeline.command import cli

def command():
    threading.Thread(target=time.sleep, args=(600,)).start()
    os.kill(os.getpid(), NUMBER)
    time.sleep(600)

@cli.app.command()
def leak():
    raise cli._reported(command)

sys.argv[1:] = ["leak"]
cli.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_whose_library_leaves_a_thread(number, code):
    script = LEAKING.replace("NUMBER", str(int(number)))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert "what was finished is kept" in done.stderr.splitlines()[-1]


class Finalised:
    """Its finaliser, or a callback on it, gets the signal: Python drops what is raised there."""

    def __init__(self, how, strike):
        self.strike = strike if how == "finaliser" else lambda: None
        self.called = weakref.ref(self, lambda _: strike()) if how == "callback" else None

    def __del__(self):
        self.strike()


@pytest.mark.parametrize("how", ["finaliser", "callback"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_heard_wherever_it_strikes(how, number, code, capfd):
    went_on = []

    def strike():
        os.kill(os.getpid(), number)
        time.sleep(1)

    def command():
        thing = Finalised(how, strike)
        kept = thing.called  # a weak reference that is gone calls nothing
        del thing
        went_on.append(kept)
        time.sleep(30)

    before = signal.getsignal(number), sys.unraisablehook
    started = time.monotonic()
    assert interruption.report_errors(command) == code
    assert went_on, "what was raised in there was not lost: the test tests nothing"
    assert time.monotonic() - started < 10
    assert (signal.getsignal(number), sys.unraisablehook) == before
    assert capfd.readouterr().err.count("\n") == 1


def test_a_stage_that_is_interrupted_while_its_libraries_load_says_so(tmp_path):
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r});"
               "sys.argv = ['gangue', 'pool'];"
               "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"  # a shell may have it ignored
               "import time; from gangue.pipeline.command import cli;"
               "cli._loaded = lambda _: [print('now', flush=True), time.sleep(60)]; cli.main()"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.strip() == "gangue: interrupted; what was finished is kept. Run the same command to go on"
    assert process.returncode == 130


def die(shard):
    if shard == shard_names(4)[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return shards.Counts()


def test_a_worker_process_that_dies_ends_the_stage_with_a_cure(tmp_path, monkeypatch):
    import apache_beam as beam

    from gangue.transforms.running.shards import ForEachShard

    monkeypatch.setenv("PYTHONPATH", f"{HERE}{os.pathsep}{HERE.parent}")
    data, shards = Data(str(tmp_path)), shard_names(4)
    data.write("things", shard_names(1)[0], TABLE)
    data.commit("things")

    def build(root):
        return root | beam.Create(shards) | ForEachShard(die)

    with pytest.raises(OSError, match=r"^test: a worker process must live .* ended with code 137 .*Lower beam.workers"):
        runner.run("test", build, data, params.Beam(workers=2), rows=4, writes=["things"])
    assert os.listdir(tmp_path) == ["things"]
    assert data.rows("things") == [40], "the earlier output is untouched"


SLEEPING = """
import multiprocessing, os, time
from gangue.transforms.running.shards import Counts
def sleep(shard):
    forked = type(multiprocessing.current_process()).__name__ == "ForkProcess"
    os.write(1, b"%d %d\\n" % (os.getpid(), forked))
    time.sleep(60)
    return Counts()
"""
SLEEPS = """
import contextlib, sys
sys.path.insert(0, {root!r})
import apache_beam as beam
import sleeping
from gangue.pipeline import params
from gangue.transforms.running import runner
from gangue.transforms.running.shards import ForEachShard
from gangue.transforms.running import workers
from gangue.transforms.datasets.storage import Data
if __name__ == "__main__":
    def build(root):
        return root | beam.Create(["one", "two"]) | ForEachShard(sleeping.sleep)
    with {around}:
        runner.run("test", build, Data({data!r}), params.Beam(workers=2), rows=0)
"""


@pytest.mark.parametrize(
    ("around", "name"), [("workers.forking()", "ours.py"), ("contextlib.nullcontext()", "gangue.py")]
)
def test_worker_processes_end_with_the_process_that_started_them_and_are_forks_where_that_is_safe(
    tmp_path, around, name
):
    (tmp_path / "sleeping.py").write_text(SLEEPING)
    (tmp_path / name).write_text(SLEEPS.format(root=str(ROOT), data=str(tmp_path / "data"), around=around))
    process = subprocess.Popen([sys.executable, str(tmp_path / name)], stdout=subprocess.PIPE, text=True)
    started, forked = zip(*(map(int, process.stdout.readline().split()) for _ in range(2)), strict=True)
    assert set(forked) == {int("forking" in around and sys.platform == "linux")}
    assert len({process.pid, *started}) == 3
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(worker) for worker in started):
        assert time.monotonic() < deadline, "worker processes stay without the main one"
        time.sleep(0.1)


def test_a_process_in_which_the_command_ended_is_nobodys_alone(monkeypatch):
    """Forks after a library has started threads wait for ever."""
    contexts = []
    get_context = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: contexts.append(method) or get_context(method))
    monkeypatch.setattr(sys, "argv", ["gangue", "--version"])
    with pytest.raises(SystemExit):
        cli.main()
    with workers.started("test", params.Beam(workers=2), None):
        pass
    assert contexts == ["forkserver" if sys.platform == "linux" else "spawn"]


# ---- without room


WRITE = """
import os, resource, sys
sys.path.insert(0, sys.argv[2])
import pyarrow as pa
from gangue.transforms.running import interruption
from gangue.transforms.datasets.storage import Data
data = Data(sys.argv[1])
def write():
    data.write("things", "part-00000-of-00001", pa.table({"n": list(range(5000))}), suffix=".arrow")
"""
END = "sys.exit(interruption.report_errors(write))"


def written(tmp_path, limit):
    """What a process says that writes a shard under some limit."""
    command = [sys.executable, "-c", f"{WRITE}{limit}\n{END}", str(tmp_path / "data"), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_a_full_disk_is_one_line_with_a_cure_and_leaves_nothing(tmp_path):
    path = tmp_path / "data/things/part-00000-of-00001.arrow"
    assert written(tmp_path, "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))") == (
        f"gangue: {path}: must be writable: File too large. Raise the limit on the size of files (ulimit -f), and run"
        " the same command again: what was finished is kept"
    )
    assert os.listdir(tmp_path / "data/things") == []


def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    (tmp_path / "data").mkdir(mode=0o555)
    said = written(tmp_path, "os.geteuid() or os.setuid(65534)")  # root may write anywhere
    assert re.search(r"data/things.*: must be writable: Permission denied\. Allow writing there", said)


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EROFS", "EACCES"])
def test_every_reason_not_to_write_has_a_cure(code):
    import errno

    number = getattr(errno, code)
    with (
        pytest.raises(OSError, match=rf"^here: must be writable: {os.strerror(number)}\. \w+ .*, and run the same"),
        disk.writing("here"),
    ):
        raise OSError(number, os.strerror(number))


def test_what_a_killed_run_left_of_a_text_is_gone_after_the_next(tmp_path):
    (tmp_path / ".README.md.123.tmp").write_text("half")
    (tmp_path / ".OTHER.md.123.tmp").write_text("half")
    Data(str(tmp_path)).write_text("README.md", "whole")
    assert sorted(os.listdir(tmp_path)) == [".OTHER.md.123.tmp", "README.md"]


# ---- damaged


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_no_bit_of_a_shard_can_flip_unseen(tmp_path, suffix):
    data = Data(str(tmp_path))
    data.write("things", "part-00000-of-00001", TABLE.replace_schema_metadata({"k": "v"}), suffix=suffix)
    data.commit("things")
    for name in (data.files("things")[0], manifest.NAME):
        content = bytearray(pathlib.Path(data.path("things", name)).read_bytes())

        def check(name=name, content=content):
            if name == manifest.NAME:
                manifest.Manifest.parse(bytes(content))
            else:
                checksums.check(name, checksums.tag(bytes(content)))

        check()
        for place in range(len(content)):
            content[place] ^= 1 << place % 8
            with pytest.raises(ValueError, match=r"checksum|XXH3|Expecting|delimiter|utf-8|control|must|Extra"):
                check()
            content[place] ^= 1 << place % 8


@pytest.mark.parametrize("root", ["local", "memory"])
@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_a_shard_that_is_damaged_after_it_was_read_is_named(tmp_path, suffix, root):
    data = Data(str(tmp_path) if root == "local" else f"memory://{tmp_path}")
    data.write("things", "part-00000-of-00001", TABLE, suffix=suffix)
    data.commit("things")
    assert data.read("things", "part-00000-of-00001").equals(TABLE)
    filesystem, _ = disk.filesystem_of(data.root)
    path = data.path("things", data.files("things")[0])
    content = bytearray(filesystem.cat_file(path))
    content[len(content) // 3] ^= 16
    filesystem.pipe_file(path, bytes(content))
    disk._verify.cache_clear()  # the clock of the disk is too coarse to tell so quick a change
    with pytest.raises(ValueError, match=r"things/part-00000-of-00001.*must be readable and whole.*dvc repro --force"):
        data.read("things", "part-00000-of-00001")


def test_a_file_is_verified_once_as_long_as_it_is_the_same(tmp_path, monkeypatch):
    data, seen = Data(str(tmp_path)), []
    data.write("things", "part-00000-of-00001", TABLE)
    data.commit("things")
    monkeypatch.setattr(checksums, "check", lambda name, tag: seen.append(name))
    for _ in range(3):
        data.read("things", "part-00000-of-00001", ["n"])
    assert len(seen) == 1
    data.write("things", "part-00000-of-00001", TABLE.slice(1))
    data.commit("things")
    data.read("things", "part-00000-of-00001")
    assert len(seen) == 2


def test_other_programs_can_check_the_pages_of_a_shard(tmp_path):
    import pyarrow.parquet as pq

    data = Data(str(tmp_path))
    data.write("things", "part-00000-of-00001", TABLE)
    path = pathlib.Path(data.path("things", *data.listed("things")))
    assert pq.read_table(path, page_checksum_verification=True).equals(TABLE)
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(0)
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


def write_vectors(data, dataset, fingerprint, rows=30):
    texts = [f"text {i}" for i in range(rows)]
    made = lambda some: [np.ones((len(some), 4), np.float32)]  # noqa: E731
    at_hand.forget()  # as at the start of every run
    counts = vector_store.complete(data, dataset, *shard_names(1), texts, fingerprint, lambda: 4, made)
    data.commit(dataset)
    return counts


@pytest.mark.parametrize("damage", [lambda b: b[:-200], lambda b: b"", lambda b: b[:99] + bytes([b[99] ^ 1]) + b[100:]])
def test_damaged_vectors_are_made_anew_and_others_never_taken(tmp_path, damage):
    data = Data(str(tmp_path))
    assert write_vectors(data, "vectors", "one")["encoded"] == 30
    assert write_vectors(data, "vectors", "one")["encoded"] == 0
    path = pathlib.Path(data.path("vectors", data.files("vectors")[0]))
    path.write_bytes(damage(path.read_bytes()))
    assert write_vectors(data, "vectors", "one")["encoded"] == 30
    assert write_vectors(data, "vectors", "two")["encoded"] == 30


def test_vectors_of_two_models_are_not_searched(tmp_path):
    data = Data(str(tmp_path))
    for number, shard in enumerate(shard_names(2)):
        texts = [f"text {number}"]
        made = lambda some: [np.ones((len(some), 4), np.float32)]  # noqa: E731
        vector_store.complete(data, "vectors/e/documents", shard, texts, f"model {number}", lambda: 4, made)
    data.commit("vectors/e/documents")
    with pytest.raises(ValueError, match=r"vectors/e/documents: all vectors must be of one model, found 2.*dvc repro"):
        lookup.Vectors(data, "vectors/e/documents").all()


def test_a_damaged_faiss_index_is_named(tmp_path):
    data = Data(str(tmp_path))
    write_vectors(data, "vectors/e/documents", "one")
    vectors = lookup.Vectors(data, "vectors/e/documents")
    index = faiss_index.trained("HNSW4", vectors, np.ones((1, 4), np.float32))
    with data.adding("index", "part-00000-of-00001.faiss") as path:
        faiss_index.write_part(index, vectors, range(30), path)
    data.commit("index")
    paths = [lookup.fetched(data, "index", shard_names(1)[0])]
    assert faiss_index.read(paths).ntotal == 30
    at_hand.forget()
    with open(paths[0], "r+b") as file:
        file.seek(200)
        file.write(b"\xaa")
    disk._verify.cache_clear()  # the clock of the disk is too coarse to tell so quick a change
    with pytest.raises(ValueError, match=r"00001-.*.faiss: a shard must be readable and whole: its XXH3 .*--force"):
        lookup.fetched(data, "index", shard_names(1)[0])


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"usable": true, "weight": 1, "findings": [], "features": [], "models": [{"mean": [1]}]}', "{}"],
)
def test_a_learned_model_that_is_damaged_or_of_older_code_says_what_to_do(tmp_path, content):
    data = Data(str(tmp_path))
    data.write_note("relevance", "model.json", content)
    data.commit("relevance")
    with pytest.raises(
        ValueError, match=r"relevance/model.*json: must be .*Rebuild it: gangue mine, or dvc repro --force"
    ):
        learn_note.read(data)


def test_params_that_change_while_a_stage_runs_are_noticed(tmp_path, monkeypatch, capsys):
    values = {
        "source": {"kind": "beir", "path": "x"},
        "retrievers": {"bm25": {"kind": "bm25"}},
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "bm25"},
    }
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(values))

    def run(data, p, flags=()):
        if data.root.endswith("changed"):
            path.write_text(json.dumps(values | {"cluster": {"clusters": 5}}))

    for root, code in (("same", 0), ("changed", 1)):
        monkeypatch.setattr(ingest, "run", run)
        monkeypatch.setattr(sys, "argv", ["gangue", "ingest", "--data", str(tmp_path / root), "--params", str(path)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == code
    said = capsys.readouterr().err.strip()
    assert re.fullmatch(rf"gangue: {path}: must not change while a stage runs, .* Run the same command again", said)


# ---- models


def test_a_length_for_a_static_encoder_is_an_error_with_a_cure(tmp_path):
    model = static_encoder(tmp_path / "model")
    with pytest.raises(ValueError, match=r"max_length must not be set for a static model.*got 7. Remove encoders"):
        encoder.load(model, 7)


# ---- any input


def test_whatever_the_files_of_a_source_hold_reading_them_ends_in_rows_rejected_or_a_cure():
    counts, bad = fuzz.ends(range(300), {"sources": 0.75, "params": 0.25})
    assert bad == []
    assert min(counts[how] for how in ("rows", "rejected", "params", "error")) >= 10, counts


def test_a_name_that_is_no_utf_8_and_a_link_to_nowhere_are_no_tracebacks(tmp_path):
    from gangue.transforms import sources

    with open(os.fsencode(tmp_path) + b"/\xff.jsonl", "w") as file:
        file.write('{"anchor": "why", "positive": "lift"}\n{')
    given = params.Pairs(kind="pairs", path=str(tmp_path), pairs="*.jsonl")
    found = {block.dataset: block.table for block in sources.read(given)}
    assert found["rejected"]["origin"].to_pylist() == ["\\xff.jsonl"]
    assert len(found["documents"]) == 1
    (tmp_path / "a.jsonl").symlink_to("nowhere")
    with pytest.raises(OSError, match=r"a.jsonl: must be a file that can be read: No such file.* Correct its link"):
        list(sources.read(given))
