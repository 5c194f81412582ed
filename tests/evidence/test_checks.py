from __future__ import annotations

import collections

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gangue.transforms import views
from gangue.transforms.datasets import schema
from gangue.transforms.evidence import checks

WORDS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=12)
VALUES = st.lists(st.none() | st.floats(width=32), max_size=12)


def columns(rows):
    return [pa.array([row[i] for row in rows], pa.string()) for i in range(2)]


@given(WORDS)
def test_a_row_is_repeated_if_an_earlier_one_equals_it(rows):
    assert checks.repeated(*columns(rows)).tolist() == [row in rows[:i] for i, row in enumerate(rows)]


@given(WORDS, WORDS)
def test_membership_is_that_of_python_tuples(rows, known):
    assert checks.among(columns(rows), columns(known)).tolist() == [row in known for row in rows]


@given(WORDS)
def test_rows_are_sorted_if_python_would_not_move_them(rows):
    broken = checks.unsorted(*columns(rows)).tolist()
    assert broken == [i > 0 and row < rows[i - 1] for i, row in enumerate(rows)]
    assert not checks.unsorted(*columns(sorted(rows))).any()


@given(st.lists(st.tuples(st.none() | st.integers(0, 2), st.none() | st.integers(0, 2)), max_size=12))
def test_values_differ_as_python_values_do(rows):
    one, other = (pa.chunked_array([[row[i] for row in rows]], pa.int64()) for i in range(2))
    assert checks.differing(one, other).tolist() == [a != b for a, b in rows]


@given(VALUES, st.booleans())
def test_only_finite_numbers_are_finite_and_null_only_where_it_may_be(values, nullable):
    broken = checks.not_finite(pa.array(values, pa.float32()), nullable=nullable).tolist()
    assert broken == [not nullable if v is None else not np.isfinite(v) for v in values]


@given(VALUES, st.booleans(), st.booleans())
def test_a_nan_is_never_large_enough(values, nullable, strictly):
    column = pa.array(values, pa.float32())
    broken = checks.not_at_least(column, 0, nullable=nullable, strictly=strictly).tolist()
    enough = [v is not None and (v > 0 if strictly else v >= 0) for v in values]
    assert broken == [not nullable if v is None else not good for v, good in zip(values, enough, strict=True)]


def verdicts(rows):
    return pa.Table.from_pylist([dict(zip(schema.VERDICTS.names, row, strict=True)) for row in rows], schema.VERDICTS)


def test_a_verdict_without_a_positive_keeps_the_negative_for_all_of_them():
    triplets = pa.table(
        {
            "query_id": ["q", "q", "q", "r"],
            "positive_id": ["p", "s", "s", "p"],
            "negative_id": ["a", "b", "c", "a"],
        }
    )
    judged = verdicts([("q", None, "a", "kept", 0), ("q", "p", "b", "kept", 0), ("q", None, "c", "abs", 2)])
    assert checks.not_kept(triplets, judged).tolist() == [False, True, True, True]


def test_a_verdict_is_the_lowest_bit_that_fired():
    judged = verdicts(
        [
            ("q", None, "a", "kept", 0),
            ("q", None, "b", "positive", 3),
            ("q", None, "c", "abs", 3),
            ("q", None, "d", "kept", 1),
            ("q", None, "e", "unheard_of", 1),
        ]
    )
    assert checks.not_first(judged, ["positive", "abs"]).tolist() == [False, False, True, True, True]


PAIRS = st.tuples(st.sampled_from("qr"), st.sampled_from("xyz"))
NOTES = st.lists(st.tuples(PAIRS, st.integers(1, 3), st.integers(0, 3), st.sampled_from(["", "abs"])), max_size=4)


@given(st.lists(PAIRS, unique=True, max_size=6), st.lists(PAIRS, max_size=8), NOTES)
def test_a_quota_is_met_in_full_or_explained_once_and_rightly(labelled, found, notes):
    positives = pa.table(columns(labelled), ["query_id", "document_id"])
    triplets = pa.table(columns(found), ["query_id", "positive_id"])
    shortfalls = pa.Table.from_pylist(
        [
            {"query_id": q, "positive_id": d, "wanted": w, "found": f, "candidates": 0, "reason": reason}
            for (q, d), w, f, reason in notes
        ],
        schema.SHORTFALLS,
    )
    count = collections.Counter(found)
    expected = []
    for pair in labelled:
        own = [note[1:] for note in notes if note[0] == pair]
        full = count[pair] == 2 and not own
        expected.append(not full and not (count[pair] < 2 and own == [(2, count[pair], "abs")]))
    assert checks.quota_missed(positives, triplets, shortfalls, 2).tolist() == expected


@given(st.lists(st.tuples(st.sampled_from("qr"), st.sampled_from("xy")), max_size=9), st.integers(1, 3))
def test_view_rows_are_those_that_the_views_have(rows, wanted):
    rows = sorted(rows)
    names = ["query_id", "positive_id", "negative_id", "query", "positive", "negative"]
    triplets = pa.table({name: pa.array([row[min(i, 1)] for row in rows], pa.string()) for i, name in enumerate(names)})
    for name in ("score_bm25", "positive_score_bm25"):
        triplets = triplets.append_column(name, pa.array(np.ones(len(rows)), pa.float32()))
    sizes = checks.group_sizes(triplets)
    for view in views.VIEWS.values():
        assert view.rows(sizes, wanted) == len(view.table(triplets, wanted, "bm25"))


def test_an_error_names_three_rows_and_how_many_more_there_are():
    rows = pa.table({"query_id": list("abcdef")})
    broken = np.array([False, True, True, True, True, False])
    message = r"triplets: x must be y, but 4 of 6 rows break it: row 1 \(query_id 'b'\), .*'d'\) and 1 more\. Do z$"
    with pytest.raises(ValueError, match=message):
        checks.refuse("triplets", "x must be y", broken, rows, "Do z")


def test_nothing_broken_is_no_error():
    checks.refuse("triplets", "x must be y", np.zeros(3, bool), pa.table({"query_id": list("abc")}), "Do z")
