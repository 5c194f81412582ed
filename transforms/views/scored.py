"""The views ``scored_pair`` and ``scored_list``: those with labels, with a score in place of the label."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays
from gangue.transforms.views import rows
from gangue.transforms.views.labeled import labeled_list, labeled_pair


def scored_pair(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """anchor, passage, score: as ``labeled_pair`` with the score instead of the label, for distillation."""
    order, label = rows.listed(triplets)
    return (
        labeled_pair(triplets, negatives, score)
        .drop_columns("label")
        .append_column("score", _scores(triplets, order, label, score))
    )


def scored_list(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """query, documents, scores: as ``labeled_list`` with scores instead of labels, for distillation."""
    order, label = rows.listed(triplets)
    lists = labeled_list(triplets, negatives, score)
    offsets = lists["labels"].combine_chunks()
    offsets = (offsets.chunk(0) if isinstance(offsets, pa.ChunkedArray) else offsets).offsets
    values = _scores(triplets, order, label, score)
    return lists.drop_columns("labels").append_column("scores", pa.ListArray.from_arrays(offsets, values))


def _scores(triplets: pa.Table, order: pa.Array, label: np.ndarray, score: str) -> pa.Array:
    positive, negative = triplets[f"positive_score_{score}"], triplets[f"score_{score}"]
    return arrays.one_array(pc.if_else(pa.array(label == 1), positive.take(order), negative.take(order)))
