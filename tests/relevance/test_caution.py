"""What a promise reckons with: nothing is surer than labels show, and labels that contradict what is thought count."""

import numpy as np
import pytest
import scipy.special
from hypothesis import example, given
from hypothesis import strategies as st

from gangue.transforms.relevance import caution

UNKNOWN = 30.0  # log odds by which the rest of the data say that all may be positives


def promised(odds, thought, labels, unseen=UNKNOWN, wrong=0.0):
    curve, contradicted = caution.of_labels(np.array(thought), np.array(labels), wrong, unseen)
    return scipy.special.logit(caution.unfavourable(scipy.special.expit(np.array(odds, float)), curve)), contradicted


def drawn(seed, low, high, floor=0.0, count=200):
    """Labelled pairs: log odds as thought, and labels of which a share ``floor`` at least is positive everywhere."""
    draw = np.random.default_rng(seed)
    thought = draw.uniform(low, high, count)
    return thought, draw.random(count) < np.maximum(floor, scipy.special.expit(thought))


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_what_looks_relevant_promise_nothing_of_what_does_not(seed):
    thought, labels = drawn(seed, -1.5, 1.0, floor=0.2)
    (there,), _ = promised([-6.0], thought, labels)
    assert scipy.special.expit(there) > 0.15, "a fifth of all is false, whatever it looks like: no label was that low"


def test_what_the_rest_of_the_data_says_counts_below_the_labels():
    thought = np.linspace(-1.5, 1.0, 200)
    labels = np.diff(np.floor(scipy.special.expit(thought).cumsum()), prepend=0.0) > 0  # as many as are thought
    (without,), _ = promised([-9.0], thought, labels)
    (there,), contradicted = promised([-9.0], thought, labels, unseen=1.0)
    assert contradicted is None
    assert there < -6.0 < -2.0 < without


@pytest.mark.parametrize("seed", range(5))
def test_labels_that_say_more_of_the_least_relevant_than_was_thought_are_believed(seed):
    thought, labels = drawn(seed, -6.0, 1.0, floor=0.15)
    middle = caution.by_labels(thought, labels)[1]
    (low, lowest), contradicted = promised([-5.0 + middle, -12.0], thought + middle, labels, unseen=1.0)
    assert "look least relevant are said to be false" in contradicted
    assert scipy.special.expit([low, lowest]).min() > 0.1


@pytest.mark.parametrize("slope", [0.45, 0.7, 1.0, 1.4])
def test_a_promise_holds_where_log_odds_are_flatter_or_steeper_than_is_thought(slope):
    held = []
    for seed in range(40):
        draw = np.random.default_rng(seed)
        thought = draw.uniform(-7.0, 1.0, 200)
        true = slope * (thought + 2.0) - 1.0
        labels = draw.random(200) < scipy.special.expit(true)
        middle = caution.by_labels(thought, labels)[1]
        at = np.linspace(-6.0, 0.0, 7)
        found, _ = promised(at + middle, thought + middle, labels)
        held.append((found >= slope * (at + 2.0) - 1.0).all())
    assert np.mean(held) >= 0.85, (
        "each level in nineteen of twenty cases, and slopes that are not allowed in one of ten"
    )


@pytest.mark.parametrize("wrong", [0.0, 0.1])
def test_labels_that_agree_are_rarely_taken_for_a_contradiction(wrong):
    found = []
    for seed in range(60):
        thought, labels = drawn(seed, -6.0, 1.0)
        labels ^= np.random.default_rng(seed + 1000).random(len(labels)) < wrong
        found.append(promised([-5.0], thought, labels, wrong=wrong)[1] is not None)
    assert np.mean(found) < 0.15, "a half and a quarter, each in one of twenty cases"


@given(
    st.lists(st.tuples(st.floats(-15, 15), st.booleans()), min_size=30, max_size=80),
    st.floats(-20, 60),
    st.sampled_from([0.0, 0.1]),
)
@example([(odds, odds > 0) for odds in np.linspace(-8.0, 4.0, 60)], 60.0, 0.0)
def test_a_promise_is_never_surer_than_what_is_thought_and_follows_its_order(pairs, unseen, wrong):
    thought, labels = np.array(pairs).T
    odds = np.linspace(-30.0, 30.0, 301)
    curve, _ = caution.of_labels(thought, labels, wrong, unseen)
    at, ends = np.array(curve).T
    assert (np.diff(at) >= 0).all()
    found = np.interp(odds, at, ends)
    assert (np.diff(found) >= -1e-9).all()
    assert (found >= odds - 1e-9).all()


def test_what_somebody_judged_stays_no_positive():
    assert caution.unfavourable(np.array([0.0, 1.0]), caution.constant(3.0)).tolist() == [0.0, 1.0]
