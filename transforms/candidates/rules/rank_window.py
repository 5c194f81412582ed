"""The rule ``rank_window``: ranks of a retriever between two bounds (ANCE's and others' "ranks 30 to 200")."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import model_validator

from gangue.transforms.candidates.rules.candidates import Rows
from gangue.transforms.candidates.rules.rule import RuleSection
from gangue.transforms.settings.section import Among, Name, Positive


class RankWindow(RuleSection):
    """Drop what the retriever does not rank between ``first`` and ``last``."""

    reads: ClassVar[dict[str, Among]] = {"score": "retrievers"}

    kind: Literal["rank_window"] = "rank_window"
    first: Positive  # raw ranks of the retriever ``score``
    last: Positive
    score: Name

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"first must be <= last, got {self.first} > {self.last}")
        return self

    def fires(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """(m,) where the rank is outside. What was drawn has none to judge, unless a retriever returned it as well."""
        candidates = rows.candidates
        rank = candidates.ranks[self.score][rows.pair]
        inside = (rank >= self.first) & (rank <= self.last)
        drawn = (candidates.random | candidates.next_cluster) & ~candidates.retrieved
        return ~inside & ~drawn[rows.pair], rows.nowhere
