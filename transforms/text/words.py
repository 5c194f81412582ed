"""Words of a text: between blanks and punctuation where a script has blanks, character by character where it has none.

Chinese, Japanese, Thai, Lao, Khmer, Burmese and the like write no blank between words; Korean writes some, but hangs
particles on its words. Their characters, each with its combining marks, are words of their own, and BM25 also gets
pairs of neighbours, as from Lucene's ``CJKBigramFilter`` with ``outputUnigrams``. No dictionary, no language.
"""

from __future__ import annotations

import dataclasses
import itertools
import unicodedata
from collections.abc import Collection
from typing import Any

import numpy as np
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
_SYMBOLS = r"\p{Sm}\p{Sc}\p{So}%&@/^"  # Unicode takes the last five, and *, # and -, for punctuation or an accent
_NO_WORD_OR_SYMBOL = rf"[^\p{{L}}\p{{M}}\p{{N}}{_SYMBOLS} ]+{_STRAY}"
_SYMBOL = rf"([{_SYMBOLS}]\p{{M}}*)"
_AMBIGUOUS = r"[*#]|(?:^|[ (\[=,:<>+*/^])-\p{N}"
_MEANT = (  # what these are where they are surely symbols: between blanks * and - may be bullets or dashes
    (r"([^ *])\*+([^ *.,;:!?)])", "\\1\u2217\\2"),  # as in a*b: emphasis has a blank or the like on one side
    (r"([\p{L}\p{M}])#", "\\1\u266f"),  # as in C#
    (r"(^|[ (\[=,:<>+*/^])-(\p{N})", "\\1\u2212\\2"),  # a minus
)
_NO_TERM = rf"[^\p{{L}}\p{{M}}\p{{N}}_ ]+{_STRAY}"  # what is not Python's \w, but marks belong to their letters
_MARK = "\x00"  # stands on both sides of a character that is a word; no normalised text holds it


def separated(texts: pa.ChunkedArray[Any], *, symbols: bool = False) -> pa.ChunkedArray[Any]:
    """Normalised texts as words with one blank between: letters, their marks and digits, without punctuation.

    Args:
      texts: (n,) strings, as ``text.normalise`` gives them.
      symbols: whether each symbol, of mathematics, money and the like, is a word too: operators, a minus, the # of C#.

    >>> separated(pa.chunked_array([["rock'n'roll, 1968!", "iphone 15是手机。", "?!"]])).to_pylist()
    ['rock n roll 1968', 'iphone 15 是 手 机', '']
    >>> separated(pa.chunked_array([["c++, not c.", "a*b is **not** -5% of c# - or x"]]), symbols=True).to_pylist()
    ['c + + not c', 'a \u2217 b is not \u2212 5 % of c \u266f or x']
    """
    if symbols:
        texts = pa.chunked_array([_as_meant(chunk) for chunk in texts.chunks], texts.type)
    words = pc.replace_substring_regex(texts, _NO_WORD_OR_SYMBOL if symbols else _NO_WORD, " ")
    for alone in (_CHARACTER, _SYMBOL) if symbols else (_CHARACTER,):
        words = pc.replace_substring_regex(words, alone, r" \1 ")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(words, "  +", " "))


def _as_meant(texts: pa.Array[Any]) -> pa.Array[Any]:
    unclear = pc.match_substring_regex(texts, _AMBIGUOUS)
    some = texts.filter(unclear)
    if not len(some):
        return texts
    for written, meant in _MEANT:
        some = pc.replace_substring_regex(some, written, meant)
    return pc.replace_with_mask(texts, unclear, some)


@dataclasses.dataclass(frozen=True)
class Terms:
    """Terms of n texts, in their order.

    Attributes:
      distinct: the different ones.   numbers: (m,) which of them each is.   offsets: (n + 1,) where each text begins.
    """

    distinct: list[str]
    numbers: np.ndarray
    offsets: np.ndarray

    @property
    def text(self) -> np.ndarray:
        """(m,) in which text each is."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def lists(self) -> list[list[str]]:
        """Terms of each text."""
        every = [self.distinct[number] for number in self.numbers.tolist()]
        return [every[start:stop] for start, stop in itertools.pairwise(self.offsets.tolist())]

    def kept(self, which: np.ndarray) -> Terms:
        """The terms, as many texts, without those of which ``which`` is false: a bool for each distinct one."""
        some = which[self.numbers]
        return Terms(
            [term for term, wanted in zip(self.distinct, which.tolist(), strict=True) if wanted],
            (np.cumsum(which) - 1)[self.numbers[some]],
            np.append(0, np.cumsum(some))[self.offsets],
        )


def terms(texts: pa.ChunkedArray[Any]) -> Terms:
    r"""Terms of normalised texts for BM25.

    Words of two characters and more, and ``_`` is one, as bm25s and scikit-learn take them (``\b\w\w+\b``); of the
    characters that are words each, and each pair of neighbours.

    Args:
      texts: (n,) strings, as ``text.normalise`` gives them.

    >>> terms(pa.chunked_array([["a red_fox isn't", "iphone是手机"]])).lists()
    [['red_fox', 'isn'], ['iphone', '是', '手', '机', '是手', '手机']]
    """
    spaced = pc.replace_substring_regex(texts, _NO_TERM, " ")
    spaced = pc.replace_substring_regex(spaced, _CHARACTER, rf"{_MARK}\1{_MARK}")
    spaced = pa.concat_arrays(spaced.chunks) if spaced.num_chunks else pa.array([], pa.string())
    by_hand = pc.or_(pc.invert(pc.string_is_ascii(spaced)), pc.match_substring(spaced, _MARK))
    lines = [" ".join(_terms(line)) for line in spaced.filter(by_hand).to_pylist()]
    split = pc.split_pattern(pc.replace_with_mask(spaced, by_hand, pa.array(lines, spaced.type)), " ")
    encoded = split.flatten().dictionary_encode()
    every = Terms(encoded.dictionary.to_pylist(), encoded.indices.to_numpy(), split.offsets.to_numpy())
    # Of a line that was not taken apart by hand only: a character that is a word has more bytes than one.
    return every.kept(pc.binary_length(encoded.dictionary).to_numpy() > 1)


def stems(of: Terms, language: str, left_out: Collection[str]) -> Terms:
    """The stem of each term by Snowball's stemmer, without stop words: these are known by the whole word.

    Characters that are words are their own stems.

    Args:
      of: terms.   language: two letters.   left_out: stop words.

    >>> stems(terms(pa.chunked_array([["die züge 是手", "zug"]])), "de", {"die"}).lists()
    [['zug', '是', '手', '是手'], ['zug']]
    """
    import Stemmer  # here, for it is an extra

    others = of.kept(np.array([term not in left_out for term in of.distinct], bool))
    place: dict[str, int] = {}
    number = [place.setdefault(stem, len(place)) for stem in Stemmer.Stemmer(language).stemWords(others.distinct)]
    return Terms(list(place), np.array(number, np.int64)[others.numbers], others.offsets)


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
