"""Which documents contain the answer to a question, word for word; character by character in scripts without blanks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays, text
from gangue.transforms.text import words

_AT_ONCE = 1 << 14  # (pair, answer) combinations whose texts are held


def _between_blanks(texts: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    """Texts as lower-case words with one blank between and around them: nothing else counts when texts are searched.

    >>> _between_blanks(pa.chunked_array([["The  Beatles' (1968)", "?!"]])).to_pylist()
    [' the beatles 1968 ', '  ']
    """
    return pc.binary_join_element_wise("", words.separated(text.normalise(texts)), "", " ")


def contained(
    documents: pa.ChunkedArray | pa.Array, answers: Any, document: np.ndarray, query: np.ndarray
) -> np.ndarray:
    """(n,) bool: the document contains an answer of the query, as whole words; of scripts without blanks, anywhere.

    Args:
      documents: (d,) texts.   answers: (q,) lists of strings; those without a word are ignored.
      document, query: (n,) the pairs, as numbers into these.

    >>> texts, asked = pa.array(["by Paul McCartney.", "Pauline"]), pa.array([["paul", "John"], []])
    >>> contained(texts, asked, np.array([0, 1, 0]), np.array([0, 0, 1])).tolist()
    [True, False, False]
    """
    lists = answers.combine_chunks() if isinstance(answers, pa.ChunkedArray) else answers
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    given = _strings(_between_blanks(lists.flatten()))
    offsets = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(lists), 0).to_numpy())]).astype(np.int64)
    texts = _strings(_between_blanks(documents))
    result = np.zeros(len(query), bool)
    position, answer = arrays.ragged(offsets, query)
    for start in range(0, len(position), _AT_ONCE):  # bounds the texts, not a loop over rows
        here = slice(start, start + _AT_ONCE)
        wanted = given[answer[here]]
        found = (np.strings.find(texts[document[position[here]]], wanted) >= 0) & (np.strings.str_len(wanted) > 2)
        result[position[here][found]] = True
    return result


def _strings(column: Any) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=np.dtypes.StringDType())
