"""The rule ``denoise``: what a cross-encoder finds relevant (RocketQA, arXiv 2010.08191)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from gangue.transforms.candidates.rules.candidates import Rows
from gangue.transforms.candidates.rules.rule import Quantiles, RuleSection
from gangue.transforms.settings.section import Among, Name


class Denoise(RuleSection):
    """Drop what scores above ``max``: it is a likely positive."""

    cut_key: ClassVar[str] = "max"
    reads: ClassVar[dict[str, Among]] = {"score": "scores"}

    kind: Literal["denoise"] = "denoise"
    max: float | None = None
    score: Name

    def fires(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """(m,) where the score is higher. Of what the cross-encoder did not read, it says nothing."""
        assert self.max is not None
        return rows.score(self.score) > self.max, rows.nowhere

    def cuts(self, deepest: int, quantiles: Quantiles) -> list[float]:
        """From strict to loose."""
        return quantiles(self.score)
