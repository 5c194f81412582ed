"""Samplers: golden numbers of SimANS, exact draws, and choices that order cannot change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gangue.transforms import randomness
from gangue.transforms.negatives import picking
from gangue.transforms.negatives.samplers import band, nearest, simans, softmax

NEGATIVES = np.array([84, 81, 80, 79, 78, 76, 74, 70.0])


def probabilities(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def test_simans_weighs_as_the_paper_does():
    p = probabilities(simans.simans_logits(NEGATIVES, np.full(8, 80.0), 0.5, 0.0))
    assert p[:6].round(6).tolist() == [0.000143, 0.258201, 0.425701, 0.258201, 0.057612, 0.000143]


def test_simans_shifts_towards_harder_negatives_with_the_papers_sign_of_b():
    p = probabilities(simans.simans_logits(NEGATIVES, np.full(8, 80.0), 0.5, 1.0))
    assert p[:5].round(6).tolist() == [0.006297, 0.566865, 0.343821, 0.076717, 0.006297]


def test_the_laplace_law_is_that_of_the_passage_code():
    p = simans.simans_logits(np.array([81.0]), np.array([80.0]), 3.0, 0.0, "laplace")
    assert p.tolist() == [-3.0]


def test_on_cosines_simans_is_almost_uniform_and_the_ratio_tells():
    scores = np.arange(0.9, 0.15, -0.1)
    logits = simans.simans_logits(scores, np.full(len(scores), 0.8), 0.5, 0.0)
    assert picking.weight_ratio(logits, np.zeros(len(scores), int))[0] == pytest.approx(1.197, abs=1e-3)


def test_the_nearest_to_the_positive_are_those_of_smallest_distance_on_either_side():
    keys = nearest.nearness(NEGATIVES, np.full(8, 80.0), 0.0)
    chosen = picking.highest(np.zeros(8, int), keys, np.arange(8), np.full(8, 4))
    assert NEGATIVES[chosen].tolist() == [81, 80, 79, 78]
    shifted = nearest.nearness(NEGATIVES, np.full(8, 80.0), -5.0)
    assert NEGATIVES[np.argsort(-shifted, kind="stable")[:2]].tolist() == [76, 74]


def test_softmax_of_scores_weighs_as_nv_retriever_samples():
    p = probabilities(softmax.softmax_logits(np.array([0.8, 0.7, 0.5]), 1.0))
    weights = np.exp([0.8, 0.7, 0.5])
    assert np.allclose(p, weights / weights.sum())


def test_a_band_is_widened_downwards_until_enough_lie_in_it():
    # CAR: cosine in (.3, .4), the lower bound by .05 up to 10 times, until 10 are there.
    scores = np.array([0.41, 0.4, 0.39, 0.3, 0.24, -0.19, -0.21])
    one = np.zeros(7, int)

    def floor(patience, least):
        return band.band_floors(scores, one, 0.3, 0.4, 0.05, patience, least)[0].round(6)

    assert floor(10, 1) == 0.3  # .39 is inside, both bounds are not
    assert floor(10, 2) == 0.25
    assert floor(10, 3) == 0.2
    assert floor(10, 10) == -0.2  # ten times, and no further
    assert floor(0, 10) == 0.3


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 1)), min_size=1, max_size=40),
    st.integers(0, 5),
    st.integers(0, 12),
    st.randoms(use_true_random=False),
)
def test_a_band_never_rises_with_patience_or_need_and_does_not_see_the_order(rows, patience, least, shuffle):
    groups = np.unique([g for g, _ in rows], return_inverse=True)[1]
    scores = np.array([s for _, s in rows])

    def floors(patience, least, order=slice(None)):
        return band.band_floors(scores[order], groups[order], 0.0, 0.5, 0.1, patience, least)

    here = floors(patience, least)
    assert (here <= floors(patience, max(0, least - 1))).all()
    assert (here >= floors(patience + 1, least)).all()
    order = np.array(shuffle.sample(range(len(rows)), len(rows)))
    assert (floors(patience, least, order) == here).all()


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=20), st.floats(-2, 2), st.floats(-1, 1), st.integers(1, 20))
def test_nothing_left_out_is_nearer_than_what_is_chosen(scores, positive, b, quota):
    scores = np.array(scores)
    keys = nearest.nearness(scores, np.full(len(scores), positive), b)
    chosen = picking.highest(np.zeros(len(scores), int), keys, np.arange(len(scores)), np.full(len(scores), quota))
    far = np.abs(scores - positive - b)
    assert far[chosen].max() <= far[~chosen].min(initial=np.inf)


def test_gumbel_top_k_draws_pairs_with_the_probabilities_of_the_law():
    # METHODS: inclusion probabilities for k = 2; a draw that cuts a set in id order gives .618 / .458 instead.
    logits = simans.simans_logits(NEGATIVES[:6], np.full(6, 80.0), 0.5, 0.0)
    rounds = 20_000
    group = np.repeat(np.arange(rounds), 6)
    words = picking.noise_hashes(7, group.astype(np.uint64), group.astype(np.uint64), np.tile(np.arange(6), rounds))
    keys = np.tile(logits, rounds) + randomness.gumbels(words)
    chosen = picking.highest(group, keys, np.tile(np.arange(6), rounds), np.full(len(group), 2))
    included = chosen.reshape(rounds, 6).mean(axis=0)
    expected = [0.00036, 0.55532, 0.74820, 0.55532, 0.14044, 0.00036]
    assert np.abs(included - expected).max() < 4 * 0.5 / np.sqrt(rounds)


def test_the_first_draw_follows_the_law():
    logits = simans.simans_logits(NEGATIVES[1:5], np.full(4, 80.0), 0.5, 0.0)
    rounds = 20_000
    words = picking.noise_hashes(3, np.repeat(np.arange(rounds), 4), 1, np.tile(np.arange(4), rounds))
    first = (np.tile(logits, rounds) + randomness.gumbels(words)).reshape(rounds, 4).argmax(axis=1)
    expected = probabilities(logits) * rounds
    assert ((np.bincount(first, minlength=4) - expected) ** 2 / expected).sum() < 21  # 3 degrees of freedom: p 1e-4


def test_hashed_uniforms_are_uniform():
    words = randomness.mix(3, np.arange(100_000, dtype=np.uint64))
    counts = np.histogram(randomness.uniforms(words), bins=20, range=(0, 1))[0]
    chi_square = ((counts - 5000) ** 2 / 5000).sum()
    assert chi_square < 50  # 19 degrees of freedom: p about 1e-4


def test_a_seed_changes_the_draw():
    ids = np.arange(100, dtype=np.uint64)
    assert (randomness.mix(1, ids) != randomness.mix(2, ids)).all()


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(-1, 1)), max_size=50),
    st.integers(0, 4),
    st.integers(0, 2),
)
def test_choose_takes_the_highest_keys_of_each_group(rows, quota, skip):
    groups, keys = np.array([g for g, _ in rows], int), np.array([k for _, k in rows], float)
    chosen = picking.highest(groups, keys, np.arange(len(rows)), np.full(len(rows), quota), skip)
    for group in set(groups.tolist()):
        members = sorted((i for i in range(len(rows)) if groups[i] == group), key=lambda i: (-keys[i], i))
        assert sorted(np.flatnonzero(chosen & (groups == group)).tolist()) == sorted(members[skip : skip + quota])
