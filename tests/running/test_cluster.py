"""A Dask cluster and an S3 server: the bytes of one process, whatever dies, and one line for what cannot work."""

import contextlib
import functools
import importlib.metadata
import json
import logging
import os
import pathlib
import re
import shutil
import signal
import threading
import time
import urllib.request

import distributed
import pytest
from elsewhere import assert_same, mined, namespaces, process
from models import static_encoder

from gangue.pipeline import params
from gangue.pipeline.command import models
from gangue.transforms.datasets.storage import Data
from gangue.transforms.running import cluster, shards, workers

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory, s3, whole_job):
    """A scheduler's file; workers of one, one and three threads, who share the store and the models with this process.

    Source and datasets of the job are empty folders to them where the machine allows it.
    """
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    with contextlib.ExitStack() as stack:
        at = ("--scheduler-file", str(file))
        stack.enter_context(
            process(folder / "scheduler", "distributed.cli.dask_scheduler", *at, "--port", "0", "--no-dashboard")
        )
        for number, threads in enumerate((1, 1, 3)):
            own = ("--nthreads", str(threads), "--no-dashboard", "--resources", f"quick={number // 2}")
            worker = folder / f"worker-{number}"
            hidden = [whole_job / name for name in ("source", "alone")]
            stack.enter_context(process(worker, "distributed.cli.dask_worker", *at, *own, hidden=hidden))
        while not file.exists():
            time.sleep(0.1)
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(3, timeout=60)
            if namespaces():
                assert not any(map(any, client.run(os.listdir, str(whole_job / "source")).values()))
        yield str(file)


def on_cluster(whole_job, address, **beam):
    values = json.loads((whole_job / "params.yaml").read_text())
    values["beam"] = {"cluster": address, **beam}
    (whole_job / "cluster.yaml").write_text(json.dumps(values))
    return "cluster.yaml"


@contextlib.contextmanager
def struck(scheduler, stage):
    """Kill the process of a worker that is at work for a stage; yields what was killed."""
    found, over = [], threading.Event()

    def strike():
        with distributed.Client(scheduler_file=scheduler, set_as_default=False) as client:
            while not found and not over.wait(0.02):
                at_work = client.processing().items()
                busy = [address for address, keys in at_work if any(stage in key for key in keys)]
                if busy:
                    found.extend(client.run(os.getpid, workers=busy[:1]).values())
                    os.kill(found[0], signal.SIGKILL)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def test_a_cluster_on_s3_writes_the_bytes_of_one_process_though_a_worker_is_killed(
    whole_job, scheduler, s3, monkeypatch
):
    asked, submit = set(), cluster.Workers.submit

    def noted(workers, work, element, resources):
        asked.add((workers.stage.partition("@")[0], tuple(resources)))
        return submit(workers, work, element, resources)

    monkeypatch.setattr(cluster.Workers, "submit", noted)
    params = on_cluster(whole_job, scheduler, accelerator="type:quick;count:1")
    with struck(scheduler, "score@") as killed:
        mined(whole_job, "cluster", params, s3)
    assert killed
    assert_same(whole_job, "cluster", s3)
    assert {stage for stage, kinds in asked if kinds} == {"models", "embed", "teach", "score"}
    anywhere = {stage for stage, kinds in asked if not kinds}
    assert anywhere >= {"ingest", "cluster", "retrieve", "pool", "learn", "export", "audit"}


def test_what_needs_an_accelerator_is_done_where_it_is_and_all_else_anywhere(scheduler, tmp_path):
    with cluster.connected(scheduler) as client:
        workers = cluster.Workers(client, "x", Data(str(tmp_path)))
        given = [[workers.submit(os.path.abspath, ".", what) for _ in range(9)] for what in ({"quick": 1}, {})]
        there, anywhere = ({os.path.basename(future.result()) for future in futures} for futures in given)
    assert there == {"worker-2"}
    assert len(anywhere) > 1


def test_what_is_waited_for_is_said_where_no_worker_can_do_it(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(cluster, "_SECONDS", 0.2)
    quiet = {"processes": False, "dashboard_address": None, "memory_limit": 0}
    with distributed.LocalCluster(n_workers=1, **quiet) as local, distributed.Client(local) as client:
        workers, found = cluster.Workers(client, "score", Data(str(tmp_path))), []
        future = workers.submit(os.path.abspath, ".", {"quick": 1})
        waiting = threading.Thread(target=lambda: found.append(future.result()))
        waiting.start()

        def until(pattern):
            said = ""
            while not re.search(pattern, said):
                time.sleep(0.1)
                said += capfd.readouterr().err

        def becomes(status):
            local.loop.add_callback(setattr, worker, "status", status)

        until(r"score: no worker is left with quick=1; waiting for one: dask worker \S+ --resources 'quick=1'")
        (worker,) = local.workers.values()
        becomes(distributed.Status.paused)
        client.sync(worker.set_resources, quick=1)
        until(r"score: all workers are paused, since their memory is nearly full")
        becomes(distributed.Status.running)
        waiting.join()
    assert found == [os.path.abspath(".")]


def test_an_error_of_a_workers_machine_names_the_worker(scheduler, tmp_path):
    with cluster.connected(scheduler) as client:
        work = functools.partial(shards._explained, "run", open)
        future = cluster.Workers(client, "x", Data(str(tmp_path))).submit(work, "none", {})
        with pytest.raises(ValueError, match=r"none: .* on worker tcp://\S+ \(in none\)$"):
            future.result()


def test_a_model_by_a_relative_path_is_not_asked_of_the_hub_by_workers(tmp_path, monkeypatch):
    encoder = static_encoder(tmp_path / "enc")
    monkeypatch.chdir(tmp_path)
    with few_workers(tmp_path, ROOT) as (file, _):
        values = {
            "source": {"kind": "pairs", "path": ".", "pairs": "pairs.csv", "anchor": "q", "positive": "p"},
            "encoders": {"tiny": {"model": "enc"}},
            "retrievers": {"dense": {"kind": "dense", "encoder": "tiny"}},
            "filter": {"kind": "naive"},
            "sample": {"kind": "top", "score": "dense", "negatives": 2},
            "beam": {"cluster": file},
        }
        (tmp_path / "params.yaml").write_text(json.dumps(values))
        said = rf"worker \S+: model enc must be a folder here too, as it is for the command \({encoder}\), found none"
        with pytest.raises(ValueError, match=said):
            models.check(Data(str(tmp_path / "data")), params.load("params.yaml"))
        values["encoders"]["tiny"]["model"] = str(encoder)
        (tmp_path / "params.yaml").write_text(json.dumps(values))
        models.check(Data(str(tmp_path / "data")), params.load("params.yaml"))


@contextlib.contextmanager
def few_workers(folder, *trees):
    """A cluster of one's own, with a worker for each tree of code; yields its scheduler's file and a client."""
    file = folder / "scheduler.json"
    with contextlib.ExitStack() as stack:
        at, quiet = ("--scheduler-file", str(file)), "--no-dashboard"
        stack.enter_context(process(folder / "s", "distributed.cli.dask_scheduler", *at, "--port", "0", quiet))
        while not file.exists():
            time.sleep(0.1)
        for number, tree in enumerate(trees):
            worker = process(folder / f"w{number}", "distributed.cli.dask_worker", *at, quiet, "--no-nanny", here=tree)
            stack.enter_context(worker)
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(len(trees), timeout=60)
            yield str(file), client


def test_a_worker_with_other_code_of_the_same_version_is_named(tmp_path):
    trees = [ROOT, *(tmp_path / name / "gangue" for name in ("equal", "longer", "older"))]
    for tree in trees[1:]:
        shutil.copytree(ROOT / "gangue", tree, ignore=shutil.ignore_patterns("__pycache__"))
    report = trees[2] / "pipeline" / "report" / "report.html.j2"
    report.write_text(report.read_text() + "\n")
    asked = trees[3] / "transforms" / "running" / "cluster.py"
    asked.write_text(asked.read_text().replace("def code(", "def unknown_before("))
    with few_workers(tmp_path, ROOT, *(tree.parent for tree in trees[1:])) as (_, client):
        folders = {os.path.basename(folder): worker for worker, folder in client.run(os.getcwd).items()}
        found = sorted(line.partition(" must ")[::2] for line in cluster.faults(client, Data(str(tmp_path)), {}))
    assert [worker for worker, _ in found] == sorted(f"worker {folders[name]}" for name in ("w2", "w3"))
    version = importlib.metadata.version("gangue")
    for _, said in found:
        assert re.match(rf"have the code of this process, has other code as gangue {version}\. Install", said)


def test_a_worker_that_is_stopped_is_named_and_nothing_waits_for_it(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(cluster, "_SILENT", 2)
    monkeypatch.setattr(cluster, "_SILENT_AT_END", 1)
    data = Data(str(tmp_path / "data"))
    with few_workers(tmp_path, ROOT, ROOT) as (file, client), cluster.connected(file) as ours:
        assert "is to be seen at" not in capfd.readouterr().err, "this scheduler has no dashboard"
        workers = cluster.Workers(ours, "score", data)
        for seconds in (61, 62):
            workers.submit(time.sleep, seconds, {})
        while not all(client.run(cluster._does, workers._job).values()):
            time.sleep(0.1)
        stopped, process_id = next(iter(client.run(os.getpid).items()))
        other = {name: number for name, number in client.run(os.getpid).items() if name != stopped}
        os.kill(process_id, signal.SIGSTOP)
        said = rf"worker {stopped} must answer, and did not in 2 seconds: .* run the same command again$"
        (line,) = cluster.faults(ours, data, {})
        assert re.match(said, line)
        with pytest.raises(ConnectionError, match=said):
            cluster.Workers(ours, "score", data)
        os.kill(*other.values(), signal.SIGKILL)  # which would be waited for
        began = time.monotonic()
        workers.end()
        assert time.monotonic() - began < 10


def test_a_shard_that_takes_workers_with_it_is_named_and_workers_that_go_are_asked_nothing(scheduler, tmp_path):
    with cluster.connected(scheduler) as client:
        future = cluster.Workers(client, "score", Data(str(tmp_path))).submit(os._exit, 3, {})
        while not future.future.done():
            assert cluster.faults(client, Data(str(tmp_path)), {}) == []
        with pytest.raises(ChildProcessError, match=r"^3 took 4 workers of the cluster with it, .* --memory-limit"):
            future.result()


def test_a_worker_that_goes_away_after_it_was_named_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_SILENT", 2)
    with few_workers(tmp_path, ROOT, ROOT) as (_, client):
        named = client.scheduler_info(n_workers=-1)
        gone, process_id = next(iter(client.run(os.getpid).items()))
        os.kill(process_id, signal.SIGKILL)
        while gone in client.scheduler_info(n_workers=-1)["workers"]:
            time.sleep(0.1)
        monkeypatch.setattr(client, "scheduler_info", lambda **_: named)
        assert isinstance(cluster._answers(client, 2, os.getpid)[gone], ConnectionError)
        assert cluster.faults(client, Data(str(tmp_path / "data")), {}) == []


def test_a_cluster_that_cannot_be_ended_is_asked_nothing_more(scheduler, tmp_path, monkeypatch):
    def end(_):
        raise ConnectionError("gone")

    monkeypatch.setattr(cluster.Workers, "end", end)
    settings, data = params.Beam(cluster=scheduler), Data(str(tmp_path))
    with pytest.raises(ConnectionError, match="gone"), workers.started("score", settings, data):
        assert workers.submit(abs, -1).result() == 1
    assert workers.submit(abs, -1) is None, "this process works itself"


def test_where_the_dashboard_is_is_said_once(capfd):
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as local:
        for _ in range(2):
            with cluster.connected(local.scheduler_address):
                pass
        (link,) = re.findall(
            r"^beam\.cluster: what it does is to be seen at (\S+)$", capfd.readouterr().err, re.MULTILINE
        )
        with urllib.request.urlopen(link.removesuffix("/status")) as page:
            assert page.status == 200


def test_a_scheduler_that_goes_away_is_a_line(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("distributed.client"), "propagate", True)
    file = tmp_path / "scheduler.json"
    at = ("--scheduler-file", str(file))
    with (
        process(tmp_path / "scheduler", "distributed.cli.dask_scheduler", *at, "--port", "0", "--no-dashboard") as gone,
        process(tmp_path / "worker", "distributed.cli.dask_worker", *at, "--no-dashboard"),
    ):
        while not file.exists():
            time.sleep(0.1)

        def lose():
            with cluster.connected(str(file)) as client:
                workers = cluster.Workers(client, "score", Data(str(tmp_path)))
                future = workers.submit(time.sleep, 60, {})
                gone.kill()
                try:
                    future.result()
                finally:
                    workers.end()

        with pytest.raises(
            ConnectionError, match=r"^beam.cluster: the scheduler must answer until all is done, .* again"
        ):
            lose()
    assert caplog.records == [], "Dask's own words are pages"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://127.0.0.1:9", r"beam.cluster: a scheduler must answer at tcp://127.0.0.1:9, .*dask scheduler"),
        ("nowhere.json", r"beam.cluster: nowhere.json must be a scheduler's address .* found none"),
        (
            "tcp://127.0.0.1",
            r"beam.cluster: must be a scheduler's address \(tcp://HOST:8786\) or its file, got tcp://127",
        ),
        ("http://127.0.0.1:1", r"beam.cluster: must be a scheduler's address .* got http://127.0.0.1:1 .* Correct it"),
        (__file__, r"beam.cluster: must be a scheduler's address .* or its file, got .*test_cluster.py .* Correct it"),
    ],
)
def test_where_no_scheduler_is_one_line_says_so(whole_job, monkeypatch, address, said):
    monkeypatch.setattr(cluster, "_SECONDS", 2)
    with pytest.raises((OSError, ValueError), match=said) as error:
        mined(whole_job, "nowhere", on_cluster(whole_job, address))
    assert "\n" not in str(error.value)


def test_other_versions_and_folders_that_a_worker_cannot_see_are_named(scheduler, tmp_path, monkeypatch):
    version = importlib.metadata.version
    with cluster.connected(scheduler) as client:
        client.wait_for_workers(3, timeout=60)  # those that another test killed are coming back
        assert cluster.faults(client, Data(str(tmp_path / "data")), {"quick": 1}) == []
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1" if name == "torch" else version(name))
        lines = cluster.faults(client, Data("memory://elsewhere/data"), {"gpu": 1})
    assert len(lines) == 7
    assert re.search(r"worker tcp://\S+ must have the versions of this process, has torch \S+ for 0.1", lines[0])
    assert re.search(r"worker tcp://\S+ must see the datasets at memory://elsewhere/data, and does not", lines[-2])
    assert lines[-1].startswith("a worker must have what beam.accelerator names, gpu 1, none has. Start it with")
