"""Terms and their BM25 weights, as bm25s computes them: of a shard of documents, by statistics of the whole corpus."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from gangue.transforms import text
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.text import stopwords, words

WEIGHTS = pa.schema([("token", pa.list_(pa.int32())), ("weight", pa.list_(pa.float32()))])
VOCABULARY = pa.schema([("token", pa.string()), ("documents", pa.int64())])
FREQUENCIES = VOCABULARY.append(pa.field("occurrences", pa.int64()))
DOCUMENTS, TOKENS = b"gangue.documents", b"gangue.tokens"  # metadata of a vocabulary: size of the corpus


def tokenise(texts: Sequence[str]) -> list[list[str]]:
    """Terms of each text, stop words among them."""
    return words.terms(text.normalise(pa.chunked_array([list(texts)], pa.string())))


def tokeniser(data: Data, vocabulary: str) -> Callable[[Sequence[str]], list[list[str]]]:
    """What cuts texts into tokens of a vocabulary: terms, stop words among them, or stems of the others."""
    left_out, language = lookup.languages(data, vocabulary)
    if language is None:
        return tokenise
    known = stopwords.of(left_out)
    return lambda texts: words.stems(tokenise(texts), language, known)


def document_frequencies(tokens: Sequence[Sequence[str]]) -> collections.Counter[str]:
    """In how many of the texts each token occurs.

    >>> sorted(document_frequencies([["a", "b", "a"], ["b"]]).items())
    [('a', 1), ('b', 2)]
    """
    counts: collections.Counter[str] = collections.Counter()
    for terms in tokens:
        counts.update(set(terms))
    return counts


def weigh(
    tokens: Sequence[Sequence[str]],
    vocabulary: dict[str, int],
    frequencies: np.ndarray,
    documents: int,
    mean_length: float,
    k1: float,
    b: float,
) -> pa.Table:
    """BM25 weight of every token in every document (Lucene's variant; Kamphuis et al., ECIR 2020).

    Args:
      tokens: n documents.   vocabulary: token -> number.
      frequencies: (v,) in how many documents of the whole corpus each token occurs.
      documents, mean_length: of the whole corpus.   k1, b: BM25's.

    Returns:
      n rows of ``WEIGHTS``, tokens ascending.  A document's score is the sum over the query's tokens.
    """
    from bm25s import scoring  # every stage reads the settings of this retriever, and one weighs

    numbers = [[vocabulary[term] for term in terms] for terms in tokens]
    idf = np.zeros(len(frequencies), np.float32)
    used = np.unique(np.fromiter((n for row in numbers for n in row), np.int64))
    inverse = scoring._select_idf_scorer("lucene")
    idf[used] = [inverse(int(frequencies[token]), N=documents) for token in used]
    weights, rows, columns = scoring._build_scores_and_indices_for_matrix(
        corpus_token_ids=numbers,
        idf_array=idf,
        avg_doc_len=mean_length,
        doc_frequencies={row: len(set(terms)) for row, terms in enumerate(numbers)},
        k1=k1,
        b=b,
        delta=0.0,
        nonoccurrence_array=None,
        method="lucene",
        show_progress=False,
    )
    order = np.lexsort((columns, rows))
    offsets = pa.array(np.searchsorted(rows[order], np.arange(len(numbers) + 1)), pa.int32())
    return pa.table(
        [
            pa.ListArray.from_arrays(offsets, pa.array(columns[order], pa.int32())),
            pa.ListArray.from_arrays(offsets, pa.array(weights[order], pa.float32())),
        ],
        schema=WEIGHTS,
    )
