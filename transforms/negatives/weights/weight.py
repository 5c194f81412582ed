"""What every weight is: settings, and how much each chosen negative counts."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable

import numpy as np

from gangue.transforms.candidates.rules import Candidates
from gangue.transforms.settings.section import Section


@dataclasses.dataclass(frozen=True)
class Negatives:
    """The chosen, m rows of (positive, candidate).

    Attributes:
      candidates: all n of them.   pair: (m,) which candidate each row is.
      positive: (m,) which candidate the row's positive is.
      propensity: retriever -> (m,) logits of having been judged, if ``WeightSection.fitted`` names it.
    """

    candidates: Candidates
    pair: np.ndarray
    positive: np.ndarray
    propensity: Callable[[str], np.ndarray]

    def score(self, name: str) -> np.ndarray:
        """(m,) float64 score of the negative, NaN where it has none."""
        return self.candidates.scores[name][self.pair].astype(np.float64)


class WeightSection(Section, abc.ABC):
    """One weight, of the kind that its class says."""

    kind: str

    @property
    def fitted(self) -> str | None:
        """The retriever of which it must be known how likely its results were judged."""
        return None

    @property
    def probability(self) -> str | None:
        """The scorer whose scores it takes for probabilities."""
        return None

    @abc.abstractmethod
    def weigh(self, rows: Negatives) -> np.ndarray:
        """(m,) how much each row counts, 1 as much as without a weight.

        Raises:
          ValueError: a value that it needs is missing.
        """
