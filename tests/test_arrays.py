"""One order, however it is found."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gangue.transforms import arrays

SPECIAL = st.sampled_from([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan])
FLOATS = st.one_of(SPECIAL, st.floats(width=32))
INTEGERS = st.one_of(st.integers(-3, 3), st.integers(-(2**62), 2**62))


@given(st.lists(st.tuples(INTEGERS, FLOATS, st.integers(0, 2**64 - 1)), min_size=1, max_size=60))
def test_rows_are_ordered_as_lexsort_orders_them(rows):
    groups, scores, words = zip(*rows, strict=True)
    keys = np.array(groups), np.array(scores), np.array(words, np.uint64)
    for some in (keys, keys[:2], keys[1:], keys[::-1]):
        assert arrays.order_by(*some).tolist() == np.lexsort(some[::-1]).tolist()


@given(
    st.lists(SPECIAL, min_size=1)
    | st.lists(st.floats(width=32), min_size=1)
    | st.lists(st.floats(), min_size=1)
    | st.lists(st.floats(-(2.0**-140), 2.0**-140, width=32), min_size=1)
    | st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1)
    | st.lists(st.integers(-(2**40), 2**40), min_size=1)
)
def test_equals_stay_in_their_order_however_numbers_are_stored(values):
    small = all(isinstance(value, int) and abs(value) < 1 << 31 for value in values)
    for kind in (np.int32, np.int64) if small else (None, np.float32) if isinstance(values[0], float) else (np.int64,):
        with np.errstate(over="ignore"):
            key = np.array(values, kind)
        assert arrays.order_by(key).tolist() == np.argsort(key, kind="stable").tolist()


@given(st.lists(st.lists(st.integers(0, 40) | st.integers(0, 2**40)), min_size=1, max_size=4))
def test_places_are_those_that_unique_finds(parts):
    given = [np.array(part, np.int64) for part in parts]
    found, places = arrays.places(*given)
    expected, inverse = np.unique(np.concatenate(given), return_inverse=True)
    assert found.tolist() == expected.tolist()
    assert np.concatenate(places).tolist() == inverse.tolist()
    assert [len(place) for place in places] == [len(part) for part in parts]


def test_many_equals_keep_their_order():
    rng = np.random.default_rng(3)
    groups, scores = rng.integers(0, 70_000, 100_000), rng.integers(0, 9, 100_000) / 8
    assert (arrays.order_by(groups, scores) == np.lexsort((scores, groups))).all()
