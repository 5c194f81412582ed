"""Documents that contain an answer: whole words, whatever the case, marks and white space."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gangue.transforms.candidates import answers

TEXTS = st.lists(st.sampled_from(["ab", "AB", "cab", "Éa", "éa", "7", ",", "-"]), max_size=5).map(" ".join)


def found(text, *given):
    return bool(
        answers.contained(pa.array([text]), pa.array([list(given)], pa.list_(pa.string())), *[np.array([0])] * 2)
    )


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("Written by Paul McCartney, in 1965.", "paul mccartney", True),
        ("Written by Paul\n McCartney", "Paul McCartney", True),
        ("the U.S. capital", "U.S", True),
        ("Pauline", "Paul", False),
        ("1965", "65", False),
        ("ＦＵＬＬ width", "full", True),
        ("anything", "?!", False),
        ("anything", "", False),
        ("", "a", False),
    ],
)
def test_an_answer_is_found_as_whole_words(text, answer, expected):
    assert found(text, answer) == expected


def test_one_of_several_answers_is_enough_and_no_answer_finds_nothing():
    assert found("in 1965", "1966", "1965")
    assert not found("in 1965")


def test_each_pair_is_searched_for_the_answers_of_its_own_query():
    asked = pa.chunked_array([pa.array([["ab"], None, []], pa.list_(pa.string())), pa.array([["cab", "oak"]])])
    document, query = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 1, 2, 3, 3])
    given = answers.contained(pa.array(["an ab", "a cab"]), asked, document, query)
    assert given.tolist() == [True, False, False, False, False, True]


@given(
    st.lists(TEXTS, min_size=1, max_size=4), st.lists(st.lists(TEXTS, max_size=3), min_size=1, max_size=3), st.data()
)
def test_the_search_is_that_of_a_list_of_words(texts, asked, data):
    pairs = data.draw(st.lists(st.tuples(st.integers(0, len(texts) - 1), st.integers(0, len(asked) - 1)), max_size=9))
    document, query = (np.array([pair[side] for pair in pairs], int) for side in (0, 1))
    answered = answers.contained(pa.array(texts), pa.array(asked, pa.list_(pa.string())), document, query)

    def words(text):
        return "".join(c if c.isalnum() else " " for c in text.lower()).split()

    def within(short, long):
        return bool(short) and any(long[i : i + len(short)] == short for i in range(len(long)))

    expected = [any(within(words(a), words(texts[d])) for a in asked[q]) for d, q in pairs]
    assert answered.tolist() == expected
    more = answers.contained(pa.array(texts), pa.array([[*a, "ab"] for a in asked]), document, query)
    assert (answered <= more).all()
