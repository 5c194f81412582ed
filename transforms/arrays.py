"""Arrow columns as numpy arrays, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_SPARSE = 4  # so many integers per row may lie between the smallest and the largest, and all of them be marked


def matrix(table: pa.Table, column: str = "vector") -> np.ndarray:
    """(n, d) float32 view of a fixed-size-list column, without a copy where it is one chunk.

    >>> matrix(pa.table({"vector": pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2))})).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    chunked = table[column]
    dimensions = chunked.type.list_size
    if len(chunked) == 0:
        return np.empty((0, dimensions), np.float32)
    array = chunked.chunk(0) if chunked.num_chunks == 1 else pa.concat_arrays(chunked.chunks)
    flat = array.values.to_numpy(zero_copy_only=True).reshape(-1, dimensions)
    return flat[array.offset : array.offset + len(array)]


def unit(vectors: np.ndarray) -> np.ndarray:
    """(n, d) vectors of length one, in their type; NaN where one has no length.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0]])).tolist()
    [[0.6, 0.8], [nan, nan], [nan, nan]]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(vectors / np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None])


def present(table: pa.Table, column: str = "vector") -> np.ndarray:
    """(n,) bool: which rows of the column are not null."""
    return table[column].is_valid().to_numpy()


def nullable(values: np.ndarray, valid: np.ndarray, kind: pa.DataType) -> pa.Array:
    """A column that is null where ``valid`` is false.

    >>> nullable(np.array([1, 0]), np.array([True, False]), pa.int32()).to_pylist()
    [1, None]
    """
    return pa.array(values, mask=~valid).cast(kind)


def floats(table: pa.Table, column: str) -> np.ndarray:
    """(n,) float32 values of a column, NaN where it is null."""
    return np.asarray(table[column].to_numpy(), np.float32)


def one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one contiguous array.

    >>> one_array(pa.chunked_array([[1], [2]])).to_pylist()
    [1, 2]
    """
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column


def named(places: np.ndarray, names: pa.ChunkedArray | pa.Array) -> pa.DictionaryArray:
    """(n,) the name at each place, as a column that holds every name once.

    >>> named(np.array([1, 1, 0]), pa.array(["a", "b"])).to_pylist()
    ['b', 'b', 'a']
    """
    return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), one_array(names))


def place_among(column: pa.ChunkedArray | pa.Array, names: pa.ChunkedArray) -> np.ndarray:
    """(n,) int64 place of each value among the different names.

    >>> place_among(named(np.array([1, 1, 0]), pa.array(["a", "b"])), pa.chunked_array([["b", "a"]])).tolist()
    [0, 0, 1]
    """
    values, places = _once(column)
    return pc.index_in(values, names.combine_chunks()).to_numpy(zero_copy_only=False).astype(np.int64)[places]


def _once(column: pa.ChunkedArray | pa.Array) -> tuple[pa.Array, np.ndarray | slice]:
    """The values to look at, and where among them each row's is: of a column of ``named``, its names."""
    array = column.unify_dictionaries().combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if not pa.types.is_dictionary(array.type):
        return array, slice(None)
    return array.dictionary, array.indices.to_numpy(zero_copy_only=False)


def codes(*columns: pa.ChunkedArray | pa.Array) -> list[np.ndarray]:
    """Each column as int64 codes of one common dictionary: equal values, equal codes.

    >>> [c.tolist() for c in codes(pa.array(["a", "b"]), pa.array(["b"]))]
    [[0, 1], [1]]
    """
    parts = [_once(column) for column in columns]
    joined = pa.concat_arrays([values for values, _ in parts])
    flat = joined.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    split = np.split(flat, np.cumsum([len(values) for values, _ in parts])[:-1])
    return [code[places] for code, (_, places) in zip(split, parts, strict=True)]


def pair_codes(
    one: Sequence[pa.ChunkedArray | pa.Array], other: Sequence[pa.ChunkedArray | pa.Array]
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) and (m,) int64 codes of the pairs of values that two columns of two tables hold: equal pairs, equal codes.

    >>> [c.tolist() for c in pair_codes([pa.array(["a", "b"]), pa.array([1, 1])], [pa.array(["b"]), pa.array([1])])]
    [[0, 1], [1]]
    """
    first, second = (codes(mine, theirs) for mine, theirs in zip(one, other, strict=True))
    mine, theirs = pair_numbers((first[0], second[0]), (first[1], second[1]))
    return mine, theirs


def pair_numbers(*pairs: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """One int64 number for each pair (a, b) of whole numbers from 0: equal where both are, ordered by a, then b.

    Args:
      pairs: several sets of pairs, (n,) and (n,) each, whose numbers are to be compared.

    >>> pair_numbers((np.array([0, 1]), np.array([2, 0])), (np.array([1]), np.array([0])))
    [array([2, 3]), array([3])]
    """
    width = np.int64(1 + max(int(second.max(initial=0)) for _, second in pairs))
    return [first * width + second for first, second in pairs]


def inverse(order: np.ndarray) -> np.ndarray:
    """(n,) place of each row in an order of all n.

    >>> inverse(np.array([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place


def ascending(values: pa.ChunkedArray) -> np.ndarray:
    """(n,) int64 place of each value when they are sorted; they differ.

    >>> ascending(pa.chunked_array([["b", "c", "a"]])).tolist()
    [1, 2, 0]
    """
    return inverse(pc.sort_indices(values).to_numpy())


def places_among(columns: Sequence[pa.ChunkedArray], known: Sequence[pa.ChunkedArray]) -> list[np.ndarray]:
    """Each column as int64 codes as far as its values are among the few known ones; all others have one more code.

    >>> [c.tolist() for c in places_among([pa.chunked_array([["a", "b", "c"]])], [pa.chunked_array([["c"]])])]
    [[1, 1, 0]]
    """
    values = pa.chunked_array([chunk for column in known for chunk in column.chunks], known[0].type).unique()
    found = (pc.index_in(column, values).fill_null(len(values)) for column in columns)
    return [place.to_numpy().astype(np.int64) for place in found]


def ragged(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expand each row to the members of its group.

    Args:
      offsets: (g + 1,) members ``offsets[i]:offsets[i + 1]`` belong to group i.
      rows: (n,) a group number each.

    Returns:
      Two (m,) arrays: position in ``rows``, and member; in the order of ``rows``.

    >>> [a.tolist() for a in ragged(np.array([0, 2, 3]), np.array([1, 0]))]
    [[0, 1, 1], [2, 0, 1]]
    """
    sizes = np.diff(offsets)[rows]
    if (sizes == 1).all():
        return np.arange(len(rows)), offsets[rows]
    return np.repeat(np.arange(len(rows)), sizes), runs(offsets[rows], sizes)


def runs(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(sum of lengths,) the numbers from each start on, as many as its length, one after the other.

    >>> runs(np.array([7, 2]), np.array([2, 3])).tolist()
    [7, 8, 2, 3, 4]
    """
    return np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())


def numbered(groups: np.ndarray) -> np.ndarray:
    """(n,) the groups numbered from 0 in ascending order, without gaps.

    >>> numbered(np.array([7, 2, 7])).tolist()
    [1, 0, 1]
    """
    return places(groups)[1][0]


def places(*parts: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """(u,) the different integers of all parts, ascending, and of each part the place of its values among them.

    >>> found, at = places(np.array([7, 2]), np.array([7, 9]))
    >>> found.tolist(), [place.tolist() for place in at]
    ([2, 7, 9], [[1, 0], [1, 2]])
    """
    values = np.concatenate(parts)
    low = values.min() if len(values) else 0
    span = int(values.max(initial=low)) - int(low) + 1
    if span <= _SPARSE * (len(values) + 1):  # no sort: mark what is there
        there = np.zeros(span, bool)
        there[values - low] = True
        found = np.flatnonzero(there) + low
        place = (np.cumsum(there) - 1)[values - low]
    else:
        order = _stable_order(values)
        ordered = values[order]
        first = np.r_[True, ordered[1:] != ordered[:-1]]
        found, place = ordered[first], np.empty(len(values), np.int64)
        place[order] = np.cumsum(first) - 1
    return found, np.split(place, np.cumsum([len(part) for part in parts])[:-1])


def distinct(values: np.ndarray) -> np.ndarray:
    """(u,) the different integers, ascending; ``np.unique`` hashes them, and of a million takes fifty times as long.

    >>> distinct(np.array([7, 2, 7])).tolist()
    [2, 7]
    """
    ordered = np.sort(values)
    return ordered[np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)])]


def among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n,) whether each integer is one of the few that are known; numpy's ``isin`` sorts the many as well.

    >>> among(np.array([1, 2, 3, 2]), np.array([2, 9])).tolist()
    [False, True, False, True]
    """
    if not len(known):
        return np.zeros(len(values), bool)
    ordered = np.sort(known)
    return ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values


def pair_among(first: np.ndarray, second: np.ndarray, known_first: np.ndarray, known_second: np.ndarray) -> np.ndarray:
    """(n,) whether each pair (first, second) of whole numbers from 0 is one of those that are known."""
    pairs, known = pair_numbers((first, second), (known_first, known_second))
    return among(pairs, known)


def tally(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Table of ``shape``: how often each (row, column) occurs.

    >>> tally(np.array([1, 1, 0]), np.array([2, 2, 0]), (2, 3)).tolist()
    [[1, 0, 0], [0, 0, 2]]
    """
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


def offsets_of(groups: np.ndarray, count: int) -> np.ndarray:
    """(count + 1,) offsets of sorted group numbers.

    >>> offsets_of(np.array([0, 0, 2]), 3).tolist()
    [0, 2, 2, 3]
    """
    return np.searchsorted(groups, np.arange(count + 1))


def order_by(*keys: np.ndarray) -> np.ndarray:
    """(n,) indices that sort rows by ``keys``, the first is primary; stable, as ``lexsort``, in a third of its time.

    A key that is in order already costs a look, integers of a small range a radix sort.

    >>> order_by(np.array([1, 0, 1]), np.array([5.0, 1.0, np.nan])).tolist()
    [1, 0, 2]
    """
    order: np.ndarray | slice = slice(None)
    for key in reversed(keys):
        values = key[order]
        if not (values[1:] >= values[:-1]).all():
            step = _stable_order(values)
            order = step if isinstance(order, slice) else order[step]
    return np.arange(len(keys[0])) if isinstance(order, slice) else order


def _stable_order(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32) + np.float32(0)  # -0 is 0
        if not (narrow == values).all():
            return _stable_order_of_any(values)
        integers = narrow.view(np.int32)  # they order as the floats do, but the negative ones the other way round
        values = integers ^ ((integers >> 31) & 0x7FFFFFFF)
    if values.dtype.kind == "i":
        values = values.astype(np.int64, copy=False)
    low = values.min()
    bits, span = len(values).bit_length(), int(values.max()) - int(low)
    if span < 1 << 16:
        return np.argsort((values - low).astype(np.uint16), kind="stable")  # numpy's radix sort
    if span >= 1 << (63 - bits):
        return _stable_order_of_any(values)
    both = (values - low).astype(np.int64) << bits  # value and place as one number: numpy sorts faster than it argsorts
    both |= np.arange(len(values))
    both.sort()
    both &= (1 << bits) - 1
    return both


def _stable_order_of_any(values: np.ndarray) -> np.ndarray:
    order = np.argsort(values)  # vectorised, but not stable
    found = values[order]
    equal = found[1:] == found[:-1]
    if values.dtype.kind == "f":
        equal |= np.isnan(found[:-1])  # they come last
    tied = np.flatnonzero(np.r_[equal, False] | np.r_[False, equal])
    if tied.size:
        run = np.cumsum(~np.r_[False, equal])[tied]
        order[tied] = order[tied][np.lexsort((order[tied], run))]
    return order


def sums_before(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) sum of the values of the rows of each row's group that come before it; equal groups lie together.

    >>> sums_before(np.array([0, 0, 0, 2]), np.array([1.0, 2.0, 4.0, 8.0])).tolist()
    [0.0, 1.0, 3.0, 0.0]
    """
    before = np.cumsum(values) - values
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]]) if len(groups) else groups
    return np.asarray(before - np.repeat(before[starts], np.diff(np.r_[starts, len(groups)])))


def rank_within(groups: np.ndarray, keys: list[np.ndarray]) -> np.ndarray:
    """(n,) place of each row inside its group, from 0, when the group is sorted by ``keys`` (first is primary).

    >>> rank_within(np.array([0, 1, 0]), [np.array([5.0, 1.0, 2.0])]).tolist()
    [1, 0, 0]
    """
    order = order_by(groups, *keys)
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(order) else order
    sizes = np.diff(np.r_[starts, len(order)])
    places = np.empty(len(groups), np.int64)
    places[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return places
