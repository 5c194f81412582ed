"""Bounds that see each loss: they hold as often as they promise, agree with others' code, and are worth having."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from mapie.risk_control import methods

from gangue.transforms.evidence import risk

LOSSES = {  # and their expectation
    "all or nothing": (lambda generator, shape: generator.random(shape) < 0.03, 0.03),
    "sparse beta": (lambda generator, shape: (generator.random(shape) < 0.1) * generator.beta(1, 3, shape), 0.025),
    "two points": (lambda generator, shape: np.where(generator.random(shape) < 0.1, 0.55, 0.05), 0.1),
}
BOUNDS = {"betting": risk.betting_bound, "tighter": risk.tighter_bound}


def bet(losses, confidence, risk_):
    """The most that ever became of a capital of 1, as the papers write it."""
    capital = most = 1.0
    seen, spread, before = 0.0, 0.0, 0.25
    for i, loss in enumerate(losses, start=1):
        nu = min(1.0, math.sqrt(2 * math.log(1 / (1 - confidence)) / (len(losses) * before)))
        capital *= 1 - nu * (loss - risk_)
        most = max(most, capital)
        seen += loss
        spread += (loss - (0.5 + seen) / (1 + i)) ** 2
        before = (0.25 + spread) / (1 + i)
    return most


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize(("queries", "confidence"), [(40, 0.9), (300, 0.8)])
def test_a_bound_holds_at_least_so_often(bound, losses, queries, confidence):
    drawn, truth = losses
    found = bound(drawn(np.random.default_rng(5), (1000, queries)).astype(np.float64), confidence)
    held = (found >= truth).mean()
    assert held >= confidence - 3 * math.sqrt(confidence * (1 - confidence) / 1000)


@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES)
def test_in_an_order_that_depends_on_the_losses_betting_is_no_bound(losses):
    """So the simulation above can fail."""
    drawn, truth = losses
    sorted_ = np.sort(drawn(np.random.default_rng(5), (1000, 300)).astype(np.float64), axis=1)
    assert (risk.betting_bound(sorted_, 0.9) >= truth).mean() < 0.5


losses_ = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.2, 1 / 3, 1.0]) | st.floats(0, 1), min_size=1, max_size=40)


@given(losses_, st.floats(0.1, 0.99))
def test_a_bound_is_where_the_capital_of_the_paper_is_enough(losses, confidence):
    bound = risk.betting_bound(np.array([losses]), confidence)[0]
    enough = 1 / (1 - confidence)
    assert bound >= 1 - 1e-9 or bet(losses, confidence, bound + 1e-9) >= enough * (1 - 1e-9)
    assert bet(losses, confidence, bound - 1e-9) <= enough * (1 + 1e-9)


def test_a_bound_is_that_of_mapie():
    """Where capital is highest at the end of each half: MAPIE adds up the most that each half won, 1.6.0 at least.

    So the losses are small and come first in their half. MAPIE's bound is the next higher risk on a grid.
    """
    generator, grid = np.random.default_rng(3), np.linspace(0.0101, 0.0301, 300)
    drawn = (generator.random((300, 2, 100)) < 0.1) * 0.1 * generator.beta(1, 2, (300, 2, 100))
    losses = -np.sort(-drawn, axis=2).reshape(300, 200)
    ours = risk.betting_bound(losses, 0.9)
    kept = np.argsort(ours)  # MAPIE wants cuts in order
    _, theirs = methods.get_r_hat_plus(losses[kept].T, grid, "rcps", "wsr", 0.1, 0.25)
    above = grid[np.searchsorted(grid, ours[kept])]
    np.testing.assert_allclose(theirs, above, atol=1e-12)


@given(losses_)
def test_a_bound_is_a_share_and_that_of_nothing_but_ones_is_one(losses):
    for bound in BOUNDS.values():
        some, ones = bound(np.array([losses, [1.0] * len(losses)]), 0.9)
        assert 0 < some <= 1
        assert ones == pytest.approx(1.0)


@given(losses_, st.floats(0, 1))
def test_larger_losses_of_every_query_raise_the_bound_of_means_and_betting_is_never_below_zero_losses(losses, less):
    for bound in BOUNDS.values():
        none, some = bound(np.array([[0.0] * len(losses), losses]) * less, 0.9)
        assert none <= some + 1e-9


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES)
def test_more_confidence_promises_less(bound, losses):
    drawn = losses[0](np.random.default_rng(9), (200, 150)).astype(np.float64)
    found = np.stack([bound(drawn, confidence) for confidence in (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)])
    assert (np.diff(found, axis=0) > -0.002).all(), "bets grow with confidence: by 0.002 at most"
    assert (np.diff(found.mean(axis=1)) > 0).all()


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
def test_no_queries_exclude_nothing_and_no_cuts_are_none(bound):
    assert bound(np.empty((3, 0)), 0.9).tolist() == [1.0] * 3
    assert bound(np.empty((0, 7)), 0.9).shape == bound(np.empty((0, 0)), 0.9).shape == (0,)


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
def test_cuts_do_not_see_each_other(bound, monkeypatch):
    losses = LOSSES["sparse beta"][0](np.random.default_rng(2), (9, 50))
    alone = np.concatenate([bound(losses[i : i + 1], 0.9) for i in range(9)])
    np.testing.assert_array_equal(bound(losses, 0.9), alone)
    monkeypatch.setattr(risk, "_CELLS", 120)
    np.testing.assert_array_equal(bound(losses, 0.9), alone)
    np.testing.assert_allclose(bound(losses.astype(np.float32), 0.9), alone, atol=1e-6)


def test_the_tighter_bound_costs_little_beside_the_better_and_gains_much_where_losses_are_fractions():
    generator = np.random.default_rng(4)
    for losses, most in (
        (generator.random((200, 300)) < 0.02, 1.06),
        (generator.binomial(3, 0.02, (200, 300)) / 3, 0.78),
    ):
        losses = losses.astype(np.float64)
        of_means, betting, both = (
            bound.mean()
            for bound in (
                risk.confident_bound(losses.mean(axis=1), 300, 0.9),
                risk.betting_bound(losses, 0.9),
                risk.tighter_bound(losses, 0.9),
            )
        )
        assert both < of_means * most
        assert both < min(of_means, betting) * 1.06


def test_as_many_events_are_counted_as_there_are():
    """100 * 0.07 is a little more than 7, and 8 events would be less likely."""
    for queries, events in ((100, 7), (100, 14), (50, 7)):
        risks = np.array([0.15, 0.3])
        bentkus = np.e * scipy.stats.binom.cdf(events, queries, risks)
        found = risk._p_value(np.full(2, events / queries), risks, queries)
        assert (found <= bentkus * (1 + 1e-9)).all()
