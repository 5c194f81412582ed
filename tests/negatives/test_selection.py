"""Every sampler on any data: what it takes was kept, the counts add up, and the order of the rows does not matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gangue.pipeline import params
from gangue.transforms import randomness
from gangue.transforms.candidates import rules
from gangue.transforms.negatives import selection

SETTINGS = {
    "top": {"kind": "top"},
    "top, skipping": {"kind": "top", "skip_kept": 2, "first": 3},
    "random": {"kind": "random", "first": 4},
    "softmax": {"kind": "softmax", "keep_first": 1},
    "simans": {"kind": "simans"},
    "laplace": {"kind": "simans", "simans": {"law": "laplace", "a": 3, "b": 0.1, "scale": "raw"}},
    "simans on documents": {"kind": "simans", "simans": {"against": "document"}},
    "nearest": {"kind": "nearest", "nearest": {"b": -0.1}},
    "band": {"kind": "band", "band": {"low": 0, "high": 0.5, "patience": 2}},
    "union": {"kind": "joint", "joint": {"max_share": 0.6}},
    "mixture": {"kind": "joint", "joint": {"mode": "mixture", "weights": {"t": 2}}},
    "turns": {"kind": "joint", "joint": {"mode": "round_robin", "depth": 4}},
    "fused": {"kind": "joint", "joint": {"mode": "rrf"}},
    "cross": {"kind": "nearest", "ensemble": {"kind": "cross", "scores": ["s", "t"]}},
    "intra": {"kind": "top", "ensemble": {"kind": "intra", "scores": ["s", "t"]}},
    "repeats": {"kind": "top", "ensemble": {"kind": "intra", "scores": ["s", "t"], "deduplicate": False}},
    "mmr": {"kind": "top", "diverse": {"kind": "mmr", "encoder": "e"}},
    "clusters": {"kind": "random", "diverse": {"kind": "cluster", "encoder": "e"}},
    "mixed": {"kind": "top", "random": 1, "next_cluster": 1},
}
SCORE = st.one_of(st.just(np.nan), st.floats(-1, 1, width=32))
ROWS = st.lists(st.tuples(st.integers(0, 2), SCORE, SCORE, st.integers(-1, 2), st.booleans()), min_size=1, max_size=30)
POSITIVES = np.array([0, 0, 1, 2])


def candidates(rows):
    query, s, t, cluster, drawn = (np.array(column) for column in zip(*rows, strict=True))
    count = len(rows)
    ranks = {}
    for name, score in (("s", s), ("t", t)):
        order = np.lexsort((np.arange(count), np.nan_to_num(-score, nan=9), query))
        rank = np.empty(count)
        rank[order] = np.arange(count) - np.searchsorted(query[order], query[order]) + 1
        ranks[name] = np.where(drawn | (rank > 6), np.nan, rank)
    return rules.Candidates(
        query=query,
        tie=np.arange(count),
        relations={name: np.zeros(count, bool) for name in rules.IDENTITY},
        scores={"s": s.astype(np.float32), "t": t.astype(np.float32)},
        ranks=ranks,
        random=drawn & (np.arange(count) % 2 == 0),
        next_cluster=drawn & (np.arange(count) % 2 == 1),
        judged=np.zeros(count, bool),
        positive_query=POSITIVES,
        positive_scores={"s": np.float32([0.5, 0.3, 0.9, -0.2]), "t": np.float32([0.1, np.nan, 0.2, 0.3])},
        similarity=np.float32(np.linspace(0, 1, count)),
        clusters={"e": cluster},
    )


def permuted(given, order):
    changed = {
        name: getattr(given, name)[order] for name in ("query", "tie", "random", "next_cluster", "judged", "similarity")
    }
    for name in ("relations", "scores", "ranks", "clusters"):
        changed[name] = {key: value[order] for key, value in getattr(given, name).items()}
    return rules.Candidates(**changed, positive_query=given.positive_query, positive_scores=given.positive_scores)


def choose(settings, given, document, denied=None, which="own"):
    rule = rules.Perc(score="s", perc=1.5, positive=which)
    verdicts = rules.judge(given, [rule], 3)

    def similarity(one, other):
        return np.cos(document[one] - document[other])

    words = randomness.Hashes(
        randomness.mix(1, np.arange(3)), randomness.mix(2, np.arange(4)), randomness.mix(3, document)
    )
    return verdicts, selection.select(settings, given, verdicts, 3, words, similarity, denied)


@pytest.mark.parametrize("name", SETTINGS)
@given(rows=ROWS, negatives=st.integers(2, 5), shuffle=st.randoms(use_true_random=False))
def test_a_choice_is_of_what_was_kept_adds_up_and_is_blind_to_order(name, rows, negatives, shuffle):
    settings = params.Sample(**{**SETTINGS[name], "score": "s", "negatives": negatives})
    given, document = candidates(rows), np.arange(len(rows)).astype(np.uint64)
    verdicts, chosen = choose(settings, given, document)
    kept = {(p, n) for p, n, v in zip(verdicts.pair, verdicts.positive, verdicts.verdict, strict=True) if v == -1}
    taken = list(zip(chosen.pair.tolist(), chosen.positive.tolist(), strict=True))
    assert set(taken) <= kept
    assert len(set(taken)) == len(taken)
    assert chosen.kept.sum() == len(kept) == len(taken) + chosen.surplus + chosen.unscored.sum() + chosen.denied.sum()
    for kind, most in zip(selection.KINDS, (settings.hard, settings.random, settings.next_cluster), strict=True):
        of_kind = chosen.kind == kind
        assert (np.bincount(chosen.positive[of_kind], chosen.times[of_kind], minlength=4) <= most).all()
    assert given.retrieved[chosen.pair[chosen.kind == "hard"]].all()
    assert given.random[chosen.pair[chosen.kind == "random"]].all()
    order = np.array(shuffle.sample(range(len(rows)), len(rows)))
    _, again = choose(settings, permuted(given, order), document[order])
    mixed = sorted(zip(order[again.pair].tolist(), again.positive.tolist(), again.kind, again.times, strict=True))
    assert mixed == sorted(zip(*zip(*taken, strict=True), chosen.kind, chosen.times, strict=True) if taken else [])


@pytest.mark.parametrize("name", SETTINGS)
@given(rows=ROWS, data=st.data())
def test_what_is_denied_is_not_chosen_and_is_counted(name, rows, data):
    settings = params.Sample(**{**SETTINGS[name], "score": "s", "negatives": 4})
    given, document = candidates(rows), np.arange(len(rows)).astype(np.uint64)
    denied = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    _, free = choose(settings, given, document, which="min")
    _, chosen = choose(settings, given, document, denied, which="min")
    assert not denied[chosen.pair].any()
    assert chosen.kept.sum() == len(chosen.pair) + chosen.surplus + chosen.unscored.sum() + chosen.denied.sum()
    late = free.without(denied[free.pair])
    assert not denied[late.pair].any()
    assert late.kept.sum() == len(late.pair) + late.surplus + late.unscored.sum() + late.denied.sum()


@given(ROWS)
def test_a_weight_of_one_makes_marginal_relevance_the_top(rows):
    given, document = candidates(rows), np.arange(len(rows)).astype(np.uint64)
    mmr = {"kind": "mmr", "encoder": "e", "weight": 1}
    _, plain = choose(params.Sample(kind="top", score="s", negatives=3), given, document)
    _, diverse = choose(params.Sample(kind="top", score="s", negatives=3, diverse=mmr), given, document)
    scores = [np.sort(given.scores["s"][of.pair[of.positive == 0]]) for of in (plain, diverse)]
    assert np.allclose(*scores, atol=1e-5)
