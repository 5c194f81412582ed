"""What report, metrics and summary say of the learned filter and of the budget."""

import collections
import dataclasses
import json
import re
import types
import xml.etree.ElementTree

import numpy as np
import planted
import pytest
from typer.testing import CliRunner

from gangue.pipeline import params
from gangue.pipeline.command import cli
from gangue.transforms.candidates import rules
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import frontier, labelling

BUDGET = {"kind": "learned", "max_false_negatives": 0.3, "fallback": {"kind": "abs", "score": "dense", "abs": 0.5}}
STACKS = {
    "both": (BUDGET, {"topics": 60}),
    "budget": ({"kind": "abs", "score": "dense", "max_false_negatives": 0.7, "confidence": 0.8}, {"topics": 60}),
    "refused": ({"kind": "learned", "max_false_negatives": 0.001}, {"topics": 30}),
    "learned": ({"kind": "learned", "p_false": 0.3}, {"topics": 30}),
    "few": ({"kind": "learned", "p_false": 0.3}, {"topics": 8}),
    "neither": ({"kind": "naive"}, {"topics": 8}),
}


def run(folder, command):
    places = {"params": "params.yaml", "data": "data", "reports": "reports"}
    arguments = [part for key, name in places.items() for part in (f"--{key}", str(folder / name))]
    done = CliRunner().invoke(cli.app, [command, *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Name -> what a job of that filter says, run when it is first asked for."""
    found = {}

    def of(name):
        if name not in found:
            folder, (stack, corpus) = tmp_path_factory.mktemp(name), STACKS[name]
            planted.write(folder, **corpus)
            (folder / "params.yaml").write_text(json.dumps(planted.sections(folder, filter=stack)))
            run(folder, "mine")
            page = (folder / "reports" / "report.html").read_text()
            metrics = json.loads((folder / "reports" / "audit.json").read_text())
            found[name] = types.SimpleNamespace(folder=folder, data=Data(str(folder / "data")), page=page, **metrics)
        return found[name]

    return of


def section(page, title):
    """The words below a heading."""
    body = page[page.index(f"<h2>{title}</h2>") :]
    body = body[: body.index("<h2>", 5)]
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<svg.*?</svg>", "", body)).split())


def test_the_learned_filter_is_reported_with_its_quality(jobs):
    job = jobs("both")
    model = job.data.read_note("relevance", "model.json")
    verdicts = collections.Counter(job.data.read_all("verdicts")["verdict"].to_pylist())
    assert job.learned["usable"]
    assert {key: job.learned[key] for key in ("auc", "ece")} == {key: model["quality"][key] for key in ("auc", "ece")}
    assert job.learned["dropped"] == verdicts["learned"] > 0
    assert job.learned["dropped_share"] == pytest.approx(verdicts["learned"] / verdicts.total(), rel=1e-5)
    text = section(job.page, "The learned filter")
    assert f"{verdicts['learned']} of the candidates" in text
    assert f"{model['quality']['auc']:.4g}" in text
    for name in list(model["importances"])[:12]:
        assert f">{name}</text>" in job.page


def test_the_budget_is_reported_with_what_it_rests_on(jobs):
    job = jobs("both")
    note = job.data.read_note("calibration", "cut.json")
    assert job.budget["false_negatives"] == 0.3
    assert job.budget["cut"] == note["cut"]
    assert job.budget["refused"] is None
    assert job.budget["loss"] <= job.budget["bound"] <= 0.3
    text = section(job.page, "The budget")
    assert "At most 30.0 % of the negatives may be false, on average" in text
    assert note["labelled"]["words"][1:] in text
    assert "or each labelled positive about" in text
    assert f"{100 * note['chosen']['bound']:.1f} %" in text
    assert f"{100 * job.leak['rules']['share']:.1f} %" in text


def test_confidence_is_named(jobs):
    assert "with 80 % confidence" in section(jobs("budget").page, "The budget")
    assert "with 80% confidence" in run(jobs("budget").folder, "summary")


def test_a_filter_that_was_not_taught_is_reported_with_the_reason(jobs):
    job = jobs("few")
    assert not job.learned["usable"]
    assert job.learned["weight"] == 0
    assert job.learned["auc"] is None
    text = section(job.page, "The learned filter")
    assert "The pretrained filter judged alone: to learn from at least 50 positives must be retrieved, 24 are" in text


def test_a_refused_budget_is_named_wherever_a_number_would_stand(jobs):
    job = jobs("refused")
    assert job.budget["bound"] is None
    assert "cannot be promised" in job.budget["refused"]
    text = section(job.page, "The budget")
    assert f"Cannot be promised: {job.budget['refused']}" in text
    assert "promised upper bound cannot be promised" in text
    assert "The budget of 0.1 % false negatives cannot be promised" in " ".join(job.page.split())
    summary = run(job.folder, "summary")
    assert f"Budget: {job.budget['refused']}." in summary
    assert "promises" not in summary


@pytest.mark.parametrize(
    ("name", "learned", "budget"),
    [("learned", True, False), ("few", True, False), ("budget", True, True), ("neither", False, False)],
)
def test_a_section_is_there_only_where_it_was_asked_for(jobs, name, learned, budget):
    job = jobs(name)
    for key, title, asked in (("learned", "The learned filter", learned), ("budget", "The budget", budget)):
        assert hasattr(job, key) == asked
        assert (f"<h2>{title}</h2>" in job.page) == asked
    assert ("Budget:" in run(job.folder, "summary")) == budget


@pytest.mark.parametrize("name", STACKS)
def test_the_page_loads_and_runs_nothing(jobs, name):
    page = jobs(name).page
    assert "<script" not in page
    assert not re.findall(r"\b(?:src|href)\s*=\s*[\"'](?!#)", page)
    for drawing in re.findall(r"(?s)<svg.*?</svg>", page):
        xml.etree.ElementTree.fromstring(drawing.replace("xlink:href", "href"))


def test_what_the_learn_stage_says_is_escaped(jobs):
    from gangue.pipeline.report import charts

    hostile = "<script>alert('x')</script>&"
    assert hostile not in charts.bars({hostile: 1.0})


def test_the_summary_names_budget_and_leak_in_a_line_each(jobs):
    job = jobs("both")
    lines = run(job.folder, "summary").splitlines()
    (line,) = [line for line in lines if line.startswith("Budget")]
    assert line.startswith("Budget: 30.0% false negatives on average; learned at ")
    assert line.endswith(f"promises {job.budget['bound']:.1%} and expects {job.budget['loss']:.1%}.")
    (line,) = [line for line in lines if line.startswith("Leak test")]
    assert f"{job.leak['rules']['share']:.1%} of the negatives are hidden positives" in line


def test_without_two_positives_of_a_query_the_leak_test_says_that_it_measured_nothing(tmp_path):
    planted.write(tmp_path, topics=8, single=8)
    stack = {"kind": "abs", "score": "dense", "max_false_negatives": 0.5}
    (tmp_path / "params.yaml").write_text(json.dumps(planted.sections(tmp_path, filter=stack)))
    run(tmp_path, "mine")
    text = run(tmp_path, "summary")
    assert "Leak test: not measured, since no query has two labelled positives" in text
    assert not any(character.isdigit() for line in text.splitlines() if "Leak" in line for character in line)
    assert "Budget: 50" in text
    page = (tmp_path / "reports" / "report.html").read_text()
    assert "leak test: not measured, since no query has two positives" in page


def test_the_same_job_gives_the_same_report(jobs):
    job = jobs("both")
    before = {path.name: path.read_bytes() for path in (job.folder / "reports").glob("*.*")}
    run(job.folder, "mine")
    assert {path.name: path.read_bytes() for path in (job.folder / "reports").glob("*.*")} == before


def test_what_somebody_judged_is_no_part_of_a_budget(jobs):
    job = jobs("both")
    p = params.load(str(job.folder / "params.yaml"))
    shard = frontier.load(job.data, p, job.data.shards("queries")[0])
    stack = p.filter.with_cut(1.0)
    chosen = frontier.chosen_by(job.data, p, shard, stack)
    judged = np.zeros(len(shard.pairs), bool)
    judged[chosen[:5]] = True
    told = dataclasses.replace(shard, candidates=dataclasses.replace(shard.candidates, judged=judged))
    before, after = (frontier.expected(job.data, p, one, [stack]).to_pylist()[0] for one in (shard, told))
    assert (before["chosen"], after["chosen"]) == (len(chosen), len(chosen) - 5)
    p_false = shard.candidates.scores[rules.P_FALSE][chosen[:5]].astype(float).sum()
    assert before["expected"] - after["expected"] == pytest.approx(p_false)


def test_labels_that_say_more_than_the_budget_are_a_warning(jobs):
    job = jobs("both")
    negatives = labelling.negatives_of(job.data)
    measured = {"share": 0.6, "low": 0.5, "high": 0.7, "labelled": 9, "false": 5, "negatives": 9, "predicted": 0.1}
    path = job.folder / "reports" / labelling.MEASURED
    path.write_text(json.dumps(measured | {"of": negatives.fingerprint}))
    said = run(job.folder, "summary")
    path.write_text("[1]")
    assert "Labels: 60.0%" in said
    assert "Warning: that is more than the budget of 30.0%, whatever is promised" in said
    assert "Labels" not in run(job.folder, "summary")  # what is no measure is none
    path.unlink()
