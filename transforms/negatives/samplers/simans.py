"""The sampler ``simans``: ambiguous negatives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from gangue.transforms.negatives import picking
from gangue.transforms.negatives.rows import Order, Rows
from gangue.transforms.negatives.samplers.sampler import SamplerSection


class Simans(SamplerSection):
    """Ambiguous negatives: p ~ exp(-a (s - s_positive - b)^2), or with law laplace exp(-a |s - s_positive - b|)."""

    sharper: ClassVar[str] = "Raise sample.simans.a, or scale: zscore"

    kind: Literal["simans"] = "simans"
    a: Annotated[float, Field(gt=0)] = 0.5
    b: float = 0.0
    law: Literal["gauss", "laplace"] = "gauss"
    scale: Literal["raw", "zscore"] = "zscore"
    against: Literal["query", "document"] = "query"  # s: of the query, or the similarity to its nearest positive

    def order(self, rows: Rows, hard: int) -> Order:
        """By a draw; where the positive has no score, all are as likely."""
        values, level = rows.score, rows.level
        if self.against == "document":
            values = rows.candidates.similarity[rows.pair].astype(np.float64)
        if self.scale == "zscore":
            mean, deviation = zscores(values, rows.groups)
            values, level = (values - mean) / deviation, (level - mean) / deviation
        logits = simans_logits(values, level, self.a, self.b, self.law)
        return picking.draw(np.nan_to_num(logits, nan=0.0), rows)

    @property
    def refuses(self) -> dict[str, str]:
        """Several scores, where documents are compared."""
        return {"ensemble": "against: document compares documents"} if self.compares else {}

    @property
    def compares(self) -> str:
        """Where it compares documents."""
        return "simans.against: document" if self.against == "document" else ""


def simans_logits(scores: np.ndarray, positives: np.ndarray, a: float, b: float, law: str = "gauss") -> np.ndarray:
    """Unnormalised log-probability of ambiguous negatives.

    SimANS (arXiv 2210.11773, eq. 4): p_i ~ exp(-a (s_i - s_positive - b)^2). The sign of b is the paper's, not
    its code's. ``laplace``: p_i ~ exp(-a |s_i - s_positive - b|), as its passage code draws with a = 3.

    Args:
      scores: (n,) scores of the candidates.   positives: (n,) score of each one's positive.

    >>> logits = simans_logits(np.array([84, 81, 80, 79, 78, 76.0]), np.full(6, 80.0), 0.5, 0.0)
    >>> (np.exp(logits) / np.exp(logits).sum()).round(6).tolist()
    [0.000143, 0.258201, 0.425701, 0.258201, 0.057612, 0.000143]
    """
    distance = scores - positives - b
    return -a * (distance**2 if law == "gauss" else np.abs(distance))


def zscores(scores: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each row's group, so that scores of any scale can be compared.

    Args:
      scores: (n,).   groups: (n,) group numbers from 0.

    Returns:
      (n,) mean and (n,) standard deviation, 1 where a group does not vary.
    """
    count = np.maximum(np.bincount(groups), 1)
    mean = np.bincount(groups, scores) / count
    deviation = np.sqrt(np.maximum(np.bincount(groups, scores**2) / count - mean**2, 0))
    deviation[deviation < 1e-9] = 1.0
    return mean[groups], deviation[groups]
