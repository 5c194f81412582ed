"""retrieve: vectors or text -> candidates/RETRIEVER.   Usage: python -m pipeline.retrieve RETRIEVER [--data data]"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline import commandline, params, quota, retrievers, runner
from pipeline.indexing import index_documents
from pipeline.searching import Hits, search, short_queries
from transforms import arrays, dense, lookup, relations, schema
from transforms.shards import Counts, ForEachShard
from transforms.storage import Data, staged

RECALL = pa.schema([("query_id", pa.string()), ("wanted", pa.int32()), ("found", pa.int32())])
_QUERIES = 4096  # searched at once at most: their hits take some MiB, and a pass over the documents is shared by them
_MEASURED, _SHARDS = 64, 4  # queries of each of the first shards on which an index is held against exact search


def run(data: Data, p: params.Params, name: str, flags: Sequence[str] = ()) -> Counts:
    """Index the documents where the retriever needs it, then search every query."""
    settings = p.retrievers[name]
    writes = [f"candidates/{name}", f"indexes/{name}/recall"]
    if isinstance(settings, params.Bm25):
        writes += [f"indexes/{name}/vocabulary", f"indexes/{name}/weights"]

    def build(root: beam.Pipeline) -> Any:
        indexed = index_documents(root, data, p, name)
        work = functools.partial(retrieve_shards, data=data, p=p, name=name)
        firsts = root | beam.Create(list(groups(data, p.beam.workers)))
        return firsts | "Search" >> ForEachShard(work, after=indexed)

    rows = sum(data.rows("queries"))
    with data.staging(f"indexes/{name}/faiss", f"indexes/{name}/frequencies"):
        counts = runner.run(f"retrieve@{name}", build, data, p.beam, writes=writes, rows=rows, flags=flags)
        if isinstance(settings, params.Dense) and settings.index != "Flat":
            data.publish(f"indexes/{name}/faiss")
        data.begin(f"indexes/{name}/frequencies")  # they are in the vocabulary now
    return counts


def groups(data: Data, workers: int) -> dict[str, list[str]]:
    """First shard -> shards of queries that are searched at once, in one pass over the documents; some per worker."""
    rows = data.rows("queries")
    most = min(_QUERIES, sum(rows) // (4 * workers) if workers > 1 else _QUERIES)
    result: dict[str, list[str]] = {}
    first, room = "", -1
    for shard, count in zip(data.shards("queries"), rows, strict=True):
        if count > room:
            first, room = shard, most
        result.setdefault(first, []).append(shard)
        room -= count
    return result


def retrieve_shards(first: str, data: Data, p: params.Params, name: str) -> Counts:
    """Search the queries of the shards whose ``first`` is named and write what was found, a file for each."""
    shards = groups(data, p.beam.workers)[first]
    block, rows = retrievers.query_block(data, *shards)
    found = find(data, p, name, block, rows)
    table = pa.table(
        [
            block.query_ids.take(pa.array(found.query)),
            lookup.rows(data, "documents", ("document_id",)).take(found.document)["document_id"],
            pa.array(arrays.rank_within(found.query, [np.arange(len(found.query))]) + 1, pa.int32()),
            pa.array(found.score, pa.float32()),
            pa.array(found.document),
        ],
        schema=schema.CANDIDATES,
    )
    sizes = dict(zip(data.shards("queries"), data.rows("queries"), strict=True))
    first_query = np.cumsum([0, *(sizes[shard] for shard in shards)])
    first_row = np.searchsorted(found.query, first_query)
    output, recall = staged(f"candidates/{name}"), staged(f"indexes/{name}/recall")
    measured = 0
    for number, shard in enumerate(shards):
        start, stop = first_row[number : number + 2]
        data.write(output, shard, table.slice(start, stop - start), compression="lz4")
        queries = np.arange(first_query[number], first_query[number + 1])
        some = queries[: _MEASURED if shard in data.shards("queries")[:_SHARDS] else 0]
        missed = measure_recall(data, p, name, block, rows, found, some)
        data.write(recall, shard, missed)
        measured += len(missed)
    searched = len(arrays.distinct(found.query))
    return Counts(
        {
            "in": len(rows),
            "out:searched": searched,
            "out:found_nothing": len(rows) - searched,
            "candidates": len(table),
            f"rows:{output}": len(table),
            f"rows:{recall}": measured,
        }
    )


def find(data: Data, p: params.Params, name: str, block: relations.QueryBlock, rows: np.ndarray) -> Hits:
    """The candidates of the queries of a block, sorted by query; deeper for those that would miss their quota."""
    settings, wanted = p.retrievers[name], quota.read(data, name)
    retriever = retrievers.open_retriever(data, p, name, unpublished=True)
    found = Hits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    pending, depth = np.arange(len(rows)), settings.depth
    deepest = max(settings.depth, settings.max_depth or 0)
    while pending.size:
        hits = search(data, retriever, rows, pending, depth)
        short = pending if depth < deepest else pending[:0]
        if short.size:
            short = short_queries(data, wanted, name, retriever, block, rows, hits, pending, depth)
        found = found.extended(hits.without(short))
        pending, depth = short, min(2 * depth, deepest)
    order = np.argsort(found.query, kind="stable")
    return Hits(found.query[order], found.document[order], found.score[order])


def measure_recall(
    data: Data,
    p: params.Params,
    name: str,
    block: relations.QueryBlock,
    rows: np.ndarray,
    found: Hits,
    some: np.ndarray,
) -> pa.Table:
    """How many of the exact best ``depth`` an approximate index found for ``some`` queries; empty for exact search.

    A shard is a random sample of the queries, for it is chosen by a hash, and each costs a pass over all documents: so
    not all of them are measured.
    """
    settings = p.retrievers[name]
    if not isinstance(settings, params.Dense) or settings.index == "Flat" or not some.size:
        return RECALL.empty_table()
    exact = search(data, dense.DenseRetriever(data, settings.encoder), rows, some, settings.depth)
    wanted = np.bincount(exact.query, minlength=len(rows))[some]
    width = np.int64(len(lookup.representatives(data)))
    hit = np.isin(exact.query * width + exact.document, found.query * width + found.document)
    got = np.bincount(exact.query[hit], minlength=len(rows))[some]
    return pa.table([block.query_ids.take(pa.array(some)), wanted, got], schema=RECALL)


if __name__ == "__main__":
    commandline.main("retrieve", run, lambda p: list(p.retrievers))
