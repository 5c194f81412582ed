"""Build what a retriever searches: a FAISS index of the vectors, or the BM25 weights of the texts."""

from __future__ import annotations

import collections
import functools
import itertools
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline import params
from transforms import arrays, faiss_index, lexical, lookup, schema, stopwords, text
from transforms.shards import Counts, ForEachShard
from transforms.storage import Data, shard_names, staged


def index_documents(root: beam.Pipeline, data: Data, p: params.Params, name: str) -> Any:
    """Lay the indexing of a retriever on a pipeline.

    Returns:
      A PCollection that is done when the index is, or None where vectors are searched as they are.
    """
    _statistics.cache_clear()  # an earlier run in this process may have counted other documents
    settings = p.retrievers[name]
    if isinstance(settings, params.Dense):
        if settings.index == "Flat":
            return None
        build = functools.partial(build_faiss, data=data, p=p, name=name)
        return root | "Index" >> beam.Create([settings.index]) | "Build" >> ForEachShard(build)
    documents = root | "Documents" >> beam.Create(data.shards("documents"))
    counted = documents | "Count" >> ForEachShard(functools.partial(count_tokens, data=data, name=name))
    gather = functools.partial(gather_vocabulary, data=data, p=p, name=name)
    gathered = root | "One" >> beam.Create(["vocabulary"]) | "Gather" >> ForEachShard(gather, after=counted)
    weigh = functools.partial(weigh_tokens, data=data, p=p, name=name)
    return documents | "Weigh" >> ForEachShard(weigh, after=gathered)


def build_faiss(factory: str, data: Data, p: params.Params, name: str) -> Counts:
    """Build the FAISS index of a dense retriever."""
    settings = p.retrievers[name]
    assert isinstance(settings, params.Dense)
    output = staged(f"indexes/{name}/faiss")
    data.begin(f"indexes/{name}/faiss")
    data.write_text(f"{output}/factory.txt", factory + "\n")
    centroids = arrays.matrix(data.read(f"clusters/{settings.encoder}/centroids", shard_names(1)[0]))
    vectors = lookup.vectors(data, f"vectors/{settings.encoder}/documents")
    index = faiss_index.trained(factory, vectors, centroids)
    for part, rows in faiss_index.parts(index, len(vectors)).items():
        with data.local_file(f"{output}/{part}") as path:
            faiss_index.write_part(index, vectors, rows, path)
    return Counts()


def _tokens(data: Data, shard: str) -> list[list[str]]:
    block = data.read("documents", shard, ["title", "text"])
    return lexical.tokenise(text.full_text(block["title"], block["text"]).to_pylist())


def count_tokens(shard: str, data: Data, name: str) -> Counts:
    """Frequencies of the terms of one shard; copies of a text count once."""
    first = lookup.representatives(data)[lookup.rows(data, "documents", ("document_id",)).of(shard)]
    tokens = [terms for terms, counts in zip(_tokens(data, shard), first, strict=True) if counts]
    frequencies = lexical.document_frequencies(tokens)
    occurrences = collections.Counter(itertools.chain.from_iterable(tokens))
    terms = sorted(frequencies)
    columns = [terms, *([counts[term] for term in terms] for counts in (frequencies, occurrences))]
    table = pa.table(columns, schema=lexical.FREQUENCIES)
    data.write(_frequencies(name), shard, table.replace_schema_metadata({lexical.DOCUMENTS: str(len(tokens))}))
    return Counts()


def _frequencies(name: str) -> str:
    return staged(f"indexes/{name}/frequencies")


def gather_vocabulary(_: str, data: Data, p: params.Params, name: str) -> Counts:
    """Sum the shards' frequencies and leave out stop words: a token's number is its place in the sorted vocabulary."""
    settings = p.retrievers[name]
    assert isinstance(settings, params.Bm25)
    total: collections.Counter[str] = collections.Counter()
    occurrences: collections.Counter[str] = collections.Counter()
    documents = 0
    for shard in data.shards(_frequencies(name)):
        table = data.read(_frequencies(name), shard)
        terms, *counts = (column.to_pylist() for column in table.columns)
        for sums, count in zip((total, occurrences), counts, strict=True):
            sums.update(dict(zip(terms, count, strict=True)))
        documents += int(table.schema.metadata[lexical.DOCUMENTS])
    language = stopwords.detect(occurrences) if settings.stopwords == "auto" else settings.stopwords
    kept = sorted(total.keys() - stopwords.of(language))
    table = pa.table([kept, [total[term] for term in kept]], schema=lexical.VOCABULARY)
    output = staged(f"indexes/{name}/vocabulary")
    tokens = sum(occurrences[term] for term in kept)
    metadata = {lexical.DOCUMENTS: str(documents), lexical.TOKENS: str(tokens), schema.STOPWORDS: language or ""}
    data.write(output, shard_names(1)[0], table.replace_schema_metadata(metadata))
    return Counts({f"rows:{output}": len(kept)})


@functools.lru_cache(maxsize=1)
def _statistics(data: Data, name: str) -> tuple[np.ndarray, int, float]:
    """(v,) documents that hold each token, how many there are, and their mean length in tokens."""
    table = data.read(staged(f"indexes/{name}/vocabulary"), shard_names(1)[0], ["documents"])
    documents, tokens = (int(table.schema.metadata[key]) for key in (lexical.DOCUMENTS, lexical.TOKENS))
    return table["documents"].to_numpy(), documents, tokens / max(1, documents)


def weigh_tokens(shard: str, data: Data, p: params.Params, name: str) -> Counts:
    """BM25 weights of one shard's documents."""
    settings = p.retrievers[name]
    assert isinstance(settings, params.Bm25)
    vocabulary = lookup.vocabulary(data, staged(f"indexes/{name}/vocabulary"))
    frequencies, documents, mean_length = _statistics(data, name)
    known = [[term for term in terms if term in vocabulary] for terms in _tokens(data, shard)]
    table = lexical.weigh(known, vocabulary, frequencies, documents, mean_length, settings.k1, settings.b)
    output = staged(f"indexes/{name}/weights")
    data.write(output, shard, table, suffix=".arrow")
    return Counts({f"rows:{output}": len(table)})
