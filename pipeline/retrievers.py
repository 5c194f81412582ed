"""A retriever of ``params.yaml`` over the datasets it searches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline import params
from transforms import lookup
from transforms.dense import DenseRetriever
from transforms.lexical import LexicalRetriever
from transforms.relations import QueryBlock
from transforms.storage import Data, staged


def open_retriever(
    data: Data, p: params.Params, name: str, *, unpublished: bool = False
) -> DenseRetriever | LexicalRetriever:
    """The retriever, ready to search and to score pairs; ``unpublished``: over the index now being built."""
    settings = p.retrievers[name]
    place = staged if unpublished else str
    if isinstance(settings, params.Dense):
        path = None if settings.index == "Flat" else place(f"indexes/{name}/faiss")
        return DenseRetriever(data, settings.encoder, path, settings.nprobe)
    return LexicalRetriever(
        data, place(f"indexes/{name}/weights"), place(f"indexes/{name}/vocabulary"), settings.stopwords
    )


def encoders(p: params.Params) -> list[str]:
    """Encoders that some retriever searches with, in the order of ``retrievers``."""
    found = (r.encoder for r in p.retrievers.values() if isinstance(r, params.Dense))
    return list(dict.fromkeys(found))


def query_block(data: Data, *shards: str) -> tuple[QueryBlock, np.ndarray]:
    """The queries and positives of some shards, one after the other, and the (q,) row numbers of these queries."""
    tables = [[data.read(dataset, shard) for shard in shards] for dataset in ("queries", "positives")]
    block = QueryBlock(*(pa.concat_tables(parts).combine_chunks() for parts in tables))
    return block, np.concatenate([lookup.query_rows(data).of(shard) for shard in shards])
