"""What an approximate index finds of what exact search finds."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from gangue.transforms.datasets.storage import Data

RECALL = pa.schema([("query_id", pa.string()), ("wanted", pa.int32()), ("found", pa.int32())])
LITTLE = 0.95  # below that a line says what helps


class Recall(NamedTuple):
    """Of so many ``queries`` the exact best are ``wanted``, and of these so many were ``found``."""

    queries: int
    wanted: int
    found: int

    @property
    def share(self) -> float:
        """Found of wanted."""
        return self.found / max(1, self.wanted)

    def said(self) -> str:
        """In words, with what helps where it is little.

        >>> Recall(64, 6400, 6272).said()
        'recall 98.0% (64 queries)'
        >>> Recall(64, 6400, 3072).said()
        'recall 48.0% (64 queries): a higher nprobe (IVF) or refine (codes), or exact search (Flat) finds more'
        """
        said = f"recall {self.share:.1%} ({self.queries} queries)"
        if self.share < LITTLE:
            said += ": a higher nprobe (IVF) or refine (codes), or exact search (Flat) finds more"
        return said


def measured(data: Data, retriever: str) -> Recall | None:
    """What ``retrieve`` measured; None for exact search."""
    if not data.exists(dataset := f"indexes/{retriever}/recall"):
        return None
    table = data.read_all(dataset, ["wanted", "found"])
    return Recall(len(table), *(int(column.to_numpy().sum()) for column in table.columns)) if len(table) else None
