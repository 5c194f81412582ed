"""The sampler ``random``: any of the kept."""

from __future__ import annotations

from typing import Literal

from gangue.transforms.negatives.rows import Order, Rows
from gangue.transforms.negatives.samplers.sampler import SamplerSection


class Random(SamplerSection):
    """Every candidate is as likely."""

    kind: Literal["random"] = "random"

    def order(self, rows: Rows, hard: int) -> Order:
        """By noise."""
        return Order(rows.uniforms)
