"""The sampler ``nearest``: nearest to the positive's score."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from gangue.transforms.negatives.rows import Order, Rows
from gangue.transforms.negatives.samplers.sampler import SamplerSection


class Nearest(SamplerSection):
    """The smallest |s - s_positive - b|."""

    draws: ClassVar[bool] = False

    kind: Literal["nearest"] = "nearest"
    b: float = 0.0

    def order(self, rows: Rows, hard: int) -> Order:
        """By nearness; those whose positive has no score come last."""
        return Order(np.nan_to_num(nearness(rows.score, rows.level, self.b), nan=-np.inf))


def nearness(scores: np.ndarray, positives: np.ndarray, b: float) -> np.ndarray:
    """(n,) the higher, the nearer to the positive's score plus b: SimANS's ablation Nearest-K, which draws nothing.

    >>> nearness(np.array([84.0, 81.0, 79.0]), np.full(3, 80.0), 0.0).tolist()
    [-4.0, -1.0, -1.0]
    """
    return -np.abs(scores - positives - b)
