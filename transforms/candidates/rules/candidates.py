"""What rules judge: pairs of queries and documents as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

IDENTITY = (
    "positive",
    "own_text",
    "same_text",
    "near_duplicate",
    "sibling_positive",
    "partly_relevant",
    "reverse_positive",
    "duplicate",
)
"""Relations in the order in which they fire, before any rule on a score."""

P_FALSE = "p_false"
"""The score by which a learned rule judges: how likely the candidate is a positive that nobody labelled."""

UNSCORED = "unscored"
"""The verdict where no rule fires, but one must judge by a score that does not cover the candidate."""


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Pairs to judge, as arrays: n pairs of q queries, p positives.

    Attributes:
      query: (n,) query number.
      tie: (n,) orders equal scores: the rank of the document's id.
      relations: relation -> (n,) bool.
      scores: score name -> (n,) float, NaN where not scored.
      ranks: retriever -> (n,) float raw rank, NaN where not returned.
      random: (n,) bool, drawn from the corpus rather than retrieved.
      next_cluster: (n,) bool, from the cluster next to the query's own.
      judged: (n,) bool, somebody said that it is no positive: no rule on a score drops it.
      positive_query: (p,) query number of each positive, ascending.
      positive_scores: score name -> (p,) float.
      similarity: (n,) float, highest cosine to another positive of the query, NaN without one; empty if the sampler
        compares no documents.
      answered: (n,) bool, the document contains an answer of the query.
      clusters: encoder -> (n,) cluster of the document, -1 where unknown.   positive_clusters: encoder -> (p,).
    """

    query: np.ndarray
    tie: np.ndarray
    relations: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]
    ranks: Mapping[str, np.ndarray]
    random: np.ndarray
    next_cluster: np.ndarray
    judged: np.ndarray
    positive_query: np.ndarray
    positive_scores: Mapping[str, np.ndarray]
    similarity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    answered: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, bool))
    clusters: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    positive_clusters: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def retrieved(self) -> np.ndarray:
        """(n,) bool, some retriever returned it."""
        return ~np.all([np.isnan(rank) for rank in self.ranks.values()], axis=0)


@dataclasses.dataclass(frozen=True)
class Rows:
    """What one rule judges: m rows, a candidate each, or a (positive, candidate) where a rule asks for each own one.

    Attributes:
      candidates: n of them, of q queries.
      pair: (m,) which candidate.
      positive: (m,) for which positive, -1 for all of the query's.
      left: (m,) bool, no relation speaks against the candidate.
      queries: q.
    """

    candidates: Candidates
    pair: np.ndarray
    positive: np.ndarray
    left: np.ndarray
    queries: int

    @property
    def nowhere(self) -> np.ndarray:
        """(m,) bool, all False."""
        return np.zeros(len(self.pair), bool)

    @property
    def query(self) -> np.ndarray:
        """(m,) query number."""
        return self.candidates.query[self.pair]

    def score(self, name: str) -> np.ndarray:
        """(m,) score of the candidate, NaN where it has none."""
        return self.candidates.scores[name][self.pair]
