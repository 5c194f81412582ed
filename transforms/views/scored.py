"""The views ``scored_pair``, ``scored_ntuple`` and ``scored_list``: scores in place of labels, for distillation."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays
from gangue.transforms.views import rows
from gangue.transforms.views.labeled import labeled_list, labeled_pair
from gangue.transforms.views.ntuple import ntuple


def scored_pair(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """anchor, passage, score: as ``labeled_pair`` with the score instead of the label."""
    order, label = rows.listed(triplets)
    return (
        labeled_pair(triplets, negatives, score)
        .drop_columns("label")
        .append_column("score", _scores(triplets, order, label, score))
    )


def scored_ntuple(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """As ``ntuple``, with label: the scores of the positive and of each negative, in their order."""
    first, length = rows.groups(triplets)
    full = first[length == negatives]
    own = arrays.one_array(triplets[f"positive_score_{score}"].take(pa.array(full)))
    others = [arrays.one_array(triplets[f"score_{score}"].take(pa.array(full + n))) for n in range(negatives)]
    turn = np.arange(len(full) * (negatives + 1)).reshape(negatives + 1, len(full)).T.reshape(-1)
    label = pa.concat_arrays([own, *others]).take(pa.array(turn))
    offsets = pa.array(np.arange(len(full) + 1) * (negatives + 1), pa.int32())
    return ntuple(triplets, negatives, score).append_column("label", pa.ListArray.from_arrays(offsets, label))


def scored_list(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """query, documents, scores: as ``labeled_list`` with scores instead of labels."""
    order, label = rows.listed(triplets)
    lists = labeled_list(triplets, negatives, score)
    offsets = lists["labels"].combine_chunks()
    offsets = (offsets.chunk(0) if isinstance(offsets, pa.ChunkedArray) else offsets).offsets
    values = _scores(triplets, order, label, score)
    return lists.drop_columns("labels").append_column("scores", pa.ListArray.from_arrays(offsets, values))


def _scores(triplets: pa.Table, order: pa.Array, label: np.ndarray, score: str) -> pa.Array:
    positive, negative = triplets[f"positive_score_{score}"], triplets[f"score_{score}"]
    return arrays.one_array(pc.if_else(pa.array(label == 1), positive.take(order), negative.take(order)))
