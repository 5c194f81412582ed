"""The rule ``shifted``: the first ranks are passed over (NV-Retriever's Top-k shifted by N)."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np

from gangue.transforms import arrays
from gangue.transforms.candidates.rules.candidates import Rows
from gangue.transforms.candidates.rules.rule import Quantiles, RuleSection
from gangue.transforms.settings.section import Among, Count, Name


class Shifted(RuleSection):
    """Drop the ``shift`` best of what relations leave."""

    cut_key: ClassVar[str] = "shift"
    reads: ClassVar[dict[str, Among]] = {"score": "scores"}

    kind: Literal["shifted"] = "shifted"
    shift: Count | None = None  # first ranks to drop
    score: Name

    def fires(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """(m,) among the first ranks, (m,) without a score. NV-Retriever shifts after the positives are taken out."""
        assert self.shift is not None
        candidates, score = rows.candidates, rows.score(self.score)
        unscored = np.isnan(score)
        key = np.where(rows.left & ~unscored, -score, np.inf)
        group = rows.query * (len(candidates.positive_query) + 1) + rows.positive + 1
        place = arrays.rank_within(group, [key, candidates.tie[rows.pair]])
        return rows.left & ~unscored & (place < self.shift), unscored

    def cuts(self, deepest: int, quantiles: Quantiles) -> list[float]:
        """From strict to loose."""
        return np.unique(np.r_[0:10, np.geomspace(10, deepest, 41).astype(int)])[::-1].tolist()

    def with_cut(self, cut: float) -> Self:
        """The same rule with another cut, a whole number."""
        return self.model_copy(update={"shift": int(cut)})
