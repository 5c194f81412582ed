"""The weight ``lambda_rank``: what a change of places would change (ADORE)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from gangue.transforms.negatives.weights.weight import Negatives, WeightSection
from gangue.transforms.settings.section import Among, Name, Positive


class LambdaRank(WeightSection):
    """A weight by how much the reciprocal rank changes if positive and negative change places (ADORE)."""

    reads: ClassVar[dict[str, Among]] = {"retriever": "retrievers"}

    kind: Literal["lambda_rank"] = "lambda_rank"
    retriever: Name
    cut: Positive = 200  # ranks beyond count as not found

    def weigh(self, rows: Negatives) -> np.ndarray:
        """(m,) from 0 to 1."""
        ranks = rows.candidates.ranks[self.retriever]
        return lambda_weights(ranks[rows.positive], ranks[rows.pair], self.cut)


def lambda_weights(positive_ranks: np.ndarray, ranks: np.ndarray, cut: int) -> np.ndarray:
    """(n,) |1 / r+ - 1 / r-|: by how much the reciprocal rank changes if positive and negative change places.

    ADORE (arXiv 2104.08051) weighs its pairs so, after LambdaRank; it searches anew at every step, and this is the
    weight by one search. A rank beyond ``cut`` counts as never found, whose reciprocal is 0; so does NaN.

    Args:
      positive_ranks, ranks: (n,) from 1, of each row's positive and negative.

    >>> lambda_weights(np.full(4, 3.0), np.array([1, 2, 200, np.nan]), 200).round(4).tolist()
    [0.6667, 0.1667, 0.3283, 0.3333]
    """
    reciprocals = [np.where(of <= cut, 1.0 / of, 0.0) for of in (positive_ranks, ranks)]
    return np.abs(reciprocals[0] - reciprocals[1])
