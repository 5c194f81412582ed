"""Triplets in the shapes that trainers read without code of ours.

Each view is sharded and sorted as the triplets are. Column order matters to sentence-transformers: inputs first,
the label last.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def groups(triplets: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Runs of rows of one (query, positive): (g,) first row and (g,) length."""
    if not len(triplets):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    query = pc.rank(triplets["query_id"], tiebreaker="dense").to_numpy()
    positive = pc.rank(triplets["positive_id"], tiebreaker="dense").to_numpy()
    first = np.flatnonzero(np.r_[True, (np.diff(query) != 0) | (np.diff(positive) != 0)])
    return first, np.diff(np.r_[first, len(triplets)])


def triplet(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """anchor, positive, negative: for MultipleNegativesRankingLoss, TripletLoss…"""
    return triplets.select(["query", "positive", "negative"]).rename_columns(["anchor", "positive", "negative"])


def ntuple(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """anchor, positive, negative_1 … negative_n: a row for each positive that has all n negatives."""
    first, length = groups(triplets)
    full = first[length == negatives]
    columns = {"anchor": triplets["query"], "positive": triplets["positive"]}
    table = {name: column.take(pa.array(full)) for name, column in columns.items()}
    for number in range(negatives):
        table[f"negative_{number + 1}"] = triplets["negative"].take(pa.array(full + number))
    return pa.table(table)


def labeled_pair(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """anchor, passage, label: each positive once with 1, then its negatives with 0."""
    order, label = _listed(triplets)
    return pa.table(
        {
            "anchor": triplets["query"].take(order),
            "passage": _passages(triplets, order, label),
            "label": pa.array(label, pa.float32()),
        }
    )


def labeled_list(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """query, documents, labels: a list for each positive, itself first; for the cross-encoder's list losses."""
    first, length = groups(triplets)
    order, label = _listed(triplets)
    offsets = pa.array(np.r_[0, np.cumsum(length + 1)], pa.int32())
    return pa.table(
        {
            "query": triplets["query"].take(pa.array(first)),
            "documents": pa.ListArray.from_arrays(offsets, _flat(_passages(triplets, order, label))),
            "labels": pa.ListArray.from_arrays(offsets, pa.array(label, pa.float32())),
        }
    )


def scored_pair(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """anchor, passage, score: as ``labeled_pair`` with the score instead of the label, for distillation."""
    order, label = _listed(triplets)
    return (
        labeled_pair(triplets, negatives, score)
        .drop_columns("label")
        .append_column("score", _scores(triplets, order, label, score))
    )


def scored_list(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """query, documents, scores: as ``labeled_list`` with scores instead of labels, for distillation."""
    order, label = _listed(triplets)
    lists = labeled_list(triplets, negatives, score)
    offsets = lists["labels"].combine_chunks()
    offsets = (offsets.chunk(0) if isinstance(offsets, pa.ChunkedArray) else offsets).offsets
    values = _scores(triplets, order, label, score)
    return lists.drop_columns("labels").append_column("scores", pa.ListArray.from_arrays(offsets, values))


VIEWS = {
    "triplet": triplet,
    "ntuple": ntuple,
    "labeled_pair": labeled_pair,
    "labeled_list": labeled_list,
    "scored_pair": scored_pair,
    "scored_list": scored_list,
}


def _listed(triplets: pa.Table) -> tuple[pa.Array, np.ndarray]:
    """Rows of each (query, positive), the first of each group twice: once for the positive. And 1 for these."""
    first, _ = groups(triplets)
    repeats = np.ones(len(triplets), np.int64)
    repeats[first] = 2
    order = np.repeat(np.arange(len(triplets)), repeats)
    label = np.zeros(len(order))
    label[first + np.arange(len(first))] = 1.0
    return pa.array(order), label


def _passages(triplets: pa.Table, order: pa.Array, label: np.ndarray) -> pa.ChunkedArray:
    return pc.if_else(pa.array(label == 1), triplets["positive"].take(order), triplets["negative"].take(order))


def _scores(triplets: pa.Table, order: pa.Array, label: np.ndarray, score: str) -> pa.Array:
    positive, negative = triplets[f"positive_score_{score}"], triplets[f"score_{score}"]
    return _flat(pc.if_else(pa.array(label == 1), positive.take(order), negative.take(order)))


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
