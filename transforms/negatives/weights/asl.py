"""The weight ``asl``: asymmetric loss."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from gangue.transforms.negatives.weights.weight import Negatives, WeightSection
from gangue.transforms.settings.section import Among, Name


class Asl(WeightSection):
    """A weight by the probability of being relevant (asymmetric loss)."""

    reads: ClassVar[dict[str, Among]] = {"score": "scorers"}

    kind: Literal["asl"] = "asl"
    score: Name  # a scorer whose scores are probabilities
    gamma_neg: Annotated[float, Field(ge=0)] = 4.0
    clip: Annotated[float, Field(ge=0, lt=1)] = 0.05  # less probable ones weigh nothing
    form: Literal["weight", "gradient"] = "weight"

    @property
    def probability(self) -> str | None:
        """The scorer whose scores it takes for probabilities."""
        return self.score

    def weigh(self, rows: Negatives) -> np.ndarray:
        """(m,) from 0.

        Raises:
          ValueError: a negative has no score, or one that is no probability.
        """
        scores = rows.score(self.score)
        unscored = np.isnan(scores)
        if unscored.any():
            raise ValueError(
                f"sample.weight: kind asl needs a probability of every negative by {self.score}, but"
                f" {int(unscored.sum())} of {len(scores)} have no score."
                f" Raise scorers.{self.score}.depth, or set sample.score: {self.score}"
            )
        outside = (scores < 0) | (scores > 1)
        if outside.any():
            raise ValueError(
                f"sample.weight: kind asl needs probabilities, but {int(outside.sum())} of {len(scores)} scores of"
                f" {self.score} are not from 0 to 1, first {scores[outside][0]:.4g}. Name another"
                f" scorers.{self.score}.model or weight, or set scorers.{self.score}.activation: sigmoid"
            )
        return asl_weights(scores, self.gamma_neg, self.clip, self.form)


def asl_weights(probabilities: np.ndarray, gamma: float, clip: float, form: str) -> np.ndarray:
    """(n,) how much a negative of this probability of being relevant counts.

    ASL (arXiv 2009.14119): L = -(p_m)^gamma log(1 - p_m), p_m = max(p - clip, 0). ``weight`` is (p_m)^gamma: it
    drops easy negatives and grows with p. ``gradient`` is |dL/dlogit|: it falls again where p comes near to 1,
    so likely false negatives count less.

    Args:
      probabilities: (n,) in [0, 1].   gamma: >= 0, the paper's 4.   clip: in [0, 1), the paper's 0.05.

    >>> asl_weights(np.array([0.05, 0.5, 0.9]), 4, 0.05, "weight").round(6).tolist()
    [0.0, 0.041006, 0.522006]
    >>> asl_weights(np.array([0.05, 0.5, 0.9]), 4, 0.05, "gradient").round(5).tolist()
    [0.0, 0.07312, 0.73263]
    """
    shifted = np.maximum(probabilities - clip, 0.0)
    focus = np.where(probabilities >= clip, shifted**gamma, 0.0)
    if form == "weight":
        return focus
    # p = 1 without a clip is the limit 1 - gamma p' log(1 - p') -> 1 of a loss that has no bound there.
    safe = np.minimum(shifted, 1 - 1e-12)
    slope = gamma * shifted ** max(gamma - 1, 0) * -np.log1p(-safe) + focus / (1 - safe)
    return np.where(probabilities >= clip, slope * probabilities * (1 - np.minimum(probabilities, 1 - 1e-12)), 0.0)
