"""When two texts are the same: whatever cannot be seen makes no difference, all else does."""

import unicodedata

import oracle
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gangue.transforms import text

INVISIBLE = {
    "byte order mark": "\ufeff",
    "zero-width space": "\u200b",
    "zero-width non-joiner": "\u200c",
    "zero-width joiner": "\u200d",
    "word joiner": "\u2060",
    "soft hyphen": "\u00ad",
    "left-to-right mark": "\u200e",
    "right-to-left override": "\u202e",
    "isolate": "\u2068",
    "NUL": "\x00",
    "escape": "\x1b",
    "variation selector": "\ufe0f",
    "ideographic variation selector": "\U000e0100",
    "combining grapheme joiner": "\u034f",
    "Mongolian vowel separator": "\u180e",
    "Hangul filler": "\u3164",
    "halfwidth Hangul filler": "\uffa0",
    "tag": "\U000e0041",
}


def normal(*texts):
    return text.normalise(pa.chunked_array([list(texts)], pa.string())).to_pylist()


@pytest.mark.parametrize("letter", INVISIBLE.values(), ids=INVISIBLE.keys())
@pytest.mark.parametrize("given", ["a man rides", "東京タワー", "Zürich", "u\u0308ber", "한국의", "नमस्ते", "می خواهم"])
def test_invisible_characters_make_no_other_text(letter, given):
    copies = [given + letter, letter + given, given[0] + letter + given[1:], given.replace(" ", f" {letter} ")]
    assert set(normal(*copies)) == set(normal(given))


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\u2028", "\u1680", "\u2800", "\x85", "\x1c", "\r\n", "\t \t"])
def test_all_white_space_is_one_blank(blank):
    assert normal(f"a{blank}b", f"{blank}a {blank}b{blank}") == ["a b"] * 2


def test_what_can_be_seen_makes_another_text():
    different = ["a b", "ab", "a-b", "a b.", "a\u0301 b", "ａ ｃ", "か", "が", "中文", "中 文", "a ❤ b"]
    different += ["10² m", "102 m", "2³", "23", "x¹²", "1½ cups", "11/2 cups", "5⁴", "54", "11⁄2 cups"]
    assert len(set(normal(*different))) == len(different)


def test_forms_of_one_letter_are_the_same():
    assert len(set(normal("Straße für café", "STRAßE FÜR CAFÉ", "straße fu\u0308r cafe\u0301"))) == 1
    assert len(set(normal("カタカナ ガ", "ｶﾀｶﾅ ｶﾞ"))) == 1
    assert len(set(normal("100 km² ½", "100 km2 1⁄2"))) == 1


@given(st.lists(st.text(max_size=8), min_size=2, max_size=6))
@settings(max_examples=300, deadline=None)
def test_texts_are_equal_where_the_oracle_says_so(texts):
    texts = [*texts, *(unicodedata.normalize("NFD", string) for string in texts)]
    known = ["".join(c for c in string if unicodedata.category(c) not in ("Cn", "Cs")) for string in texts]
    found, expected = normal(*known), [oracle.normal(string) for string in known]
    for i in range(len(known)):
        for j in range(i):
            assert (found[i] == found[j]) == (expected[i] == expected[j]), (known[i], known[j])
