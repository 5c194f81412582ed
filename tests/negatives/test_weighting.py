"""Weights: the golden numbers of DCLR, ASL, CET and ADORE, and what must hold of them."""

import types

import corpora
import models
import numpy as np
import pytest
import whole_path
from hypothesis import given
from hypothesis import strategies as st

from gangue.pipeline import params
from gangue.transforms.datasets.storage import Data
from gangue.transforms.negatives.weights import Asl, Negatives, asl, cet, lambda_rank, phi
from gangue.transforms.relevance import propensity

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=20).map(np.array)
P = np.array([0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95])
LOGITS = np.array([-4, -1, 0, 1, 4.0])


def test_phi_takes_out_what_another_encoder_finds_too_similar():
    assert phi.phi_weights(np.array([0.95, 0.9, 0.89, 0.5, np.nan]), 0.9).tolist() == [0, 1, 1, 1, 1]


def test_asl_focuses_as_the_paper_does():
    weights = asl.asl_weights(P, 4, 0.05, "weight")
    assert weights.round(6).tolist() == [0, 6e-6, 0.003906, 0.041006, 0.178506, 0.522006, 0.6561]


def test_the_gradient_of_asl_falls_for_likely_false_negatives():
    weights = asl.asl_weights(P, 4, 0.05, "gradient")
    assert weights.round(5).tolist() == [0, 0, 0.00487, 0.07312, 0.34928, 0.73263, 0.63058]


@pytest.mark.parametrize(("clip", "peak"), [(0.05, 0.900), (0.2, 0.887)])
def test_the_gradient_of_asl_peaks_where_it_should(clip, peak):
    p = np.linspace(0, 1, 1001)
    assert p[asl.asl_weights(p, 4, clip, "gradient").argmax()] == pytest.approx(peak, abs=1e-3)


@given(SHARES)
def test_asl_without_focus_and_clip_is_plain_cross_entropy(p):
    assert (asl.asl_weights(p, 0, 0, "weight") == 1).all()
    assert np.allclose(asl.asl_weights(p, 0, 0, "gradient"), p, atol=1e-6)


@given(SHARES, st.floats(0, 8), st.floats(0, 0.9), st.floats(0, 0.9))
def test_asl_never_leaves_its_bounds_and_falls_with_the_clip(p, gamma, one, other):
    low, high = sorted([one, other])
    loose, strict = (asl.asl_weights(p, gamma, clip, "weight") for clip in (low, high))
    assert ((strict >= 0) & (loose <= 1)).all()
    assert (strict <= loose + 1e-12).all()
    assert np.isfinite(asl.asl_weights(p, gamma, low, "gradient")).all()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.5, np.nan], "1 of 2 have no score. Raise scorers.ce.depth"),
        ([0.5, -1.25], "1 of 2 scores of ce are not from 0 to 1, first -1.25. Name another scorers.ce.model"),
    ],
)
def test_asl_tells_a_score_that_is_missing_from_one_that_is_no_probability(scores, message):
    rows = types.SimpleNamespace(score=lambda name: np.array(scores))
    with pytest.raises(ValueError, match=message):
        Asl(score="ce").weigh(rows)


def test_lambda_weights_are_adores():
    ranks = np.array([1, 2, 4, 5, 10, 200, 201, np.nan])
    weights = lambda_rank.lambda_weights(np.full(8, 3.0), ranks, 200)
    assert weights.round(4).tolist() == [0.6667, 0.1667, 0.0833, 0.1333, 0.2333, 0.3283, 0.3333, 0.3333]


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1), st.integers(1, 300))
def test_lambda_weights_are_blind_to_who_is_first_and_grow_with_the_distance(pairs, cut):
    one, other = np.array(pairs, float).T
    weights = lambda_rank.lambda_weights(one, other, cut)
    assert (weights == lambda_rank.lambda_weights(other, one, cut)).all()
    assert ((weights >= 0) & (weights <= 1)).all()
    further = lambda_rank.lambda_weights(np.minimum(one, other), np.maximum(one, other) + 1, cut)
    assert (further >= weights).all()


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(2, [1.1353, 1.6065, 2, 2.6487, 8.3891]), (10, [1.6703, 1.9048, 2, 2.1052, 2.4918])],
)
def test_cet_weighs_as_its_code_does(temperature, expected):
    assert cet.propensity_weights(LOGITS, temperature, 10).round(4).tolist() == expected


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20).map(np.array), st.floats(0.1, 20), st.floats(1.5, 50))
def test_propensity_weights_rise_with_the_logit_between_one_and_the_clip(logits, temperature, clip):
    weights = cet.propensity_weights(np.sort(logits), temperature, clip)
    assert (np.diff(weights) >= 0).all()
    assert ((weights >= 1) & (weights <= clip)).all()


def test_all_weights_are_equal_when_the_pool_tells_nothing():
    features = propensity.pool_features(np.full(40, 3.0), np.full(40, 0.5), 10)
    fit = propensity.fit_propensity(features, np.arange(40) % 4 == 0)
    weights = cet.propensity_weights(propensity.logits(features, fit), 10, 10)
    assert np.ptp(weights) == 0
    assert weights[0] == pytest.approx(2, abs=1e-3)


def test_where_only_the_pool_was_judged_false_negatives_weigh_less():
    # Labels exist only for documents that the pool ranks in its top 10; relevant ones beyond are planted.
    rng = np.random.default_rng(5)
    rank = np.tile(np.arange(1, 101, dtype=float), 200)
    relevant = rng.random(len(rank)) < 0.08
    selected = relevant & (rank <= 10)
    features = propensity.pool_features(np.where(rank <= 50, rank, np.nan), 1 / rank, 50)
    weights = cet.propensity_weights(propensity.logits(features, propensity.fit_propensity(features, selected)), 10, 10)
    negative = ~selected
    correlation = np.corrcoef(weights[negative], ~relevant[negative])[0, 1]
    assert correlation > 0
    assert weights[negative] @ relevant[negative] / weights[negative].sum() < relevant[negative].mean()


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_change_the_fit(shuffle):
    rng = np.random.default_rng(2)
    features, selected = rng.normal(size=(60, 3)), rng.random(60) < 0.3
    order = np.array(shuffle.sample(range(60), 60))
    one, other = (
        propensity.fit_propensity(features, selected),
        propensity.fit_propensity(features[order], selected[order]),
    )
    assert np.allclose(one, other, rtol=1e-4, atol=1e-4)


def mined(folder, weight, **ingest):
    """Triplets of a small corpus under a weight, and the params."""
    corpora.corpus(5).write(folder)
    values = {
        "source": corpora.source(folder),
        "ingest": ingest,
        "encoders": {"static": {"model": models.static_encoder(folder / "model")}},
        "retrievers": {
            "dense": {"kind": "dense", "encoder": "static", "depth": 8},
            "bm25": {"kind": "bm25", "depth": 8},
        },
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "dense", "weight": weight},
    }
    data = Data(str(folder / "data"))
    whole_path.run(data, params.parse(values))
    return data.read_all("triplets").to_pylist()


def test_a_stage_weighs_by_another_score(tmp_path):
    triplets = mined(tmp_path, {"kind": "phi", "score": "bm25", "phi": 1.5})
    assert {row["weight"] for row in triplets} == {0, 1}
    assert all((row["weight"] == 0) == (row["score_bm25"] > 1.5) for row in triplets)


def test_a_stage_weighs_by_the_ranks_of_positive_and_negative(tmp_path):
    triplets = mined(tmp_path, {"kind": "lambda_rank", "retriever": "dense", "cut": 5})
    data = Data(str(tmp_path / "data"))
    ranks = {(r["query_id"], r["document_id"]): r["rank_dense"] for r in data.read_all("pairs").to_pylist()}
    assert len({row["weight"] for row in triplets}) > 5

    def reciprocal(query, document):
        rank = ranks[query, document]
        return 0 if rank is None or rank > 5 else 1 / rank

    for row in triplets:
        positive, negative = (reciprocal(row["query_id"], row[name]) for name in ("positive_id", "negative_id"))
        assert row["weight"] == pytest.approx(abs(positive - negative), abs=1e-6)


def test_a_stage_weighs_by_the_propensity_of_the_pool_whatever_the_shards(tmp_path):
    weight = {"kind": "cet", "pool": "bm25", "temperature": 2}
    triplets = mined(tmp_path / "one", weight)
    assert len({row["weight"] for row in triplets}) > 5
    assert all(1 <= row["weight"] <= 10 for row in triplets)
    again = mined(tmp_path / "many", weight, documents_per_shard=7, queries_per_shard=2)
    ids = ("query_id", "positive_id", "negative_id", "weight")
    assert sorted(tuple(row[name] for name in ids) for row in again) == sorted(
        tuple(row[name] for name in ids) for row in triplets
    )
    assert not list((tmp_path / "one" / "data").glob("*propensity*"))


def test_a_negative_without_a_probability_stops_asl_and_says_what_to_do():
    def weigh(*scores):
        candidates = types.SimpleNamespace(scores={"ce": np.array(scores)})
        return Asl(score="ce").weigh(Negatives(candidates, np.array([0, 1]), np.array([0, 0]), {}.get))

    with pytest.raises(ValueError, match=r"asl needs a probability .* by ce, but 1 of 2 .*Raise scorers.ce.depth"):
        weigh(0.5, np.nan)
    assert weigh(0.5, 0.9).round(6).tolist() == [0.041006, 0.522006]
