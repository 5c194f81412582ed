"""Beam's portable protocol, which Flink, Spark and Prism speak: a job server and a worker pool in other processes.

Prism is tried where its program is found: named by GANGUE_PRISM, or where Go puts it
(go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0).
"""

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

GO = os.environ.get("GOPATH", os.path.expanduser("~/go"))
PRISM = os.environ.get("GANGUE_PRISM") or shutil.which("prism", path=os.pathsep.join((os.environ["PATH"], f"{GO}/bin")))


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


def portable(folder, endpoints):
    """The job's params with Beam's portable runner, in a file of their own."""
    server, pool = endpoints
    options = [f"--job_endpoint=localhost:{server}", "--environment_type=EXTERNAL"]
    return params_of(folder, "PortableRunner", [*options, f"--environment_config=localhost:{pool}"])


def params_of(folder, runner, options):
    """The job's params with one of Beam's runners, in a file of their own."""
    values = json.loads((folder / "params.yaml").read_text())
    values["beam"] = {"runner": runner, "options": options}
    (folder / f"{runner}.yaml").write_text(json.dumps(values))
    return f"{runner}.yaml"


def test_stages_by_the_portable_protocol_write_the_bytes_of_one_process(whole_job, endpoints):
    p = params.load(str(whole_job / portable(whole_job, endpoints)))
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


def test_workers_that_cannot_be_started_are_a_line(whole_job, endpoints, tmp_path):
    """The runner's own way are containers of Docker: here without it, or without their image."""
    options = [f"--job_endpoint=localhost:{endpoints[0]}", "--environment_config=localhost/no-such-image"]
    p = params.load(str(whole_job / params_of(whole_job, "PortableRunner", options)))
    with pytest.raises(
        ValueError, match=r"^beam.options: workers of PortableRunner must start, .*docker.*\. Without"
    ) as e:
        ingest.run(Data(str(tmp_path)), p)
    assert "--environment_type=EXTERNAL" in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.soak
def test_a_job_by_the_portable_protocol_has_the_bytes_of_one_process(whole_job, endpoints):
    mined(whole_job, "portable whole", portable(whole_job, endpoints))
    assert_same(whole_job, "portable whole")


@pytest.mark.skipif(PRISM is None, reason="needs Beam's Prism: GANGUE_PRISM=PROGRAM")
def test_a_job_on_prism_has_the_bytes_of_one_process(whole_job):
    options = [f"--prism_location={PRISM}", "--environment_type=LOOPBACK"]
    mined(whole_job, "prism", params_of(whole_job, "PrismRunner", options))
    assert_same(whole_job, "prism")
