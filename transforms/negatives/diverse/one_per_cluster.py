"""Negatives that differ from each other: no two from one cluster."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from gangue.transforms import arrays
from gangue.transforms.negatives.diverse.mmr import Similarity
from gangue.transforms.negatives.rows import Rows
from gangue.transforms.settings.section import Among, Name, Section


class OnePerCluster(Section):
    """No two negatives from one cluster of documents."""

    reads: ClassVar[dict[str, Among]] = {"encoder": "clusters"}

    kind: Literal["cluster"] = "cluster"
    encoder: Name

    def left(self, rows: Rows, keys: np.ndarray, hard: int, similarity: Similarity) -> np.ndarray:
        """(m,) bool which rows are left to choose from: the first of each cluster."""
        cluster = rows.candidates.clusters[self.encoder][rows.pair]
        return first_of_cluster(rows.groups, cluster, keys, rows.tie)


def first_of_cluster(groups: np.ndarray, clusters: np.ndarray, keys: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """(n,) bool: the row with the highest key of each cluster of each group; rows without a cluster all stay.

    Args:
      groups: (n,).   clusters: (n,) -1 where unknown.   keys: (n,) higher first.   tie: (n,) lower first.

    >>> one = first_of_cluster(np.zeros(4, int), np.array([5, 5, -1, -1]), np.array([1.0, 2, 0, 0]), np.arange(4))
    >>> one.tolist()
    [False, True, True, True]
    """
    own = np.where(clusters < 0, -1 - np.arange(len(clusters)), clusters)
    pair = np.unique(np.stack([groups, own]), axis=1, return_inverse=True)[1].reshape(-1)
    return arrays.rank_within(pair, [-keys, tie]) == 0
