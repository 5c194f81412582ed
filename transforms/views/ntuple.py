"""The view ``ntuple``."""

from __future__ import annotations

import pyarrow as pa

from gangue.transforms.views import rows


def ntuple(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """anchor, positive, negative_1 … negative_n: a row for each positive that has all n negatives."""
    first, length = rows.groups(triplets)
    full = first[length == negatives]
    columns = {"anchor": triplets["query"], "positive": triplets["positive"]}
    table = {name: column.take(pa.array(full)) for name, column in columns.items()}
    for number in range(negatives):
        table[f"negative_{number + 1}"] = triplets["negative"].take(pa.array(full + number))
    return pa.table(table)
