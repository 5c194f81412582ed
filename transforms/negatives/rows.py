"""What samplers choose from: the kept candidates of positives, as arrays."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from gangue.transforms import arrays, randomness
from gangue.transforms.candidates.rules import Candidates


@dataclasses.dataclass(frozen=True)
class Rows:
    """What may be chosen: m rows of (positive, kept candidate).

    Attributes:
      candidates: all n of them.
      pair: (m,) which candidate.   positive: (m,) for which positive.   tie: (m,) orders equals.
      hashes: (m,) uint64 noise.
      score: (m,) hardness.   level: (m,) the positive's own.
    """

    candidates: Candidates
    pair: np.ndarray
    positive: np.ndarray
    tie: np.ndarray
    hashes: np.ndarray
    score: np.ndarray
    level: np.ndarray

    def take(self, rows: np.ndarray) -> Rows:
        """Some of the rows, by number or mask."""
        columns = ("pair", "positive", "tie", "hashes", "score", "level")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in columns})

    @property
    def groups(self) -> np.ndarray:
        """(m,) group numbers from 0: a group for each positive that has rows."""
        return arrays.numbered(self.positive)

    @property
    def uniforms(self) -> np.ndarray:
        """(m,) noise in (0, 1)."""
        return randomness.uniforms(self.hashes)


class Order(NamedTuple):
    """In which order a sampler takes the rows of each positive.

    Attributes:
      keys: (m,) higher first, what has the highest is chosen.
      left: (m,) bool, which rows may be chosen; None: all.
      flat: positives whose candidates a draw weighs with less than a factor of two between them.
      widened: positives for which a band was widened.
    """

    keys: np.ndarray
    left: np.ndarray | None = None
    flat: int = 0
    widened: int = 0
