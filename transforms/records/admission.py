"""Which records become rows: equal ones are merged, contradictory and dangling ones rejected.

Nothing here depends on the order of the records but which of several equal ones stands for them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays


@dataclasses.dataclass(frozen=True)
class Named:
    """Records that have ids, such as documents, sorted out.

    Attributes:
      ids: (u,) the different ids in ascending order, as large strings.
      record: (u,) the record that stands for each id, or -1 where its records contradict each other.
      merged: number of records that repeat another.
      contradictory: the records of ids that have several texts.
    """

    ids: pa.Array[Any]
    record: np.ndarray
    merged: int
    contradictory: np.ndarray


def named(ids: pa.ChunkedArray[Any], texts: np.ndarray, contents: np.ndarray) -> Named:
    """Sort out records that have ids.

    Args:
      ids: (n,) strings.
      texts: (n, 2) uint64 hashes of the normalised texts: records of one id that differ here contradict.
      contents: (n, 2) uint64 hashes of the records' exact content: the smallest stands for its id.

    >>> hashes = np.array([[5, 0], [6, 0], [5, 0], [5, 0]], np.uint64)
    >>> found = named(pa.chunked_array([["b", "a", "a", "b"]]), hashes, hashes)
    >>> found.ids.to_pylist(), found.record.tolist(), found.merged, found.contradictory.tolist()
    (['a', 'b'], [-1, 0], 1, [2, 1])
    """
    ids = ids.cast(pa.large_string())
    order = pc.sort_indices(ids).to_numpy().astype(np.int64)
    ordered = arrays.one_array(ids.take(order))
    new = np.ones(len(order), np.bool_)
    new[1:] = pc.not_equal(ordered[1:], ordered[:-1]).to_numpy(zero_copy_only=False)
    code = np.cumsum(new) - 1
    order = order[np.lexsort((contents[order, 1], contents[order, 0], code))]
    starts = np.flatnonzero(new)
    differs = (texts[order] != texts[order[starts]][code]).any(axis=1)
    contradicts = np.zeros(len(starts), np.bool_)
    contradicts[code[differs]] = True
    return Named(
        ids=ordered.filter(pa.array(new)),
        record=np.where(contradicts, -1, order[starts]) if len(starts) else np.empty(0, np.int64),
        merged=int(np.count_nonzero(~new & ~contradicts[code])) if len(starts) else 0,
        contradictory=order[contradicts[code]] if len(starts) else np.empty(0, np.int64),
    )


def places(ids: pa.ChunkedArray[Any], found: Named) -> np.ndarray:
    """(n,) place of each id in ``found.ids``, -1 where it is not there or contradictory."""
    at: Any = pc.index_in(ids.cast(pa.large_string()), value_set=found.ids)
    place = arrays.one_array(at.cast(pa.int64()).fill_null(-1)).to_numpy(zero_copy_only=False).copy()
    if len(found.record):
        place[found.record[place] < 0] = -1
    return place


def best_grades(queries: np.ndarray, documents: np.ndarray, grades: np.ndarray) -> np.ndarray:
    """Records of the positives to keep, sorted by query and document: the highest grade of each pair.

    >>> best_grades(np.array([1, 0, 1]), np.array([4, 5, 4]), np.float32([1, 1, 2])).tolist()
    [1, 2]
    """
    order = np.lexsort((-grades, documents, queries))
    queries, documents = queries[order], documents[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (queries[1:] != queries[:-1]) | (documents[1:] != documents[:-1])
    return np.asarray(order[first], np.int64)
