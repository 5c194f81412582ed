"""The README's commands work as they stand there."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jobs
import pytest
import yaml

from gangue.pipeline import params
from gangue.transforms.datasets import manifest
from gangue.transforms.datasets.storage import Data

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
FIRST = ("gangue mine --params mine.yaml --data mined --reports mined/reports", "gangue show --data mined")
BLOCKS = re.findall(r"```(bash|python|yaml)\n(.*?)```", README, re.S)

EXAMPLE, *OTHERS = [body for kind, body in BLOCKS if kind == "yaml"]


def commands():
    lines = "\n".join(body for kind, body in BLOCKS if kind == "bash").splitlines()
    return {re.sub(r"\s+#.*", "", line) for line in lines if line.strip()}


def test_every_command_is_run_by_a_test_or_by_ci():
    ci = (ROOT / ".ci" / "run").read_text()
    in_ci = {"make mine", "make test"}
    assert all(command in ci for command in in_ci)
    below = {
        "make install",  # make mine and make test begin with it
        *FIRST,
        "gangue frontier",
        "gangue sample-for-labels --pairs 200",
        "gangue labels reports/to_label.jsonl",
        "mv reports/to_label.jsonl labels/first.jsonl",
        "dvc exp run -S filter.max_false_negatives=0.05",
        "dvc metrics diff",
        'git add dvc.lock && git commit -m "A first run"',  # the fixture does
    }
    assert commands() == in_ci | below


def test_the_first_example_mines_a_csv_of_pairs(tmp_path):
    rows = "".join(f"what is the colour of flower {i},flower {i} of the garden is red\n" for i in range(12))
    (tmp_path / "pairs.csv").write_text("question,answer\n" + rows)
    (tmp_path / "mine.yaml").write_text(EXAMPLE)
    mined = shell(tmp_path, FIRST[0])
    assert "triplets from 12 queries" in mined
    assert "report: mined/reports/report.html" in mined
    assert shell(tmp_path, FIRST[1]).count("negative ") == 3


@pytest.mark.parametrize("line", [line for body in OTHERS for line in body.splitlines()])
def test_the_sources_it_shows_are_good_params(line):
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    params.parse(values | yaml.safe_load(line))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone of the project with a small job, mined by ``dvc repro``."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("pipeline", "transforms", "labels"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    for path in ROOT.glob("data/*/.gitkeep"):
        (folder / path.relative_to(ROOT)).parent.mkdir(parents=True)
        shutil.copy(path, folder / path.relative_to(ROOT))
    jobs.write(folder, queries=24, documents=40)
    values = json.loads((folder / "params.yaml").read_text())
    fallback = {"kind": "shifted", "score": "dense", "shift": 1}  # so few queries teach nothing
    values["filter"] = {"kind": "learned", "max_false_negatives": 0.3, "fallback": fallback}
    values["source"]["path"] = "source"
    values["labels"] = {"path": "labels"}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    script = (
        "git init -q . && git config user.email a@b.c && git config user.name n && dvc init -q"
        " && git add -A && git commit -qm one && dvc repro && git add -A && git commit -qm two"
    )
    shell(folder, script)
    return folder


def shell(folder, script):
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    code = os.pathsep.join((str(folder), str(ROOT)))  # gangue is this tree's, whichever is installed
    environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": code}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_python_it_shows_loads_the_triplets(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    scope = {}
    for kind, body in BLOCKS:
        if kind == "python":
            exec(body, scope)
    assert scope["triplets"].column_names == ["anchor", "positive", "negative"]
    assert len(scope["triplets"]) > 0


def test_stages_run_one_by_one_write_the_bytes_of_a_run_in_one_process(project, tmp_path):
    shell(project, f"gangue mine --data {tmp_path}/data --reports {tmp_path}/reports")
    for folder in ("data", "reports"):
        one, other = content(project / folder), content(tmp_path / folder)
        assert one.keys() == other.keys()
        assert [name for name in one if one[name] != other[name]] == []


def content(folder):
    ours = (path for pattern in ("[!.]*", manifest.NAME) for path in folder.rglob(pattern))
    files = (path for path in ours if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_dvc_has_nothing_to_do_after_a_run_and_one_filter_change_runs_no_model(project):
    assert "Data and pipelines are up to date." in shell(project, "dvc repro")
    assert shell(project, "gangue show").count("negative ") == 3
    assert "shifted" in shell(project, "gangue frontier")
    log = shell(project, "dvc exp run -S filter.max_false_negatives=0.05")
    ran = set(re.findall(r"Running stage '([^']+)'", log))
    assert {"calibrate", "filter", "sample", "export", "audit"} <= ran
    assert not any(stage.startswith(("embed", "teach", "score", "ingest", "cluster", "learn")) for stage in ran)
    compared = json.loads(shell(project, "dvc metrics diff --json"))["reports/metrics.json"]
    assert {"old", "new"} <= compared["false_negatives_promised"].keys()
    shown = json.loads(shell(project, "dvc exp show --json"))
    revisions = [shown[0], *shown[1:], *(run for rows in shown for e in rows["experiments"] or () for run in e["revs"])]
    assert len(revisions) >= 3
    for revision in revisions:
        assert revision["data"]["metrics"]["reports/metrics.json"]["data"]["triplets"] > 0
    assert "audit" in shell(project, "dvc repro --single-item --force audit")
    page = shell(project, "dvc plots diff HEAD -o drawn").strip().removeprefix("file://")
    assert "https://" not in re.sub(r'xmlns[:a-z]*="[^"]*"', "", pathlib.Path(page).read_text())
    assert list((project / "drawn" / "static").glob("*.svg"))


@pytest.mark.soak  # tests/running/test_dependencies.py holds what it shows against what stages read
def test_params_without_scorers_and_encoders_are_good_ones_under_dvc_too(project, tmp_path):
    """A scorer and an encoder that come, change or go run the stages that read them, and no other."""
    folder = tmp_path / "clone"
    shell(project, f"cp -r . {folder}")
    values = yaml.safe_load((folder / "params.yaml").read_text())
    del values["scorers"]

    def ran(values):
        (folder / "params.yaml").write_text(yaml.safe_dump(values))
        log = shell(folder, "dvc repro")
        return [name.partition("@")[0] for name in re.findall(r"Running stage '([^']+)'", log)]

    last = ["learn", "calibrate", "filter", "sample", "export", "audit"]
    assert ran(values) == ["plan", *last]
    assert ran(values | {"scorers": {}}) == ["plan"]
    bm25 = {"bm25": {"kind": "bm25"}}
    values |= {"encoders": {}, "retrievers": bm25, "filter": {"kind": "naive"}}
    values["sample"]["score"] = "bm25"
    assert {"plan", "retrieve", "pool", *last} >= set(ran(values)) >= {"plan", "pool", "filter", "sample", "export"}
    del values["encoders"]
    assert ran(values) == ["plan"]


def test_two_jobs_in_one_repository_leave_each_other_alone(tmp_path):
    (stages,) = re.findall(r"```yaml\n(stages:.*?)```", (ROOT / "docs" / "dvc.md").read_text(), re.S)
    (tmp_path / "dvc.yaml").write_text(stages)
    (tmp_path / "jobs").mkdir()
    for name in ("wiki", "faq"):
        folder = tmp_path / "sources" / name
        folder.mkdir(parents=True)
        (folder / "pairs.csv").write_text("q,p\n" + "".join(f"{name} {i} asked,{name} {i} told\n" for i in range(6)))
        source = {"kind": "pairs", "path": f"sources/{name}", "pairs": "pairs.csv", "anchor": "q", "positive": "p"}
        values = {"source": source, "retrievers": {"bm25": {"kind": "bm25"}}, "filter": {"kind": "naive"}}
        values["sample"] = {"kind": "top", "score": "bm25", "negatives": 2}
        (tmp_path / "jobs" / f"{name}.yaml").write_text(yaml.safe_dump(values))
    log = shell(tmp_path, "git init -q . && dvc init -q && dvc repro")
    assert re.findall(r"Running stage '([^']+)'", log) == ["mine@wiki", "mine@faq"]
    assert "Data and pipelines are up to date." in shell(tmp_path, "dvc repro")
    with open(tmp_path / "sources" / "faq" / "pairs.csv", "a") as file:
        file.write("faq 6 asked,faq 6 told\n")
    assert re.findall(r"Running stage '([^']+)'", shell(tmp_path, "dvc repro")) == ["mine@faq"]
    shown = json.loads(shell(tmp_path, "dvc metrics show --json"))[""]["data"]
    assert {name: found["data"]["triplets"] for name, found in shown.items()} == {
        "mined/wiki/reports/metrics.json": 12,
        "mined/faq/reports/metrics.json": 14,
    }


def test_labels_are_drawn_filled_in_measured_and_mined_with(project):
    assert "Fill in label" in shell(project, "gangue sample-for-labels --pairs 200")
    path = project / "reports" / "to_label.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"label": number % 10 == 0}) + "\n" for number, row in enumerate(rows)))
    said = shell(project, "gangue labels reports/to_label.jsonl")
    mined = f"by {sum(row['mined'] for row in rows)} labels"
    assert mined in said
    assert "negatives are false" in said
    assert mined in shell(project, "gangue summary")
    log = shell(project, "mv reports/to_label.jsonl labels/first.jsonl && dvc repro")
    ran = set(re.findall(r"Running stage '([^']+)'", log))
    assert {"ingest", "pool", "learn", "calibrate", "filter"} <= ran
    assert not any(stage.startswith("embed") for stage in ran)
    assert (
        f"by {len(rows)} labels" in Data(str(project / "data")).read_note("relevance", "model.json")["share"]["words"]
    )
    assert mined not in shell(project, "gangue summary"), "these are other negatives"
