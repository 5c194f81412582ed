"""Running a stage: counts are held against files, errors are one line, dangerous runners are refused."""

import functools
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import types

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import FlinkRunnerOptions

from gangue.pipeline import params
from gangue.pipeline.command import preflight
from gangue.transforms.datasets.names import shard_names, staged, stem
from gangue.transforms.datasets.storage import Data
from gangue.transforms.running import runner, workers
from gangue.transforms.running.shards import Counts, ForEachShard

TABLE = pa.table({"n": [1, 2]})


def work(shard, data, counted=2, written=2, fail=None):
    if fail:
        raise fail
    data.write(staged("things"), shard, TABLE.slice(0, written))
    return Counts({"in": 2, "out:kept": counted, f"rows:{staged('things')}": counted})


@pytest.fixture(autouse=True)
def _workers_find_this_module(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))


def run(data, shards=None, settings=None, **arguments):
    def build(root):
        elements = root | beam.Create(shards or shard_names(2))
        return elements | ForEachShard(functools.partial(work, data=data, **arguments))

    return runner.run("test", build, data, settings or params.Beam(), writes=["things"], rows=4)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stage_publishes_what_it_wrote_and_sums_its_counts(tmp_path, workers):
    data = Data(str(tmp_path))
    counts = run(data, settings=params.Beam(workers=workers))
    assert counts["in"] == 4
    assert counts["out:kept"] == 4
    assert data.rows("things") == [2, 2]
    assert os.listdir(tmp_path) == ["things"]


def test_a_row_that_is_not_accounted_for_fails_the_stage(tmp_path):
    with pytest.raises(ValueError, match=r"test: every row must go somewhere, but 4 came in and 2 went out \(kept 2\)"):
        run(Data(str(tmp_path)), counted=1, written=1)


def test_a_row_that_is_not_on_disk_fails_the_stage(tmp_path):
    with pytest.raises(ValueError, match=r"must hold the 4 rows that were written, found 2"):
        run(Data(str(tmp_path)), written=1)


def test_a_lost_shard_fails_the_stage(tmp_path):
    with pytest.raises(FileNotFoundError, match="part-00001-of-00002"):
        run(Data(str(tmp_path)), shards=shard_names(2)[:1])


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_ends_the_stage_with_its_message_and_shard(tmp_path, workers):
    data = Data(str(tmp_path))
    data.write("things", shard_names(1)[0], TABLE)
    data.commit("things")
    with pytest.raises(ValueError, match=r"^test: here: rule, value. Cure \(in part-0000[01]-of-00002\)$"):
        run(data, settings=params.Beam(workers=workers), fail=ValueError("here: rule, value. Cure"))
    assert data.rows("things") == [2], "the earlier output is untouched"


def test_a_dataset_written_in_place_keeps_what_is_done_and_loses_what_is_odd(tmp_path):
    data, shards = Data(str(tmp_path)), shard_names(2)
    data.write("vectors", shard_names(1)[0], TABLE)
    data.commit("vectors")

    def run_in_place(fail):
        def half(shard):
            if fail and shard == shards[1]:
                raise ValueError("killed")
            data.write("vectors", shard, TABLE)
            data.write(staged("things"), shard, TABLE)
            return Counts({"rows:vectors": 2, f"rows:{staged('things')}": 2})

        def build(root):
            return root | beam.Create(shards) | ForEachShard(half)

        runner.run("test", build, data, params.Beam(), rows=4, writes=["things"], in_place={"vectors": shards})

    with pytest.raises(ValueError, match="killed"):
        run_in_place(fail=True)
    left = [stem(name) for name in data.listed("vectors")]
    assert sorted(left) == [*shard_names(1), shards[0]], "what was done stays for the next run"
    assert data.shards("vectors") == shard_names(1), "and is none of the dataset's yet"
    assert os.listdir(tmp_path) == ["vectors"]
    run_in_place(fail=False)
    assert data.shards("vectors") == shards, "the shard of another count is gone"
    assert data.rows("vectors") == data.rows("things") == [2, 2]


@pytest.mark.parametrize(
    "flag", ["--direct_running_mode=multi_threading", "--direct_running_mode=multi_processing", "--runner=DaskRunner"]
)
def test_runners_that_lose_rows_are_refused(flag):
    with pytest.raises(ValueError, match=r"beam.options: .*(loses rows|loses large elements|drops)"):
        runner.options(params.Beam(options=(flag,)))


def test_a_stage_reports_a_users_mistake_in_one_line(tmp_path):
    command = [
        str(pathlib.Path(sys.executable).with_name("gangue")),
        "pool",
        "--data",
        str(tmp_path),
        "--params",
        str(tmp_path / "no.yaml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == f"gangue: {tmp_path}/no.yaml: params file must exist, found none. Copy params.yaml of the project"
    )


def test_an_unknown_name_is_refused_with_those_known(tmp_path, pytestconfig):
    command = [str(pathlib.Path(sys.executable).with_name("gangue")), "retrieve", "colbert", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=pytestconfig.rootpath)
    assert done.returncode == 1
    assert "retrieve knows dense, bm25, got colbert" in done.stderr


@pytest.mark.parametrize("spelt", ["in one word", "in two", "as a flag of the command", "without a port"])
def test_a_job_server_that_is_not_there_is_a_line_at_once(tmp_path, spelt):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    endpoint = "localhost" if spelt == "without a port" else endpoint
    words = ("--job_endpoint", endpoint) if spelt == "in two" else (f"--job_endpoint={endpoint}",)
    flags = words if spelt == "as a flag of the command" else ()
    settings = params.Beam(runner="PortableRunner", options=() if flags else words)
    with pytest.raises(ConnectionError, match=f"a job server must listen at --job_endpoint={endpoint}, none does"):
        runner.run("empty", lambda root: root | beam.Create([]), Data(str(tmp_path)), settings, rows=0, flags=flags)


def test_a_job_server_at_an_ipv6_address_is_found(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "create_connection", lambda at, **_: asked.append(at) or socket.socket())
    runner._check_endpoint(params.Beam(runner="PortableRunner"), ["--job_endpoint=[::1]:8099"])
    assert asked == [("::1", 8099)]


def test_what_worker_processes_leave_among_temporary_files_goes_with_them(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with workers.started("x", params.Beam(workers=2), Data(str(tmp_path))):
        made = workers.submit(tempfile.mkdtemp, "a copy of a model").result()
        assert pathlib.Path(made).is_dir()
        assert pathlib.Path(made).is_relative_to(tmp_path)
    assert list(tmp_path.glob("gangue-*")) == []


@pytest.mark.parametrize("more", [{"workers": 2}, {"cluster": "tcp://scheduler:8786"}])
def test_memory_is_of_one_process(more):
    p = types.SimpleNamespace(beam=params.Beam(**more))
    with pytest.raises(ValueError, match=r"^--data: memory://j is seen by one process alone\. Set beam\.workers: 1"):
        preflight.check_source(Data("memory://j"), p)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--temp_locaton=x", r"Beam must know every flag, not --temp_locaton=x\. Did you mean --temp_location\?"),
        ("extra", r"Beam must know every flag, not extra\. Correct or remove it"),
        (
            "--direct_num_workers=many",
            r"Beam must be able to read every flag, .* int value: 'many'\. Correct it",
        ),
    ],
)
def test_a_flag_that_beam_ignores_or_cannot_read_is_a_line(tmp_path, flag, said, capsys):
    with pytest.raises(ValueError, match=rf"^beam.options: {said}$"):
        runner.options(params.Beam(options=(flag,)))
    assert capsys.readouterr().err == ""


def test_a_flag_that_only_a_job_server_may_know_is_passed_on_with_a_warning(capsys):
    settings = params.Beam(runner="FlinkRunner", options=("--flink_master=here", "--checkpointing_interval=9"))
    assert runner.options(settings).view_as(FlinkRunnerOptions).flink_master == "here"
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "beam.options: Beam must know every flag, not --checkpointing_interval=9. Correct or remove it, unless"
        " FlinkRunner knows it"
    )


def test_a_runner_that_cannot_start_is_a_line(tmp_path):
    settings = params.Beam(runner="PrismRunner", options=(f"--prism_location={tmp_path}/none",))
    said = r"^beam.options: PrismRunner must start, and does not: test: .*/none.*\. Correct beam.options or"
    with pytest.raises(ValueError, match=said):
        run(Data(str(tmp_path / "data")), settings=settings)
