"""Off one machine, as far as one machine can prove it: Dataflow's job of each stage, the packed code, remote files."""

import collections
import functools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import types

import apache_beam as beam
import fsspec
import jobs
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
import pytest
import yaml
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import SetupOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.internal import apiclient
from typer.testing import CliRunner

from gangue.pipeline import mine, params
from gangue.pipeline.command import cli
from gangue.transforms import sources
from gangue.transforms.datasets import occupancy
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import folders
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts
from gangue.transforms.sources import files

ROOT = pathlib.Path(__file__).resolve().parents[2]
GPU = "type:nvidia-l4;count:1;install-nvidia-driver"
IMAGE = "us-docker.pkg.dev/a-project/a-folder/gangue:1"
BUCKET = "memory://dataflow"
PACKED = """
import sys, setuptools.build_meta
print(setuptools.build_meta.build_sdist(sys.argv[1]))
"""
MINED = """
import gc, sys, gangue.pipeline.mine, gangue.transforms.sources
assert all(module.__file__.startswith(sys.argv[1]) for module in (gangue.pipeline.mine, gangue.transforms.sources))
gc.freeze()
gangue.pipeline.mine.run(*sys.argv[2:])
"""

# What every stage does on workers: each of these is a function that is called once per name.
ROUNDS = {f"SettleReuse/{step} {number}" for step in ("Propose", "Refuse") for number in range(8)}
STEPS = {
    "ingest": {"Describe", "Plan", "Gather"},
    "embed@tiny": {"ForEachShard"},
    "embed@start": {"ForEachShard"},
    "cluster@tiny": {"Train", "Assign"},
    "cluster@start": {"Train", "Assign"},
    "retrieve@dense": {"Search", "Measure"},
    "retrieve@bm25": {"Count terms", "Gather terms", "Weigh", "Invert", "Search", "Measure"},
    "retrieve@ivf": {"Train", "Fill", "Search", "Measure"},
    "pool": {"ForEachShard"},
    "teach@taught": {"ForEachShard"},
    "score@taught": {"ForEachShard"},
    "learn": {"Describe", "Teach", "Weigh", "Share", "Judge"},
    "calibrate": {"FitPropensities/Fit", "ForEachShard", "Choose"},
    "filter": {"ForEachShard"},
    "sample": {*ROUNDS, "Sample"},
    "export": {"ForEachShard"},
    "audit": {"ForEachShard"},
}
MODELS = {"embed@tiny", "embed@start", "teach@taught", "score@taught"}


def values_of(folder):
    """Params of a small job that needs every step there is, and its source and models below the folder."""
    values = jobs.write(folder)
    values["retrievers"]["ivf"] = {"kind": "dense", "encoder": "tiny", "depth": 12, "index": "IVF4,Flat", "nprobe": 2}
    fallback = {"kind": "shifted", "score": "dense", "shift": 1}
    values["filter"] = {"kind": "learned", "max_false_negatives": 0.3, "fallback": fallback}
    values["calibrate"] = {"rounds": 2, "pool": "bm25"}
    values["sample"] |= {"reuse": 4, "weight": {"kind": "cet", "pool": "bm25"}}
    return values


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The packed code, built as Beam builds it: by the project's backend, without a network."""
    folder, tree = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("tree")  # it writes beside what it packs
    for name in ("gangue", "pipeline", "transforms"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    command = [sys.executable, "-c", PACKED, str(folder)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job's files and params."""
    folder = tmp_path_factory.mktemp("job")
    return types.SimpleNamespace(folder=folder, values=values_of(folder))


def dataflow(*more):
    options = ["--project=a-project", "--region=us-central1", "--temp_location=gs://a-bucket/tmp", "--dry_run=True"]
    options += ["--no_auth", "--machine_type=g2-standard-4", f"--sdk_container_image={IMAGE}", *more]
    options += ["--experiments=disable_logging_submission_environment"]  # else it lists all packages for each job
    return {"runner": "DataflowRunner", "accelerator": GPU, "memory": "16GB", "options": options}


@pytest.fixture(scope="module")
def remote(job, sdist):
    """The job mined with source and datasets in a remote file system, and each stage's Dataflow job, stage -> job.

    Each pipeline is translated by Beam's own Dataflow runner, up to where it would send the job, and then run here.
    """
    filesystem = fsspec.filesystem("memory")
    filesystem.put(str(job.folder / "source"), "/dataflow/source", recursive=True)
    values = json.loads(json.dumps(job.values))
    values["source"]["path"] = f"{BUCKET}/source"
    values["beam"] = dataflow(f"--extra_package={sdist}")
    filesystem.pipe_file("/dataflow/params.yaml", json.dumps(values).encode())
    found, here = {}, runner.run

    def translated(stage, build, data, settings, **rest):
        pipeline = beam.Pipeline(options=runner.options(settings))
        build(pipeline)
        found[stage] = pipeline.run().job
        return here(stage, build, data, params.Beam(), **rest)

    def refused(*_):
        raise AssertionError("the translation must not open a connection")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "run", translated)
        patch.setattr(socket.socket, "connect", refused)
        patch.setattr(socket, "getaddrinfo", refused)
        mine.run(f"{BUCKET}/params.yaml", f"{BUCKET}/data", f"{BUCKET}/reports")
    return types.SimpleNamespace(jobs=found, files=filesystem)


# ---- 1. Dataflow's job of every stage


def steps(job):
    """Name -> transform of each step that works, not merely routes."""
    transforms = job.proto_pipeline.components.transforms.values()
    return {t.unique_name.removesuffix("/ParDo(_Work)"): t for t in transforms if t.unique_name.endswith("(_Work)")}


def hints(job, transform):
    """Resource hint -> value of a transform."""
    environment = job.proto_pipeline.components.environments[transform.environment_id]
    return {urn.split(":")[2]: value.decode() for urn, value in environment.resource_hints.items()}


def spelled(components, identifier):
    """A coder as one readable line; a pickled one under the name of its class."""
    coder = components.coders[identifier]
    inner = ", ".join(spelled(components, child) for child in coder.component_coder_ids)
    name = coder.spec.urn.split(":")[2]
    if name == "pickled_python":
        name = re.search(rb"(\w+)\$", coder.spec.payload)[1].decode().lstrip("b")
    return f"{name}({inner})" if inner else name


def test_every_stage_of_the_project_becomes_a_job(remote):
    stages = {name.partition("@")[0] for name in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]}
    assert {stage.partition("@")[0] for stage in STEPS} | {"plan"} == stages  # which only reads params
    assert {stage: set(steps(job)) for stage, job in remote.jobs.items()} == STEPS


def test_nothing_but_names_crosses_a_shuffle(remote):
    crossing = collections.defaultdict(set)
    for stage, job in remote.jobs.items():
        components = job.proto_pipeline.components
        for transform in components.transforms.values():
            if transform.spec.urn == "beam:transform:group_by_key:v1":
                (source,) = transform.inputs.values()
                crossing[spelled(components, components.pcollections[source].coder_id)].add(stage)
    # Beam pickles its own timestamps and panes; the keys are random numbers.
    routed = "kv(varint, tuple({}, nullable(FastPrimitivesCoder), PaneInfoCoder))"
    assert crossing == {
        routed.format("string_utf8"): set(STEPS) - {"embed@tiny", "embed@start", "teach@taught"},  # a shard, a task
        routed.format("kv(string_utf8, string_utf8)"): {"embed@tiny", "embed@start"},  # a dataset and its shard
        routed.format("varint"): {"teach@taught"},  # a fold
    }


def test_what_is_pickled_besides_is_a_list_of_names_that_a_step_waits_for(remote):
    for stage, job in remote.jobs.items():
        components = job.proto_pipeline.components
        waited = set()
        for transform in components.transforms.values():
            if transform.spec.urn == "beam:transform:pardo:v1":
                sides = payload(transform).side_inputs
                waited |= {transform.inputs[side] for side in sides}
        pickled = {
            name
            for name, collection in components.pcollections.items()
            if spelled(components, collection.coder_id) == "FastPrimitivesCoder"
        }
        assert pickled == waited, stage


def test_a_job_description_is_small(remote):
    for stage, job in remote.jobs.items():
        assert len(job.proto_pipeline.SerializeToString()) < 1_000_000, stage  # the service takes 10 MB


def payload(transform):
    return beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)


def work_of(transform):
    """The function that a step calls, as a worker unpickles it."""
    work = pickler.loads(payload(transform).do_fn.payload)[0]._work
    while isinstance(work, functools.partial):
        work = work.func
    return work


def test_a_worker_finds_what_it_calls_by_its_name(remote):
    for job in remote.jobs.values():
        for transform in steps(job).values():
            work = work_of(transform)
            assert getattr(sys.modules[work.__module__], work.__name__) is work
            assert work.__module__.startswith(("gangue.pipeline.", "gangue.transforms."))


def test_a_stage_run_by_its_command_sends_no_main_module(remote, monkeypatch):
    found = []

    def translated(stage, build, data, settings, **rest):
        pipeline = beam.Pipeline(options=runner.options(settings))
        build(pipeline)
        found.append(pipeline.run().job)
        return Counts()

    monkeypatch.setattr(runner, "run", translated)
    monkeypatch.setattr(
        sys, "argv", ["gangue", "embed", "tiny", "--data", f"{BUCKET}/data", "--params", f"{BUCKET}/params.yaml"]
    )
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    (step,) = steps(found[0]).values()
    assert work_of(step).__module__ == "gangue.pipeline.embed"


def test_what_runs_a_model_asks_for_its_machine_and_nothing_else_does(remote):
    wanted = {"accelerator": GPU, "min_ram_bytes": str(16 * 10**9)}
    for stage, job in remote.jobs.items():
        working = {transform.unique_name for transform in steps(job).values()} if stage in MODELS else set()
        for transform in job.proto_pipeline.components.transforms.values():
            if transform.environment_id:
                expected = wanted if transform.unique_name in working else {}
                assert hints(job, transform) == expected, (stage, transform.unique_name)


def test_the_job_names_image_machines_and_environments(remote):
    job = remote.jobs["embed@tiny"]
    url = "gs://a-bucket/tmp/pipeline.pb"
    described = apiclient.Environment([], job.options, "8", url, job.proto_pipeline).proto
    (pool,) = described.worker_pools
    assert pool.machine_type == "g2-standard-4"
    # One with a GPU and one without: the service starts workers of both kinds.
    assert [image.container_image for image in pool.sdk_harness_container_images] == [IMAGE] * 2
    assert described.sdk_pipeline_options["options"]["pipelineUrl"] == url
    assert not job.options.view_as(SetupOptions).save_main_session


# ---- 2. the code that workers install


def artifacts(job):
    """Path of what is staged under each name, environment by environment."""
    for environment in job.proto_pipeline.components.environments.values():
        yield {
            beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(
                file.role_payload
            ).staged_name: beam_runner_api_pb2.ArtifactFilePayload.FromString(file.type_payload).path
            for file in environment.dependencies
        }


def packed(path):
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def modules():
    folders = [ROOT / "pipeline", ROOT / "transforms"]
    found = [path for folder in folders for suffix in ("py", "j2", "json") for path in folder.rglob(f"*.{suffix}")]
    return {"gangue/__init__.py", *(f"gangue/{path.relative_to(ROOT)}" for path in found)}


def test_the_package_carries_all_of_the_code(sdist):
    assert "gangue/transforms/sources/beir.py" in modules()
    assert "gangue/pipeline/report/report.html.j2" in modules()
    assert {name for name in packed(sdist) if name.startswith("gangue/") and "." in name} == modules()


def test_every_environment_gets_the_package(remote, sdist):
    for job in remote.jobs.values():
        for staged in artifacts(job):
            assert sdist.name in staged


def test_without_a_package_beam_packs_the_tree_that_runs():
    settings = params.Beam(**dataflow())
    pipeline = beam.Pipeline(options=runner.options(settings))
    _ = pipeline | beam.Create(["part-00000-of-00001"])
    (staged,) = artifacts(pipeline.run().job)
    assert modules() <= packed(staged["workflow.tar.gz"])


def test_code_that_cannot_be_packed_must_be_given(monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "__file__", str(tmp_path / "transforms" / "running" / "runner.py"))
    with pytest.raises(ValueError, match=r"^beam.options: .*found no .*pyproject.toml to pack. Add --extra_package="):
        runner.options(params.Beam(**dataflow()))
    assert runner.options(params.Beam(**dataflow("--extra_package=x.tar.gz")))


# ---- 3. files anywhere


@pytest.fixture(scope="module")
def local(job, sdist):
    """The same job on a local folder, mined by the installed package in a process of its own."""
    site = job.folder / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(sdist)], check=True)
    places = [str(job.folder / name) for name in ("params.yaml", "data", "reports")]
    pathlib.Path(places[0]).write_text(json.dumps(job.values))
    done = subprocess.run(
        [sys.executable, "-c", MINED, str(site), *places],
        cwd=job.folder,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return job.folder


def test_a_remote_job_has_the_bytes_of_a_local_one(remote, local):
    here = {
        str(path.relative_to(local)): path.read_bytes()
        for name in ("data", "reports")
        for path in (local / name).rglob("*")
        if path.is_file() and path.name != occupancy.NAME  # the lock: remote storage has none
    }
    there = {
        path.removeprefix("/dataflow/"): remote.files.cat_file(path)
        for name in ("data", "reports")
        for path in remote.files.find(f"/dataflow/{name}")
    }
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []
    assert {name.split("/")[1] for name in here} >= {"triplets", "views", "models", "indexes", "audit", "report.html"}


def test_a_remote_job_is_summed_up(remote):
    arguments = ["summary", "--params", f"{BUCKET}/params.yaml", "--data", f"{BUCKET}/data"]
    done = CliRunner().invoke(cli.app, [*arguments, "--reports", f"{BUCKET}/reports"])
    assert done.exit_code == 0, done.output
    assert "Leak test" in done.stdout


def test_workers_elsewhere_cannot_reach_a_local_folder(tmp_path):
    with pytest.raises(ValueError, match=r"^--data: must be where Dataflow's workers can reach it, got .* gs://BUCKET"):
        runner.run("pool", lambda _: None, Data(str(tmp_path)), params.Beam(**dataflow()), rows=0)


def test_a_remote_model_is_the_model_of_its_files(job):
    url = "memory://models/encoder"
    fsspec.filesystem("memory").put(str(job.folder / "encoder"), "/models/encoder", recursive=True)
    folder = folders.locate(url)
    assert folders.fingerprint(folder) == folders.fingerprint(str(job.folder / "encoder"))
    assert folders.locate(url) == folder, "it is copied once"
    with pytest.raises(FileNotFoundError, match=r"^memory://models/none: must exist, found nothing$"):
        folders.locate("memory://models/none")


def write_sources(folder):
    """A small source of every kind and format."""
    files = {
        "corpus.jsonl": '{"_id": "d1", "title": "Lift", "text": "of a wing"}\nnot JSON\n',
        "queries.jsonl": '{"_id": "q1", "text": "what lifts"}\n',
        "qrels/train.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
        "pairs.csv": "anchor,positive\nwhat lifts,a wing\n",
        "more/1.tsv": "text\ndrag\n",
        "more/2.jsonl": '{"text": "lift"}\n',
        "code/a.py": 'def f(x):\n    """Adds one to what it is given."""\n    y = x + 1\n    return y or -y\n',
        "code/test/b.py": "def g(): 0\n",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    pq.write_table(pa.table({"query_id": ["q1"], "document_id": ["d1"]}), folder / "positives.parquet")
    pq.write_table(pa.table({"query_id": ["q1"], "text": ["what lifts"]}), folder / "queries.parquet")
    pq.write_table(pa.table({"document_id": ["d1"], "text": ["a wing"]}), folder / "documents.parquet")


SOURCES = {
    "beir": {"kind": "beir"},
    "pairs": {"kind": "pairs", "pairs": "pairs.csv", "corpus": "more"},
    "pattern": {"kind": "pairs", "pairs": "p*.csv", "corpus": "more/*.jsonl"},
    "tables": {"kind": "tables"} | {name: f"{name}.parquet" for name in ("documents", "queries", "positives")},
    "code": {"kind": "python_code", "packages": ["code"], "min_characters": 10},
    "all code": {"kind": "python_code", "min_characters": 10},
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_read_alike_wherever_it_lies(tmp_path, name):
    write_sources(tmp_path)
    fsspec.filesystem("memory").put(str(tmp_path), str(tmp_path), recursive=True)
    found = {}
    for path in (str(tmp_path), f"memory:/{tmp_path}"):
        source = pydantic.TypeAdapter(params.Source).validate_python({**SOURCES[name], "path": path})
        found[path] = [(dataset, table.to_pylist()) for dataset, table in sources.read(source)]
    one, other = found.values()
    assert one == other
    assert one


def test_a_remote_source_that_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError, match=r"^source.path: memory://nothing must be a folder, found none"):
        files.folder("memory://nothing")
    fsspec.filesystem("memory").pipe_file("/some/a.csv", b"")
    with pytest.raises(FileNotFoundError, match=r"^source.pairs: memory://some/b.csv must exist, found none"):
        files.find(files.folder("memory://some/"), "b.csv", "pairs")


# ---- 4. the image of GPU workers


def test_the_image_has_the_versions_of_the_lock():
    text = (ROOT / "containers" / "gpu.Dockerfile").read_text()
    locked = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines())
    assert re.findall(r"apache/beam_python(\S+)_sdk:(\S+)", text) == [("3.11", locked["apache-beam"])]
    assert re.findall(r"FROM python:(\d+\.\d+)", text) == ["3.11"]
    assert "COPY --from=beam /opt/apache/beam /opt/apache/beam" in text
    assert 'ENTRYPOINT ["/opt/apache/beam/boot"]' in text
