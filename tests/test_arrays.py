"""One order, however it is found."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transforms import arrays

FLOATS = st.one_of(st.sampled_from([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan]), st.floats(width=32))
INTEGERS = st.one_of(st.integers(-3, 3), st.integers(-(2**62), 2**62))


@given(st.lists(st.tuples(INTEGERS, FLOATS, st.integers(0, 2**64 - 1)), min_size=1, max_size=60))
def test_rows_are_ordered_as_lexsort_orders_them(rows):
    groups, scores, words = zip(*rows, strict=True)
    keys = np.array(groups), np.array(scores), np.array(words, np.uint64)
    for some in (keys, keys[:2], keys[1:], keys[::-1]):
        assert arrays.order_by(*some).tolist() == np.lexsort(some[::-1]).tolist()


def test_many_equals_keep_their_order():
    rng = np.random.default_rng(3)
    groups, scores = rng.integers(0, 70_000, 100_000), rng.integers(0, 9, 100_000) / 8
    assert (arrays.order_by(groups, scores) == np.lexsort((scores, groups))).all()
