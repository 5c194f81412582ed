"""A FAISS index of documents: trained once, built in parts that fit in memory, searched as one.

Inverted lists may be cut: those of the parts stay in their files, mapped, and are stacked when the index is read. Other
kinds of index cannot be joined again, so they are a single part, held in memory while it is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gangue.transforms.datasets import disk, lookup
from gangue.transforms.retrieval.faiss_setup import faiss

_ADDED_AT_ONCE = 4096
_ANY, _UNREADABLE = 64, "could not parse"  # dimensions to try; FAISS's word for what fits none
_SAMPLE, _SAMPLE_OF_CODES = 1 << 18, 1 << 16  # vectors to train on; to train a code alone takes fewer
_CUT = (faiss.IndexIVFFlat, faiss.IndexIVFPQ, faiss.IndexIVFScalarQuantizer)  # all they hold is in their lists


def made(factory: str, dimensions: int) -> faiss.Index:
    """An index as a factory string describes it.

    Raises:
      ValueError: FAISS does not know the factory string, or not for so many dimensions.
    """
    try:
        return faiss.index_factory(dimensions, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        said = re.split(r"failed: |\.\w+:\d+: ", str(error))[-1].strip().rstrip(".")  # without FAISS's own functions
        raise ValueError(
            f"retrievers.*.index: must be a FAISS factory string, got {factory}: {said}. Correct it: IVF256,Flat is one"
        ) from error


def check(factory: str) -> None:
    """Check that FAISS can read a factory string, whatever the dimensions.

    Raises:
      ValueError: it cannot.
    """
    try:
        made(factory, _ANY)
    except ValueError as error:
        if _UNREADABLE in str(error):
            raise


def trained(factory: str, vectors: lookup.Vectors, centroids: np.ndarray) -> faiss.Index:
    """An empty index that is ready for documents.

    Where the factory asks for as many lists as there are centroids, these become its coarse quantiser.

    Args:
      factory: a FAISS factory string, such as ``IVF32,Flat``.
      vectors: the documents; some of them train it.
      centroids: (c, d) from the cluster stage.

    Raises:
      ValueError: FAISS does not know the factory string, or wants more documents for it.
    """
    index = made(factory, vectors.dimensions)
    ivf, sample = faiss.try_extract_index_ivf(index), _SAMPLE
    if ivf is not None and ivf.nlist == len(centroids):
        ivf.quantizer.add(np.ascontiguousarray(centroids))
        sample = _SAMPLE_OF_CODES
    if not index.is_trained:
        step = max(1, -(-len(vectors) // sample))
        numbers = np.arange(0, len(vectors), step)
        for clustering in _clusterings(index):
            clustering.min_points_per_centroid = 1  # or it says so a hundred times; the recall tells what it is worth
        try:
            index.train(np.nan_to_num(vectors.gather(numbers), copy=False))
        except RuntimeError as error:
            said = str(error).rpartition("failed: ")[2].strip()
            raise ValueError(
                f"retrievers.*.index: {factory} must have as many documents to be trained on as it has lists, and as"
                f" each of its codes has values, got {len(numbers)} ({said}). Name one for so few: Flat"
            ) from error
    return index


def _clusterings(index: Any) -> Iterator[Any]:
    """How each clustering of an index that is to be trained is done."""
    if isinstance(index, faiss.IndexRefine):
        index = faiss.downcast_index(index.base_index)
    if isinstance(index, faiss.IndexPreTransform):
        chain: Any = index.chain
        for number in range(chain.size()):
            transform = faiss.downcast_VectorTransform(chain.at(number))
            if isinstance(transform, faiss.OPQMatrix):
                transform.pq = own = faiss.ProductQuantizer(transform.d_out, transform.M, 8)  # as it would itself
                faiss.add_to_referenced_objects(index, own)  # type: ignore[attr-defined]
                yield own.cp
        index = faiss.downcast_index(index.index)
    if hasattr(index, "cp"):
        yield index.cp
    for codes in ("pq", "rq"):
        if hasattr(index, codes):
            yield getattr(index, codes).cp


def lists_are(index: Any, centroids: int) -> bool:
    """Whether a trained index has as lists what is nearest to each of so many centroids."""
    return type(index) in _CUT and index.nlist == centroids


def write_part(index: Any, vectors: lookup.Vectors, rows: range, path: str, lists: np.ndarray | None = None) -> None:
    """Put the documents of these rows into a trained index and write it to a local file.

    Args:
      lists: (documents,) the list of each, -1 for none, where ``lists_are`` known; None: FAISS finds it.
    """
    numbers = np.arange(rows.start, rows.stop)
    for first in range(0, len(numbers), _ADDED_AT_ONCE):
        some = numbers[first : first + _ADDED_AT_ONCE]
        block = np.nan_to_num(vectors.gather(some), copy=False)
        if lists is not None:
            known = lists[some].astype(np.int64)
            index.add_core(len(some), *map(faiss.swig_ptr, (block, some, known)))
        elif _lists(index) is None:
            index.add(block)
        else:
            index.add_with_ids(block, some)
    write(index, path)


def write(index: faiss.Index, path: str) -> None:
    """Write an index to a local file.

    Raises:
      OSError: it cannot be written; says the cure.
    """
    try:
        faiss.write_index(index, path)
    except RuntimeError as error:  # FAISS says nothing better of a full disk
        raise OSError(f"{path}: must be writable: {error}. Free some space there, and run the stage again") from error


def read(paths: Sequence[str]) -> faiss.Index:
    """The index whose parts are these local files, in their order; documents are mapped, not read.

    Raises:
      ValueError: a part is no index; names it, and the cure.
    """
    index = _opened(paths[0])
    return index if len(paths) == 1 else _stacked(index, [_opened(path) for path in paths])


def empty(path: str) -> faiss.Index:
    """A trained index without documents, from a local file.

    Raises:
      ValueError: it is no index; names it, and the cure.
    """
    return _opened(path, 0)


def _opened(path: str, flags: int = faiss.IO_FLAG_MMAP_IFC) -> faiss.Index:
    try:
        return faiss.read_index(path, flags)
    except RuntimeError as error:
        raise disk.damaged(path, error) from error


def _stacked(index: Any, opened: list[Any]) -> Any:
    """The index over the lists of all parts."""
    pointers = faiss.InvertedListsPtrVector()  # type: ignore[attr-defined]
    for part in opened:
        pointers.push_back(_lists(part).invlists)
    lists = faiss.HStackInvertedLists(pointers.size(), pointers.data())
    ivf = _lists(index)
    ivf.replace_invlists(lists, False)
    index.ntotal = ivf.ntotal = sum(part.ntotal for part in opened)
    for held in (lists, *opened):  # FAISS does not own them
        faiss.add_to_referenced_objects(index, held)  # type: ignore[attr-defined]
    return index


def _lists(index: Any) -> Any:
    """What holds the inverted lists of an index that can be cut, or None."""
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    return inner if type(inner) in _CUT else None
