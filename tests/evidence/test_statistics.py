from __future__ import annotations

import collections
import functools
import operator
import types

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from gangue.pipeline.report import page
from gangue.transforms import randomness
from gangue.transforms.evidence import intervals, statistics
from gangue.transforms.evidence.distribution import Distribution, bin_edges, bins_of, distribution_of

SANE = st.floats(-1e6, 1e6, width=32).map(lambda v: 0.0 if abs(v) < 1e-30 else v)
ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(SANE, min_size=1, max_size=60), st.floats(0, 1))
def test_a_distribution_agrees_with_numpy(values, share):
    column = np.float32(values)
    found = distribution_of(column)
    assert (found.count, found.odd) == (len(values), 0)
    assert (found.low, found.high) == (column.min(), column.max())
    assert found.mean == pytest.approx(column.astype(float).mean(), abs=1e-6, rel=1e-6)
    if len(values) > 1:
        assert found.deviation == pytest.approx(column.astype(float).std(ddof=1), abs=1e-6, rel=1e-6)
    exact = np.quantile(column.astype(float), share)
    assert found.quantile(share) == pytest.approx(exact, abs=2e-3 * float(np.abs(column).max()) + 1e-30)


@given(st.lists(st.lists(ANY, max_size=9), max_size=6))
def test_distributions_of_shards_add_up_to_the_distribution_of_all(shards):
    parts = functools.reduce(operator.add, (distribution_of(np.float32(shard)) for shard in shards), Distribution())
    whole = distribution_of(np.float32([value for shard in shards for value in shard]))
    assert (parts.count, parts.odd, parts.bins) == (whole.count, whole.odd, whole.bins)
    assert (parts.low, parts.high) == (whole.low, whole.high)
    scale = max(abs(whole.low), abs(whole.high), 1e-30)
    assert parts.mean / scale == pytest.approx(whole.mean / scale, abs=1e-9)
    assert parts.squares / scale**2 == pytest.approx(whole.squares / scale**2, abs=1e-6)


@pytest.mark.parametrize(
    "values", [[], [0.5], [np.nan], [np.inf, -np.inf], [-0.0, 0.0], [3.4e38, -3.4e38], [1e-45, 1.0]]
)
def test_no_values_break_a_distribution(values):
    found = distribution_of(np.float64(values))
    assert found.count + found.odd == len(values)
    for share in (0.0, 0.25, 0.5, 1.0):
        value = found.quantile(share)
        assert (value is None) == (found.count == 0)
        assert value is None or found.low <= value <= found.high
    assert found.histogram(np.linspace(-1, 1, 5)).sum() == found.count


@given(st.lists(SANE, min_size=1, max_size=60))
def test_a_histogram_holds_every_value_once_and_near_its_place(values):
    column = np.float32(values)
    edges = np.linspace(column.min(), column.max() + 1.0, 9)
    counts = distribution_of(column).histogram(edges)
    assert counts.sum() == len(values)
    slack = 2e-3 * np.abs(column).max() + 1e-30
    for i in range(8):
        surely = ((column > edges[i] + slack) & (column < edges[i + 1] - slack)).sum()
        maybe = ((column >= edges[i] - slack) & (column <= edges[i + 1] + slack)).sum()
        assert surely <= counts[i] <= maybe


@given(ANY.filter(np.isfinite), ANY.filter(np.isfinite))
def test_bins_keep_the_order_of_values_and_hold_them(one, other):
    low, high = sorted(np.float32([one, other]))
    first, second = bins_of(np.float32([low, high]))
    assert first <= second
    assume(abs(low) >= np.finfo(np.float32).tiny)
    assert bin_edges(np.array([first]))[0] <= low <= bin_edges(np.array([first + 1]))[0]


NAMES = ("positive", "abs", "perc")


@given(st.lists(st.integers(0, 7), max_size=20))
def test_a_waterfall_counts_first_verdicts_and_all_that_fired(fired):
    first = [next((n for i, n in enumerate(NAMES) if bits >> i & 1), "kept") for bits in fired]
    counts, total = statistics.waterfall(pa.array(first, pa.string()), np.array(fired, np.int64), NAMES)
    assert {n: c for n, c in counts.items() if c} == dict(collections.Counter(first))
    assert total == {n: sum(bits >> i & 1 for bits in fired) for i, n in enumerate(NAMES)}


RANK = st.none() | st.integers(1, 6)


@given(st.lists(st.tuples(st.integers(0, 4), RANK, RANK), max_size=30), st.integers(1, 6))
def test_overlap_is_the_jaccard_index_of_two_sets(rows, depth):
    query = np.array([row[0] for row in rows], np.int64)
    one, other = (np.array([row[i] or np.nan for row in rows], float) for i in (1, 2))
    shares = []
    for number in range(5):
        sets = [
            {i for i, row in enumerate(rows) if row[0] == number and row[side] and row[side] <= depth}
            for side in (1, 2)
        ]
        if sets[0] | sets[1]:
            shares.append(len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
    total, queries = statistics.overlap(query, one, other, depth)
    assert queries == len(shares)
    assert total == pytest.approx(sum(shares))


@given(st.lists(st.lists(ANY, max_size=8), max_size=5), st.integers(1, 6))
def test_top_rows_of_shards_merge_to_the_top_rows_of_all(shards, count):
    kept, everything = [], []
    for number, shard in enumerate(shards):
        table = pa.table({"query_id": pa.array([f"{number}-{i}" for i in range(len(shard))], pa.string())})
        kept = statistics.merge_rows(kept, statistics.top_rows(table, np.float64(shard), count), count)
        everything += [(v, f"{number}-{i}") for i, v in enumerate(shard) if np.isfinite(v)]
    assert [(row["order"], row["query_id"]) for row in kept] == sorted(everything)[:count]


@given(st.lists(st.integers(0, 300), max_size=30))
def test_reuse_counts_every_document_that_serves(times):
    found = statistics.reuse(np.array(times, np.int64))
    assert sum(found.values()) == sum(t > 0 for t in times)
    assert found["1"] == times.count(1)
    assert found["over 100"] == sum(t > 100 for t in times)


COMPARED = st.tuples(st.integers(0, 3), st.none() | st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]), st.integers(0, 2))


@given(st.lists(st.lists(COMPARED, max_size=12), max_size=3))
def test_concordance_counts_the_pairs_that_a_positive_wins(shards):
    wins, compared, found = 0.0, 0, []
    for rows in shards:
        query, kind = (np.array([row[i] for row in rows], np.int64) for i in (0, 2))
        scores = np.array([np.nan if row[1] is None else row[1] for row in rows], np.float32)
        found.append(statistics.concordance(query, scores, kind == 1, kind == 2))
        for asked, high, one in rows:
            for answered, low, other in rows:
                if asked == answered and (one, other) == (1, 2) and high is not None and low is not None:
                    wins += 1.0 if high > low else 0.5 if high == low else 0.0
                    compared += 1
    assert tuple(map(sum, zip((0.0, 0), *found, strict=True))) == (wins, compared)


def test_closeness_is_that_of_the_score_that_disagrees_most():
    negatives = {"a": np.array([0.9, 0.9, np.nan]), "b": np.array([5.0, 9.9, 1.0])}
    positives = {"a": np.array([1.0, 1.0, 1.0]), "b": np.array([10.0, 10.0, 0.0])}
    np.testing.assert_allclose(statistics.closeness(negatives, positives), [-0.5, -0.1, np.nan])


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_agrees_with_scipy(trials, share):
    hits = round(share * trials)
    expected = scipy.stats.binomtest(hits, trials).proportion_ci(method="wilson")
    assert intervals.wilson(hits, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_resampled_sums_do_not_depend_on_order_or_shards():
    words = randomness.id_hashes(pa.array([f"q{i}" for i in range(50)]))
    values = np.random.default_rng(3).integers(0, 9, (50, 2))
    whole = intervals.resampled(words, values, 13)
    parts = intervals.resampled(words[30:], values[30:], 13) + intervals.resampled(words[:30], values[:30], 13)
    np.testing.assert_array_equal(whole, parts)
    assert whole.shape == (2, intervals.REPLICATES)
    np.testing.assert_allclose(whole.mean(axis=1), values.sum(axis=0), rtol=0.02)


def test_a_bootstrap_over_queries_is_as_wide_as_theory_says():
    words = randomness.id_hashes(pa.array([f"q{i}" for i in range(400)]))
    hits = (np.arange(400) % 4 == 0).astype(np.int64) * 5  # all five of a query leak together
    sums = intervals.resampled(words, np.stack([hits, np.full(400, 5)], axis=1), 13)
    low, high = intervals.interval_of_ratio(*sums)
    expected = intervals.wilson(100, 400)
    assert (low, high) == pytest.approx(expected, abs=0.012)


def test_an_interval_of_two_queries_that_agree_is_not_of_no_width():
    """One of three negatives of each leaked: 33.3 % (33.3 % to 33.3 %) was said to be sure."""
    drawn = np.array([1.0, 2.0, 3.0]), np.array([3.0, 6.0, 9.0])
    low, high = intervals.of_queries(2, 6, 2, drawn)
    assert (low, high) == intervals.wilson(2 / 3, 2)
    assert intervals.of_queries(2, 60, 2, (np.array([1.0, 2.0]), np.array([30.0, 40.0])))[1] > 0.3
    many = np.array([100.0, 120.0]), np.array([300.0, 300.0])
    assert intervals.of_queries(110, 300, 100, many) == intervals.interval_of_ratio(*many)
    assert intervals.of_queries(0, 300, 100, (np.zeros(2), np.ones(2))) == intervals.wilson(0, 100)


def test_a_histogram_of_a_narrow_score_has_no_empty_bars_between_full_ones(monkeypatch):
    drawn = {}
    monkeypatch.setattr(page.charts, "histograms", lambda name, *drawing: drawn.update({name: drawing}) or "")
    values = distribution_of(np.linspace(0.4895, 0.4913, 5000))
    page._histogram(types.SimpleNamespace(scores={"ce": {"positive": values, "negative": values}}), "ce")
    edges, positives, _ = drawn["ce"]
    assert 1 < len(positives) <= page.BINS
    assert min(positives) > 0
    assert sum(positives) == 5000
    assert edges[0] <= 0.4895
    assert edges[-1] >= 0.4913


def test_no_query_gives_an_interval_that_excludes_nothing():
    sums = intervals.resampled(np.empty(0, np.uint64), np.empty((0, 2), np.int64), 13)
    assert intervals.interval_of_ratio(*sums) == (0.0, 1.0)
