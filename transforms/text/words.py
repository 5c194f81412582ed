"""Words of a text: between blanks and punctuation where a script has blanks, character by character where it has none.

Chinese, Japanese, Thai, Lao, Khmer, Burmese and the like write no blank between words; Korean writes some, but hangs
particles on its words. Their characters, each with its combining marks, are words of their own, and BM25 also gets
pairs of neighbours, as from Lucene's ``CJKBigramFilter`` with ``outputUnigrams``. No dictionary, no language.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# UAX #14's ideographs and scripts of class SA, and Korean; the two letters that Unicode gives to no script.
_SCRIPTS = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Yi}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    r"\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}\p{Ahom}\x{30fc}\x{3006}"
)
_SYLLABLE = r"[\x{1100}-\x{115f}\x{a960}-\x{a97f}]?[\x{1160}-\x{11ff}\x{d7b0}-\x{d7ff}]+"  # Korean, as normalised
_CHARACTER = rf"((?:{_SYLLABLE}|[{_SCRIPTS}])\p{{M}}*)"
_STRAY = r"\p{M}*| \p{M}+|^\p{M}+"  # marks that follow no letter, such as an acute accent for an apostrophe
_NO_WORD = rf"[^\p{{L}}\p{{M}}\p{{N}} ]+{_STRAY}"
_NO_WORD_OR_SYMBOL = rf"[^\p{{L}}\p{{M}}\p{{N}}\p{{Sm}}\p{{Sc}}\p{{So}} ]+{_STRAY}"
_SYMBOL = r"([\p{Sm}\p{Sc}\p{So}]\p{M}*)"
_NO_TERM = rf"[^\p{{L}}\p{{M}}\p{{N}}_ ]+{_STRAY}"  # what is not Python's \w, but marks belong to their letters
_MARK = "\x00"  # stands on both sides of a character that is a word; no normalised text holds it


def separated(texts: pa.ChunkedArray[Any], *, symbols: bool = False) -> pa.ChunkedArray[Any]:
    """Normalised texts as words with one blank between: letters, their marks and digits, without punctuation.

    Args:
      texts: (n,) strings, as ``text.normalise`` gives them.
      symbols: whether each symbol, of mathematics, money and the like, is a word too.

    >>> separated(pa.chunked_array([["rock'n'roll, 1968!", "iphone 15是手机。", "?!"]])).to_pylist()
    ['rock n roll 1968', 'iphone 15 是 手 机', '']
    >>> separated(pa.chunked_array([["c++, not c."]]), symbols=True).to_pylist()
    ['c + + not c']
    """
    words = pc.replace_substring_regex(texts, _NO_WORD_OR_SYMBOL if symbols else _NO_WORD, " ")
    for alone in (_CHARACTER, _SYMBOL) if symbols else (_CHARACTER,):
        words = pc.replace_substring_regex(words, alone, r" \1 ")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(words, "  +", " "))


def terms(texts: pa.ChunkedArray[Any]) -> list[list[str]]:
    r"""Terms of normalised texts for BM25, in their order.

    Words of two characters and more, and ``_`` is one, as bm25s and scikit-learn take them (``\b\w\w+\b``); of the
    characters that are words each, and each pair of neighbours.

    Args:
      texts: (n,) strings, as ``text.normalise`` gives them.

    >>> terms(pa.chunked_array([["a red_fox isn't", "iphone是手机"]]))
    [['red_fox', 'isn'], ['iphone', '是', '手', '机', '是手', '手机']]
    """
    words = pc.replace_substring_regex(texts, _NO_TERM, " ")
    words = pc.replace_substring_regex(words, _CHARACTER, rf"{_MARK}\1{_MARK}")
    return [_terms(line) for line in words.to_pylist()]


def stems(texts: Sequence[Sequence[str]], language: str, left_out: Collection[str]) -> list[list[str]]:
    """The stem of each term by Snowball's stemmer, without stop words: these are known by the whole word.

    Characters that are words are their own stems.

    Args:
      texts: (n,) terms of each text.   language: two letters.   left_out: stop words.

    >>> stems([["die", "züge", "是手"], ["zug"]], "de", {"die"})
    [['zug', '是手'], ['zug']]
    """
    import Stemmer  # here, for it is an extra

    stemmer = Stemmer.Stemmer(language)
    return [stemmer.stemWords([term for term in terms if term not in left_out]) for terms in texts]


def _terms(line: str) -> list[str]:
    line = line if line.isascii() else unicodedata.normalize("NFC", line)
    if _MARK not in line:
        return [word for word in line.split() if len(word) > 1]
    found = []
    for word in line.split():
        parts = word.split(_MARK)
        between, characters = parts[::2], parts[1::2]
        found += [part for part in between if len(part) > 1] + characters
        pairs = zip(characters, between[1:-1], characters[1:], strict=False)
        found += [one + other for one, gap, other in pairs if not gap]
    return found
