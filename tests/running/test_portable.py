"""Beam's portable protocol, which Flink, Spark and Prism speak: a job server and a worker pool in other processes."""

import contextlib
import json
import os
import shutil
import socket
import time

import pytest
from elsewhere import assert_same, mined, process

from gangue.pipeline import ingest, params, sample, teach
from gangue.transforms.datasets.storage import Data


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory):
    """Ports of Beam's own job server and of a pool of workers."""
    folder, server, pool = tmp_path_factory.mktemp("portable"), free_port(), free_port()
    runners = "apache_beam.runners"
    with contextlib.ExitStack() as stack:
        for name, module, arguments in (
            ("server", f"{runners}.portability.local_job_service_main", ("--port", str(server))),
            ("pool", f"{runners}.worker.worker_pool_main", ("--service_port", str(pool))),
        ):
            stack.enter_context(process(folder / name, module, *arguments))
        for port in (server, pool):
            while True:
                with socket.socket() as asked:
                    if not asked.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
        yield server, pool


def params_of(folder, endpoints):
    """The job's params with Beam's portable runner, in a file of their own."""
    server, pool = endpoints
    values = json.loads((folder / "params.yaml").read_text())
    at = [f"--job_endpoint=localhost:{server}", "--environment_type=EXTERNAL"]
    at.append(f"--environment_config=localhost:{pool}")
    values["beam"] = {"runner": "PortableRunner", "options": at}
    (folder / "portable.yaml").write_text(json.dumps(values))
    return "portable.yaml"


def test_stages_by_the_portable_protocol_write_the_bytes_of_one_process(whole_job, endpoints):
    p = params.load(str(whole_job / params_of(whole_job, endpoints)))
    shutil.copytree(whole_job / "alone", whole_job / "portable")
    data = Data(str(whole_job / "portable" / "data"))
    for stage, names, written in (
        (ingest, (), ["documents", "queries", "positives", "judged", "rejected"]),
        (teach, ("taught",), ["models/taught"]),
        (sample, (), ["negatives", "shortfalls"]),
    ):
        for dataset in written:
            shutil.rmtree(data.path(dataset))
        stage.run(data, p, *names)
        assert_same(whole_job, "portable")


@pytest.mark.skipif("GANGUE_WHOLE" not in os.environ, reason="minutes; make soak runs it")
def test_a_job_by_the_portable_protocol_has_the_bytes_of_one_process(whole_job, endpoints):
    mined(whole_job, "portable whole", params_of(whole_job, endpoints))
    assert_same(whole_job, "portable whole")
