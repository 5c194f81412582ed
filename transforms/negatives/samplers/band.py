"""The sampler ``band``: any of those between two scores."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from gangue.transforms.negatives.rows import Order, Rows
from gangue.transforms.negatives.samplers.sampler import SamplerSection
from gangue.transforms.settings.section import Count


class Band(SamplerSection):
    """Any of those whose score lies between two bounds; the lower one falls where there are too few."""

    kind: Literal["band"] = "band"
    low: float = 0.3
    high: float = 0.4
    step: Annotated[float, Field(gt=0)] = 0.05  # by how much the lower bound falls
    patience: Count = 10  # how often at most
    least: Count = 10  # how many should lie between

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be < high, got {self.low} >= {self.high}")
        return self

    def order(self, rows: Rows, hard: int) -> Order:
        """By noise, what lies between."""
        groups = rows.groups
        floors = band_floors(rows.score, groups, self.low, self.high, self.step, self.patience, self.least)
        inside = (rows.score > floors[groups]) & (rows.score < self.high)
        return Order(rows.uniforms, inside, widened=int((floors < self.low).sum()))


def band_floors(
    scores: np.ndarray, groups: np.ndarray, low: float, high: float, step: float, patience: int, least: int
) -> np.ndarray:
    """Lower bound of the scores that may be drawn, widened where too few lie between the bounds.

    CAR's sampler (arXiv 2305.14869, its code): cosines in (0.3, 0.4), the lower bound lowered by 0.05 up to
    10 times until 10 are there. Both bounds are exclusive.

    Args:
      scores: (n,).   groups: (n,) group numbers from 0.   low, high: the band.
      step: by how much it is widened.   patience: how often at most.   least: how many should be there.

    Returns:
      (g,) lower bound of each group.

    >>> band_floors(np.array([0.35, 0.28, 0.1, 0.5]), np.array([0, 0, 0, 1]), 0.3, 0.4, 0.05, 10, 2).round(2).tolist()
    [0.25, -0.2]
    """
    groups_count = groups.max(initial=-1) + 1
    floors = np.full(groups_count, low)
    for times in range(1, patience + 1):  # a handful, whatever the number of rows
        floor = low - step * times
        inside = np.bincount(groups[(scores > floors[groups]) & (scores < high)], minlength=groups_count)
        floors = np.where(inside < least, floor, floors)
    return floors
