"""Rows of triplets by (query, positive), and as passages with a label."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays


def groups(triplets: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Runs of rows of one (query, positive): (g,) first row and (g,) length."""
    if not len(triplets):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    query = pc.rank(triplets["query_id"], tiebreaker="dense").to_numpy()
    positive = pc.rank(triplets["positive_id"], tiebreaker="dense").to_numpy()
    first = np.flatnonzero(np.r_[True, (np.diff(query) != 0) | (np.diff(positive) != 0)])
    return first, np.diff(np.r_[first, len(triplets)])


def for_trainers(triplets: pa.Table, score: str) -> pa.Table:
    """The triplets as the views show them: hard negatives first, by descending score, and none whose weight is 0.

    A trainer that takes the first of a list gets the hardest. No view has a column of weights.
    """
    weighed = triplets.filter(pc.greater(triplets["weight"], 0.0))
    first, length = groups(weighed)
    group = np.repeat(np.arange(len(first)), length)
    drawn = pc.not_equal(weighed["negative_kind"], "hard").to_numpy()
    hardness = np.nan_to_num(arrays.floats(weighed, f"score_{score}"), nan=-np.inf)
    return weighed.take(pa.array(np.lexsort((-hardness, drawn, group))))


def scored(triplets: pa.Table, score: str) -> pa.Table:
    """The triplets that have a score, and whose positives have one: an ensemble chooses by scores that others lack."""
    both = (pc.is_valid(triplets[f"{role}score_{score}"]) for role in ("", "positive_"))
    return triplets.filter(pc.and_(*both))


def listed(triplets: pa.Table) -> tuple[pa.Array, np.ndarray]:
    """Rows of each (query, positive), the first of each group twice: once for the positive. And 1 for these."""
    first, _ = groups(triplets)
    repeats = np.ones(len(triplets), np.int64)
    repeats[first] = 2
    order = np.repeat(np.arange(len(triplets)), repeats)
    label = np.zeros(len(order))
    label[first + np.arange(len(first))] = 1.0
    return pa.array(order), label


def passages(triplets: pa.Table, order: pa.Array, label: np.ndarray) -> pa.ChunkedArray:
    """The positive where the label is 1, else the negative."""
    return pc.if_else(pa.array(label == 1), triplets["positive"].take(order), triplets["negative"].take(order))
