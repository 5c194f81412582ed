"""A budget for false negatives: the bounds hold, the cut is chosen by them, and the verdicts go by the cut."""

import json
import re
import types

import numpy as np
import planted
import pyarrow as pa
import pytest
import whole_path
from hypothesis import given
from hypothesis import strategies as st

from gangue.pipeline import calibrate, learn, params
from gangue.pipeline import filter as filtering
from gangue.transforms import text
from gangue.transforms.candidates import query_shard
from gangue.transforms.datasets import schema
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import budget, frontier, risk
from gangue.transforms.relevance import describing, learn_note
from gangue.transforms.views.recipe import RECIPE

# The bounds.

LOSSES = {
    "all or nothing": lambda generator, shape: generator.random(shape) < 0.04,
    "thirds": lambda generator, shape: generator.binomial(3, 0.03, shape) / 3,
    "many small": lambda generator, shape: generator.beta(0.2, 4.0, shape),
    "rare and large": lambda generator, shape: (generator.random(shape) < 0.01) * 0.9,
}


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("queries", [30, 400])
def test_a_bound_with_confidence_holds_at_least_so_often(losses, queries, confidence):
    generator = np.random.default_rng(5)
    truth = losses(generator, 2_000_000).mean()
    means = losses(generator, (1000, queries)).mean(axis=1)
    held = (risk.confident_bound(means, queries, confidence) >= truth).mean()
    assert held >= confidence - 3 * np.sqrt(confidence * (1 - confidence) / len(means))


def test_a_bound_with_confidence_is_not_far_from_what_is_true():
    bound = risk.confident_bound(np.array([0.02]), 1000, 0.9)[0]
    assert 0.02 < bound < 0.04


means = st.lists(st.floats(0, 1), min_size=1, max_size=8).map(np.array)


@given(means, st.integers(0, 500), st.floats(0.05, 0.95))
def test_a_bound_is_a_share_above_the_mean_and_grows_with_it(mean, queries, confidence):
    bound = risk.confident_bound(mean, queries, confidence)
    assert ((bound >= mean - 1e-9) & (bound <= 1 + 1e-9)).all()
    assert (np.diff(bound[np.argsort(mean)]) >= -1e-9).all()


@given(st.floats(0, 0.9), st.integers(2, 200), st.floats(0.5, 0.9))
def test_more_queries_promise_more_and_more_confidence_less(mean, queries, confidence):
    mean = np.array([np.round(mean * queries) / queries])
    bound = risk.confident_bound(mean, queries, confidence)
    assert risk.confident_bound(mean, queries * 2, confidence) <= bound + 1e-9
    assert risk.confident_bound(mean, queries, confidence + 0.05) >= bound - 1e-9


@given(means, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_budget_never_gives_a_stricter_cut(bounds, one, other):
    low, high = sorted((one, other))
    assert risk.loosest(bounds, low) <= risk.loosest(bounds, high)
    place = risk.loosest(bounds, low)
    assert (bounds[: place + 1] <= low).all()
    assert place + 1 == len(bounds) or bounds[place + 1] > low


# The stage.

RULES = {
    "learned": {"kind": "learned", "fallback": {"kind": "abs", "score": "dense", "abs": 0.5}},
    "perc": {"kind": "perc", "score": "dense"},
    "margin": {"kind": "margin", "score": "dense"},
    "abs": {"kind": "abs", "score": "dense"},
    "shifted": {"kind": "shifted", "score": "dense"},
    "denoise": {"kind": "denoise", "score": "judge"},
}


def budgeted(kind, budget, **further):
    return {**RULES[kind], "max_false_negatives": budget, **further}


def mined(folder, ingest, corpus):
    """A corpus up to what was learned, and a cross-encoder's scores that are often right."""
    false = planted.write(folder, **corpus)
    p = params.parse(planted.sections(folder, ingest=ingest))
    data = Data(str(folder / "data"))
    whole_path.run(data, p)
    known = {(r["query_id"], r["document_id"]) for r in data.read_all("positives").to_pylist()}
    for shard in data.shards("pairs"):
        pairs = data.read("pairs", shard)
        ids = list(zip(pairs["query_id"].to_pylist(), pairs["document_id"].to_pylist(), strict=True))
        noise = np.array([int.from_bytes(text.hashes([q + d]).to_pylist()[0][:2], "big") / 65536 for q, d in ids])
        judged = 0.6 * noise + 0.4 * np.array([pair in known | false for pair in ids])
        blank = text.hashes([""] * len(ids))
        scores = [pairs["query_id"], pairs["document_id"], blank, blank, pa.array(judged, pa.float32())]
        data.write("scores/judge", shard, pa.table(scores, schema=schema.SCORES))
    data.commit("scores/judge")
    return types.SimpleNamespace(folder=folder, data=data, planted=false, learned=None)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return mined(tmp_path_factory.mktemp("calibrate"), {"queries_per_shard": 16}, {})


def sections(job, stack, **changes):
    values = planted.sections(job.folder, filter=stack, **{"learn": {"labelled": 0.5}, **changes})
    asks = [stack, *stack.get("also", ())]
    if any(rule.get("score") == "judge" for rule in asks):
        values["scorers"] = {"judge": {"model": "none", "depth": 24}}
    return values


def calibrated(job, stack, **changes):
    """Params and the note of a calibration; what is learned from the same params is learned once."""
    p = params.parse(sections(job, stack, **changes))
    learned = p.learn, p.scorers, p.filter.asks_to_learn
    if job.learned != learned:
        learn.run(job.data, p)
        job.learned = learned
    calibrate.run(job.data, p)
    return p, job.data.read_note("calibration", query_shard.CUT)


def place_of(note):
    return [line["setting"] for line in note["line"]].index(note["cut"])


@pytest.mark.parametrize("kind", RULES)
def test_a_budget_chooses_the_loosest_cut_that_keeps_it_whatever_the_rule(job, kind):
    places, hardness = [], []
    for share in (0.07, 0.15, 0.6):
        _, note = calibrated(job, budgeted(kind, share))
        assert (note["kind"], note["budget"], note["confidence"]) == (kind, share, None)
        assert note["chosen"] == note["line"][place_of(note)]
        assert note["refused"] is None
        assert note["chosen"]["loss"] <= note["chosen"]["bound"] + 1e-6 <= share + 1e-6
        assert all(line["bound"] <= share for line in note["line"][: place_of(note)])
        after = note["line"][place_of(note) + 1 :]
        assert not after or after[0]["bound"] > share
        bounds = [line["bound"] for line in note["line"]]
        assert bounds == sorted(bounds), "a looser cut is never promised less"
        assert all(line["hidden"]["loss"] <= line["bound"] + 1e-6 for line in note["line"]), "what came back counts"
        places.append(place_of(note))
        hardness.append(note["chosen"]["hardness"])
    assert places == sorted(places)
    assert places[0] < places[-1]
    assert hardness[0] < hardness[-1], "a larger budget buys harder negatives"


@pytest.mark.parametrize("kind", RULES)
def test_the_verdicts_go_by_the_cut_and_the_recipe_names_it(job, kind):
    p, note = calibrated(job, budgeted(kind, 0.15))
    filtering.run(job.data, p)
    found = job.data.read_all("verdicts")
    assert kind in found["verdict"].to_pylist()
    assert query_shard.in_force(job.data, p).filter.rule.cut == note["cut"]
    by_hand = {**RULES[kind], p.filter.rule.cut_key: int(note["cut"]) if kind == "shifted" else note["cut"]}
    filtering.run(job.data, params.parse(sections(job, by_hand)))
    assert job.data.read_all("verdicts").equals(found)


@pytest.mark.parametrize("kind", RULES)
def test_the_budget_holds_for_positives_that_nobody_ever_labelled(job, kind):
    """Half of the answers are labelled, as ``learn.labelled`` says, and which half is chance."""
    budget = 0.15
    p, _ = calibrated(job, budgeted(kind, budget))
    ruled = query_shard.in_force(job.data, p)
    false = []
    for shard in job.data.shards("queries"):
        loaded = query_shard.load(job.data, ruled, shard)
        pair = frontier.chosen_by(job.data, ruled, loaded, ruled.filter)
        table = loaded.pairs.take(pa.array(pair))
        ids = zip(table["query_id"].to_pylist(), table["document_id"].to_pylist(), strict=True)
        false += [pair in job.planted for pair in ids]
    assert np.mean(false) < budget + 0.03, "the promise is one on average, and these are some 180 negatives"


def test_confidence_asks_for_more(job):
    _, mean = calibrated(job, budgeted("abs", 0.3))
    _, sure = calibrated(job, budgeted("abs", 0.3, confidence=0.95))
    assert sure["confidence"] == 0.95
    assert place_of(sure) < place_of(mean)
    assert all(a["bound"] >= b["bound"] - 1e-9 for a, b in zip(sure["line"], mean["line"], strict=True))


def test_the_more_positives_are_missing_the_stricter_the_cut(job):
    places = []
    for labelled in (0.2, 0.5, 0.9):
        _, note = calibrated(job, budgeted("abs", 0.2), learn={"labelled": labelled})
        assert (note["labelled"]["low"], note["labelled"]["told"]) == (labelled, True)
        places.append(place_of(note))
    assert places == sorted(places)
    assert places[0] < places[-1]


@pytest.mark.parametrize("kind", RULES)
def test_a_budget_that_no_cut_can_keep_is_refused_by_name_and_the_job_goes_on(job, kind, capfd):
    stack = budgeted(kind, 0.0001)
    p, note = calibrated(job, stack)
    assert re.match(
        r"0\.01% false negatives cannot be promised: .*of the negatives may be false with the strictest cut"
        r" that leaves a fifth of them;"
        r" labelled are 50\.0% of all positives, as learn\.labelled says\. Label 200 of the negatives"
        r" .*larger filter\.max_false_negatives",
        note["refused"],
    )
    assert f"calibrate: {note['refused']}" in capfd.readouterr().err
    ruled = query_shard.in_force(job.data, p).filter.rule
    if "fallback" in stack:
        assert (note["kind"], ruled.kind, ruled.cut) == ("abs", "abs", 0.5)
        stacks, loaded = (
            [p.filter.with_rule(ruled)],
            [frontier.load(job.data, p, s) for s in job.data.shards("queries")],
        )
        own = [frontier.expected(job.data, p, shard, stacks).to_pylist()[0] for shard in loaded]
        sums = {key: sum(part[key] for part in own) for key in ("chosen", "expected", "hardness", "queries")}
        shown = note["chosen"]
        assert shown["loss"] == pytest.approx(sums["expected"] / sums["chosen"], rel=1e-5)
        assert shown["hardness"] == pytest.approx(sums["hardness"] / sums["chosen"], rel=1e-5)
        assert shown["per_query"] == pytest.approx(sums["chosen"] / sums["queries"], rel=1e-5)
        assert shown not in note["line"], "not a cut of the rule that does not judge"
    else:
        most = max(line["per_query"] for line in note["line"])
        enough = [line for line in note["line"] if line["per_query"] >= 0.8 * most]
        kept = [line for line in enough if line["loss"] <= 0.0001]
        assert note["chosen"] == (kept[-1] if kept else enough[0])
        assert ruled.cut == note["cut"]
    filtering.run(job.data, p)


def test_a_fallback_may_have_no_cut(job):
    fallback = {"kind": "rank_window", "score": "dense", "first": 2, "last": 9}
    p, note = calibrated(job, {"kind": "learned", "max_false_negatives": 0.0001, "fallback": fallback})
    assert (note["kind"], note["cut"]) == ("rank_window", None)
    assert query_shard.in_force(job.data, p).filter.rule == p.filter.fallback


def test_with_one_positive_a_query_nothing_is_hidden_and_the_promise_stands_on_what_is_expected(tmp_path):
    job = mined(tmp_path, {}, {"topics": 20, "single": 20})
    _, note = calibrated(job, budgeted("perc", 0.5))
    assert note["queries"] == 20
    assert all(line["hidden"]["queries"] == 0 for line in note["line"])
    assert note["refused"] is None
    assert note["chosen"]["bound"] <= 0.5


def test_the_promise_takes_the_unfavourable_end_of_the_share_that_was_read_off_the_data(job):
    _, note = calibrated(job, budgeted("learned", 0.3), learn={})
    share = note["labelled"]
    assert not share["told"]
    assert share["low"] <= 0.5 <= share["high"], "half of the answers are labelled"
    assert all(line["loss"] <= line["bound"] + 1e-6 for line in note["line"])
    assert any(line["loss"] < line["bound"] - 0.01 for line in note["line"])


def test_what_is_said_of_the_share_is_believed_and_contradicted(job, capfd):
    calibrated(job, budgeted("abs", 0.3), learn={"labelled": 0.95})
    assert "learn: learn.labelled says that 95% of all positives are labelled, the data say" in capfd.readouterr().err
    assert learn_note.read(job.data)["share"]["low"] == 0.95


def test_where_something_tells_the_labels_every_budget_is_refused(job):
    p, note = calibrated(job, budgeted("abs", 0.6))
    assert note["refused"] is None
    reason = "labelled positives are told from candidates that look as good (area 1.000)"
    told = learn_note.read(job.data) | {"distrusted": True, "findings": [reason]}
    refused = budget.chosen_cut(note["line"], p, told)["refused"]
    assert f"cannot be promised: {reason}" in refused


def test_a_first_budget_after_a_job_without_one_says_that_learn_must_run_again(job):
    plain = params.parse(sections(job, {"kind": "naive"}))
    learn.run(job.data, plain)
    job.learned = None
    p = params.parse(sections(job, budgeted("abs", 0.3)))
    with pytest.raises(ValueError, match=r"relevance: a budget needs to know .*dvc repro --force --single-item learn"):
        calibrate.run(job.data, p)


def test_without_a_budget_there_is_only_a_note(job):
    p, note = calibrated(job, {"kind": "perc", "score": "dense", "perc": 0.9})
    assert note == {"cut": 0.9}
    assert query_shard.in_force(job.data, p) == p
    _, note = calibrated(job, {"kind": "naive"})
    assert note == {"cut": None}


def test_a_sample_of_the_queries_is_whole_queries_described_as_before(job):
    p, _ = calibrated(job, budgeted("learned", 0.15))
    sizes = []
    for name in job.data.shards("queries"):
        shard = query_shard.load(job.data, p, name)
        some = query_shard.sampled(job.data, p, shard, 0.5, 3)
        assert query_shard.sampled(job.data, p, shard, 1.0, 3) is shard
        keep = np.isin(shard.candidates.query, some.candidates.query)
        assert some.pairs.equals(shard.pairs.filter(pa.array(keep)))
        assert set(some.candidates.positive_query) == set(some.candidates.query)
        for one, other in (
            (some.candidates.scores, shard.candidates.scores),
            (some.candidates.ranks, shard.candidates.ranks),
        ):
            assert all(np.array_equal(one[key], other[key][keep], equal_nan=True) for key in other)
        mine = np.isin(shard.candidates.positive_query, some.candidates.query)
        assert some.block.positives.equals(shard.block.positives.filter(pa.array(mine)))
        for key, values in some.candidates.positive_scores.items():
            assert np.array_equal(values, shard.candidates.positive_scores[key][mine], equal_nan=True)
        known = some.positive_of_pair
        features = describing.describe(job.data, p, some, known)
        whole = describing.describe(job.data, p, shard, shard.positive_of_pair)
        assert features.keys() == whole.keys()
        for name, values in features.items():
            assert np.allclose(values, whole[name][keep], atol=1e-5, equal_nan=True), name
        sizes.append((len(np.unique(some.candidates.query)), shard.queries))
    found, queries = np.sum(sizes, axis=0)
    assert 0.25 * queries < found < 0.75 * queries


@pytest.mark.parametrize("kind", ["learned", "perc", pytest.param("abs", marks=pytest.mark.soak)])
def test_neither_shards_nor_the_runner_change_the_cut(job, kind, tmp_path):
    few = {"calibrate": {"queries": 40}} if kind == "perc" else {}
    _, one = calibrated(job, budgeted(kind, 0.3 if few else 0.15), **few)
    assert (one["queries"] < 60) == bool(few)
    (tmp_path / "source").symlink_to(job.folder / "source")
    (tmp_path / "encoder").symlink_to(job.folder / "encoder")
    stack = budgeted(kind, one["budget"])
    changes = {"ingest": {"queries_per_shard": 5}, "learn": {"labelled": 0.5}, **few}
    p = params.parse(planted.sections(tmp_path, filter=stack, **changes))
    data = Data(str(tmp_path / "data"))
    whole_path.run(data, p)
    other = data.read_note("calibration", query_shard.CUT)
    loose = ("line", "chosen", "labelled")  # sums over shards differ in their last digits
    assert {**other, **dict.fromkeys(loose)} == {**one, **dict.fromkeys(loose)}
    for there, here in zip(other["line"], one["line"], strict=True):
        assert there.pop("hidden") == pytest.approx(here.pop("hidden"), abs=1e-5)
        assert there == pytest.approx(here, abs=1e-5)
    triplets = data.read("triplets", data.shards("triplets")[0])
    recipe = json.loads(triplets.schema.metadata[RECIPE])
    assert recipe["judged_by"] == {"kind": kind, "cut": one["cut"]}


def test_a_fallback_judges_where_the_budget_cannot_be_kept(tmp_path):
    planted.write(tmp_path, topics=15)
    p = params.parse(planted.sections(tmp_path, filter=budgeted("learned", 0.0001)))
    data = Data(str(tmp_path / "data"))
    whole_path.run(data, p)
    note = data.read_note("calibration", query_shard.CUT)
    assert note["kind"] == "abs"
    assert note["refused"]
    ruled = query_shard.in_force(data, p).filter.rule
    assert (ruled.kind, ruled.cut, ruled.score) == ("abs", 0.5, "dense")
    recipe = json.loads(data.read("triplets", data.shards("triplets")[0]).schema.metadata[RECIPE])
    assert recipe["judged_by"] == {"kind": "abs", "cut": 0.5}
