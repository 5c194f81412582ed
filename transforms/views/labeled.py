"""The views ``labeled_pair`` and ``labeled_list``."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays
from gangue.transforms.views import rows


def labeled_pair(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """anchor, passage, label: each positive once with 1, then its negatives with 0."""
    order, label = rows.listed(triplets)
    return pa.table(
        {
            "anchor": triplets["query"].take(order),
            "passage": rows.passages(triplets, order, label),
            "label": pa.array(label, pa.float32()),
        }
    )


def labeled_list(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """query, documents, labels: a list for each positive, itself first; for the cross-encoder's list losses."""
    first, length = rows.groups(triplets)
    order, label = rows.listed(triplets)
    offsets = pa.array(np.r_[0, np.cumsum(length + 1)], pa.int32())
    return pa.table(
        {
            "query": triplets["query"].take(pa.array(first)),
            "documents": pa.ListArray.from_arrays(offsets, arrays.one_array(rows.passages(triplets, order, label))),
            "labels": pa.ListArray.from_arrays(offsets, pa.array(label, pa.float32())),
        }
    )
