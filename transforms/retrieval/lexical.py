"""Terms and their BM25 weights, as bm25s computes them: of a shard of documents, by statistics of the whole corpus."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays, text
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.text import stopwords, words
from gangue.transforms.text.words import Terms

if TYPE_CHECKING:
    import scipy.sparse

WEIGHTS = pa.schema([("token", pa.list_(pa.int32())), ("weight", pa.list_(pa.float32()))])
VOCABULARY = pa.schema([("token", pa.string()), ("documents", pa.int64())])
FREQUENCIES = VOCABULARY.append(pa.field("occurrences", pa.int64()))
DOCUMENTS, TOKENS = b"gangue.documents", b"gangue.tokens"  # metadata of a vocabulary: size of the corpus


def terms(texts: Sequence[str]) -> Terms:
    """Terms of each text, stop words among them."""
    return words.terms(text.normalise(pa.chunked_array([list(texts)], pa.string())))


def tokeniser(data: Data, vocabulary: str) -> Callable[[Sequence[str]], Terms]:
    """What cuts texts into tokens of a vocabulary: terms, stop words among them, or stems of the others."""
    left_out, language = lookup.languages(data, vocabulary)
    if language is None:
        return terms
    known = stopwords.of(left_out)
    return lambda texts: words.stems(terms(texts), language, known)


def frequencies(tokens: Terms, counted: np.ndarray) -> pa.Table:
    """Rows of ``FREQUENCIES``: in how many of the texts that are ``counted``, (n,) bool, each token is, and how often.

    >>> frequencies(terms(["an ox an", "ox", "no"]), np.array([True, True, False])).to_pydict()
    {'token': ['an', 'ox'], 'documents': [1, 2], 'occurrences': [2, 2]}
    """
    size, in_text = np.int64(max(1, len(tokens.distinct))), tokens.text
    here = counted[in_text]
    numbers, pairs = tokens.numbers[here], arrays.distinct(in_text[here] * size + tokens.numbers[here])
    documents, occurrences = (np.bincount(some, minlength=len(tokens.distinct)) for some in (pairs % size, numbers))
    table = pa.table([tokens.distinct, documents, occurrences], schema=FREQUENCIES)
    return table.filter(pa.array(occurrences > 0)).sort_by("token")


def numbered(tokens: Terms, vocabulary: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """(m,) number in the vocabulary of each token that it holds, and (m,) the text of each."""
    number = np.array([vocabulary.get(token, -1) for token in tokens.distinct], np.int64)[tokens.numbers]
    return number[number >= 0], tokens.text[number >= 0]


def weigh(
    tokens: Terms,
    vocabulary: dict[str, int],
    frequencies: np.ndarray,
    documents: int,
    mean_length: float,
    k1: float,
    b: float,
) -> pa.Table:
    """BM25 weight of every token in every document (Lucene's variant; Kamphuis et al., ECIR 2020).

    Args:
      tokens: n documents; those that the vocabulary lacks do not count.   vocabulary: token -> number.
      frequencies: (v,) in how many documents of the whole corpus each token occurs.
      documents, mean_length: of the whole corpus.   k1, b: BM25's.

    Returns:
      n rows of ``WEIGHTS``, tokens ascending.  A document's score is the sum over the query's tokens: of
      ln(1 + (N - df + 0.5) / (df + 0.5)) tf / (k1 (1 - b + b length / mean length) + tf), to the bit as bm25s has it.

    >>> table = weigh(terms(["an ox an"]), {"an": 0, "ox": 1}, np.array([1, 3]), 4, 2.5, 1.5, 0.75)
    >>> table["token"].to_pylist(), np.round(table["weight"].to_pylist(), 4).tolist()
    ([[0, 1]], [[0.6464, 0.1309]])
    """
    numbers, in_text = numbered(tokens, vocabulary)
    documents_here = len(tokens.offsets) - 1
    lengths = np.bincount(in_text, minlength=documents_here)
    size = np.int64(max(1, len(vocabulary)))
    # One number for each (document, token), in the order of the table.
    keys, counts = np.unique(in_text * size + numbers, return_counts=True)
    rows, columns = keys // size, keys % size
    different, (place,) = arrays.places(frequencies[columns])
    logs = [math.log(1 + (documents - df + 0.5) / (df + 0.5)) for df in different.tolist()]
    inverse = np.array(logs, np.float32)[place]
    saturation = (k1 * ((1 - b) + b * lengths / (mean_length or 1.0))).astype(np.float32)[rows]
    often = counts.astype(np.float32)
    offsets = pa.array(np.searchsorted(rows, np.arange(documents_here + 1)), pa.int32())
    return pa.table(
        [
            pa.ListArray.from_arrays(offsets, pa.array(columns, pa.int32())),
            pa.ListArray.from_arrays(offsets, pa.array(inverse * (often / (saturation + often)), pa.float32())),
        ],
        schema=WEIGHTS,
    )


def matrix(table: pa.Table, vocabulary: int, dtype: type[np.floating] = np.float64) -> scipy.sparse.csr_matrix:
    """(n, v) matrix of ``dtype`` of rows of ``WEIGHTS``; v is the size of the vocabulary."""
    import scipy.sparse

    tokens, weights = (table[name].combine_chunks() for name in WEIGHTS.names)
    if isinstance(tokens, pa.ChunkedArray):
        tokens, weights = (pa.concat_arrays(c.chunks) for c in (tokens, weights))
    offsets = tokens.offsets.to_numpy()
    flat = slice(offsets[0], offsets[-1])
    return scipy.sparse.csr_matrix(
        (
            weights.values.to_numpy()[flat].astype(dtype, copy=False),
            tokens.values.to_numpy()[flat],
            offsets - offsets[0],
        ),
        (len(table), vocabulary),
    )
