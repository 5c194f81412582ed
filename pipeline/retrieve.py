"""retrieve: vectors or text -> candidates/RETRIEVER.   Usage: python -m pipeline.retrieve RETRIEVER [--data data]"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline import commandline, params, retrievers, runner
from pipeline.indexing import index_documents
from pipeline.searching import Hits, search, short_queries
from transforms import arrays, dense, lookup, relations, schema
from transforms.shards import Counts, ForEachShard
from transforms.storage import Data, staged

RECALL = pa.schema([("query_id", pa.string()), ("wanted", pa.int32()), ("found", pa.int32())])
_MEASURED, _SHARDS = 64, 4  # queries of each of the first shards on which an index is held against exact search


def run(data: Data, p: params.Params, name: str, flags: Sequence[str] = ()) -> Counts:
    """Index the documents where the retriever needs it, then search every query."""
    settings = p.retrievers[name]
    writes = [f"candidates/{name}", f"indexes/{name}/recall"]
    if isinstance(settings, params.Bm25):
        writes += [f"indexes/{name}/vocabulary", f"indexes/{name}/weights"]

    def build(root: beam.Pipeline) -> Any:
        indexed = index_documents(root, data, p, name)
        work = functools.partial(retrieve_shard, data=data, p=p, name=name)
        shards = root | beam.Create(data.shards("queries"))
        return shards | "Search" >> ForEachShard(work, after=indexed)

    rows = sum(data.rows("queries"))
    with data.staging(f"indexes/{name}/faiss", f"indexes/{name}/frequencies"):
        counts = runner.run(f"retrieve@{name}", build, data, p.beam, writes=writes, rows=rows, flags=flags)
        if isinstance(settings, params.Dense) and settings.index != "Flat":
            data.publish(f"indexes/{name}/faiss")
        data.begin(f"indexes/{name}/frequencies")  # they are in the vocabulary now
    return counts


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
    table = pa.table(
        [
            block.query_ids.take(pa.array(query)),
            lookup.rows(data, "documents", ("document_id",)).take(document)["document_id"],
            pa.array(arrays.rank_within(query, [np.arange(len(query))]) + 1, pa.int32()),
            pa.array(score, pa.float32()),
            pa.array(document),
        ],
        schema=schema.CANDIDATES,
    )
    output = staged(f"candidates/{name}")
    data.write(output, shard, table)
    some = np.arange(min(_MEASURED, len(rows))) if shard in data.shards("queries")[:_SHARDS] else np.arange(0)
    measured = measure_recall(data, p, name, block, rows, found, some)
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
