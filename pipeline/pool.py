"""pool: candidates/*, positives, judged -> pairs.   Usage: gangue pool [--data data]"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.pipeline import params
from gangue.transforms import arrays, randomness
from gangue.transforms.candidates import otherwise, pooling, relations
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import clustering, drawing, protocol
from gangue.transforms.retrieval.dense import DenseRetriever
from gangue.transforms.retrieval.searching import search
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts, ForEachShard

_FOUND = ("query_id", "rank", "score", "document_row")  # of the candidates: ids are taken from the documents


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> Counts:
    """Join what was found with positives, judged pairs and random draws; score every pair by every retriever."""
    found = (f"candidates/{name}" for name in p.retrievers)
    indexes = (protocol.indexing(retriever, data, name).published(name) for name, retriever in p.retrievers.items())
    data = data.deriving_from(*found, *itertools.chain.from_iterable(indexes))

    def build(root: beam.Pipeline) -> Any:
        work = functools.partial(pool_shard, data=data, p=p)
        return root | beam.Create(data.shards("queries"), reshuffle=False) | ForEachShard(work)

    rows = sum(sum(data.rows(f"candidates/{name}")) for name in p.retrievers)
    return runner.run("pool", build, data, p.beam, writes=["pairs"], rows=rows, flags=flags)


def pool_shard(shard: str, data: Data, p: params.Params) -> Counts:
    """Pool the queries of one shard."""
    block, query_rows = relations.query_block(data, shard)
    found = {name: data.read(f"candidates/{name}", shard, _FOUND) for name in p.retrievers}
    parts = [
        (block.positive_query, block.positive_row),
        _draw(data, p, block),
        _next_cluster(data, p, block, query_rows),
        *_judged(data, p, block, shard),
        *((block.numbers(table["query_id"]), table["document_row"].to_numpy()) for table in found.values()),
    ]
    rows_in = sum(len(query) for query, _ in parts)
    keep = [_with_vectors(data, p, query_rows[query], document) for query, document in parts]
    parts = [(query[some], document[some]) for (query, document), some in zip(parts, keep, strict=True)]
    found = {
        name: table.filter(pa.array(some))
        for (name, table), some in zip(found.items(), keep[len(keep) - len(found) :], strict=True)
    }
    involved = relations.involved(data, block, np.concatenate([document for _, document in parts]))
    ids = involved.documents["document_id"]
    by_id = pc.sort_indices(ids).to_numpy()
    # One sort by query and id merges all parts, and leaves the pairs in their order.
    key = np.concatenate([query for query, _ in parts]) * len(ids) + arrays.inverse(by_id)[involved.at]
    sizes = [len(query) for query, _ in parts]
    pairs, (_, drawn_at, near_at, judged_at, _, *found_at) = arrays.places(*np.split(key, np.cumsum(sizes[:-1])))
    query = pairs // len(ids)
    tie = pairs - query * len(ids)
    involved = dataclasses.replace(involved, at=by_id[tie])
    document = involved.rows[involved.at]

    ranks, scores = (
        {
            name: pooling.scatter(len(pairs), at, table[column].to_numpy(), elsewhere)
            for (name, table), at in zip(found.items(), found_at, strict=True)
        }
        for column, elsewhere in (("rank", pooling.NO_RANK), ("score", np.nan))
    )
    for name, score in scores.items():
        missing = np.flatnonzero(ranks[name] == pooling.NO_RANK)
        retriever = p.retrievers[name].open(data, name)
        score[missing] = retriever.score(query_rows[query[missing]], document[missing])
    judged = pooling.scatter(len(pairs), judged_at, judged_at >= 0, False)
    kinds = relations.annotate(block, involved, query, np.minimum.reduce(list(ranks.values())), tie, judged)
    for relation, holds in otherwise.annotate(data, shard, block, involved, query).items():
        kinds[relation] = holds & ~kinds["positive"]
    table = pa.table(
        [
            arrays.named(query, block.query_ids),
            arrays.named(involved.at, ids),
            pa.array(document),
            *(pa.array(kinds[relation]) for relation in schema.RELATIONS),
            *(pa.array(pooling.scatter(len(pairs), at, at >= 0, False)) for at in (drawn_at, near_at)),
            pa.array(judged & ~kinds["positive"]),
            *(pa.array(rank, mask=rank == pooling.NO_RANK) for rank in ranks.values()),
            *(pooling.null_where_nan(score) for score in scores.values()),
        ],
        schema=schema.pairs(p.retrievers),
    )
    output = staged("pairs")
    data.write(output, shard, table, intermediate=True)
    return Counts(
        {
            "in": rows_in,
            "out:pairs": len(table),
            "out:merged": len(key) - len(table),
            "out:without_vector": rows_in - len(key),
            f"rows:{output}": len(table),
            "pairs": len(table),
        }
    )


def _with_vectors(data: Data, p: params.Params, query: np.ndarray, document: np.ndarray) -> np.ndarray:
    """(n,) bool: both rows have a vector of every encoder that searches; without one a pair has no score."""
    keep = np.ones(len(query), bool)
    for encoder in protocol.encoders(p.retrievers):
        keep &= lookup.vectors(data, f"vectors/{encoder}/queries").present[query]
        keep &= lookup.vectors(data, f"vectors/{encoder}/documents").present[document]
    return keep


def _draw(data: Data, p: params.Params, block: relations.QueryBlock) -> tuple[np.ndarray, np.ndarray]:
    """Queries and documents of the random pairs, without positives."""
    hashes = randomness.id_hashes(block.query_ids)
    drawn = drawing.draw(hashes, p.pool.random, drawing.cells_of(data), p.pool.seed)
    query, turn = np.nonzero(drawn >= 0)
    return block.unlabelled(query, drawn[query, turn])


def _judged(
    data: Data, p: params.Params, block: relations.QueryBlock, shard: str
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Queries and documents of the pairs that are judged for certain, and of those whose judge is wrong at times."""
    table = data.read("judged", shard)
    query, document = block.numbers(table["query_id"]), table["document_row"].to_numpy()
    by_label = pc.equal(table["source"], "label").to_numpy(zero_copy_only=False)
    doubtful = by_label & (p.labels.wrong > 0)
    certain = ~doubtful & (by_label | (table["grade"].to_numpy() <= 0.0))
    return (query[certain], document[certain]), (query[doubtful], document[doubtful])


def _next_cluster(
    data: Data, p: params.Params, block: relations.QueryBlock, query_rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each query and the documents nearest to it in its second nearest cluster, without its positives."""
    settings = p.pool.next_cluster
    query, document = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    if settings is not None:
        name = settings.encoder
        centroids = arrays.matrix(data.read_all(f"clusters/{name}/centroids"))
        vectors = lookup.vectors(data, f"vectors/{name}/queries").gather(query_rows)
        second = clustering.second_nearest(vectors, centroids)
        retriever, clusters = DenseRetriever(data, name), lookup.clusters(data, name)
        for cluster in arrays.distinct(second[second >= 0]):
            asking = np.flatnonzero(second == cluster)
            hits = search(data, retriever, query_rows, asking, settings.documents, clusters == cluster)
            query.append(hits.query)
            document.append(hits.document)
    return block.unlabelled(np.concatenate(query), np.concatenate(document))
