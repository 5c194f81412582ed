"""Words and terms by script: blanks where there are some, characters where there are none, marks with their letters."""

import re
import unicodedata

import oracle
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gangue.transforms import text
from gangue.transforms.text import words

LETTERS = st.sampled_from(
    [
        *"abé_1 .,+-'",
        "中",
        "文",
        "が",
        "か\u3099",
        "ー",
        "カ",
        "ไ",
        "ที่",
        "ង",
        "한",
        "ع",
        "عَ",
        "हि",
        "\u200b",
        "\ufeff",
        "\t",
    ]
)


def normal(*texts):
    return text.normalise(pa.chunked_array([list(texts)], pa.string()))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("猫喜欢吃鱼和肉。", "猫 喜 欢 吃 鱼 和 肉"),
        ("東京タワーは高い", "東 京 タ ワ ー は 高 い"),
        ("ｶﾞｽ", "ガ ス"),
        ("เมืองที่ใหญ่", "เ มื อ ง ที่ ใ ห ญ่"),
        ("ພາສາລາວ", "ພ າ ສ າ ລ າ ວ"),
        ("서울은 한국의 수도", "서 울 은 한 국 의 수 도"),
        ("iPhone 15是手机", "iphone 15 是 手 机"),
        ("Straßen-Bahn für Mädchen", "straßen bahn für mädchen"),
        ("हिन्दी में", "हिन्दी में"),
        ("مدينة القاهرة", "مدينة القاهرة"),
        ("བོད་ཡིག", "བོད ཡིག"),
        ("?!", ""),
    ],
)
def test_words_are_cut_where_the_script_cuts_them(given, expected):
    (found,) = words.separated(normal(given)).to_pylist()
    assert unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", expected)


@given(st.lists(LETTERS, max_size=14).map("".join))
@settings(max_examples=300, deadline=None)
def test_words_and_terms_are_those_of_the_oracle(string):
    (found,) = words.separated(normal(string)).to_pylist()
    assert unicodedata.normalize("NFC", found).split() == oracle.words(string)
    (terms,) = words.terms(normal(string)).lists()
    assert sorted(terms) == sorted(oracle.terms(string))


@given(
    st.text(st.characters(max_codepoint=0x24F, exclude_categories=("Cc", "Cf"), exclude_characters="İ"), max_size=40)
)
@settings(max_examples=300, deadline=None)
def test_terms_of_latin_text_are_those_of_bm25s(string):
    # bm25s does not fold compatibility characters, such as ² and ª: they are folded for it, 10² not to 102
    apart = re.sub("([0-9])([²³¹¼½¾])", r"\1^\2", string)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", apart).lower())
    assert words.terms(normal(string)).lists() == [re.findall(r"(?u)\b\w\w+\b", folded)]


@pytest.mark.parametrize(
    "different",
    [
        [f"def op(a, b): return a {sign} b" for sign in ("/", "-", "%", "&", "^", "@", "//", "+", "<<", "|")],
        [f"return a{sign}b" for sign in ("/", "-", "%", "*", "&", "^", "+")],
        ["how to sort a list in C", "how to sort a list in C#", "how to sort a list in C++"],
        ["is 5 less than 3", "is -5 less than 3", "is 5 less than -3"],
        ["what is 5% of 20", "what is 5 of 20", "what is $5 of 20"],
        ["x = -1", "x = 1"],
        ["f(-1)", "f(1)"],
        ["a*b", "a b", "a/b", "a^b"],
    ],
)
def test_operators_and_a_minus_are_words_of_a_near_duplicate(different):
    found = words.separated(normal(*different), symbols=True).to_pylist()
    assert len(set(found)) == len(different)
    lone = [" ".join(re.findall(r"\w+", string.lower())) for string in different]
    assert words.separated(normal(*different)).to_pylist() == lone, "BM25 and answers know words only"


@pytest.mark.parametrize(
    "alike",
    [
        ["the *lift* of a **wing**, and *drag*.", "the lift of a wing, and drag"],
        ["# the law of motion", "the law of motion"],
        ["* lift\n* drag\n* 5 wings", "- lift\n- drag\n- 5 wings", "lift drag 5 wings"],
        ["well-known, state-of-the-art", "well known state of the art"],
        ["the years 1914-1918 - a war", "the years 1914 1918, a war"],
        ["see #lift!", "see lift"],
    ],
)
def test_emphasis_headings_hyphens_and_dashes_are_none(alike):
    assert len(set(words.separated(normal(*alike), symbols=True).to_pylist())) == 1


def test_a_single_character_and_a_pair_are_found_in_a_longer_run():
    (terms,) = words.terms(normal("猫吃鱼")).lists()
    assert sorted(terms) == sorted(["猫", "吃", "鱼", "猫吃", "吃鱼"])
    assert words.terms(normal("鱼", "吃 鱼")).lists() == [["鱼"], ["吃", "鱼"]]


def test_texts_without_letters_and_no_texts_have_no_terms():
    assert words.terms(normal("", "?!", "a b")).lists() == [[], [], []]
    assert words.terms(pa.chunked_array([], pa.string())).lists() == []
    assert words.separated(pa.chunked_array([], pa.string())).to_pylist() == []
