"""False-negative rules: which candidates of a query may serve as its negatives, and why the others may not.

The rules are NV-Retriever's family (arXiv 2407.15831) and RocketQA's denoising (arXiv 2010.08191), on any
score. A candidate is kept only if its score is strictly below the ceiling, as in the paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from transforms import arrays

IDENTITY = ("positive", "own_text", "same_text", "near_duplicate", "sibling_positive", "duplicate")
"""Relations in the order in which they fire, before any rule on a score."""

P_FALSE = "p_false"
"""The score by which a learned rule judges: how likely the candidate is a positive that nobody labelled."""

UNSCORED = "unscored"
"""The verdict where no rule fires, but one must judge by a score that does not cover the candidate."""


class Rule(Protocol):
    """The parameters of one rule (``pipeline.params.Rule``)."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def score(self) -> str | None: ...  # noqa: D102
    @property
    def positive(self) -> str | None: ...  # noqa: D102
    @property
    def shift(self) -> int | None: ...  # noqa: D102
    @property
    def abs(self) -> float | None: ...  # noqa: D102
    @property
    def margin(self) -> float | None: ...  # noqa: D102
    @property
    def perc(self) -> float | None: ...  # noqa: D102
    @property
    def first(self) -> int | None: ...  # noqa: D102
    @property
    def last(self) -> int | None: ...  # noqa: D102
    @property
    def encoder(self) -> str | None: ...  # noqa: D102
    @property
    def max(self) -> float | None: ...  # noqa: D102
    @property
    def p_false(self) -> float | None: ...  # noqa: D102


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
      similarities: dense retriever -> (n,) float, highest cosine to another positive of the query, NaN without one;
        of the sampler's retriever alone, and only if it compares documents.
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
    similarities: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    answered: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, bool))
    clusters: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    positive_clusters: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def retrieved(self) -> np.ndarray:
        """(n,) bool, some retriever returned it."""
        return ~np.all([np.isnan(rank) for rank in self.ranks.values()], axis=0)


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """One verdict per candidate, or per (positive, candidate) where a rule refers to each own positive.

    Attributes:
      names: what bit i of ``fired`` stands for; -1 in ``verdict`` is "kept", i is ``names[i]``.
      pair: (m,) which candidate.
      positive: (m,) which positive, -1 for all of the query's.
      verdict: (m,) int8.
      fired: (m,) int64 bits of all that fire.
    """

    names: tuple[str, ...]
    pair: np.ndarray
    positive: np.ndarray
    verdict: np.ndarray
    fired: np.ndarray


def rule_names(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Names of the verdicts of a stack of rules; a second rule of one kind gets a number.

    >>> from pipeline.params import Rule
    >>> rule_names([Rule(kind="abs", abs=0.7, score="a"), Rule(kind="abs", abs=9, score="b")])[-2:]
    ('abs_2', 'unscored')
    """
    kinds = [rule.kind for rule in rules]
    numbered = [kind if (n := kinds[:i].count(kind)) == 0 else f"{kind}_{n + 1}" for i, kind in enumerate(kinds)]
    return (*IDENTITY, *numbered, UNSCORED)


def ceiling(positives: np.ndarray, kind: str, value: float) -> np.ndarray:
    """The score that a negative must stay strictly below, from the score of its positive.

    ``margin``: s - value.  ``perc``: s - |s| (1 - value), which is value x s for s > 0 and still lowers the
    ceiling where s < 0 (NV-Retriever's TopK-MarginPos and TopK-PercPos, sign-safe).

    >>> ceiling(np.array([0.8, -0.5]), "perc", 0.95).round(3).tolist()
    [0.76, -0.525]
    >>> ceiling(np.array([0.8]), "margin", 0.05).round(3).tolist()
    [0.75]
    """
    if kind == "margin":
        return positives - value
    return positives - np.abs(positives) * (1.0 - value)


def reference(scores: np.ndarray, query: np.ndarray, queries: int, which: str) -> np.ndarray:
    """(q,) one positive score for each query: its ``min``, ``mean`` or ``max``; NaN where it has none.

    >>> reference(np.array([1.0, 0.75, 0.5]), np.array([0, 1, 1]), 2, "min").tolist()
    [1.0, 0.5]
    """
    result = np.full(queries, np.nan)
    offsets = arrays.offsets_of(query, queries)
    some = np.flatnonzero(np.diff(offsets))
    if not some.size:
        return result
    starts = offsets[some]
    if which == "mean":
        result[some] = np.add.reduceat(scores, starts) / np.diff(offsets)[some]
    else:
        reduce = np.minimum if which == "min" else np.maximum
        result[some] = reduce.reduceat(scores, starts)
    return result


def first_bit(fired: np.ndarray) -> np.ndarray:
    """(m,) int8 number of the lowest bit that is set, which stands for the verdict; -1 where none is.

    >>> first_bit(np.array([0, 1, 12])).tolist()
    [-1, 0, 2]
    """
    lower = (fired & -fired) - 1  # all bits below the lowest
    return np.where(fired == 0, np.int8(-1), np.bitwise_count(lower).view(np.int8))


def judge(candidates: Candidates, rules: Sequence[Rule], queries: int) -> Verdicts:
    """Judge every candidate by every rule: the first that fires is the verdict, all that fire are kept.

    Args:
      candidates: the pairs, positives among them.   rules: in the order in which they fire.   queries: q.

    Returns:
      Verdicts in the order of the candidates; with a rule on the ``own`` positive, for each candidate one
      per positive of its query (a positive itself has a single one).
    """
    names = rule_names(rules)
    pairs = np.arange(len(candidates.query))
    positive = np.full(len(pairs), -1)
    if any(rule.positive == "own" for rule in rules):
        offsets = arrays.offsets_of(candidates.positive_query, queries)
        position, member = arrays.ragged(offsets, candidates.query)
        once = candidates.relations["positive"][position] & (member != offsets[candidates.query][position])
        pairs, positive = position[~once], member[~once]
        positive = np.where(candidates.relations["positive"][pairs], -1, positive)
    bits = {name: 1 << i for i, name in enumerate(names)}
    identity = np.zeros(len(candidates.query), np.int64)
    for relation in IDENTITY:
        identity[np.flatnonzero(candidates.relations[relation])] |= bits[relation]
    fired = identity[pairs]
    structural = fired == 0
    for rule, name in zip(rules, names[len(IDENTITY) : -1], strict=True):
        fires, unscored = _fires(rule, candidates, pairs, positive, structural, queries)
        fired |= fires * np.int64(bits[name])
        fired[np.flatnonzero(unscored & structural)] |= bits[UNSCORED]
    told = np.flatnonzero(candidates.judged[pairs])
    fired[told] = identity[pairs[told]]
    # A positive is a positive: what else a rule says of it is noise.
    fired[np.flatnonzero(candidates.relations["positive"][pairs])] = bits["positive"]
    return Verdicts(names, pairs, positive, first_bit(fired), fired)


def _fires(
    rule: Rule,
    candidates: Candidates,
    pairs: np.ndarray,
    positive: np.ndarray,
    structural: np.ndarray,
    queries: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(m,) where the rule fires, and (m,) where it cannot tell."""
    nowhere = np.zeros(len(pairs), bool)
    if rule.kind == "naive":
        return nowhere, nowhere
    if rule.kind == "answer":
        return candidates.answered[pairs], nowhere
    if rule.kind == "same_cluster":
        assert rule.encoder is not None
        return _in_cluster_of_positive(candidates, rule.encoder)[pairs], nowhere
    if rule.kind == "learned":
        probability = candidates.scores[P_FALSE][pairs]
        return ~(probability < rule.p_false) & ~np.isnan(probability), np.isnan(probability)
    assert rule.score is not None
    if rule.kind == "rank_window":
        rank = candidates.ranks[rule.score][pairs]
        assert rule.first is not None
        assert rule.last is not None
        inside = (rank >= rule.first) & (rank <= rule.last)
        # A document that was drawn has no rank to judge, unless a retriever returned it as well.
        drawn = (candidates.random | candidates.next_cluster) & ~candidates.retrieved
        return ~inside & ~drawn[pairs], nowhere
    score = candidates.scores[rule.score][pairs]
    unscored = np.isnan(score)
    if rule.kind == "abs":
        return ~unscored & ~(score < rule.abs), unscored
    if rule.kind == "denoise":
        # It speaks of what the cross-encoder read, the best of every retriever; the rest is none of its business.
        return score > rule.max, nowhere
    if rule.kind == "shifted":
        # Ranks count what the identity rules leave: NV-Retriever shifts after the positives are taken out.
        key = np.where(structural & ~unscored, -score, np.inf)
        group = candidates.query[pairs] * (len(candidates.positive_query) + 1) + positive + 1
        place = arrays.rank_within(group, [key, candidates.tie[pairs]])
        return structural & ~unscored & (place < rule.shift), unscored
    positives = candidates.positive_scores[rule.score].astype(np.float64)
    if rule.positive == "own":
        # Row -1 stands for a positive itself, whose verdict is known already.
        own = positives[positive] if len(positives) else np.full(len(pairs), np.nan)
        level = np.where(positive >= 0, own, np.nan)
    else:
        assert rule.positive is not None
        level = reference(positives, candidates.positive_query, queries, rule.positive)[candidates.query[pairs]]
    value = rule.margin if rule.kind == "margin" else rule.perc
    assert value is not None
    limit = ceiling(level, rule.kind, value)
    unscored = unscored | np.isnan(limit)
    return ~unscored & ~(score < limit), unscored


def _in_cluster_of_positive(candidates: Candidates, encoder: str) -> np.ndarray:
    """(n,) bool: the document is in the cluster of a positive of its query (ClusterNS, arXiv 2305.09892)."""
    cluster, own = candidates.clusters[encoder], candidates.positive_clusters[encoder]
    width = np.int64(max(cluster.max(initial=-1), own.max(initial=-1)) + 1)
    taken = (candidates.positive_query * width + own)[own >= 0]
    return (cluster >= 0) & np.isin(candidates.query * width + cluster, taken)
