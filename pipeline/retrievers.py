"""A retriever of ``params.yaml`` over the datasets it searches."""

from __future__ import annotations

from pipeline import params
from transforms.dense import DenseRetriever
from transforms.lexical import LexicalRetriever
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
    return LexicalRetriever(data, place(f"indexes/{name}/weights"), place(f"indexes/{name}/vocabulary"))


def encoders(p: params.Params) -> list[str]:
    """Encoders that some retriever searches with, in the order of ``retrievers``."""
    found = (r.encoder for r in p.retrievers.values() if isinstance(r, params.Dense))
    return list(dict.fromkeys(found))
