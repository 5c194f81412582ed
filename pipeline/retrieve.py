"""retrieve: vectors or text -> candidates/RETRIEVER.   Usage: python -m pipeline.retrieve RETRIEVER [--data data]"""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline import params, retrievers, runner
from transforms import arrays, dense, lexical, lookup, relations, rules, schema, text, topk
from transforms.shards import Counts, ForEachShard
from transforms.storage import Data, shard_names, staged

RECALL = pa.schema([("query_id", pa.string()), ("wanted", pa.int32()), ("found", pa.int32())])
_MEASURED = 64  # queries of each shard on which an approximate index is held against exact search


def run(data: Data, p: params.Params, name: str, flags: Sequence[str] = ()) -> Counts:
    """Index the documents where the retriever needs it, then search every query."""
    settings = p.retrievers[name]
    writes = [f"candidates/{name}", f"indexes/{name}/recall"]
    if isinstance(settings, params.Bm25):
        writes += [f"indexes/{name}/vocabulary", f"indexes/{name}/weights"]

    def build(root: beam.Pipeline) -> Any:
        indexed = _index(root, data, p, name)
        search = functools.partial(retrieve_shard, data=data, p=p, name=name)
        shards = root | beam.Create(data.shards("queries"))
        return shards | "Search" >> ForEachShard(search, after=indexed)

    counts = runner.run(
        f"retrieve@{name}", build, data, p.beam, writes=writes, rows=sum(data.rows("queries")), flags=flags
    )
    if isinstance(settings, params.Dense) and settings.index != "Flat":
        data.publish(f"indexes/{name}/faiss")
    data.begin(f"indexes/{name}/frequencies")  # they are in the vocabulary now
    return counts


def _index(root: beam.Pipeline, data: Data, p: params.Params, name: str) -> Any:
    settings = p.retrievers[name]
    if isinstance(settings, params.Dense):
        if settings.index == "Flat":
            return None
        build = functools.partial(build_faiss, data=data, p=p, name=name)
        return root | "Index" >> beam.Create([settings.index]) | "Build" >> ForEachShard(build)
    documents = root | "Documents" >> beam.Create(data.shards("documents"))
    counted = documents | "Count" >> ForEachShard(functools.partial(count_tokens, data=data, p=p, name=name))
    gather = functools.partial(gather_vocabulary, data=data, name=name)
    gathered = root | "One" >> beam.Create(["vocabulary"]) | "Gather" >> ForEachShard(gather, after=counted)
    weigh = functools.partial(weigh_tokens, data=data, p=p, name=name)
    return documents | "Weigh" >> ForEachShard(weigh, after=gathered)


def build_faiss(factory: str, data: Data, p: params.Params, name: str) -> Counts:
    """Build the FAISS index of a dense retriever."""
    settings = p.retrievers[name]
    assert isinstance(settings, params.Dense)
    if not data.local:
        raise ValueError(f"retrievers.{name}.index: FAISS writes to local disk only, got {data.root}. Use Flat")
    output = staged(f"indexes/{name}/faiss")
    data.begin(f"indexes/{name}/faiss")
    data.write_text(f"{output}/factory.txt", factory + "\n")
    centroids = arrays.matrix(data.read(f"clusters/{settings.encoder}/centroids", shard_names(1)[0]))
    vectors = lookup.vectors(data, f"vectors/{settings.encoder}/documents")
    dense.build_index(factory, vectors, centroids, data.path(output, retrievers.INDEX_FILE))
    return Counts()


def _tokens(data: Data, p: params.Params, name: str, shard: str) -> list[list[str]]:
    settings = p.retrievers[name]
    assert isinstance(settings, params.Bm25)
    block = data.read("documents", shard, ["title", "text"])
    return lexical.tokenise(text.full_text(block["title"], block["text"]).to_pylist(), settings.stopwords)


def count_tokens(shard: str, data: Data, p: params.Params, name: str) -> Counts:
    """Document frequencies of one shard; copies of a text count once."""
    number = data.shards("documents").index(shard)
    offsets = lookup.rows(data, "documents", ("document_id",)).offsets
    first = lookup.representatives(data)[offsets[number] : offsets[number + 1]]
    tokens = [words for words, counts in zip(_tokens(data, p, name, shard), first, strict=True) if counts]
    frequencies = lexical.document_frequencies(tokens)
    words = sorted(frequencies)
    table = pa.table([words, [frequencies[word] for word in words]], schema=lexical.VOCABULARY)
    size = {lexical.DOCUMENTS: str(len(tokens)), lexical.TOKENS: str(sum(map(len, tokens)))}
    data.write(_frequencies(name), shard, table.replace_schema_metadata(size))
    return Counts()


def _frequencies(name: str) -> str:
    return staged(f"indexes/{name}/frequencies")


def gather_vocabulary(_: str, data: Data, name: str) -> Counts:
    """Sum the shards' document frequencies: a token's number is its place in the sorted vocabulary."""
    total: collections.Counter[str] = collections.Counter()
    size: collections.Counter[bytes] = collections.Counter()
    for shard in data.shards(_frequencies(name)):
        table = data.read(_frequencies(name), shard)
        total.update(dict(zip(table["token"].to_pylist(), table["documents"].to_pylist(), strict=True)))
        size.update({key: int(table.schema.metadata[key]) for key in (lexical.DOCUMENTS, lexical.TOKENS)})
    words = sorted(total)
    table = pa.table([words, [total[word] for word in words]], schema=lexical.VOCABULARY)
    output = staged(f"indexes/{name}/vocabulary")
    metadata = {key: str(value) for key, value in size.items()}
    data.write(output, shard_names(1)[0], table.replace_schema_metadata(metadata))
    return Counts({f"rows:{output}": len(words)})


@functools.lru_cache(maxsize=1)
def _statistics(data: Data, name: str) -> tuple[dict[str, int], np.ndarray, int, float]:
    table = data.read(staged(f"indexes/{name}/vocabulary"), shard_names(1)[0])
    documents, tokens = (int(table.schema.metadata[key]) for key in (lexical.DOCUMENTS, lexical.TOKENS))
    vocabulary = {word: number for number, word in enumerate(table["token"].to_pylist())}
    return vocabulary, table["documents"].to_numpy(), documents, tokens / max(1, documents)


def weigh_tokens(shard: str, data: Data, p: params.Params, name: str) -> Counts:
    """BM25 weights of one shard's documents."""
    settings = p.retrievers[name]
    assert isinstance(settings, params.Bm25)
    vocabulary, frequencies, documents, mean_length = _statistics(data, name)
    tokens = _tokens(data, p, name, shard)
    known = [[word for word in words if word in vocabulary] for words in tokens]
    table = lexical.weigh(known, vocabulary, frequencies, documents, mean_length, settings.k1, settings.b)
    output = staged(f"indexes/{name}/weights")
    data.write(output, shard, table, suffix=".arrow")
    return Counts({f"rows:{output}": len(table)})


def retrieve_shard(shard: str, data: Data, p: params.Params, name: str) -> Counts:
    """Search the queries of one shard, deeper for those that would otherwise miss their quota."""
    settings = p.retrievers[name]
    retriever = retrievers.open_retriever(data, p, name, unpublished=True)
    block, rows = retrievers.query_block(data, shard)
    found = Hits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    pending, depth = np.arange(len(rows)), settings.depth
    deepest = max(settings.depth, settings.max_depth or 0)
    while pending.size:
        hits = search(data, retriever, rows, pending, depth)
        short = pending if depth < deepest else pending[:0]
        if short.size:
            short = short_queries(data, p, name, retriever, block, rows, hits, pending, depth)
        found = found.extended(hits.without(short))
        pending, depth = short, min(2 * depth, deepest)
    order = np.lexsort((np.arange(len(found.query)), found.query))
    query, document, score = found.query[order], found.document[order], found.score[order]
    ids, _ = retrievers.document_columns(data, document)
    table = pa.table(
        [
            block.query_ids.take(pa.array(query)),
            pa.array(ids, pa.string()),
            pa.array(arrays.rank_within(query, [np.arange(len(query))]) + 1, pa.int32()),
            pa.array(score, pa.float32()),
            pa.array(document),
        ],
        schema=schema.CANDIDATES,
    )
    output = staged(f"candidates/{name}")
    data.write(output, shard, table)
    measured = measure_recall(data, p, name, block, rows, found)
    recall = staged(f"indexes/{name}/recall")
    data.write(recall, shard, measured)
    without = len(rows) - len(np.unique(query))
    return Counts(
        {
            "in": len(rows),
            "out:searched": len(rows) - without,
            "out:found_nothing": without,
            "candidates": len(table),
            f"rows:{output}": len(table),
            f"rows:{recall}": len(measured),
        }
    )


class Hits:
    """What a search found: (n,) query number, document row, float64 score; best first in each query."""

    def __init__(self, query: np.ndarray, document: np.ndarray, score: np.ndarray) -> None:
        self.query, self.document, self.score = query, document, score

    def without(self, queries: np.ndarray) -> Hits:
        """Hits of all other queries."""
        keep = ~np.isin(self.query, queries)
        return Hits(self.query[keep], self.document[keep], self.score[keep])

    def extended(self, more: Hits) -> Hits:
        """These and more."""
        return Hits(
            np.concatenate([self.query, more.query]),
            np.concatenate([self.document, more.document]),
            np.concatenate([self.score, more.score]),
        )


def search(data: Data, retriever: Any, rows: np.ndarray, queries: np.ndarray, depth: int) -> Hits:
    """The best ``depth`` documents of these queries: fetched in float32, rescored and ordered in float64.

    Where the last document fetched scores as well as the one at the depth, the search cannot know that it has all of
    its equals, so it fetches more: ties go by id, not by what an index happens to return.
    """
    settled = Hits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    pending, fetch = queries, depth
    while pending.size:
        documents, _ = retriever.search(rows[pending], fetch, lookup.representatives(data))
        query, document = np.repeat(pending, documents.shape[1]), documents.reshape(-1)
        query, document = query[document >= 0], document[document >= 0]
        score = retriever.score(rows[query], document)
        _, tie = retrievers.document_columns(data, document)
        order = topk.order(query, score, tie)
        query, document, score = query[order], document[order], score[order]
        place = arrays.rank_within(query, [np.arange(len(query))])
        fetched = np.bincount(query, minlength=len(rows))
        at_depth, last = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        at_depth[query[place == depth - 1]] = score[place == depth - 1]
        last[query] = score  # the worst comes last
        close = last >= at_depth - topk.ROUNDING * np.maximum(1.0, np.abs(at_depth))
        tied = pending[(close & (fetched >= fetch + topk.MARGIN))[pending]]
        keep = place < depth
        settled = settled.extended(Hits(query[keep], document[keep], score[keep]).without(tied))
        pending, fetch = tied, 4 * fetch
    return settled


def short_queries(
    data: Data,
    p: params.Params,
    name: str,
    retriever: Any,
    block: relations.QueryBlock,
    rows: np.ndarray,
    hits: Hits,
    pending: np.ndarray,
    depth: int,
) -> np.ndarray:
    """Queries that reached the depth but not the quota of ``sample``, by the rules that this retriever can judge."""
    wanted = relations.involved(block, hits.document)
    documents = lookup.rows(data, "documents", ("text_hash", "near_group")).take(wanted)
    kinds = relations.annotate(block, documents, wanted, hits.query, hits.document)
    (groups,) = arrays.codes(documents["near_group"])
    code = groups[np.searchsorted(wanted, hits.document)]
    place = np.arange(len(hits.query))
    kinds["duplicate"] = relations.duplicates(hits.query, code, place, place)
    positive_score = retriever.score(rows[block.positive_query], block.positive_row)
    own = [rule for rule in p.filter.rules if rule.score == name]
    rank = arrays.rank_within(hits.query, [place]) + 1.0
    verdicts = rules.judge(
        rules.Candidates(
            query=hits.query,
            tie=place,
            relations=kinds,
            scores={name: hits.score.astype(np.float32)},
            ranks={name: rank},
            random=np.zeros(len(place), bool),
            positive_query=block.positive_query,
            positive_scores={name: positive_score.astype(np.float32)},
        ),
        own,
        len(rows),
    )
    kept = verdicts.verdict == -1
    query, positive = hits.query[verdicts.pair[kept]], verdicts.positive[kept]
    quota = p.sample.negatives - (p.sample.random or 0) + p.sample.skip_kept
    if (positive >= 0).any():  # a verdict per positive: the scarcest decides
        enough = np.bincount(positive, minlength=len(block.positives)) >= quota
        satisfied = np.ones(len(rows), bool)
        np.logical_and.at(satisfied, block.positive_query, enough)
    else:
        satisfied = np.bincount(query, minlength=len(rows)) >= quota
    full = np.bincount(hits.query, minlength=len(rows)) >= depth
    return pending[~satisfied[pending] & full[pending]]


def measure_recall(
    data: Data, p: params.Params, name: str, block: relations.QueryBlock, rows: np.ndarray, found: Hits
) -> pa.Table:
    """How many of the exact best ``depth`` an approximate index found, on some queries; empty for exact search."""
    settings = p.retrievers[name]
    if not isinstance(settings, params.Dense) or settings.index == "Flat":
        return RECALL.empty_table()
    some = np.arange(min(_MEASURED, len(rows)))
    exact = search(data, dense.DenseRetriever(data, settings.encoder), rows, some, settings.depth)
    wanted = np.bincount(exact.query, minlength=len(rows))[some]
    width = np.int64(len(lookup.representatives(data)))
    hit = np.isin(exact.query * width + exact.document, found.query * width + found.document)
    got = np.bincount(exact.query[hit], minlength=len(rows))[some]
    return pa.table([block.query_ids.take(pa.array(some)), wanted, got], schema=RECALL)


if __name__ == "__main__":
    runner.main("retrieve", run, lambda p: list(p.retrievers))
