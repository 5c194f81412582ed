"""The rule ``learned``: what is likely a positive that nobody labelled."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from gangue.transforms.candidates.rules.candidates import P_FALSE, Rows
from gangue.transforms.candidates.rules.rule import Quantiles, RuleSection


class Learned(RuleSection):
    """Drop what is at least as likely a positive as ``p_false`` says."""

    cut_key: ClassVar[str] = "p_false"
    learns: ClassVar[bool] = True

    kind: Literal["learned"] = "learned"
    p_false: Annotated[float, Field(gt=0, le=1)] | None = None

    def fires(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """(m,) where the probability reaches the cut, (m,) where there is none."""
        assert self.p_false is not None
        probability = rows.score(P_FALSE)
        unscored = np.isnan(probability)
        return ~(probability < self.p_false) & ~unscored, unscored

    def cuts(self, deepest: int, quantiles: Quantiles) -> list[float]:
        """From strict to loose, evenly in log odds."""
        return [*(1.0 / (1.0 + np.exp(-np.linspace(-9.0, 4.0, 81)))).tolist(), 1.0]
