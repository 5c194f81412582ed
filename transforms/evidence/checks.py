"""What must hold of the product: each function says which rows break one rule. None of them trusts the stages
that should have kept it: relations are taken from texts and ids anew, not from what ``pool`` noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays

Column: TypeAlias = "pa.ChunkedArray[Any] | pa.Array[Any]"
NAMED = 3  # rows that an error names


def refuse(where: str, rule: str, broken: np.ndarray, rows: pa.Table, cure: str) -> None:
    """Fail if a row breaks the rule.

    Args:
      where: the dataset.
      rule: what must hold.
      broken: (n,) bool.
      rows: (n,) what to show of each row.
      cure: what to do.

    Raises:
      ValueError: names the first rows that break it.

    >>> rows = pa.table({"query_id": ["a"]})
    >>> refuse("triplets", "weight must be > 0", np.array([True]), rows, "Rebuild it")
    Traceback (most recent call last):
    ...
    ValueError: triplets: weight must be > 0, but 1 of 1 rows breaks it: row 0 (query_id 'a'). Rebuild it
    """
    found = np.flatnonzero(broken)
    if not found.size:
        return
    shown = rows.take(pa.array(found[:NAMED], pa.int64())).to_pylist()
    named = [
        f"row {number} ({', '.join(f'{name} {value!r}' for name, value in row.items())})"
        for number, row in zip(found, shown, strict=False)
    ]
    more = f" and {found.size - NAMED} more" if found.size > NAMED else ""
    verb = "breaks" if found.size == 1 else "break"
    raise ValueError(
        f"{where}: {rule}, but {found.size} of {len(broken)} rows {verb} it: {', '.join(named)}{more}. {cure}"
    )


def repeated(*columns: Column) -> np.ndarray:
    """(n,) bool: an earlier row has the same values.

    >>> repeated(pa.array(["a", "a", "a"]), pa.array(["x", "y", "x"])).tolist()
    [False, False, True]
    """
    (key,) = _keys([columns])
    result = np.ones(len(key), bool)
    result[np.unique(key, return_index=True)[1]] = False
    return result


def among(columns: Sequence[Column], known: Sequence[Column]) -> np.ndarray:
    """(n,) bool: the row's values are a row of ``known``.

    >>> among([pa.array(["a", "b"]), pa.array(["x", "x"])], [pa.array(["b"]), pa.array(["x"])]).tolist()
    [False, True]
    """
    one, other = _keys([columns, known])
    return np.isin(one, other)


def differing(column: Column, expected: Column) -> np.ndarray:
    """(n,) bool: the values differ; two nulls are equal.

    >>> differing(pa.array(["a", None, None]), pa.array(["b", None, "c"])).tolist()
    [True, False, True]
    """
    neither = _mask(column.is_null()) & _mask(expected.is_null())
    return _mask(pc.not_equal(column, expected), if_null=True) & ~neither


def unsorted(*columns: Column) -> np.ndarray:
    """(n,) bool: the row sorts before the one above it, first column first.

    >>> unsorted(pa.array(["a", "b", "a"]), pa.array([2, 1, 3])).tolist()
    [False, False, True]
    """
    result = np.zeros(len(columns[0]), bool)
    equal = np.ones(max(len(result) - 1, 0), bool)
    for column in columns:
        step = np.diff(pc.rank(column, tiebreaker="dense").to_numpy().astype(np.int64))
        result[1:] |= equal & (step < 0)
        equal &= step == 0
    return result


def not_finite(column: Column, *, nullable: bool) -> np.ndarray:
    """(n,) bool: NaN or infinite, or null where that is not allowed; of a list, that it holds such a number.

    >>> not_finite(pa.array([1.0, None, float("nan")]), nullable=True).tolist()
    [False, False, True]
    >>> not_finite(pa.array([[1.0, 2.0], [], [3.0, None]]), nullable=False).tolist()
    [False, False, True]
    """
    if pa.types.is_list(column.type):
        row = np.asarray(pc.list_parent_indices(column))
        broken = not_finite(pc.list_flatten(column), nullable=nullable)
        return np.bincount(row, broken, minlength=len(column)) > 0
    return ~_mask(pc.is_finite(column), if_null=nullable)


def not_at_least(column: Column, least: float, *, nullable: bool, strictly: bool = False) -> np.ndarray:
    """(n,) bool: below ``least`` (or equal to it, with ``strictly``), NaN, or null where that is not allowed.

    >>> not_at_least(pa.array([1, 0, None]), 1, nullable=True).tolist()
    [False, True, False]
    """
    bound = pa.scalar(least, column.type)
    enough = pc.greater(column, bound) if strictly else pc.greater_equal(column, bound)
    return ~_mask(enough, if_null=nullable)


def not_kept(triplets: pa.Table, verdicts: pa.Table) -> np.ndarray:
    """(n,) bool: no verdict keeps the negative for its positive; one without a positive is for all."""
    kept = verdicts.filter(pc.field("verdict") == "kept")
    general = _mask(kept["positive_id"].is_null())
    for_all, own = kept.filter(pa.array(general)), kept.filter(pa.array(~general))
    query, positive, negative = (triplets[name] for name in ("query_id", "positive_id", "negative_id"))
    return ~(
        among([query, negative], [for_all["query_id"], for_all["document_id"]])
        | among([query, positive, negative], [own["query_id"], own["positive_id"], own["document_id"]])
    )


def not_first(verdicts: pa.Table, names: Sequence[str]) -> np.ndarray:
    """(n,) bool: the verdict is not the first rule that fired, or "kept" though one did.

    Args:
      verdicts: ``schema.VERDICTS``.
      names: what each bit of ``fired`` stands for.
    """
    place = np.asarray(pc.index_in(verdicts["verdict"], pa.array(["kept", *names])).fill_null(-1), np.int64)
    fired = verdicts["fired"].to_numpy()
    lowest = np.where(place > 0, np.int64(1) << np.maximum(place - 1, 0), 0)
    return (place < 0) | ((fired & -fired) != lowest)


def quota_missed(positives: pa.Table, triplets: pa.Table, shortfalls: pa.Table, wanted: int) -> np.ndarray:
    """(p,) bool: the positive has neither ``wanted`` triplets nor one shortfall that says how many and why.

    Args:
      positives: query_id, document_id.
      triplets: query_id, positive_id.
      shortfalls: ``schema.SHORTFALLS``.
      wanted: triplets that each should have.
    """
    label, row, short = _keys(
        [
            (positives["query_id"], positives["document_id"]),
            (triplets["query_id"], triplets["positive_id"]),
            (shortfalls["query_id"], shortfalls["positive_id"]),
        ]
    )
    width = max(int(keys.max(initial=-1)) for keys in (label, row, short)) + 1
    count = np.bincount(row, minlength=width)[label]
    notes = np.bincount(short, minlength=width)[label]
    explained = (
        (shortfalls["wanted"].to_numpy() == wanted)
        & (shortfalls["found"].to_numpy() == np.bincount(row, minlength=width)[short])
        & _mask(pc.greater(pc.utf8_length(shortfalls["reason"]), pa.scalar(0, pa.int32())))
    )
    explanations = np.bincount(short[explained], minlength=width)[label]
    full = (count == wanted) & (notes == 0)
    short_of = (count < wanted) & (notes == 1) & (explanations == 1)
    return ~(full | short_of)


def group_sizes(triplets: pa.Table) -> np.ndarray:
    """(g,) how many negatives each (query, positive) has, in no order.

    >>> group_sizes(pa.table({"query_id": ["a", "a", "b"], "positive_id": ["x", "x", "x"]})).tolist()
    [2, 1]
    """
    (key,) = _keys([(triplets["query_id"], triplets["positive_id"])])
    return np.unique(key, return_counts=True)[1]


def _keys(groups: Sequence[Sequence[Column]]) -> list[np.ndarray]:
    """One int64 per row of each group of columns: equal rows, equal numbers, smaller than the rows of all."""
    sizes = np.cumsum([len(columns[0]) for columns in groups])
    key = np.zeros(sizes[-1], np.int64)
    for parts in zip(*groups, strict=True):
        code = np.concatenate(arrays.codes(*parts))
        key = np.unique(key * (code.max(initial=0) + 1) + code, return_inverse=True)[1]
    return np.split(key, sizes[:-1])


def _mask(column: Column, *, if_null: bool = False) -> np.ndarray:
    filled: Any = column.fill_null(pa.scalar(if_null))
    return np.asarray(filled.to_numpy(zero_copy_only=False), bool)
