"""cluster: vectors/ENCODER -> clusters/ENCODER.   Usage: gangue cluster ENCODER [--data data]"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import arrays, log
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.names import shard_names, staged
from gangue.transforms.datasets.scratch import scratch
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import clustering
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts, ForEachShard

_ROWS_AT_ONCE = 8192  # vectors copied at once: 12 MB of 384 dimensions


def run(data: Data, p: params.Params, name: str, flags: Sequence[str] = ()) -> Counts:
    """Train one k-means on the document vectors of an encoder, and assign every document."""
    data = data.deriving_from(*(f"vectors/{name}/{part}" for part in ("documents", "queries", "rejected")))
    shards = data.shards("documents")

    def build(root: beam.Pipeline) -> Any:
        trained = (
            root
            | "Name" >> beam.Create(["centroids"])
            | "Train" >> ForEachShard(functools.partial(train, data=data, name=name, settings=p.cluster))
        )
        assign = functools.partial(assign_shard, data=data, name=name)
        return root | beam.Create(shards, reshuffle=False) | "Assign" >> ForEachShard(assign, after=trained)

    writes = [f"clusters/{name}/centroids", f"clusters/{name}/documents"]
    counts = runner.run(
        f"cluster@{name}", build, data, p.beam, writes=writes, rows=sum(data.rows("documents")), flags=flags
    )
    made = sum(data.rows(f"clusters/{name}/centroids"))
    if made < p.cluster.clusters:
        log.say(f"cluster@{name}", f"as many clusters as documents, not {p.cluster.clusters}")
    return counts


def train(_: str, data: Data, name: str, settings: params.Cluster) -> Counts:
    """Write the centroids, with how many documents each has among those it was trained on."""
    vectors = lookup.vectors(data, f"vectors/{name}/documents")
    rows = np.arange(0, len(vectors), max(1, -(-len(vectors) // settings.sample)))
    output = staged(f"clusters/{name}/centroids")
    # k-means reads its sample once an iteration and in order: it need not lie in memory.
    with scratch(data, output, (len(rows), vectors.dimensions), np.float32) as matrix:
        sample = matrix[: _fill(matrix, vectors, rows)]
        if not len(sample):
            raise ValueError(f"vectors/{name}/documents: cluster needs a vector, found none. Check encoders.{name}")
        centroids = clustering.train(sample, settings.clusters, settings.iterations, settings.seed)
        sizes = np.bincount(clustering.nearest(sample, centroids)[0][:, 0], minlength=len(centroids))
    flat = pa.array(centroids.reshape(-1), pa.float32())
    table = pa.table(
        {
            "vector": pa.FixedSizeListArray.from_arrays(flat, centroids.shape[1]),
            "size": pa.array(sizes, pa.int64()),
        }
    )
    data.write(output, shard_names(1)[0], table, suffix=".arrow")
    return Counts({f"rows:{output}": len(table)})


def _fill(matrix: np.ndarray, vectors: lookup.Vectors, rows: np.ndarray) -> int:
    """Copy the finite ones of these vectors to the beginning of a matrix; returns how many there are."""
    count = 0
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = vectors.gather(rows[start : start + _ROWS_AT_ONCE])
        finite = block[np.isfinite(block).all(axis=1)]
        matrix[count : count + len(finite)] = finite
        count += len(finite)
    return count


def assign_shard(shard: str, data: Data, name: str) -> Counts:
    """Assign the documents of one shard."""
    centroids = data.read(staged(f"clusters/{name}/centroids"), shard_names(1)[0])
    vectors = data.read(f"vectors/{name}/documents", shard)
    matrix = np.where(arrays.present(vectors)[:, None], arrays.matrix(vectors), np.nan)
    cluster, similarity = clustering.assign(matrix, arrays.matrix(centroids))
    found = cluster >= 0
    table = pa.table(
        [
            data.read("documents", shard, ["document_id"])["document_id"],
            arrays.nullable(cluster, found, pa.int32()),
            arrays.nullable(similarity, found, pa.float32()),
        ],
        schema=schema.CLUSTERS,
    )
    output = staged(f"clusters/{name}/documents")
    data.write(output, shard, table)
    return Counts(
        {
            "in": len(table),
            "out:assigned": int(found.sum()),
            "out:without_vector": int((~found).sum()),
            f"rows:{output}": len(table),
        }
    )
