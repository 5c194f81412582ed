"""Text as this project compares it: full texts, their normal form, their hashes; words and stop words.

Acts on columns of strings. Imports nothing of the other rooms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

HASH = pa.binary(16)  # BLAKE2b-128 of a text

# All that Unicode calls white space and NFKD leaves, and Braille's blank; only what is no single blank is replaced.
_OTHER = r"\t-\r\x1c-\x1f\x85\x{1680}\x{2028}\x{2029}\x{2800}"
_BLANKS = rf"(?:[{_OTHER}]| [{_OTHER} ])[{_OTHER} ]*"
# What nobody sees: format and control characters that are no white space, and the rest of what Unicode calls
# Default_Ignorable_Code_Point (variation selectors, Hangul's fillers and the like).
_INVISIBLE = (
    r"[\p{Cf}\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}\x{3164}"
    r"\x{fe00}-\x{fe0f}\x{ffa0}\x{e0100}-\x{e01ef}]+"
)
# After a digit, digits that stand high, and fractions, begin another number.
_HIGH = r"(\p{Nd})([\x{b2}\x{b3}\x{b9}\x{2070}\x{2074}-\x{2079}\x{bc}-\x{be}\x{2150}-\x{215f}\x{2189}])"
_FILLERS = "\u115f\u1160\u3164\uffa0"  # letters, for Python


def full_text(titles: pa.ChunkedArray, texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Title and text as one string, as BEIR joins them; this is what is embedded, scored and exported.

    >>> full_text(pa.chunked_array([["Lift", ""]]), pa.chunked_array([["of a wing", "drag"]])).to_pylist()
    ['Lift of a wing', 'drag']
    """
    return pc.utf8_trim_whitespace(pc.binary_join_element_wise(titles, texts, " "))


def normalise(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    r"""NFKD, lower case, one blank for a run of white space, no invisible characters: all else makes another text.

    Letters come apart from their accents (Arrow composes in no form, and two texts are equal in NFKD where they are in
    NFKC); ``words.terms`` puts them together again.

    >>> normalise(pa.chunked_array([["  The\tﬁrst\n LAW ", "\ufeffthe fi\u00adrst\u200b law", "10²"]])).to_pylist()
    ['the first law', 'the first law', '10^2']
    """
    visible = pc.replace_substring_regex(pc.replace_substring_regex(texts, _INVISIBLE, ""), _HIGH, r"\1^\2")
    folded = pc.utf8_lower(pc.utf8_normalize(visible, form="NFKD"))
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(folded, _BLANKS, " "))


def holds_invisible(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    r"""Whether a text has characters that nobody sees.

    >>> holds_invisible(pa.chunked_array([["the law", "the\u200b law"]])).to_pylist()
    [False, True]
    """
    return pc.match_substring_regex(texts, _INVISIBLE)


def is_blank(string: str) -> bool:
    r"""Whether nothing of a string can be seen.

    >>> is_blank(" \n"), is_blank("\ufeff \u200b"), is_blank("猫")
    (True, True, False)
    """
    first = string.lstrip()[:1]
    if first.isalnum() and first not in _FILLERS:
        return False
    return not normalise(pa.chunked_array([[string]], pa.string()))[0].as_py()


def hashes(texts: Iterable[str] | pa.ChunkedArray) -> pa.Array:
    """BLAKE2b-128 of each text's UTF-8: 16 bytes, the same on every machine and in every process.

    >>> hashes(["a", "b", "a"]).to_pylist()[0].hex()
    '27c35e6e9373877f29e562464e46497e'
    """
    strings = texts.to_pylist() if isinstance(texts, pa.ChunkedArray) else texts
    return pa.array([hashlib.blake2b(s.encode(), digest_size=16).digest() for s in strings], HASH)


def hash_numbers(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """(n, 2) big-endian uint64 view of a column of hashes, so that they sort and compare as numbers.

    >>> hash_numbers(hashes(["a"])).shape
    (1, 2)
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], HASH)
    if not len(array):
        return np.empty((0, 2), np.uint64)
    data = np.frombuffer(array.buffers()[1], ">u8").reshape(-1, 2)
    return data[array.offset : array.offset + len(array)].astype(np.uint64)


def first_of_text(ordered: np.ndarray) -> np.ndarray:
    """(n,) bool: whether a row of (n, 2) sorted hashes differs from the one before."""
    new = np.ones(len(ordered), np.bool_)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return new
