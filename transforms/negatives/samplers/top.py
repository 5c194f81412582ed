"""The sampler ``top``: the hardest."""

from __future__ import annotations

from typing import ClassVar, Literal

from gangue.transforms.negatives.rows import Order, Rows
from gangue.transforms.negatives.samplers.sampler import SamplerSection


class Top(SamplerSection):
    """The highest scores."""

    draws: ClassVar[bool] = False

    kind: Literal["top"] = "top"

    def order(self, rows: Rows, hard: int) -> Order:
        """By the score."""
        return Order(rows.score)

    @property
    def refuses(self) -> dict[str, str]:
        """It chooses the first ones by itself."""
        return {"keep_first": "it chooses the hardest as it is"}
