"""pool: candidates/*, positives -> pairs.   Usage: python -m pipeline.pool [--data data]"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline import commandline, params, retrievers, runner
from pipeline.searching import search
from transforms import arrays, clustering, drawing, lookup, pooling, randomness, relations, schema
from transforms.dense import DenseRetriever
from transforms.shards import Counts, ForEachShard
from transforms.storage import Data, staged

_FOUND = ("query_id", "rank", "score", "document_row")  # of the candidates: ids are taken from the documents


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> Counts:
    """Join what the retrievers found with the positives and the random draws; score every pair by every retriever."""

    def build(root: beam.Pipeline) -> Any:
        work = functools.partial(pool_shard, data=data, p=p)
        return root | beam.Create(data.shards("queries")) | ForEachShard(work)

    rows = sum(sum(data.rows(f"candidates/{name}")) for name in p.retrievers)
    return runner.run("pool", build, data, p.beam, writes=["pairs"], rows=rows, flags=flags)


def pool_shard(shard: str, data: Data, p: params.Params) -> Counts:
    """Pool the queries of one shard."""
    block, query_rows = retrievers.query_block(data, shard)
    found = {name: data.read(f"candidates/{name}", shard, _FOUND) for name in p.retrievers}
    width = np.int64(len(lookup.representatives(data)))
    keys = {name: block.keys(table, width) for name, table in found.items()}
    drawn = _draw(data, p, block, width)
    positive_keys = block.positive_query * width + block.positive_row
    near = _next_cluster(data, p, block, query_rows, width)
    by_row, (_, drawn_at, near_at, *found_at) = arrays.places(positive_keys, drawn, near, *keys.values())
    query, document = np.divmod(by_row, width)
    involved = relations.involved(data, block, document)
    ids = involved.documents["document_id"]
    tie = arrays.ascending(ids)[involved.at]
    by_id = np.argsort(query * len(ids) + tie)
    query, document, tie = (of[by_id] for of in (query, document, tie))
    involved = dataclasses.replace(involved, at=involved.at[by_id])

    moved = np.empty(len(by_row), np.int64)
    moved[by_id] = np.arange(len(by_row))
    ranks, scores = (
        {
            name: pooling.scatter(len(by_row), moved[at], table[column].to_numpy())
            for (name, table), at in zip(found.items(), found_at, strict=True)
        }
        for column in ("rank", "score")
    )
    for name, score in scores.items():
        missing = np.flatnonzero(np.isnan(ranks[name]))
        retriever = retrievers.open_retriever(data, p, name)
        score[missing] = retriever.score(query_rows[query[missing]], document[missing])
    kinds = relations.annotate(block, involved, query, pooling.best_rank(ranks), tie)
    table = pa.table(
        [
            block.query_ids.take(pa.array(query)),
            ids.take(pa.array(involved.at)),
            pa.array(document),
            *(pa.array(kinds[relation]) for relation in schema.RELATIONS),
            *(pa.array(np.bincount(moved[at], minlength=len(by_row)) > 0) for at in (drawn_at, near_at)),
            *(arrays.nullable(np.nan_to_num(r), ~np.isnan(r), pa.int32()) for r in ranks.values()),
            *(pooling.null_floats(score) for score in scores.values()),
        ],
        schema=schema.pairs(p.retrievers),
    )
    output = staged("pairs")
    data.write(output, shard, table, read_once=True)
    rows_in = len(block.positives) + len(drawn) + len(near) + sum(map(len, found.values()))
    return Counts(
        {
            "in": rows_in,
            "out:pairs": len(table),
            "out:merged": rows_in - len(table),
            f"rows:{output}": len(table),
            "pairs": len(table),
        }
    )


def _draw(data: Data, p: params.Params, block: relations.QueryBlock, width: np.int64) -> np.ndarray:
    words = randomness.id_words(block.query_ids)
    drawn = drawing.draw(words, p.pool.random, drawing.cells_of(data), p.pool.seed)
    key = np.arange(len(words))[:, None] * width + drawn
    return np.setdiff1d(key[drawn >= 0], block.positive_query * width + block.positive_row)


def _next_cluster(
    data: Data, p: params.Params, block: relations.QueryBlock, query_rows: np.ndarray, width: np.int64
) -> np.ndarray:
    """Keys of the documents nearest to each query in its second nearest cluster, without its positives."""
    settings = p.pool.next_cluster
    if settings is None:
        return np.empty(0, np.int64)
    name = settings.encoder
    centroids = arrays.matrix(data.read_all(f"clusters/{name}/centroids"))
    second = clustering.second_nearest(lookup.vectors(data, f"vectors/{name}/queries").gather(query_rows), centroids)
    retriever, clusters = DenseRetriever(data, name), lookup.clusters(data, name)
    found = [np.empty(0, np.int64)]
    for cluster in np.unique(second[second >= 0]):
        asking = np.flatnonzero(second == cluster)
        hits = search(data, retriever, query_rows, asking, settings.documents, clusters == cluster)
        found.append(hits.query * width + hits.document)
    return np.setdiff1d(np.concatenate(found), block.positive_query * width + block.positive_row)


if __name__ == "__main__":
    commandline.main("pool", run)
