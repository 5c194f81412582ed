"""The weight ``cet``: inverse propensity of having been judged."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from gangue.transforms.negatives.weights.weight import Negatives, WeightSection
from gangue.transforms.settings.section import Among, Name


class Cet(WeightSection):
    """A weight by how likely the labellers saw the negative: inverse propensity, fitted by logistic regression."""

    reads: ClassVar[dict[str, Among]] = {"pool": "retrievers"}

    kind: Literal["cet"] = "cet"
    pool: Name  # the retriever whose results were labelled
    temperature: Annotated[float, Field(gt=0)] = 10.0
    clip: Annotated[float, Field(gt=1)] = 10.0  # the highest weight; the lowest is 1

    @property
    def fitted(self) -> str:
        """The pool."""
        return self.pool

    def weigh(self, rows: Negatives) -> np.ndarray:
        """(m,) from 1 to ``clip``."""
        return propensity_weights(rows.propensity(self.pool), self.temperature, self.clip)


def propensity_weights(logits: np.ndarray, temperature: float, clip: float) -> np.ndarray:
    """(n,) 1 / (1 - sigmoid(logit / T)), at most ``clip``: a negative that was likely to be judged can be trusted.

    CET (arXiv 2209.05072): who labelled saw a pool, and what was not in the pool was never judged. The paper trains
    the propensity along with the ranker; here it is fitted once, which is plain inverse-propensity weighting.

    >>> propensity_weights(np.array([-4, -1, 0, 1, 4.0]), 2, 10).round(4).tolist()
    [1.1353, 1.6065, 2.0, 2.6487, 8.3891]
    """
    return np.minimum(1.0 + np.exp(np.minimum(logits / temperature, 50.0)), clip)
