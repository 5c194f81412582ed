"""retrieve: vectors or text -> candidates/RETRIEVER.   Usage: gangue retrieve RETRIEVER [--data data]"""

from __future__ import annotations

import functools
import itertools
import posixpath
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import arrays
from gangue.transforms.candidates import quota, relations
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.storage import Data, shard_name, shard_names, staged
from gangue.transforms.retrieval import protocol
from gangue.transforms.retrieval.searching import Hits, best_first, search
from gangue.transforms.running import progress, runner
from gangue.transforms.running.shards import Counts, ForEachShard

RECALL = pa.schema([("query_id", pa.string()), ("wanted", pa.int32()), ("found", pa.int32())])
_QUERIES = 4096  # searched at once at most: their hits take some MiB, and a pass over the documents is shared by them
_MEASURED, _SHARDS = 64, 4  # queries of each of the first shards on which an index is held against exact search


def run(data: Data, p: params.Params, name: str, flags: Sequence[str] = ()) -> Counts:
    """Index the documents where the retriever needs it, then search every query."""
    clusters = (f"clusters/{encoder}/{part}" for encoder in p.encoders for part in ("centroids", "documents"))
    data = data.deriving_from("documents", "queries", "positives", "judged", "rejected", *clusters)
    index = protocol.indexing(p.retrievers[name], data, name)
    parts = ranges(data, p, name)
    scratch = [*index.scratch, _hits(name)]
    writes = [f"candidates/{name}", f"indexes/{name}/recall", *index.datasets]
    faster = protocol.accelerated(p.retrievers[name], data, min(_QUERIES, sum(data.rows("queries"))))
    needs = p.beam if p.beam.accelerator is not None and faster else None

    def build(root: beam.Pipeline) -> Any:
        indexed = None
        for step in index.steps:
            elements = root | f"Elements of {step.name}" >> beam.Create(step.elements, reshuffle=False)
            indexed = elements | step.name >> ForEachShard(step.work, after=indexed)
        firsts = list(groups(data, p.beam.workers))
        if len(parts) > 1:
            work = functools.partial(search_range, data=data, p=p, name=name)
            elements = list(itertools.product(firsts, range(len(parts))))
            spread = root | "Ranges" >> beam.Create(elements, reshuffle=False)
            indexed = spread | "Search ranges" >> ForEachShard(work, after=indexed, needs=needs)
        work = functools.partial(retrieve_shards, data=data, p=p, name=name)
        needs_here = needs if len(parts) == 1 else None  # to merge takes no device
        asked = root | beam.Create(firsts, reshuffle=False)
        searched = asked | "Search" >> ForEachShard(work, after=indexed, needs=needs_here)
        measure = functools.partial(measure_recall, data=data, p=p, name=name)
        return root | "Recall" >> beam.Create(["recall"]) | "Measure" >> ForEachShard(measure, after=searched)

    rows = sum(data.rows("queries")) * (1 if len(parts) == 1 else len(parts) + 1)
    with data.staging(*index.folders, *scratch):
        counts = runner.run(f"retrieve@{name}", build, data, p.beam, writes=writes, rows=rows, flags=flags)
        for folder in index.folders:
            data.publish(folder)
        for dataset in scratch:
            data.begin(dataset)
    # The index may have been of another kind.
    data.prune(f"indexes/{name}", map(posixpath.basename, index.published(name)))
    if index.said is not None:
        print(f"retrieve@{name}: {index.said()}", file=sys.stderr, flush=True)  # noqa: T201
    return counts


def groups(data: Data, workers: int) -> dict[str, list[str]]:
    """First shard -> shards of queries that are searched at once, in one pass over the documents; some per worker."""
    queries = lookup.query_rows(data)
    rows = np.diff(queries.offsets)
    most = min(_QUERIES, sum(rows) // (4 * workers) if workers > 1 else _QUERIES)
    result: dict[str, list[str]] = {}
    first, room = "", -1
    for shard, count in zip(queries.shards, rows, strict=True):
        if count > room:
            first, room = shard, most
        result.setdefault(first, []).append(shard)
        room -= count
    return result


def ranges(data: Data, p: params.Params, name: str) -> list[range]:
    """Rows of the documents that are searched at once, whole shards; an index is searched as one."""
    offsets, most = lookup.rows(data, "documents", ("document_id",)).offsets, p.beam.documents_per_range
    if most is None or protocol.exact(p.retrievers[name]) is not None:
        return [range(offsets[-1])]
    result, start = [], 0
    for before, end in itertools.pairwise(offsets.tolist()):
        if end - start > most and before > start:
            result.append(range(start, before))
            start = before
    return [*result, range(start, offsets[-1])]


def _hits(name: str) -> str:
    """The dataset of what was found in each range, which is merged and then not needed."""
    return f"indexes/{name}/hits"


def search_range(place: tuple[str, int], data: Data, p: params.Params, name: str) -> Counts:
    """Search one range of documents for the queries of the shards whose first is named, and write what was found."""
    first, number = place
    _, rows = relations.query_block(data, *groups(data, p.beam.workers)[first])
    parts = ranges(data, p, name)
    allowed = np.zeros(parts[-1].stop, bool)
    allowed[parts[number].start : parts[number].stop] = True
    settings = p.retrievers[name]
    retriever = settings.open(data, name, unpublished=True)
    found = search(data, retriever, rows, np.arange(len(rows)), settings.depth, allowed)
    table = pa.table([found.query, found.document, found.score], names=["query", "document_row", "score"])
    data.write(staged(_hits(name)), _shard_of_hits(data, p, name, first, number), table, intermediate=True)
    progress.advance(len(rows))
    return Counts()


def _shard_of_hits(data: Data, p: params.Params, name: str, first: str, number: int) -> str:
    firsts, parts = list(groups(data, p.beam.workers)), ranges(data, p, name)
    return shard_name(firsts.index(first) * len(parts) + number, len(firsts) * len(parts))


def _merged(data: Data, p: params.Params, name: str, first: str) -> Hits:
    """The best of what was found in all ranges for the queries of the shards whose first is named."""
    shards = [_shard_of_hits(data, p, name, first, number) for number in range(len(ranges(data, p, name)))]
    table = pa.concat_tables(data.read(staged(_hits(name)), shard) for shard in shards)
    query, document, score = (column.to_numpy() for column in table.columns)
    order = best_first(data, query, document, score)
    best = order[arrays.rank_within(query[order], [np.arange(len(order))]) < p.retrievers[name].depth]
    return Hits(query[best], document[best], score[best])


def retrieve_shards(first: str, data: Data, p: params.Params, name: str) -> Counts:
    """Search the queries of the shards whose ``first`` is named and write what was found, a file for each."""
    shards = groups(data, p.beam.workers)[first]
    block, rows = relations.query_block(data, *shards)
    found = find(data, p, name, block, rows, first)
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


def find(data: Data, p: params.Params, name: str, block: relations.QueryBlock, rows: np.ndarray, first: str) -> Hits:
    """The candidates of the queries of a block, sorted by query; deeper for those that would miss their quota."""
    settings, wanted = p.retrievers[name], quota.read(data, name)
    retriever = settings.open(data, name, unpublished=True)
    found = Hits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    pending, depth = np.arange(len(rows)), settings.depth
    deepest = max(settings.depth, settings.max_depth or 0)
    searched = len(ranges(data, p, name)) > 1
    while pending.size:
        hits = _merged(data, p, name, first) if searched else search(data, retriever, rows, pending, depth)
        searched = False
        short = pending if depth < deepest else pending[:0]
        if short.size:
            short = quota.short_queries(data, wanted, name, retriever, block, rows, hits, pending, depth)
        found = found.extended(hits.without(short))
        pending, depth = short, min(2 * depth, deepest)
    order = np.argsort(found.query, kind="stable")
    return Hits(found.query[order], found.document[order], found.score[order])


def measure_recall(_: str, data: Data, p: params.Params, name: str) -> Counts:
    """Write how many of the exact best ``depth`` an approximate index found for some queries; none for exact search.

    A shard is a random sample of the queries, for it is chosen by a hash; exact search of all would take as long as the
    index saves.
    """
    exact = protocol.exact(p.retrievers[name])
    measured = RECALL.empty_table()
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
        measured = pa.table([block.query_ids.take(pa.array(some)), wanted, got], schema=RECALL)
    recall = staged(f"indexes/{name}/recall")
    data.write(recall, shard_names(1)[0], measured)
    return Counts({f"rows:{recall}": len(measured)})
