"""The view ``triplet``."""

from __future__ import annotations

import pyarrow as pa


def triplet(triplets: pa.Table, negatives: int, score: str) -> pa.Table:
    """anchor, positive, negative: for MultipleNegativesRankingLoss, TripletLoss…"""
    return triplets.select(["query", "positive", "negative"]).rename_columns(["anchor", "positive", "negative"])
