"""Into which parts of documents a FAISS index is cut, known before FAISS is loaded and the index is there."""

from __future__ import annotations

import re

from gangue.transforms.datasets.names import shard_names

SUFFIX = ".faiss"
_ROWS = 1 << 17  # documents: who builds a part holds their vectors
# All that these hold is in their lists, which may be cut.
_LISTS = re.compile(r"(\w+,)*IVF\d+(_HNSW\d*)?,(Flat|PQ\d+(x\d+)?(np)?|SQ\w+)")
_WHOLE_VECTORS = re.compile(r"IVF\d+(_HNSW\d*)?,Flat")


def cut(factory: str) -> bool:
    """Whether an index may be built in parts that are searched as one.

    Args:
      factory: a FAISS factory string.

    >>> [cut(factory) for factory in ("IVF64,Flat", "OPQ4_16,IVF8,PQ4x4", "HNSW32", "IVF8,PQ4x4fs")]
    [True, True, False, False]
    """
    return _LISTS.fullmatch(factory) is not None


def whole_vectors(factory: str) -> bool:
    """Whether an index keeps every document's vector in one of its lists, as it is."""
    return _WHOLE_VECTORS.fullmatch(factory) is not None


def has_lists(factory: str) -> bool:
    """Whether an index has inverted lists, of which a search visits some.

    >>> [has_lists(factory) for factory in ("OPQ4_16,IVF8,PQ4x4", "PQ4x4fs", "HNSW32")]
    [True, False, False]
    """
    return re.search(r"(^|,)I(VF|MI)\d+", factory) is not None


def parts(factory: str, documents: int) -> dict[str, range]:
    """File names of the parts of an index, and the row numbers of each."""
    rows = _ROWS if cut(factory) else max(1, documents)
    starts = range(0, max(1, documents), rows)
    names = (name + SUFFIX for name in shard_names(len(starts)))
    return {name: range(start, min(start + rows, documents)) for name, start in zip(names, starts, strict=True)}


def edges(factory: str, documents: int) -> list[int]:
    """Rows at which a search may be cut, and the end: what the pieces find together is what a search of all finds.

    Codes that lose something choose what is scored again, so which documents they see at once changes what is found.

    >>> edges("IVF64,Flat", 300_000), edges("IVF64,PQ8", 300_000)
    ([0, 131072, 262144, 300000], [0, 300000])
    """
    if not whole_vectors(factory):
        return [0, documents]
    return [*(rows.start for rows in parts(factory, documents).values()), documents]
