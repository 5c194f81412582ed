"""Datasets as the first stages would leave them, of any size: random words, random unit vectors, random candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from gangue.transforms import text
from gangue.transforms.datasets import schema, sharding
from gangue.transforms.datasets.names import shard_names
from gangue.transforms.datasets.storage import Data
from gangue.transforms.records.runs import hash_column

ENCODERS = ("one", "two")
EACH, BOTH = 120, 40  # candidates of each retriever, and how many of them both found
PER_QUERY = 2 * EACH - BOTH
_WORDS = np.array([f"{a}{b}{c}" for a in "bdgklmnprst" for b in "aeiou" for c in "bdgklmnprst"])
_STEP = 7919  # a prime: documents at such steps are distinct


def write(
    data: Data,
    *,
    queries: int,
    documents: int,
    dimensions: int,
    queries_per_shard: int,
    documents_per_shard: int,
    topics: int = 0,
) -> None:
    """Documents, queries, one positive a query, and their vectors under two encoders.

    Vectors lie anywhere, or around so many ``topics``: a cosine of about 0.7 to their topic's own vector.
    """
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((topics, dimensions), np.float32)
    sizes = {"documents": (documents, documents_per_shard), "queries": (queries, queries_per_shard)}
    for dataset, (rows, per_shard) in sizes.items():
        wanted = schema.QUERIES if dataset == "queries" else schema.DOCUMENTS
        for shard, part in parts(rows, per_shard):
            texts = [" ".join(words) for words in _WORDS[rng.integers(0, len(_WORDS), (len(part), 12))]]
            names = [_name(dataset, number) for number in part]
            words = text.hash_numbers(text.hashes(texts))
            words[:, 0] = (words[:, 0] >> 32) | (np.array(part, np.uint64) << 32) // rows << 32  # in the order of rows
            hashes = hash_column(words)
            columns = {
                "query_id": names,
                "document_id": names,
                "title": [""] * len(part),
                "text": texts,
                "answers": [[]] * len(part),
                "text_hash": hashes,
                "near_group": names,
            }
            data.write(dataset, shard, pa.table([pa.array(columns[f.name], f.type) for f in wanted], schema=wanted))
            for encoder in ENCODERS:
                found = rng.standard_normal((len(part), dimensions), np.float32)
                if topics:
                    found += centres[rng.integers(0, topics, len(part))]
                found /= np.linalg.norm(found, axis=1, keepdims=True)
                column = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), dimensions)
                table = pa.table([hashes, column], schema=schema.vectors(dimensions))
                table = table.replace_schema_metadata({schema.FINGERPRINT: "random"})
                data.write(f"vectors/{encoder}/{dataset}", shard, table, suffix=".arrow")
    for shard, part in parts(queries, queries_per_shard):
        row = _candidates(part, documents)[:, -1]
        columns_of: list[Any] = [
            [_name("queries", number) for number in part],
            [_name("documents", number) for number in row],
            np.ones(len(part)),
            row,
        ]
        data.write("positives", shard, _table(columns_of, schema.POSITIVES))
        data.write("judged", shard, schema.JUDGED.empty_table())
    for dataset in ("documents", "queries", "positives", "judged"):
        data.commit(dataset)
    for encoder in ENCODERS:
        for dataset in ("documents", "queries"):
            data.commit(f"vectors/{encoder}/{dataset}")


def write_candidates(data: Data, *, queries: int, documents: int, queries_per_shard: int) -> None:
    """What two retrievers, called as their encoders, found: ``PER_QUERY`` documents of each query, the best first."""
    for encoder in ENCODERS:
        asked, given = (vectors(data, f"vectors/{encoder}/{dataset}") for dataset in ("queries", "documents"))
        first = 0 if encoder == ENCODERS[0] else PER_QUERY - EACH
        for shard, part in parts(queries, queries_per_shard):
            found = _candidates(part, documents)[:, first : first + EACH]
            scores = np.einsum("qd,qnd->qn", asked[part], given[found])
            order = np.argsort(-scores, axis=1)
            best = np.take_along_axis(found, order, axis=1).reshape(-1)
            columns: list[Any] = [
                np.repeat([_name("queries", number) for number in part], EACH),
                [_name("documents", number) for number in best],
                np.tile(np.arange(1, EACH + 1), len(part)),
                np.take_along_axis(scores, order, axis=1).reshape(-1),
                best,
            ]
            data.write(f"candidates/{encoder}", shard, _table(columns, schema.CANDIDATES), intermediate=True)
        data.commit(f"candidates/{encoder}")
    data.write_note("calibration", "cut.json", "{}")
    data.commit("calibration")


def parts(rows: int, per_shard: int) -> list[tuple[str, np.ndarray]]:
    """Shards of so many rows, and which rows each has."""
    shards = sharding.shard_count(rows, per_shard)
    return list(zip(shard_names(shards), np.array_split(np.arange(rows), shards), strict=True))


def _name(dataset: str, number: int) -> str:
    return f"{dataset[0]}{number:08d}"


def _candidates(part: np.ndarray, documents: int) -> np.ndarray:
    """(q, PER_QUERY + 1) distinct documents of each query, the last its positive; from anywhere in the corpus."""
    start = (part * 104729) % documents
    return np.asarray((start[:, None] + _STEP * np.arange(PER_QUERY + 1)) % documents)


def vectors(data: Data, dataset: str) -> np.ndarray:
    """(n, d) all vectors of a dataset."""
    parts = [data.read(dataset, shard)["vector"].combine_chunks() for shard in data.shards(dataset)]
    return np.concatenate([part.flatten().to_numpy().reshape(len(part), -1) for part in parts])


def _table(columns: list[Any], wanted: pa.Schema) -> pa.Table:
    return pa.table([pa.array(column) for column in columns], names=wanted.names).cast(wanted)
