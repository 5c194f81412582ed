"""The sampler ``softmax``: drawn by the score."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from gangue.transforms.negatives import picking
from gangue.transforms.negatives.rows import Order, Rows
from gangue.transforms.negatives.samplers.sampler import SamplerSection


class Softmax(SamplerSection):
    """Draw by the score: p ~ exp(s / temperature)."""

    sharper: ClassVar[str] = "Lower sample.softmax.temperature"

    kind: Literal["softmax"] = "softmax"
    temperature: Annotated[float, Field(gt=0)] = 1.0

    def order(self, rows: Rows, hard: int) -> Order:
        """By a draw."""
        return picking.draw(softmax_logits(rows.score, self.temperature), rows)


def softmax_logits(scores: np.ndarray, temperature: float) -> np.ndarray:
    """(n,) unnormalised log-probability of NV-Retriever's sampled top-k (arXiv 2407.15831): p_i ~ exp(s_i / T).

    >>> weights = np.exp(softmax_logits(np.array([0.7, 0.6]), 0.1))
    >>> (weights / weights.sum()).round(4).tolist()
    [0.7311, 0.2689]
    """
    return scores / temperature
