"""Rules that hold a candidate's score against the score of a positive: ``margin`` and ``perc``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from gangue.transforms import arrays
from gangue.transforms.candidates.rules.candidates import Rows
from gangue.transforms.candidates.rules.rule import Quantiles, RuleSection
from gangue.transforms.settings.section import Among, Name

Which = Literal["own", "min", "mean", "max"]
"""Which positive's score sets the ceiling."""


class _BelowPositive(RuleSection):
    """Drop what reaches the ceiling that a positive's score sets; ``cut`` says how far below the score it is."""

    reads: ClassVar[dict[str, Among]] = {"score": "scores"}

    score: Name
    positive: Which = "min"

    @property
    def own(self) -> bool:
        """Whether each own positive sets a ceiling."""
        return self.positive == "own"

    def fires(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """(m,) where the score reaches the ceiling, (m,) where there is no score or no ceiling."""
        assert self.cut is not None
        limit = ceiling(levels(rows, self.score, self.positive), self.kind, self.cut)
        values = rows.score(self.score)
        unscored = np.isnan(values) | np.isnan(limit)
        return ~unscored & ~(values < limit), unscored


class Margin(_BelowPositive):
    """Drop what does not stay ``margin`` below the positive (NV-Retriever's TopK-MarginPos)."""

    cut_key: ClassVar[str] = "margin"

    kind: Literal["margin"] = "margin"
    margin: Annotated[float, Field(ge=0)] | None = None  # distance below the positive

    def cuts(self, deepest: int, quantiles: Quantiles) -> list[float]:
        """From strict to loose, evenly from the width of the scores to 0: margins of cosines and of logits differ."""
        scores = quantiles(self.score)
        return np.unique(np.linspace(0.0, scores[-1] - scores[0], 41))[::-1].tolist()


class Perc(_BelowPositive):
    """Drop what reaches a share of the positive's score (NV-Retriever's TopK-PercPos)."""

    cut_key: ClassVar[str] = "perc"

    kind: Literal["perc"] = "perc"
    perc: Annotated[float, Field(gt=0)] | None = None  # share of the positive's score

    def cuts(self, deepest: int, quantiles: Quantiles) -> list[float]:
        """From strict to loose."""
        return np.linspace(0.2, 1.2, 41).tolist()


def ceiling(positives: np.ndarray, kind: str, value: float) -> np.ndarray:
    """The score that a negative must stay strictly below, from the score of its positive.

    ``margin``: s - value.  ``perc``: s - |s| (1 - value), which is value x s for s > 0 and still lowers the
    ceiling where s < 0 (NV-Retriever's TopK-MarginPos and TopK-PercPos, sign-safe).

    >>> ceiling(np.array([0.8, -0.5]), "perc", 0.95).round(3).tolist()
    [0.76, -0.525]
    >>> ceiling(np.array([0.8]), "margin", 0.05).round(3).tolist()
    [0.75]
    """
    if kind == "margin":
        return positives - value
    return positives - np.abs(positives) * (1.0 - value)


def reference(scores: np.ndarray, query: np.ndarray, queries: int, which: str) -> np.ndarray:
    """(q,) one positive score for each query: its ``min``, ``mean`` or ``max``; NaN where it has none.

    >>> reference(np.array([1.0, 0.75, 0.5]), np.array([0, 1, 1]), 2, "min").tolist()
    [1.0, 0.5]
    """
    result = np.full(queries, np.nan)
    offsets = arrays.offsets_of(query, queries)
    some = np.flatnonzero(np.diff(offsets))
    if not some.size:
        return result
    starts = offsets[some]
    if which == "mean":
        result[some] = np.add.reduceat(scores, starts) / np.diff(offsets)[some]
    else:
        reduce = np.minimum if which == "min" else np.maximum
        result[some] = reduce.reduceat(scores, starts)
    return result


def levels(rows: Rows, score: str, which: Which) -> np.ndarray:
    """(m,) the positive's score that each row is held against; NaN where there is none."""
    candidates = rows.candidates
    positives = candidates.positive_scores[score].astype(np.float64)
    if which == "own":
        # Row -1 stands for a positive itself, whose verdict is known already.
        own = positives[rows.positive] if len(positives) else np.full(len(rows.pair), np.nan)
        return np.where(rows.positive >= 0, own, np.nan)
    return reference(positives, candidates.positive_query, rows.queries, which)[rows.query]
