"""The weight ``phi`` (DCLR)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from gangue.transforms.negatives.weights.weight import Negatives, WeightSection
from gangue.transforms.settings.section import Among, Name


class Phi(WeightSection):
    """Weight 0 where another score than the sampler's finds the negative too similar, or else 1 (DCLR)."""

    reads: ClassVar[dict[str, Among]] = {"score": "scores"}

    kind: Literal["phi"] = "phi"
    score: Name
    phi: float = 0.9

    def weigh(self, rows: Negatives) -> np.ndarray:
        """(m,) 0 or 1."""
        return phi_weights(rows.score(self.score), self.phi)


def phi_weights(scores: np.ndarray, phi: float) -> np.ndarray:
    """(n,) 0 for a negative that another encoder finds too similar to its query, 1 for the others.

    DCLR (arXiv 2205.00656): alpha = 0 if sim > phi else 1. Its code multiplies the logit by alpha, which leaves
    exp(0) in the denominator; a weight of 0 takes the negative out. A negative without a score keeps its 1.

    >>> phi_weights(np.array([0.95, 0.89, 0.5]), 0.9).tolist()
    [0.0, 1.0, 1.0]
    """
    return np.where(scores > phi, 0.0, 1.0)
