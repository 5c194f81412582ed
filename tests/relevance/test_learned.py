"""The learned false-negative filter: what it finds, what it may not know, and when it stands back."""

import collections
import copy
import dataclasses
import json
import math
import shutil

import numpy as np
import planted
import pytest
import whole_path
from hypothesis import given, settings
from hypothesis import strategies as st
from learned import Job, pairs_of, pairs_of_positives, rule

from gangue.pipeline import filter as filtering
from gangue.pipeline import learn, params
from gangue.transforms import at_hand, randomness
from gangue.transforms.candidates import rules
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import held_out
from gangue.transforms.relevance import classifier, describing, feature_names, features, learn_note
from gangue.transforms.views.recipe import RECIPE


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return Job(tmp_path_factory.mktemp("planted"))


def test_examples_of_some_queries_are_theirs_among_all(job):
    for shard in job.shards():
        every = {row["order"]: row for row in learn.examples(job.data, job.p, shard).to_pylist()}
        some = learn.examples(job.data, job.p, shard, 0.3).to_pylist()
        assert 0 < len(some) < 0.6 * len(every)
        for row in some:
            for name, value in row.items():
                assert value == pytest.approx(every[row["order"]][name], rel=1e-12, nan_ok=True), name


def test_at_equal_hardness_it_lets_a_quarter_of_the_false_negatives_through_that_other_rules_do(job):
    leaked, hardness = job.leaked_and_hardness(job.p.filter)
    line = [rules.Naive(), *(rule(kind="shifted", shift=shift) for shift in (1, 2, 4, 6, 8, 10, 12))]
    others = sorted(job.leaked_and_hardness(job.p.filter.with_rule(other))[::-1] for other in line)
    as_hard = np.interp(hardness, *zip(*others, strict=True))
    assert as_hard > 0.15, "the corpus must be hard"
    assert leaked < as_hard / 4
    assert hardness > max(h for h, share in others if share <= max(leaked, 0.02)), "and none as clean is as hard"


def told_apart(job):
    """p_false of planted answers, and of other unlabelled candidates."""
    rows = job.data.read_all("relevance").to_pylist()
    known = set(map(tuple, job.data.read_all("positives", ["query_id", "document_id"]).to_pandas().to_numpy()))
    assert all(0 <= row["p_false"] <= 1 for row in rows)
    found = {(r["query_id"], r["document_id"]): r["p_false"] for r in rows}
    unlabelled = found.keys() - known
    return (
        np.array([found[pair] for pair in unlabelled if (pair in job.planted) == answer]) for answer in (True, False)
    )


def test_its_probability_puts_planted_positives_above_true_negatives(job):
    answers, others = told_apart(job)
    assert (answers[:, None] > others).mean() > 0.95


def test_without_labels_the_others_tell_positives_from_decoys_and_no_known_positive_from_one_that_nobody_labelled(job):
    known, planted, others = collections.defaultdict(list), collections.defaultdict(list), collections.defaultdict(list)
    for shard in job.shards():
        every = np.ones(shard.queries, bool)
        opinion = describing.opinion(job.data, job.p, shard, learn_note.read(job.data), every)
        relations = shard.candidates.relations
        hidden = np.array([pair in job.planted for pair in pairs_of(shard, np.arange(len(shard.pairs)))])
        free = ~np.any(list(relations.values()), axis=0)
        for name in ("blind", "agreed"):
            value = getattr(opinion, name)
            known[name] += value[relations["positive"]].tolist()
            planted[name] += value[free & hidden].tolist()
            others[name] += value[free & ~hidden].tolist()

    def above(one, other):
        return (np.array(one)[:, None] > np.array(other)).mean()

    for name in known:
        assert above(known[name], planted[name]) == pytest.approx(0.5, abs=0.05), name
    assert above(planted["agreed"], others["agreed"]) > above(planted["blind"], others["blind"]) + 0.01


# Nobody is judged by what saw it.


def examples(seed, queries=60, each=12):
    """Features, labels, weights, fold and query of made-up examples."""
    generator = np.random.default_rng(seed)
    query = np.repeat(np.arange(queries), each)
    labels = generator.random(len(query)) < 0.3
    values = generator.normal(size=(len(query), 3)) + labels[:, None] * [1.0, 0.5, 0.0]
    values[generator.random(values.shape) < 0.1] = np.nan
    fold = randomness.fold_of([f"q{number}" for number in range(queries)], classifier.FOLDS)[query]
    return values, labels, np.where(labels, 1.0, 2.0), fold, query


@pytest.mark.parametrize("number", [0, 7, 31])
def test_the_model_that_judges_a_query_does_not_depend_on_its_labels(number):
    values, labels, weights, fold, query = examples(1)
    flipped = np.where(query == number, ~labels, labels)
    before, _ = classifier.learn(values, labels, weights, fold)
    after, _ = classifier.learn(values, flipped, weights, fold)
    own = fold[query == number][0]
    assert after[own] == before[own]
    assert all(after[other] != before[other] for other in range(classifier.FOLDS) if other != own)


def test_queries_that_ask_the_same_share_a_fold_and_the_folds_are_about_alike():
    folds = randomness.fold_of([f"q{i // 2}" for i in range(2000)], classifier.FOLDS)
    assert (folds[::2] == folds[1::2]).all()
    assert np.bincount(folds, minlength=classifier.FOLDS).min() > 300


def test_low_bits_of_the_features_stay_low_bits_of_the_probability():
    few, labels, weights, fold, _ = examples(4, queries=200)
    generator = np.random.default_rng(2)
    values = np.nan_to_num(few) @ generator.normal(size=(3, 24)) + 0.3 * generator.normal(size=(len(few), 24))
    apart = values * (1 + 1e-7 * generator.standard_normal(values.shape))
    one, other = (classifier.learn(some, labels, weights, fold)[0] for some in (values, apart))
    for model, moved in zip(one, other, strict=True):
        assert np.abs(model.labelled(values) - moved.labelled(apart)).max() < 1e-6


def test_a_model_survives_json():
    values, labels, weights, fold, _ = examples(2)
    models, _ = classifier.learn(values, labels, weights, fold)
    for model in models:
        again = classifier.Model(**json.loads(json.dumps(dataclasses.asdict(model))))
        assert again == model
        assert again.labelled(values).tobytes() == model.labelled(values).tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels, fold: (labels & (np.cumsum(labels) <= 49), fold), "at least 50 positives .* 49 are"),
        (lambda labels, fold: (labels, fold % 2), r"the \d+ positives must belong to more queries"),
        (lambda labels, fold: (np.ones_like(labels), fold), "there are no unlabelled candidates"),
        (lambda labels, fold: (labels | (fold > 1), fold), r"the \d+ unlabelled candidates must belong to more"),
    ],
)
def test_what_cannot_be_learned_from_is_told(change, message):
    values, labels, weights, fold, _ = examples(3)
    labels, fold = change(labels, fold)
    with pytest.raises(classifier.NotEnough, match=message):
        classifier.learn(values, labels, weights, fold)


# Left out is hidden.


@pytest.mark.parametrize("number", range(3))
def test_a_positive_left_out_is_described_as_if_it_were_hidden(job, number):
    """Each query's positive ``number`` is hidden: what is said of it must be what was said of it as a positive."""
    for shard in job.shards()[:2]:
        left_out = shard.positive_of_pair
        as_positive = described(job, shard, left_out)
        hidden = np.zeros(len(shard.block.positives), bool)
        hidden[np.flatnonzero(np.arange(len(hidden)) % 3 == number)] = True
        unaware = held_out.hide(job.data, job.p, shard, hidden)
        as_candidate = described(job, unaware, np.full(len(unaware.pairs), -1))
        gone = set(pairs_of_positives(shard, hidden)) & set(as_candidate)
        assert len(gone) > 8
        own = [
            name
            for name in feature_names.names(job.p)
            # nearest and the like are standardised by what is said of the others, and they know one positive less
            if not (name.endswith("_standardised") and name.startswith(("nearest", "mean", "crowd", "neighbours")))
        ]
        assert {"nearest_static", "neighbours_static", "crowd_static", "dense_standardised", "dense_gap"} <= set(own)
        for pair in gone:
            for name in own:
                one, other = as_positive[pair][name], as_candidate[pair][name]
                tolerance = 0.05 if name.startswith("crowd") else 1e-6  # another twentieth best candidate
                assert one == pytest.approx(other, abs=tolerance, nan_ok=True), (name, pair)


def values_of(job, shard, left_out):
    return describing.matrix(describing.describe(job.data, job.p, shard, left_out), feature_names.names(job.p))


def described(job, shard, left_out):
    values = values_of(job, shard, left_out)
    names = feature_names.names(job.p)
    assert values.shape == (len(shard.pairs), len(names))
    pairs = pairs_of(shard, np.arange(len(shard.pairs)))
    return {pair: dict(zip(names, row.tolist(), strict=True)) for pair, row in zip(pairs, values, strict=True)}


def test_an_unlabelled_positive_is_described_as_a_labelled_one_is(job):
    """Which answers are labelled is chance, so no feature may tell: the label would stand in the features."""
    names = feature_names.names(job.p)
    labelled, unlabelled = [], []
    for shard in job.shards():
        words = randomness.mix(1, np.arange(len(shard.pairs), dtype=np.uint64))
        left_out = describing.left_out_for_learning(shard, words)
        values = values_of(job, shard, left_out).astype(np.float64)
        labelled.append(values[shard.candidates.relations["positive"]])
        unlabelled.append(values[[pair in job.planted for pair in pairs_of(shard, np.arange(len(shard.pairs)))]])
    for name, one, other in zip(names, np.concatenate(labelled).T, np.concatenate(unlabelled).T, strict=True):
        one, other = one[np.isfinite(one)], other[np.isfinite(other)]
        if len(one):
            error = np.sqrt(one.var() / len(one) + other.var() / len(other)) + 1e-9
            assert abs(one.mean() - other.mean()) < 3 * error, name


def test_for_learning_every_pair_is_described_by_one_positive_less(job):
    for shard in job.shards():
        words = np.arange(len(shard.pairs), dtype=np.uint64)
        left_out = describing.left_out_for_learning(shard, words)
        own = shard.candidates.positive_query[left_out]
        assert (own == shard.candidates.query).all(), "each leaves out a positive of its own query"
        positive = shard.candidates.relations["positive"]
        assert (left_out[positive] == shard.positive_of_pair[positive]).all()
        column = feature_names.names(job.p).index("positives")
        known = np.expm1(values_of(job, shard, left_out)[:, column])
        assert known == pytest.approx(2.0, abs=1e-5)


def test_queries_with_a_single_positive_are_judged_and_mined_too(tmp_path):
    single = Job(tmp_path, corpus={"topics": 60, "single": 25})
    counts = collections.Counter(single.data.read_all("positives", ["query_id"])["query_id"].to_pylist())
    lonely = {query for query, count in counts.items() if count == 1}
    assert len(lonely) == 25
    of_lonely = [r["p_false"] for r in single.data.read_all("relevance").to_pylist() if r["query_id"] in lonely]
    assert of_lonely
    assert None not in of_lonely
    assert lonely <= set(single.data.read_all("triplets", ["query_id"])["query_id"].to_pylist())
    column = feature_names.names(single.p).index("nearest_static")
    for shard in single.shards():
        alone = np.isin(shard.pairs["query_id"].to_pylist(), list(lonely))
        positive = shard.candidates.relations["positive"]
        left_out = np.where(positive, shard.positive_of_pair, -1)
        nearest = values_of(single, shard, left_out)[:, column]
        assert np.isnan(nearest[alone & positive]).all(), "nobody is left to be near to"
        assert np.isfinite(nearest[alone & ~positive]).all()


# Features against plain Python.

TINY = settings(max_examples=60, deadline=None)


def plain_ridge(alike, asked, labels, row, partner):
    """Teach without the row, its partner taken for unlabelled, then predict the row."""
    n = len(labels)
    kernel = np.ones((n + 1, n + 1))
    kernel[:n, :n], kernel[:n, n], kernel[n, :n] = alike, asked, asked
    kernel = np.exp(features._WIDTH * (kernel - 1))
    rest = [i for i in range(n + 1) if i != row]
    target = np.append(labels, 1.0)
    if partner >= 0:
        target[partner] = 0.0
    weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + features._RIDGE * np.eye(len(rest)), target[rest])
    return kernel[row, rest] @ weights


@TINY
@given(st.integers(1, 9), st.integers(0, 2**32), st.data())
def test_the_ridge_in_closed_form_is_the_ridge_taught_anew_for_each_row(n, seed, data):
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(n + 1, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    partner = np.array(data.draw(st.lists(st.integers(-1, n - 1), min_size=n, max_size=n)))
    alike, asked = vectors[:n] @ vectors[:n].T, vectors[:n] @ vectors[n]
    found = features.Ridge.among(alike, asked).left_out(labels, partner)
    for row in range(n):
        assert found[row] == pytest.approx(plain_ridge(alike, asked, labels, row, partner[row]), abs=1e-8)


def test_an_opinion_is_the_same_whether_or_not_there_was_room_for_its_ridges(job, monkeypatch):
    note = learn_note.read(job.data)
    for shard in job.shards():
        kept = describing.opinion(job.data, job.p, shard, note)
        with monkeypatch.context() as patched:
            patched.setattr(features, "_KEPT", 0)
            anew = describing.opinion(job.data, job.p, shard, note)
        assert anew.full.tobytes() == kept.full.tobytes()
        assert anew.taught.tobytes() == kept.taught.tobytes()


@TINY
@given(st.integers(0, 2**32))
def test_standardised_values_are_distances_in_deviations_of_the_querys_unlabelled(seed):
    generator = np.random.default_rng(seed)
    query = np.sort(generator.integers(0, 4, 15))
    values = generator.normal(size=15).round(1)
    values[generator.random(15) < 0.2] = np.nan
    unlabelled = generator.random(15) < 0.7
    partner = np.array([generator.choice([-1, *np.flatnonzero((query == q) & ~unlabelled)]) for q in query])
    found, deviations = features.standardised(query, values, unlabelled, partner, 4)
    for row in range(15):
        counted = unlabelled | (np.arange(15) == partner[row])
        own = [v for q, v, u in zip(query, values, counted, strict=True) if q == query[row] and u and v == v]
        mean = sum(own) / len(own) if own else 0.0
        deviation = math.sqrt(sum((v - mean) ** 2 for v in own) / len(own)) if own else 0.0
        deviation = deviation if deviation >= 1e-9 else 1.0
        assert deviations[row] == pytest.approx(deviation)
        assert found[row] == pytest.approx((values[row] - mean) / deviation, nan_ok=True)


@TINY
@given(st.integers(0, 2**32))
def test_the_gap_is_to_the_mean_of_the_positives_but_the_one_left_out(seed):
    generator = np.random.default_rng(seed)
    positive_query = np.sort(generator.integers(0, 4, 6))
    positive_scores = generator.normal(size=6)
    positive_scores[generator.random(6) < 0.2] = np.nan
    query = np.sort(generator.integers(0, 4, 12))
    scores = generator.normal(size=12)
    left_out = np.array([generator.choice([-1, *np.flatnonzero(positive_query == q)]) for q in query])
    found = features.gap(query, scores, left_out, positive_query, positive_scores, 4)
    for row in range(12):
        own = [
            s
            for place, (q, s) in enumerate(zip(positive_query, positive_scores, strict=True))
            if q == query[row] and place != left_out[row] and s == s
        ]
        expected = scores[row] - sum(own) / len(own) if own else math.nan
        assert found[row] == pytest.approx(expected, nan_ok=True)


def test_where_all_positives_are_hidden_there_is_no_gap():
    nothing = np.array([], np.int64)
    found = features.gap(np.array([0, 1]), np.array([0.5, 0.25]), np.array([-1, -1]), nothing, nothing.astype(float), 2)
    assert np.isnan(found).all()


@TINY
@given(st.integers(0, 2**32), st.sampled_from([3, 1 << 18]))
def test_shared_labels_are_those_of_other_queries(seed, block):
    generator = np.random.default_rng(seed)
    queries, documents = 5, 6
    known = sorted({(int(q), int(d)) for q, d in generator.integers(0, [queries, documents], (12, 2))})
    vectors = generator.normal(size=(queries, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [(q, d) for q in range(queries) for d in range(documents) if generator.random() < 0.7 or (q, d) in known]
    left_out = []
    for q, d in pairs:
        own = [document for query, document in known if query == q]
        left_out.append(d if d in own else int(generator.choice([-1, *own])))
    hidden = [pair for pair in known if generator.random() < 0.2 and left_out[pairs.index(pair)] != pair[1]]
    left_out = [-1 if (q, gone) in hidden else gone for (q, _), gone in zip(pairs, left_out, strict=True)]
    own = [pair for pair in known if pair not in hidden]
    labels = features.Labels.of(*np.array(known).T, queries, documents)
    mine = tuple(np.array(own, np.int64).reshape(-1, 2).T)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "_EXPANDED", block)
        found = features.shared_labels(
            *np.array(pairs, np.int64).reshape(-1, 2).T, np.array(left_out), mine, labels, lambda rows: vectors[rows]
        )
    for row, (q, d) in enumerate(pairs):
        others = [query for query, document in known if document == d and query != q]
        known_now = {document for query, document in own if query == q} - {left_out[row]}
        nearest = max((float(vectors[q] @ vectors[other]) for other in others), default=math.nan)
        alike = sum(bool(known_now & {doc for query, doc in known if query == other}) for other in others)
        assert found["asked"][row] == pytest.approx(nearest, nan_ok=True)
        assert found["answers"][row] == pytest.approx(math.log1p(len(others)))
        assert found["shared"][row] == pytest.approx(math.log1p(alike))


# The same p_false, however it was computed.


@pytest.mark.parametrize(
    "changes",
    [
        {"ingest": {"queries_per_shard": 7, "documents_per_shard": 100}},
        {"ingest": {"queries_per_shard": 1000}},
    ],
    ids=["small shards", "one shard"],
)
def test_the_size_of_the_shards_changes_no_bit(job, changes, tmp_path):
    other = copy.copy(job)
    other.p, other.data = params.parse(planted.sections(job.folder, **changes)), Data(str(tmp_path / "data"))
    whole_path.run(other.data, other.p)
    assert learn_note.read(other.data) == learn_note.read(job.data)
    assert other.p_false() == job.p_false()


def test_several_processes_change_no_bit(job, tmp_path):
    other = copy.copy(job)
    other.p, other.data = params.parse(planted.sections(job.folder, beam={"workers": 2})), Data(str(tmp_path / "data"))
    shutil.copytree(job.data.root, other.data.root)
    shutil.rmtree(other.data.path("relevance"))
    learn.run(other.data, other.p)
    assert learn_note.read(other.data) == learn_note.read(job.data)
    assert other.p_false() == job.p_false()


def test_the_order_of_the_source_changes_no_bit(job, tmp_path):
    for path in (job.folder / "source").iterdir():
        (tmp_path / "source").mkdir(exist_ok=True)
        lines = path.read_text().splitlines(keepends=True)
        (tmp_path / "source" / path.name).write_text("".join(sorted(lines)))
    (tmp_path / "encoder").symlink_to(job.folder / "encoder")
    other = copy.copy(job)
    other.p, other.data = params.parse(planted.sections(tmp_path)), Data(str(tmp_path / "data"))
    whole_path.run(other.data, other.p)
    assert learn_note.read(other.data) == learn_note.read(job.data)
    assert other.p_false() == job.p_false()


# Verdicts.


def test_every_candidate_has_one_verdict_and_learned_takes_what_is_likely_false(job):
    verdicts = {(r["query_id"], r["document_id"]): r["verdict"] for r in job.data.read_all("verdicts").to_pylist()}
    judged = {(r["query_id"], r["document_id"]): r["p_false"] for r in job.data.read_all("relevance").to_pylist()}
    assert verdicts.keys() == judged.keys()
    counts = collections.Counter(verdicts.values())
    assert sum(counts.values()) == sum(job.data.rows("pairs")) == len(verdicts)
    assert counts["learned"] > 50
    assert counts["kept"] > 50
    for pair, verdict in verdicts.items():
        if verdict in ("learned", "kept"):
            assert (judged[pair] >= np.float32(0.3)) == (verdict == "learned"), pair


def test_a_lower_cut_never_keeps_more(job):
    for shard in job.shards():
        before = None
        for cut in (1.0, 0.9, 0.5, 0.3, 0.1, 0.01, 0.001, 1e-9):
            verdicts = filtering.rules.judge(shard.candidates, job.p.filter.with_cut(cut).rules, shard.queries)
            kept = set(verdicts.pair[verdicts.verdict == -1].tolist())
            assert before is None or kept <= before
            before = kept
        assert not before


def test_a_triplet_says_how_likely_it_is_false_and_only_if_that_was_asked(job, tmp_path):
    rows = job.data.read_all("triplets").to_pylist()
    judged = {(r["query_id"], r["document_id"]): r["p_false"] for r in job.data.read_all("relevance").to_pylist()}
    assert all(row["p_false"] == judged[row["query_id"], row["negative_id"]] < 0.3 for row in rows)
    assert "`p_false`" in (job.folder / "data" / "README.md").read_text()
    plain = copy.copy(job)
    plain.p = params.parse(planted.sections(job.folder, filter={"kind": "perc", "score": "dense", "perc": 0.95}))
    plain.data = Data(str(tmp_path / "data"))
    whole_path.run(plain.data, plain.p)
    for dataset in ("triplets", "negatives"):
        assert "p_false" not in plain.data.read_all(dataset).column_names
    assert learn_note.read(plain.data) == learn.NOTHING


# Standing back.


def recipe(data):
    return json.loads(data.read("triplets", data.shards("triplets")[0]).schema.metadata[RECIPE])


def test_the_learned_rule_is_in_the_recipe(job):
    assert recipe(job.data)["judged_by"] == {"kind": "learned", "cut": 0.3}
    model = job.data.read_note("relevance", "model.json")
    assert model["usable"]
    assert model["features"] == feature_names.names(job.p) == sorted(model["importances"], key=model["features"].index)
    assert len(model["models"]) == classifier.FOLDS


def stands_back(folder, capfd, message, **corpus):
    """Where nothing can be taught the pretrained filter judges alone, and it is said."""
    back = Job(folder, corpus=corpus)
    model = learn_note.read(back.data)
    assert not model["usable"]
    assert model["weight"] == 0
    assert message in model["reason"]
    assert f"learn: the pretrained filter judges alone: {model['reason']}" in capfd.readouterr().err
    assert recipe(back.data)["judged_by"] == {"kind": "learned", "cut": 0.3}
    for dataset in ("relevance", "triplets"):
        column = back.data.read_all(dataset)["p_false"]
        assert column.null_count == 0
        assert len(column) or dataset == "triplets", "where all look alike none may be left"
    return back


def test_with_too_few_positives_the_pretrained_filter_judges_alone_and_all_say_so(tmp_path, capfd):
    back = stands_back(tmp_path, capfd, "at least 50 positives must be retrieved, 36 are", topics=12)
    answers, others = told_apart(back)
    assert (answers[:, None] > others).mean() > 0.9


def test_with_features_that_say_nothing_the_pretrained_filter_judges_alone_and_all_say_so(tmp_path, capfd, monkeypatch):
    def nothing(data, p, shard, left_out, ridges=None):
        names = (*feature_names.names(p), *(f"mutual_{name}" for name in p.encoders))
        return {name: np.zeros(len(shard.pairs)) for name in names}

    monkeypatch.setattr(describing, "describe", nothing)
    stands_back(tmp_path, capfd, "the area under the curve must be at least 0.6, it is 0.5", topics=30)


def test_a_shard_can_be_judged_as_if_some_positives_were_hidden(job):
    shard = job.shards()[0]
    hidden = np.arange(len(shard.block.positives)) % 3 == 0
    unaware = held_out.hide(job.data, job.p, shard, hidden)
    gone = set(pairs_of_positives(shard, hidden))
    positive = set(pairs_of(unaware, np.flatnonzero(unaware.candidates.relations["positive"])))
    assert not gone & positive
    told = dict(
        zip(pairs_of(unaware, np.arange(len(unaware.pairs))), unaware.candidates.scores["p_false"], strict=True)
    )
    found = [told[pair] for pair in gone if pair in told]
    assert np.median(found) > 0.3
    assert np.median(unaware.candidates.scores["p_false"]) < 0.1


# Params.

GOOD = {"kind": "learned", "p_false": 0.3, "fallback": {"kind": "naive"}}
BUDGET = {"kind": "perc", "score": "dense", "max_false_negatives": 0.05}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "naive", "fallback": {"kind": "naive"}}, r"filter: fallback belongs to kind learned"),
        ({**GOOD, "fallback": GOOD}, r"fallback"),
        ({**GOOD, "fallback": {"kind": "learned", "p_false": 0.1}}, r"kind learned must be the main rule"),
        ({"kind": "naive", "also": [{"kind": "learned", "p_false": 0.1}]}, r"kind learned must be the main rule"),
        ({**GOOD, "p_false": None}, r"filter: kind learned needs p_false"),
        ({**GOOD, "p_false": 0.0}, r"filter.p_false must be > 0"),
        ({**GOOD, "p_false": 1.5}, r"filter.p_false must be <= 1"),
        ({**GOOD, "score": "dense"}, r"filter: kind learned does not read score; it takes p_false"),
        ({**GOOD, "max_false_negatives": 0.05, "fallback": {"kind": "abs", "score": "dense", "abs": 1}}, r"p_false is"),
        ({**BUDGET, "perc": 0.9}, r"filter: perc is chosen by max_false_negatives, got 0.9. Remove one of them"),
        ({"kind": "perc", "score": "dense", "perc": 0.9, "confidence": 0.9}, r"confidence belongs to max_false_neg"),
        ({"kind": "naive", "max_false_negatives": 0.05}, r"max_false_negatives chooses cuts of .*, got kind naive"),
        ({**BUDGET, "max_false_negatives": 0.0}, r"filter.max_false_negatives must be > 0"),
        ({**BUDGET, "max_false_negatives": 1.0}, r"filter.max_false_negatives must be < 1"),
        ({**BUDGET, "confidence": 1.0}, r"filter.confidence must be < 1"),
        ({**GOOD, "fallback": {"kind": "abs", "score": "x", "abs": 1}}, r"filter.fallback.score must be one of"),
    ],
)
def test_a_mistake_in_the_filter_is_refused(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        params.parse(planted.sections(tmp_path, filter=values))


@pytest.mark.parametrize(("key", "value"), [("labelled", 0), ("labelled", 1), ("candidates", 0), ("examples", 0)])
def test_a_mistake_in_learn_is_refused(tmp_path, key, value):
    with pytest.raises(ValueError, match=rf"learn.{key} must be"):
        params.parse(planted.sections(tmp_path, learn={key: value}))


def test_no_score_may_take_the_name_of_the_learned_one(tmp_path):
    values = planted.sections(tmp_path)
    values["retrievers"]["p_false"] = {"kind": "bm25"}
    with pytest.raises(ValueError, match="must not be called p_false"):
        params.parse(values)


def test_a_second_learning_after_a_change_of_the_params_starts_anew(tmp_path):
    """What an earlier run left cannot pass for the result of this one."""
    first = Job(tmp_path, corpus={"topics": 20})
    assert learn_note.read(first.data)["usable"]
    plain = params.parse(planted.sections(tmp_path, filter={"kind": "naive"}))
    learn.run(first.data, plain)
    assert not learn_note.read(first.data)["usable"]
    assert first.data.files("relevance") == []
    at_hand.forget()


def renamed(p, names):
    """The params with other names for retrievers."""
    values = json.loads(p.model_dump_json(exclude_unset=True))
    values["retrievers"] = {names.get(name, name): retriever for name, retriever in values["retrievers"].items()}
    for part in (values["filter"].get("fallback", {}), values["sample"]):
        part["score"] = names.get(part.get("score"), part.get("score"))
    return values


@pytest.mark.parametrize("names", [("full", "known"), ("query", "taught"), ("judged", "agreed"), ("told", "counted")])
def test_how_retrievers_are_called_changes_nothing(job, tmp_path, names):
    called = dict(zip(job.p.retrievers, names, strict=True))
    again = Job(tmp_path, **{k: renamed(job.p, called)[k] for k in ("retrievers", "filter", "sample")})
    assert again.p_false() == job.p_false()


@pytest.mark.parametrize(
    ("names", "feature"),
    [
        ({"bm25": "dense_gap"}, "dense_gap"),
        ({"bm25": "usage"}, "usage"),
        ({"bm25": "positives"}, "positives"),
        ({"bm25": "mutual_static"}, "mutual_static"),
    ],
)
def test_a_name_by_which_two_features_would_be_called_is_refused(job, names, feature):
    values = renamed(job.p, names)
    with pytest.raises(ValueError, match=f"got two that are called {feature}. Rename one"):
        params.parse(values)
    params.parse({**values, "filter": {"kind": "naive"}})
