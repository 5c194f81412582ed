"""A share from few labels: pairs are drawn as asked, and the interval holds whatever the predictions are worth."""

import json
import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import prediction_powered as measuring
from gangue.transforms.evidence import prediction_powered

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array)

# Which pairs to label.


@given(probabilities, st.floats(0.01, 80), st.floats(0.01, 1))
def test_chances_are_in_reach_sum_to_the_budget_and_check_everything(predicted, budget, floor):
    chance = prediction_powered.inclusion(predicted, budget, floor)
    pairs = len(predicted)
    assert ((chance > 0) & (chance <= 1)).all()
    assert chance.sum() == pytest.approx(min(budget, pairs))
    assert (chance >= min(1.0, floor * budget / pairs) - 1e-12).all()
    assert (np.diff(chance[np.argsort(np.abs(predicted - 0.5))]) <= 1e-9).all(), "the less certain, the likelier"


def test_without_certain_predictions_the_rest_is_in_proportion_to_their_deviation():
    predicted = np.array([0.5, 0.2, 0.1, 0.9, 0.01])
    rest = prediction_powered.inclusion(predicted, 0.5, 0.2) - 0.2 * 0.5 / 5
    np.testing.assert_allclose(rest / rest[0], 2 * np.sqrt(predicted * (1 - predicted)))


def test_such_chances_need_fewer_labels_for_the_same_variance():
    predicted = np.random.default_rng(3).beta(0.5, 0.5, 4000)
    variances = [
        (predicted * (1 - predicted) * (1 / prediction_powered.inclusion(predicted, 200, floor) - 1)).sum()
        for floor in (0.25, 0.5, 0.75, 1.0)
    ]
    assert (np.diff(variances) > 0).all()
    assert variances[0] < 0.9 * variances[-1]


# The interval.


@st.composite
def draws(draw):
    """What ``share`` takes, of up to 60 pairs."""
    predicted = draw(probabilities)
    seed, floor = draw(st.integers(0, 999)), draw(st.floats(0.05, 1))
    chance = prediction_powered.inclusion(predicted, draw(st.floats(0.5, 60)), floor)
    generator = np.random.default_rng(seed)
    sampled = generator.random(len(predicted)) < chance
    return predicted, chance, sampled, (generator.random(len(predicted)) < draw(st.floats(0, 1)))[sampled]


@given(draws(), st.floats(0.5, 0.98), st.booleans())
def test_an_interval_holds_its_estimate_what_labels_leave_possible_and_grows_with_confidence(drawn, confidence, tuned):
    estimate, low, high = prediction_powered.share(*drawn, confidence, tuned=tuned)
    pairs, labels = len(drawn[0]), drawn[3]
    assert labels.sum() / pairs - 1e-12 <= low <= estimate <= high <= 1 - (~labels).sum() / pairs + 1e-12
    _, wider_low, wider_high = prediction_powered.share(*drawn, confidence + 0.015, tuned=tuned)
    assert wider_low <= low + 1e-9
    assert wider_high >= high - 1e-9


@given(draws())
def test_what_is_not_predicted_mirrors_what_is(drawn):
    predicted, chance, sampled, labels = drawn
    estimate, low, high = prediction_powered.share(*drawn, tuned=False)
    mirrored = prediction_powered.share(1 - predicted, chance, sampled, ~labels, tuned=False)
    assert mirrored == pytest.approx((1 - estimate, 1 - high, 1 - low), abs=1e-7)


def test_the_estimate_is_the_mean_prediction_and_the_weighted_mistakes():
    generator = np.random.default_rng(8)
    predicted = generator.random(400)
    chance = prediction_powered.inclusion(predicted, 100)
    sampled = generator.random(400) < chance
    label = generator.random(400) < predicted
    expected = sum(predicted)
    for i in np.flatnonzero(sampled):
        expected += (label[i] - predicted[i]) / chance[i]
    assert prediction_powered.share(predicted, chance, sampled, label[sampled], tuned=False)[0] == pytest.approx(
        expected / 400
    )


@pytest.mark.parametrize("chance", [0.01, 0.2, 0.7])
def test_of_no_label_of_one_the_high_end_is_exact(chance):
    """The number of labels of 1 that stay unseen with a chance of 2.5 %."""
    sampled = np.arange(4000) % 7 == 0
    _, low, high = prediction_powered.share(np.zeros(4000), np.full(4000, chance), sampled, np.zeros(sampled.sum()))
    assert low == 0
    assert (1 - chance) ** (4000 * high) <= 0.025 < (1 - chance) ** (4000 * high - 1)


@pytest.mark.parametrize("ones", [1, 3, 20])
def test_of_equal_small_chances_the_interval_is_the_exact_one_of_a_poisson_count(ones):
    sampled = np.arange(100_000) < 100
    chance, labels = np.full(100_000, 0.001), np.arange(100) < ones
    _, low, high = prediction_powered.share(np.zeros(100_000), chance, sampled, labels, tuned=False)
    low_end, high_end = scipy.stats.chi2.ppf([0.025, 0.975], [2 * ones, 2 * ones + 2]) / 2
    assert (low * 100, high * 100) == pytest.approx((low_end, high_end), rel=1e-3, abs=3e-3)


def test_labels_of_all_pairs_leave_no_doubt():
    predicted = np.random.default_rng(1).random(50)
    everything = np.ones(50, bool)
    found = prediction_powered.share(predicted, np.ones(50), everything, np.arange(50) < 10)
    assert found == pytest.approx((0.2, 0.2, 0.2))


def test_no_labels_and_no_pairs_exclude_nothing():
    nothing = np.zeros(3, bool)
    assert prediction_powered.share(np.full(3, 0.5), np.full(3, 0.1), nothing, np.empty(0))[1:] == (0.0, 1.0)
    assert prediction_powered.share(*np.empty((2, 0)), nothing[:0], np.empty(0)) == (0.0, 0.0, 1.0)


def drawn_again(share, kind, floor, pairs=2000, budget=150, times=150):
    """Predictions, chances and labels, drawn again and again; of hidden ones half look like the surest 0."""
    generator = np.random.default_rng([7, round(share * 1000)])
    for _ in range(times):
        label = generator.permutation(np.arange(pairs) < round(share * pairs)).astype(np.float64)
        predicted = measuring.predictions("good" if kind == "hidden" else kind, label, share, generator)
        if kind == "hidden":
            predicted[np.flatnonzero(label)[::2]] = predicted.min()
        chance = prediction_powered.inclusion(predicted, budget, floor)
        sampled = generator.random(pairs) < chance
        yield predicted, chance, sampled, label[sampled]


@pytest.mark.parametrize("floor", [0.25, 0.75])
@pytest.mark.parametrize("kind", ["good", "useless", "three times", "misleading", "hidden"])
@pytest.mark.parametrize("share", [0.005, 0.02, 0.3])
def test_an_interval_holds_however_the_predictions_err(share, kind, floor):
    ends = np.array([prediction_powered.share(*drawn)[1:] for drawn in drawn_again(share, kind, floor)])
    held = ((ends[:, 0] <= share + 1e-12) & (share <= ends[:, 1] + 1e-12)).mean()
    assert held >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / len(ends))


@pytest.mark.parametrize("kind", ["good", "useless"])
@pytest.mark.parametrize(("pairs", "budget"), [(60, 45), (60, 20), (300, 200)])
def test_an_interval_holds_where_most_pairs_are_labelled_and_few_are_ones(pairs, budget, kind):
    ones = round(0.02 * pairs) / pairs
    found = [prediction_powered.share(*drawn)[1:] for drawn in drawn_again(0.02, kind, 0.75, pairs, budget)]
    assert np.mean([low <= ones + 1e-12 and ones <= high + 1e-12 for low, high in found]) >= 0.94


def test_the_classical_interval_does_not_hold():
    """So the simulation above can fail."""
    ends = [measuring.classical(drawn[1][drawn[2]], drawn[3])[1:] for drawn in drawn_again(0.005, "misleading", 0.25)]
    assert np.mean([low <= 0.005 <= high for low, high in ends]) < 0.8


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize("kind", ["good", "a third", "misleading"])
def test_an_estimate_is_right_on_average(kind, tuned):
    found = np.array([prediction_powered.share(*d, tuned=tuned)[0] for d in drawn_again(0.3, kind, 0.75, times=400)])
    assert found.mean() == pytest.approx(0.3, abs=4 * found.std() / 20)


@pytest.mark.parametrize(
    ("kind", "most"), [("good", 1.03), ("a third", 0.85), ("three times", 0.95), ("misleading", 0.6)]
)
def test_tuning_narrows_what_errs_and_costs_little_where_nothing_does(kind, most):
    pairs = [
        [prediction_powered.share(*drawn, tuned=tuned) for tuned in (True, False)]
        for drawn in drawn_again(0.3, kind, 0.75, times=60)
    ]
    tuned, untuned = (np.mean([high - low for _, low, high in rows]) for rows in zip(*pairs, strict=True))
    assert tuned < untuned * most


def test_good_predictions_narrow_the_interval():
    widths = {}
    for kind in ("good", "useless"):
        found = [prediction_powered.share(*drawn) for drawn in drawn_again(0.3, kind, 0.75, times=60)]
        widths[kind] = np.mean([high - low for _, low, high in found])
    assert widths["good"] < 0.85 * widths["useless"]


P, HALF, TWO = np.full(4, 0.5), np.full(4, 0.5), np.array([True, False, True, False])


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        ((P, HALF, TWO, np.ones(3)), r"labels one per sampled pair, got 4, 4, 4 and 3, of 2 sampled"),
        ((P, HALF[:3], TWO, np.ones(2)), r"a row per pair .* got 4, 3, 4 and 2"),
        ((P * 3, HALF, TWO, np.ones(2)), r"predicted must be in \[0, 1\]: clip it, got 1\.5 at row 0"),
        ((P * np.nan, HALF, TWO, np.ones(2)), r"predicted must be in \[0, 1\]: clip it, got nan at row 0"),
        (
            (P, HALF * [1, 1, 0, 1], TWO, np.ones(2)),
            r"inclusion must be in \(0, 1\]: none may be left out, got 0\.0 at row 2",
        ),
        ((P, HALF, TWO, np.array([1, 0.5])), r"labels must be 0 or 1, got 0\.5 at row 1"),
    ],
)
def test_what_makes_no_sense_is_refused(drawn, message):
    with pytest.raises(ValueError, match=message):
        prediction_powered.share(*drawn)


def test_a_budget_or_a_floor_of_nothing_is_refused():
    for budget, floor in ((0, 0.5), (3, 0.0), (3, 1.5), (np.nan, 0.5)):
        with pytest.raises(
            ValueError, match=rf"budget must be above 0 and floor in \(0, 1\], got {budget} and {floor}"
        ):
            prediction_powered.inclusion(P, budget, floor)
    with pytest.raises(ValueError, match=r"predicted must be in \[0, 1\]: clip it, got -0\.5 at row 0"):
        prediction_powered.inclusion(-P, 2)


def test_the_benchmark_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prediction_powered", "--repetitions", "2", "--labels", "20", "--pairs", "400"])
    measuring.main()
    found = json.loads(capsys.readouterr().out)
    assert list(found["cells"]) == list(measuring.KINDS)
    assert list(found["cells"]["good"]) == [str(share) for share in measuring.SHARES]


def test_the_committed_measurement_covers_in_every_cell():
    found = json.loads((measuring.RESULTS / "prediction_powered.json").read_text())
    assert found["repetitions"] == 1000
    assert found["least_coverage"]["tuned"] >= 0.94 > found["least_coverage"]["classical"]
