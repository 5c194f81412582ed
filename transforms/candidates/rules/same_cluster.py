"""The rule ``same_cluster``: documents in the cluster of a positive are like it (ClusterNS, arXiv 2305.09892)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from gangue.transforms import arrays
from gangue.transforms.candidates.rules.candidates import Rows
from gangue.transforms.candidates.rules.rule import RuleSection
from gangue.transforms.settings.section import Among, Name


class SameCluster(RuleSection):
    """Drop what is in the cluster of any positive of the query."""

    reads: ClassVar[dict[str, Among]] = {"encoder": "clusters"}

    kind: Literal["same_cluster"] = "same_cluster"
    encoder: Name  # whose clusters

    def fires(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """(m,) where document and positive share a cluster."""
        candidates = rows.candidates
        cluster, own = candidates.clusters[self.encoder], candidates.positive_clusters[self.encoder]
        keys, taken = arrays.pair_numbers((candidates.query, cluster), (candidates.positive_query, own))
        shared = (cluster >= 0) & np.isin(keys, taken[own >= 0])
        return shared[rows.pair], rows.nowhere
