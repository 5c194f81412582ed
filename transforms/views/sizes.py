"""How many rows a view must have, from the (g,) numbers of negatives of each positive and how many were wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa


class Shape(NamedTuple):
    """A view.

    Attributes:
      table: triplets of a shard, how many negatives a positive should have, name of the score to show -> the view.
      rows: (g,) numbers of negatives, how many were wanted -> how many rows the view has.
      scores: its column of scores, where it has one: a negative without the score is left out of it.
    """

    table: Callable[[pa.Table, int, str], pa.Table]
    rows: Callable[[np.ndarray, int], int]
    scores: str | None = None


def each_triplet(sizes: np.ndarray, wanted: int) -> int:
    """One for each triplet.

    >>> each_triplet(np.array([2, 1]), 2)
    3
    """
    return int(sizes.sum())


def each_full(sizes: np.ndarray, wanted: int) -> int:
    """One for each positive that has all negatives.

    >>> each_full(np.array([2, 1]), 2)
    1
    """
    return int((sizes == wanted).sum())


def each_positive(sizes: np.ndarray, wanted: int) -> int:
    """One for each positive.

    >>> each_positive(np.array([2, 1]), 2)
    2
    """
    return len(sizes)


def each_passage(sizes: np.ndarray, wanted: int) -> int:
    """One for each positive and one for each triplet.

    >>> each_passage(np.array([2, 1]), 2)
    5
    """
    return len(sizes) + int(sizes.sum())
