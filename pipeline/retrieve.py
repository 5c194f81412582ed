"""retrieve: vectors or text -> candidates/RETRIEVER.   Usage: gangue retrieve RETRIEVER [--data data]"""

from __future__ import annotations

import functools
import itertools
import posixpath
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import arrays, log
from gangue.transforms.candidates import quota, relations
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.names import shard_names, staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import protocol, recall
from gangue.transforms.retrieval.passes import Passes
from gangue.transforms.retrieval.searching import Hits, search
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts, ForEachShard

_MEASURED, _SHARDS = 64, 4  # queries of each of the first shards on which an index is held against exact search


def run(data: Data, p: params.Params, name: str, flags: Sequence[str] = ()) -> Counts:
    """Index the documents where the retriever needs it, then search every query."""
    clusters = (f"clusters/{encoder}/{part}" for encoder in p.encoders for part in ("centroids", "documents"))
    data = data.deriving_from("documents", "queries", "positives", "judged", "rejected", *clusters)
    index = protocol.indexing(p.retrievers[name], data, name)
    passes = Passes(data, name, p.retrievers[name], p.beam.sharers, p.beam.documents_per_range)
    ranges = len(passes.ranges)
    scratch = [*index.scratch, passes.hits]
    writes = [f"candidates/{name}", f"indexes/{name}/recall", *index.datasets]
    faster = protocol.accelerated(p.retrievers[name], data, passes.largest)
    needs = p.beam if p.beam.accelerator is not None and faster else None

    def build(root: beam.Pipeline) -> Any:
        indexed = None
        for step in index.steps:
            elements = root | f"Elements of {step.name}" >> beam.Create(step.elements, reshuffle=False)
            indexed = elements | step.name >> ForEachShard(step.work, after=indexed)
        if ranges > 1:
            spread = root | "Ranges" >> beam.Create(passes.elements, reshuffle=False)
            indexed = spread | "Search ranges" >> ForEachShard(passes.search_range, after=indexed, needs=needs)
        work = functools.partial(retrieve_shards, passes=passes)
        needs_here = needs if ranges == 1 else None  # to merge takes no device
        asked = root | beam.Create(list(passes.groups), reshuffle=False)
        searched = asked | "Search" >> ForEachShard(work, after=indexed, needs=needs_here)
        measure = functools.partial(measure_recall, passes=passes)
        return root | "Recall" >> beam.Create(["recall"]) | "Measure" >> ForEachShard(measure, after=searched)

    rows = sum(data.rows("queries")) * (1 if ranges == 1 else ranges + 1)
    with data.staging(*index.folders, *scratch):
        counts = runner.run(f"retrieve@{name}", build, data, p.beam, writes=writes, rows=rows, flags=flags)
        for folder in index.folders:
            data.publish(folder)
        for dataset in scratch:
            data.begin(dataset)
    # The index may have been of another kind.
    data.prune(f"indexes/{name}", map(posixpath.basename, index.published(name)))
    found = recall.measured(data, name) if protocol.exact(p.retrievers[name]) is not None else None
    for line in [*([index.said()] if index.said is not None else []), *([found.said()] if found else [])]:
        log.say(f"retrieve@{name}", line)
    return counts


def retrieve_shards(first: str, passes: Passes) -> Counts:
    """Search the queries of the shards whose ``first`` is named and write what was found, a file for each."""
    data, name, shards = passes.data, passes.name, passes.groups[first]
    block, rows = relations.query_block(data, *shards)
    found = find(passes, block, rows, first)
    documents, (place,) = arrays.places(found.document)
    ids = lookup.rows(data, "documents", ("document_id",)).take(documents)["document_id"]
    rank = arrays.rank_within(found.query, [np.arange(len(found.query))]) + 1
    output = staged(f"candidates/{name}")
    queries = np.cumsum([0, *(len(lookup.query_rows(data).of(shard)) for shard in shards)])
    ends = itertools.pairwise(zip(queries, np.searchsorted(found.query, queries), strict=True))
    for shard, ((first_query, start), (next_query, stop)) in zip(shards, ends, strict=True):
        here = slice(start, stop)
        own, (own_place,) = arrays.places(place[here])
        table = pa.table(
            [
                arrays.named(found.query[here] - first_query, block.query_ids[first_query:next_query]),
                arrays.named(own_place, ids.take(pa.array(own))),
                pa.array(rank[here], pa.int32()),
                pa.array(found.score[here], pa.float32()),
                pa.array(found.document[here]),
            ],
            schema=schema.CANDIDATES,
        )
        data.write(output, shard, table, intermediate=True)
    searched = np.count_nonzero(np.bincount(found.query))
    return Counts(
        {
            "in": len(rows),
            "out:searched": searched,
            "out:found_nothing": len(rows) - searched,
            "candidates": len(found.query),
            f"rows:{output}": len(found.query),
        }
    )


def find(passes: Passes, block: relations.QueryBlock, rows: np.ndarray, first: str) -> Hits:
    """The candidates of the queries of a block, sorted by query; deeper for those that would miss their quota."""
    data, name, settings = passes.data, passes.name, passes.retriever
    wanted = quota.read(data, name)
    retriever = settings.open(data, name, unpublished=True)
    found = Hits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    pending, depth = np.arange(len(rows)), settings.depth
    deepest = max(settings.depth, settings.max_depth or 0)
    searched = len(passes.ranges) > 1
    while pending.size:
        hits = passes.merged(first) if searched else search(data, retriever, rows, pending, depth)
        searched = False
        short = pending if depth < deepest else pending[:0]
        if short.size:
            short = quota.short_queries(data, wanted, name, retriever, block, rows, hits, pending, depth)
        found = found.extended(hits.without(short))
        pending, depth = short, min(2 * depth, deepest)
    order = np.argsort(found.query, kind="stable")
    return Hits(found.query[order], found.document[order], found.score[order])


def measure_recall(_: str, passes: Passes) -> Counts:
    """Write how many of the exact best ``depth`` an approximate index found for some queries; none for exact search.

    A shard is a random sample of the queries, for it is chosen by a hash; exact search of all would take as long as the
    index saves.
    """
    data, name, exact = passes.data, passes.name, protocol.exact(passes.retriever)
    measured = recall.RECALL.empty_table()
    if exact is not None:
        shards = data.shards("queries")[:_SHARDS]
        block, rows = relations.query_block(data, *shards)
        some = np.concatenate([lookup.query_rows(data).of(shard)[:_MEASURED] for shard in shards])
        best = search(data, exact.open(data, name), rows, some, exact.depth)
        columns = ["query_id", "document_row"]
        found = pa.concat_tables(data.read(staged(f"candidates/{name}"), shard, columns) for shard in shards)
        query, document = block.numbers(found["query_id"]), found["document_row"].to_numpy()
        hit = arrays.pair_among(best.query, best.document, query, document)
        wanted, got = (np.bincount(query, minlength=len(rows))[some] for query in (best.query, best.query[hit]))
        measured = pa.table([block.query_ids.take(pa.array(some)), wanted, got], schema=recall.RECALL)
    output = staged(f"indexes/{name}/recall")
    data.write(output, shard_names(1)[0], measured)
    return Counts({f"rows:{output}": len(measured)})
