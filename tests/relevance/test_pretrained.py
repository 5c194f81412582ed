"""The filter that already knows: its file, its features, and what it makes of a corpus that it has not seen."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gangue.pipeline import params
from gangue.transforms.relevance import features, portable, pretrained


def pairs(seed, queries=4, each=12, *, lexical=True):
    """Made-up pairs, some of them known, one of each query at least."""
    generator = np.random.default_rng(seed)
    query = np.repeat(np.arange(queries), each)
    known = generator.random(len(query)) < 0.15
    known[::each] = True
    roles = ("dense", "lexical") if lexical else ("dense",)
    ranks = {
        role: np.where(generator.random(len(query)) < 0.2, np.nan, generator.integers(1, 90, len(query)))
        for role in roles
    }
    names = [f"{role}{suffix}" for role in roles for suffix in ("", "_standardised", "_gap")]
    names += [f"{name}{suffix}" for name in ("nearest", "neighbours", "crowd") for suffix in ("", "_standardised")]
    names += ["overlap", "asked", "answered", "usage", "positives"]
    columns = {name: generator.normal(size=len(query)).round(1) for name in names}
    columns["mutual"] = generator.random(len(query))
    return portable.Pairs(query, queries, known, ~known, ranks, columns)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_a_place_is_the_number_of_others_that_have_more(seed):
    some = pairs(seed)
    found = np.expm1(portable.place(some, "dense", some.unlabelled)).round()
    values = some.columns["dense"]
    for row, (query, value) in enumerate(zip(some.query, values, strict=True)):
        more = sum(q == query and u and v > value for q, u, v in zip(some.query, some.unlabelled, values, strict=True))
        assert found[row] == more


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_blind_features_do_not_know_which_pairs_are_known(seed):
    some = pairs(seed)
    generator = np.random.default_rng(seed)
    known = generator.random(len(some.query)) < 0.5
    other = portable.Pairs(some.query, some.queries, known, ~known, some.ranks, some.columns)
    assert np.array_equal(portable.blind(some), portable.blind(other), equal_nan=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_the_place_of_the_known_positive_is_that_of_another_than_the_pair_itself(seed):
    some = pairs(seed)
    found = np.expm1(portable.known_place(some, "dense")).round()
    for row, query in enumerate(some.query):
        own = np.flatnonzero(some.known & (some.query == query) & (np.arange(len(some.query)) != row))
        ranks = [200.0 if math.isnan(some.ranks["dense"][k]) else some.ranks["dense"][k] for k in own]
        assert found[row] == min(ranks, default=200.0)


def test_what_a_job_lacks_says_nothing():
    some = pairs(1, lexical=False)
    for names, values in ((portable.BLIND, portable.blind(some)), (portable.FULL, portable.full(some))):
        assert values.shape == (len(some.query), len(names))
        for name, column in zip(names, values.T, strict=True):
            assert np.isnan(column).all() == name.startswith("lexical"), name
    logits = pretrained.load().full.logits(portable.full(some))
    assert np.isfinite(logits).all()


def plain_logit(model, row):
    """The log odds of one row, in plain Python."""
    standard = []
    for value, mean, scale in zip(row.tolist(), model.mean, model.scale, strict=True):
        standard.append(None if math.isnan(value) else min(max((value - mean) / scale, -4.0), 4.0))
    filled = [0.0 if z is None else z for z in standard]
    squares = [*filled, *(z * z for z in filled)]
    line = sum(w * z for w, z in zip(model.line, squares, strict=True)) + model.intercept
    given_values = [*filled, *(float(z is None) for z in standard)]
    nets = []
    for network in model.networks:
        values = given_values
        for number, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            values = [
                sum(v * w for v, w in zip(values, column, strict=True)) + b
                for column, b in zip(weight.T, bias, strict=True)
            ]
            if number < len(network.weights) - 1:
                values = [max(v, 0.0) for v in values]
        nets.append(values[0])
    return (line + sum(nets) / len(nets)) / 2


@pytest.mark.parametrize("which", ["full", "blind"])
def test_the_models_are_evaluated_as_their_file_says(which):
    model = getattr(pretrained.load(), which)
    rows = getattr(portable, which)(pairs(3))
    found = model.logits(rows)
    for row, logit in zip(rows[:10].astype(np.float64), found[:10], strict=True):
        assert logit == pytest.approx(plain_logit(model, row), abs=1e-9)


def test_the_file_is_small_and_names_its_corpora():
    text = pretrained.FILE
    from importlib.resources import files

    content = files("gangue.transforms.relevance").joinpath(text).read_text("utf-8")
    assert len(content) < 300_000
    assert {"clinc150", "squad_sent"} <= set(json.loads(content)["corpora"])


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.update(version=0),
        lambda found: found["full"]["features"].pop(),
        lambda found: found.pop("blind"),
        lambda found: found["full"].update(networks=[[{"weight": 1, "bias": None}]]),
        lambda found: found["full"].update(networks=[]),
        lambda found: found["full"].update(intercept=math.nan),
        lambda found: found["blind"]["scale"].__setitem__(0, 0.0),
        lambda found: found["blind"]["mean"].__setitem__(0, math.inf),
    ],
)
def test_a_file_of_another_version_is_refused_and_says_how_to_make_one(tmp_path, change):
    from importlib.resources import files

    found = json.loads(files("gangue.transforms.relevance").joinpath(pretrained.FILE).read_text("utf-8"))
    change(found)
    path = tmp_path / "other.json"
    path.write_text(json.dumps(found))
    with pytest.raises(
        ValueError, match=r"other\.json: must be a pretrained filter of version 1 .*benchmarks\.pretrain"
    ):
        pretrained.load(str(path))


@pytest.mark.parametrize(
    ("content", "said"), [(b"\x80\x02", "which is no text"), (b"[]", "no object"), (b"7", "no obj")]
)
def test_a_file_that_is_none_is_named(tmp_path, content, said):
    (tmp_path / "other.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"other\.json.*{said}"):
        pretrained.load(str(tmp_path / "other.json"))


def test_a_file_that_is_not_there_is_named_with_the_key_that_asks_for_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"learn\.pretrained: must be a file .*none\.json"):
        pretrained.load(str(tmp_path / "none.json"))
    assert params.Learn().pretrained is None


def test_mutual_is_the_share_of_candidates_that_a_document_is_more_alike_to_than_to_a_known_positive():
    generator = np.random.default_rng(4)
    vectors = generator.normal(size=(36, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query, document = np.repeat([0, 1, 2], 12), np.arange(36)
    positives, of_query = np.array([1, 5, 30]), np.array([0, 0, 2])
    itself = np.full(36, -1)
    itself[positives] = range(3)
    left_out = itself.copy()
    left_out[0] = 0
    strength = generator.random(36)
    found = features.neighbourhood(
        query, document, left_out, itself, strength, of_query, positives, vectors[:3], vectors
    )["mutual"]
    for row in range(36):
        own = [p for k, p in enumerate(positives) if of_query[k] == query[row] and k != left_out[row]]
        near = max((vectors[row] @ vectors[p] for p in own), default=None)
        others = [j for j in range(36) if query[j] == query[row] and itself[j] < 0 and j != row]
        share = math.nan if near is None else np.mean([vectors[row] @ vectors[j] > near for j in others])
        assert found[row] == pytest.approx(share, nan_ok=True)
