"""Negatives that differ from each other: maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from gangue.transforms import arrays
from gangue.transforms.negatives.rows import Rows
from gangue.transforms.settings.section import Among, Name, Section

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(m,) candidates, (m,) candidates -> (m,) cosine of their documents."""

_DIGITS = 6
"""Values nearer than this are equal and the id decides: low bits of a vector depend on which texts shared a batch."""


class Mmr(Section):
    """Maximal marginal relevance: hard, and not like a negative that is chosen already."""

    reads: ClassVar[dict[str, Among]] = {"encoder": "encoders"}

    kind: Literal["mmr"] = "mmr"
    encoder: Name
    weight: Annotated[float, Field(ge=0, le=1)] = 0.7  # of hardness; the rest is of unlikeness

    def left(self, rows: Rows, keys: np.ndarray, hard: int, similarity: Similarity) -> np.ndarray:
        """(m,) bool which rows are left to choose from: those that are chosen one by one."""
        return marginal_relevance(
            rows.groups,
            rows.score,
            rows.tie,
            hard,
            self.weight,
            lambda one, other: similarity(rows.pair[one], rows.pair[other]),
        )


def marginal_relevance(
    groups: np.ndarray,
    scores: np.ndarray,
    tie: np.ndarray,
    quota: int,
    weight: float,
    similarity: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """(n,) bool: chosen one by one by weight x relevance - (1 - weight) x highest similarity to one chosen before.

    Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998). Relevance is the score scaled to [0, 1]
    within the group, so that it weighs as much whatever the scale of the score.

    Args:
      groups: (n,) group numbers from 0.   scores: (n,).   tie: (n,) breaks equal values, lower first.
      quota: rows to choose in each group.   weight: in [0, 1]; 1 is the highest scores.
      similarity: (m,) rows, (m,) rows -> (m,) cosine, NaN where unknown: then nothing speaks against the row.

    >>> same = lambda one, other: np.where(one + other == 1, 1.0, 0.0)  # rows 0 and 1 are alike
    >>> zeros = np.zeros(3, int)
    >>> marginal_relevance(zeros, np.array([3.0, 2.9, 1.0]), np.arange(3), 2, 0.4, same).tolist()
    [True, False, True]
    """
    chosen = np.zeros(len(groups), bool)
    count = int(groups.max(initial=-1)) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, groups, scores)
    np.maximum.at(high, groups, scores)
    width = np.where(high > low, high - low, 1.0)
    relevance = (scores - low[groups]) / width[groups]
    closest = np.full(len(groups), -1.0)
    for _ in range(quota):  # a choice at a time, in all groups at once
        left = np.flatnonzero(~chosen)
        value = np.round(weight * relevance[left] - (1 - weight) * closest[left], _DIGITS)
        best = left[arrays.rank_within(groups[left], [-value, tie[left]]) == 0]
        chosen[best] = True
        latest = np.full(count, -1)
        latest[groups[best]] = best
        left = np.flatnonzero(~chosen)
        if not left.size:
            break
        near = similarity(left, latest[groups[left]])
        closest[left] = np.fmax(closest[left], near)
    return chosen
