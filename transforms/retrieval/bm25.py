"""Lexical retrieval: BM25, as bm25s computes it, over shards of documents with statistics of the whole corpus."""

from __future__ import annotations

import collections
import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import numpy as np
import pyarrow as pa
from pydantic import Field

from gangue.transforms import arrays, at_hand, text
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.names import place_of, shard_names, staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import lexical, postings
from gangue.transforms.retrieval.protocol import Indexing, Step
from gangue.transforms.settings.section import Positive, Section
from gangue.transforms.text import stopwords
from gangue.transforms.text.words import Terms

if TYPE_CHECKING:
    import scipy.sparse

_BLOCK_ROWS = 1 << 17  # documents searched at once: their float64 sums stay in a processor's cache
_PAIRS = 1 << 15

StopWords = Literal[
    "auto", "da", "de", "en", "en_plus", "es", "fr", "it", "ko", "nl", "no", "pt", "ru", "sv", "tr", "zh",
    "danish", "german", "english", "english_plus", "spanish", "french", "italian", "korean", "dutch", "norwegian",
    "portuguese", "russian", "swedish", "turkish", "chinese",
]  # fmt: skip
Stem = Literal[
    "auto", "ar", "ca", "da", "de", "el", "en", "es", "eu", "fi", "fr", "ga", "hi", "hu", "hy", "id", "it", "lt", "ne",
    "nl", "no", "pt", "ro", "ru", "sr", "sv", "ta", "tr", "yi",
]  # fmt: skip
_TOKENS = _TERMS, _STEMS = "terms", "stems"


class Bm25(Section):
    """Best documents by BM25 (Lucene's variant)."""

    kind: Literal["bm25"]
    depth: Positive = 100
    max_depth: Positive | None = None
    k1: Annotated[float, Field(ge=0)] = 1.5
    b: Annotated[float, Field(ge=0, le=1)] = 0.75
    stopwords: StopWords | None = "auto"  # of the language that the corpus is written in; null: none
    stem: Stem | None = None  # words by Snowball's stemmer of a language; auto: of the corpus's; null: not

    def check(self, name: str) -> None:
        """Check that words can be stemmed where that is asked for.

        Raises:
          ValueError: PyStemmer, which does it, is not installed.
        """
        if self.stem and importlib.util.find_spec("Stemmer") is None:
            raise ValueError(
                f"retrievers.{name}.stem: package PyStemmer must be installed to stem words, got {self.stem} without"
                " it. pip install 'gangue[stemming]', or set stem: null"
            )

    def open(self, data: Data, name: str, *, unpublished: bool = False) -> Bm25Retriever:
        """The retriever over the weights of its index."""
        place = staged if unpublished else str
        return Bm25Retriever(data, *(place(_dataset(name, part)) for part in ("weights", "vocabulary", "postings")))

    def language(self, data: Data, name: str) -> str | None:
        """Of which language the index lacks the stop words; None: of none."""
        return lookup.languages(data, _dataset(name, "vocabulary"))[0]

    def stems(self, data: Data, name: str) -> str | None:
        """By which language the words of the index are stemmed; None: by none."""
        return lookup.languages(data, _dataset(name, "vocabulary"))[1]

    def indexing(self, data: Data, name: str) -> Indexing:
        """Count the terms of every shard, number them, weigh those of every shard, and sort the weights by token."""
        documents = data.shards("documents")
        steps = []
        for tokens in _TOKENS[: 1 if self.stem is None else 2]:  # terms tell the language by which they are stemmed
            count = functools.partial(count_tokens, data=data, name=name, tokens=tokens)
            gather = functools.partial(gather_vocabulary, data=data, name=name, settings=self)
            steps += [Step(f"Count {tokens}", documents, count), Step(f"Gather {tokens}", [tokens], gather)]
        weigh = functools.partial(weigh_tokens, data=data, name=name, k1=self.k1, b=self.b)
        invert = functools.partial(invert_weights, data=data, name=name)
        ranges = shard_names(len(_ranges(data)) - 1)
        return Indexing(
            [*steps, Step("Weigh", documents, weigh), Step("Invert", ranges, invert)],
            datasets=[_dataset(name, part) for part in ("vocabulary", "weights", "postings")],
            scratch=[_dataset(name, "frequencies")],  # they are in the vocabulary then
            said=functools.partial(self._said, data, name),
        )

    def _said(self, data: Data, name: str) -> str:
        said, language = self._said_of_stopwords(data, name), self.stems(data, name)
        if self.stem is None:
            return said
        if language is None:
            return (
                f"{said}; no stemming, for no language with a stemmer was recognised; retrievers.{name}.stem names one"
            )
        return f"{said}; words are stemmed as {language}"

    def _said_of_stopwords(self, data: Data, name: str) -> str:
        language = self.language(data, name)
        if self.stopwords != "auto":
            return f"stop words of {language or 'no language'}, as retrievers.{name}.stopwords says"
        if language is None:
            return f"no stop words, for the language was not recognised; retrievers.{name}.stopwords names one"
        return f"stop words of {language}, the language of the documents"


def _dataset(name: str, part: str) -> str:
    return f"indexes/{name}/{part}"


def _ranges(data: Data) -> np.ndarray:
    """Which shards of documents are searched at once, as ``postings.ranges``."""
    return postings.ranges(data, _BLOCK_ROWS)


def _texts(data: Data, shard: str) -> list[str]:
    block = data.read("documents", shard, ["title", "text"])
    return text.full_text(block["title"], block["text"]).to_pylist()


def _vocabulary(name: str) -> str:
    return staged(_dataset(name, "vocabulary"))


def count_tokens(shard: str, data: Data, name: str, tokens: str) -> collections.Counter[str]:
    """Frequencies of the ``tokens`` of one shard, terms or stems; copies of a text count once."""
    first = lookup.representatives(data)[lookup.rows(data, "documents", ("document_id",)).of(shard)]
    cut = lexical.terms if tokens == _TERMS else lexical.tokeniser(data, _vocabulary(name))
    table = lexical.frequencies(cut(_texts(data, shard)), first)
    table = table.replace_schema_metadata({lexical.DOCUMENTS: str(np.count_nonzero(first))})
    data.write(_frequencies(name), shard, table, anew=tokens == _STEMS)
    return collections.Counter()


def _frequencies(name: str) -> str:
    return staged(_dataset(name, "frequencies"))


def gather_vocabulary(tokens: str, data: Data, name: str, settings: Bm25) -> collections.Counter[str]:
    """Sum the shards' frequencies and leave out stop words: a token's number is its place in the sorted vocabulary.

    Args:
      tokens: terms or stems.   data, name, settings: of which retriever.
    """
    total: collections.Counter[str] = collections.Counter()
    occurrences: collections.Counter[str] = collections.Counter()
    documents = 0
    for shard in data.shards(_frequencies(name)):
        table = data.read(_frequencies(name), shard)
        terms, *counts = (column.to_pylist() for column in table.columns)
        for sums, count in zip((total, occurrences), counts, strict=True):
            sums.update(dict(zip(terms, count, strict=True)))
        documents += int(table.schema.metadata[lexical.DOCUMENTS])
    languages = _languages(settings, occurrences) if tokens == _TERMS else lookup.languages(data, _vocabulary(name))
    language, stem = languages
    kept = sorted(total.keys() - stopwords.of(language if stem is None else None))  # a stem may look like a stop word
    table = pa.table([kept, [total[term] for term in kept]], schema=lexical.VOCABULARY)
    sizes = {lexical.DOCUMENTS: str(documents), lexical.TOKENS: str(sum(occurrences[term] for term in kept))}
    metadata = sizes | {schema.STOPWORDS: language or ""} | ({} if stem is None else {schema.STEM: stem})
    data.write(_vocabulary(name), shard_names(1)[0], table.replace_schema_metadata(metadata), anew=tokens == _STEMS)
    final = tokens == _STEMS or settings.stem is None
    return collections.Counter({f"rows:{_vocabulary(name)}": len(kept)} if final else {})


def _languages(settings: Bm25, occurrences: Mapping[str, int]) -> tuple[str | None, str | None]:
    """Whose stop words are left out and whose stemmer is used, of how often each term occurs."""
    detected = stopwords.detect(occurrences)
    stem = settings.stem if settings.stem != "auto" else detected if detected in get_args(Stem) else None
    return detected if settings.stopwords == "auto" else settings.stopwords, stem


@at_hand.keep
def _statistics(data: Data, name: str) -> tuple[np.ndarray, int, float]:
    """(v,) documents that hold each token, how many there are, and their mean length in tokens."""
    table = data.read(_vocabulary(name), shard_names(1)[0], ["documents"])
    documents, tokens = (int(table.schema.metadata[key]) for key in (lexical.DOCUMENTS, lexical.TOKENS))
    return table["documents"].to_numpy(), documents, tokens / max(1, documents)


def weigh_tokens(shard: str, data: Data, name: str, k1: float, b: float) -> collections.Counter[str]:
    """BM25 weights of one shard's documents."""
    vocabulary = lookup.vocabulary(data, _vocabulary(name))
    frequencies, documents, mean_length = _statistics(data, name)
    cut = lexical.tokeniser(data, _vocabulary(name))
    table = lexical.weigh(cut(_texts(data, shard)), vocabulary, frequencies, documents, mean_length, k1, b)
    output = staged(_dataset(name, "weights"))
    data.write(output, shard, table, suffix=".arrow")
    return collections.Counter({f"rows:{output}": len(table)})


def invert_weights(shard: str, data: Data, name: str) -> collections.Counter[str]:
    """Postings of one range of documents."""
    first, end = _ranges(data)[place_of(shard)[0] :][:2]
    weights = staged(_dataset(name, "weights"))
    tables = [data.read(weights, part) for part in data.shards("documents")[first:end]]
    vocabulary = sum(data.rows(_vocabulary(name)))
    table = postings.invert(pa.concat_tables(tables), vocabulary)
    output = staged(_dataset(name, "postings"))
    data.write(output, shard, table, suffix=".arrow")
    return collections.Counter({f"rows:{output}": len(table)})


@dataclasses.dataclass
class Bm25Retriever:
    """BM25 over the weights of one index."""

    data: Data
    weights: str  # dataset of lexical.WEIGHTS, one row per document
    vocabulary: str  # dataset of lexical.VOCABULARY, without stop words
    postings: str = ""  # dataset of postings.POSTINGS, which only a search reads

    def search(self, queries: np.ndarray, depth: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best documents of each query, as ``Opened.search``; none that shares no token with it."""
        return postings.search(self.data, self.postings, _ranges(self.data), self._counts(queries), depth, allowed)

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """(n,) float64 BM25 scores of pairs of rows; 0 where they share no token."""
        asked, (position,) = arrays.places(queries)
        counts = self._counts(asked)
        weights = lookup.mapped_rows(self.data, self.weights, tuple(lexical.WEIGHTS.names))
        result = np.empty(len(queries), np.float64)
        order = np.argsort(documents, kind="stable")  # so that no shard is read twice
        for start in range(0, len(queries), _PAIRS):
            here = order[start : start + _PAIRS]
            different, (place,) = arrays.places(documents[here])
            block = lexical.matrix(weights.take(different), counts.shape[1])[place]
            # The float64 sum runs over ascending tokens, so it is the same in any geometry.
            result[here] = np.asarray(block.multiply(counts[position[here]]).sum(axis=1)).ravel()
        return result

    def tokens(self, documents: np.ndarray) -> scipy.sparse.csr_matrix:
        """(n, v) which tokens these documents hold: an inner product of two rows is the idf they share."""
        weights = lookup.mapped_rows(self.data, self.weights, tuple(lexical.WEIGHTS.names)).take(documents)
        return self._by_rarity(lexical.matrix(weights, len(self._vocabulary)))

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
        documents = int(table.schema.metadata[lexical.DOCUMENTS])
        return np.sqrt(np.log1p(documents / (1.0 + table["documents"].to_numpy())))

    def _counts(self, queries: np.ndarray) -> scipy.sparse.csr_matrix:
        """(q, v) how often each token of the vocabulary occurs in each query."""
        import scipy.sparse

        texts = lookup.rows(self.data, "queries", ("text",)).take(queries)["text"].to_pylist()
        columns, in_text = lexical.numbered(self._tokenise(texts), self._vocabulary)
        offsets = np.searchsorted(in_text, np.arange(len(queries) + 1))
        ones = np.ones(len(columns), np.float64)
        matrix = scipy.sparse.csr_matrix((ones, columns, offsets), (len(queries), len(self._vocabulary)))
        matrix.sum_duplicates()
        return matrix

    @functools.cached_property
    def _tokenise(self) -> Callable[[Sequence[str]], Terms]:
        return lexical.tokeniser(self.data, self.vocabulary)

    @property
    def _vocabulary(self) -> dict[str, int]:
        return lookup.vocabulary(self.data, self.vocabulary)
