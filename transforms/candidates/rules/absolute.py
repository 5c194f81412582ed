"""The rule ``abs``: a ceiling that is the same for all queries (NV-Retriever's TopK-Abs)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from gangue.transforms.candidates.rules.candidates import Rows
from gangue.transforms.candidates.rules.rule import Quantiles, RuleSection
from gangue.transforms.settings.section import Among, Name


class Abs(RuleSection):
    """Drop what scores ``abs`` or more."""

    cut_key: ClassVar[str] = "abs"
    reads: ClassVar[dict[str, Among]] = {"score": "scores"}

    kind: Literal["abs"] = "abs"
    abs: float | None = None  # ceiling
    score: Name

    def fires(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """(m,) where the score reaches the ceiling, (m,) where there is none."""
        assert self.abs is not None
        score = rows.score(self.score)
        unscored = np.isnan(score)
        return ~unscored & ~(score < self.abs), unscored

    def cuts(self, deepest: int, quantiles: Quantiles) -> list[float]:
        """From strict to loose."""
        return quantiles(self.score)
