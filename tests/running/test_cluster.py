"""A Dask cluster: the bytes of one process, whatever dies, and one line for what cannot work."""

import contextlib
import importlib.metadata
import json
import os
import re
import signal
import threading
import time

import distributed
import pytest
from elsewhere import assert_same, mined, process

from gangue.transforms.datasets.storage import Data
from gangue.transforms.running import cluster


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """A scheduler's file; three workers, of one, one and three threads, share only a mount with this process."""
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    with contextlib.ExitStack() as stack:
        at = ("--scheduler-file", str(file))
        stack.enter_context(
            process(folder / "scheduler", "distributed.cli.dask_scheduler", *at, "--port", "0", "--no-dashboard")
        )
        for number, threads in enumerate((1, 1, 3)):
            own = ("--nthreads", str(threads), "--no-dashboard", "--resources", f"quick={number // 2}")
            stack.enter_context(process(folder / f"worker-{number}", "distributed.cli.dask_worker", *at, *own))
        while not file.exists():
            time.sleep(0.1)
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(3, timeout=60)
        yield str(file)


def on_cluster(whole_job, address, **beam):
    values = json.loads((whole_job / "params.yaml").read_text())
    values["beam"] = {"cluster": address, **beam}
    (whole_job / "cluster.yaml").write_text(json.dumps(values))
    return "cluster.yaml"


def test_a_cluster_writes_the_bytes_of_one_process_and_has_models_run_where_the_accelerator_is(
    whole_job, scheduler, monkeypatch
):
    asked, submit = set(), cluster.Workers.submit

    def noted(workers, work, element, resources):
        asked.add((workers.stage.partition("@")[0], tuple(resources)))
        return submit(workers, work, element, resources)

    monkeypatch.setattr(cluster.Workers, "submit", noted)
    mined(whole_job, "cluster", on_cluster(whole_job, scheduler, accelerator="type:quick;count:1"))
    assert_same(whole_job, "cluster")
    assert {stage for stage, kinds in asked if kinds} == {"models", "embed", "teach", "score"}
    anywhere = {stage for stage, kinds in asked if not kinds}
    assert anywhere >= {"ingest", "cluster", "retrieve", "pool", "learn", "export", "audit"}


def test_workers_that_ran_whole_jobs_write_the_same_bytes(whole_job, scheduler):
    mined(whole_job, "cluster again", on_cluster(whole_job, scheduler))
    assert_same(whole_job, "cluster again")


def test_a_worker_that_is_killed_in_the_middle_costs_nothing_but_time(whole_job, scheduler, monkeypatch):
    struck = []

    def strike():
        """Kill the process of a worker that scores."""
        with distributed.Client(scheduler_file=scheduler, set_as_default=False) as client:
            while not struck:
                at_work = client.processing().items()
                busy = [address for address, keys in at_work if any("score@" in key for key in keys)]
                if busy:
                    pids = client.run(os.getpid, workers=busy)
                    os.kill(next(iter(pids.values())), signal.SIGKILL)
                    struck.append(pids)
                time.sleep(0.02)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    mined(whole_job, "killed", on_cluster(whole_job, scheduler))
    assert struck
    assert_same(whole_job, "killed")


def test_what_needs_an_accelerator_is_done_where_it_is_and_all_else_anywhere(scheduler, tmp_path):
    with cluster.connected(scheduler) as client:
        workers = cluster.Workers(client, "x", Data(str(tmp_path)))
        given = [[workers.submit(os.path.abspath, ".", what) for _ in range(9)] for what in ({"quick": 1}, {})]
        there, anywhere = ({os.path.basename(future.result()) for future in futures} for futures in given)
    assert there == {"worker-2"}
    assert len(anywhere) > 1


def test_a_shard_that_takes_workers_with_it_is_named(scheduler, tmp_path):
    with (
        cluster.connected(scheduler) as client,
        pytest.raises(ChildProcessError, match=r"score: 3 took 4 workers of the cluster with it, .* --memory-limit"),
    ):
        cluster.Workers(client, "score", Data(str(tmp_path))).submit(os._exit, 3, {}).result()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://127.0.0.1:9", r"beam.cluster: a scheduler must answer at tcp://127.0.0.1:9, .*dask scheduler"),
        ("nowhere.json", r"beam.cluster: nowhere.json must be a scheduler's address .* found none"),
    ],
)
def test_where_no_scheduler_is_one_line_says_so(whole_job, monkeypatch, address, said):
    monkeypatch.setattr(cluster, "_SECONDS", 2)
    with pytest.raises(OSError, match=said) as error:
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
