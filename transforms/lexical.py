"""Lexical retrieval: BM25 as bm25s computes it, over shards of documents with statistics of the whole corpus."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import scipy.sparse
from bm25s import scoring

from transforms import arrays, lookup, text, topk, words
from transforms.storage import Data

WEIGHTS = pa.schema([("token", pa.list_(pa.int32())), ("weight", pa.list_(pa.float32()))])
VOCABULARY = pa.schema([("token", pa.string()), ("documents", pa.int64())])
FREQUENCIES = VOCABULARY.append(pa.field("occurrences", pa.int64()))
DOCUMENTS, TOKENS = b"gangue.documents", b"gangue.tokens"  # metadata of a vocabulary: size of the corpus

_BLOCK_ROWS = 32768  # documents scored at once
_BLOCK_QUERIES = 128
_PAIRS = 1 << 15


def tokenise(texts: Sequence[str]) -> list[list[str]]:
    """Terms of each text, stop words among them."""
    return words.terms(text.normalise(pa.chunked_array([list(texts)], pa.string())))


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


@dataclasses.dataclass
class LexicalRetriever:
    """BM25 over the weights of one index."""

    data: Data
    weights: str  # dataset of WEIGHTS, one row per document
    vocabulary: str  # dataset of VOCABULARY, without stop words

    def search(self, queries: np.ndarray, depth: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best documents of each query, as ``DenseRetriever.search``; none that shares no token with it."""
        fetch = depth + topk.MARGIN
        counts = self._counts(queries)
        scores = np.full((len(queries), 0), -np.inf, np.float32)
        rows = np.full((len(queries), 0), -1, np.int64)
        for offset, block in self._blocks(counts.shape[1]):
            transposed = block.T.tocsr()
            keep = allowed[offset : offset + block.shape[0]]
            k = min(fetch, block.shape[0])
            best_scores = np.empty((len(queries), k), np.float32)
            best_rows = np.empty((len(queries), k), np.int64)
            for start in range(0, len(queries), _BLOCK_QUERIES):
                part = (counts[start : start + _BLOCK_QUERIES] @ transposed).toarray()
                part[(part <= 0) | ~keep] = -np.inf
                best = np.argpartition(-part, k - 1, axis=1)[:, :k]
                here = slice(start, start + len(part))
                best_scores[here] = np.take_along_axis(part, best, 1)
                best_rows[here] = best + offset
            best_rows[np.isneginf(best_scores)] = -1
            scores, rows = topk.merge(scores, rows, best_scores, best_rows, fetch)
        return rows, scores

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """(n,) float64 BM25 scores of pairs of rows; 0 where they share no token."""
        asked, (position,) = arrays.places(queries)
        counts = self._counts(asked)
        weights = lookup.rows(self.data, self.weights, tuple(WEIGHTS.names))
        result = np.empty(len(queries), np.float64)
        for start in range(0, len(queries), _PAIRS):
            here = slice(start, start + _PAIRS)
            block = _sparse(weights.take(documents[here]), counts.shape[1])
            # The float64 sum runs over ascending tokens, so it is the same in any geometry.
            result[here] = np.asarray(block.multiply(counts[position[here]]).sum(axis=1)).ravel()
        return result

    def tokens(self, documents: np.ndarray) -> scipy.sparse.csr_matrix:
        """(n, v) which tokens these documents hold: an inner product of two rows is the idf they share."""
        weights = lookup.rows(self.data, self.weights, tuple(WEIGHTS.names)).take(documents)
        return self._by_rarity(_sparse(weights, len(self._vocabulary)))

    def query_tokens(self, queries: np.ndarray) -> scipy.sparse.csr_matrix:
        """(q, v) which tokens of the vocabulary these queries hold, as ``tokens``."""
        return self._by_rarity(self._counts(queries))

    def _by_rarity(self, matrix: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
        matrix.data = self._root_idf[matrix.indices]
        return matrix

    @functools.cached_property
    def _root_idf(self) -> np.ndarray:
        """(v,) root of each token's log inverse document frequency."""
        table = self.data.read_all(self.vocabulary, ["documents"])
        documents = int(table.schema.metadata[DOCUMENTS])
        return np.sqrt(np.log1p(documents / (1.0 + table["documents"].to_numpy())))

    def _counts(self, queries: np.ndarray) -> scipy.sparse.csr_matrix:
        """(q, v) how often each token of the vocabulary occurs in each query."""
        texts = lookup.rows(self.data, "queries", ("text",)).take(queries)["text"].to_pylist()
        vocabulary = self._vocabulary
        tokens = [[vocabulary[term] for term in terms if term in vocabulary] for terms in tokenise(texts)]
        offsets = np.cumsum([0, *map(len, tokens)])
        columns = np.fromiter((n for row in tokens for n in row), np.int64, offsets[-1])
        ones = np.ones(len(columns), np.float64)
        matrix = scipy.sparse.csr_matrix((ones, columns, offsets), (len(queries), len(vocabulary)))
        matrix.sum_duplicates()
        return matrix

    @property
    def _vocabulary(self) -> dict[str, int]:
        return lookup.vocabulary(self.data, self.vocabulary)

    def _blocks(self, vocabulary: int) -> Iterator[tuple[int, scipy.sparse.csr_matrix]]:
        """First row and weights of the documents, many shards at a time."""
        weights = lookup.rows(self.data, self.weights, tuple(WEIGHTS.names))
        first = 0
        while first < len(weights.offsets) - 1:
            last = first + 1
            while last < len(weights.offsets) - 1 and weights.offsets[last] - weights.offsets[first] < _BLOCK_ROWS:
                last += 1
            table = pa.concat_tables(weights.shard(number) for number in range(first, last)).combine_chunks()
            if len(table):
                yield int(weights.offsets[first]), _sparse(table, vocabulary)
            first = last


def _sparse(table: pa.Table, vocabulary: int) -> scipy.sparse.csr_matrix:
    """(n, v) float64 matrix of rows of ``WEIGHTS``."""
    tokens, weights = (table[name].combine_chunks() for name in WEIGHTS.names)
    if isinstance(tokens, pa.ChunkedArray):
        tokens, weights = (pa.concat_arrays(c.chunks) for c in (tokens, weights))
    offsets = tokens.offsets.to_numpy()
    flat = slice(offsets[0], offsets[-1])
    return scipy.sparse.csr_matrix(
        (
            weights.values.to_numpy()[flat].astype(np.float64),
            tokens.values.to_numpy()[flat],
            offsets - offsets[0],
        ),
        (len(table), vocabulary),
    )
