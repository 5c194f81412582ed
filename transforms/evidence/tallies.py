"""What is worth knowing of the product, shard by shard, as sums."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays
from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.evidence import checks, statistics
from gangue.transforms.evidence.distribution import Distribution, distribution_of
from gangue.transforms.evidence.leak import Leak
from gangue.transforms.negatives import selection

if TYPE_CHECKING:
    from gangue.pipeline import params

NEAR = 10  # ranks at which retrievers are compared, besides their depth
SIDES = ("positive", "negative", "difference")


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Statistics of some shards; those of all shards are their sum.

    Attributes:
      examples: rows to keep of each list.
      sizes: triplets, queries, positives, full (positives with all negatives), hard, random, next_cluster.
      verdicts, fired: verdict -> candidates for which it came first, and at all.
      shortfalls: reason -> positives.
      scores: score -> side -> distribution; a positive counts once, negatives and differences once per triplet.
      overlaps: "one|other|ranks" -> (sum of Jaccard indices, queries).
      order: score -> (wins, compared): of all pairs of a positive and a candidate of its query that both have the
        score, how many the positive wins, ties half. Candidates are those that are nothing else to the query.
      hardest, suspicious: triplets with their ``order``, first things first; a negative of a query once.
      leak: outcome of the leak test.
    """

    examples: int
    sizes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    verdicts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    fired: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    shortfalls: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    scores: dict[str, dict[str, Distribution]] = dataclasses.field(default_factory=dict)
    overlaps: dict[str, tuple[float, int]] = dataclasses.field(default_factory=dict)
    order: dict[str, tuple[float, int]] = dataclasses.field(default_factory=dict)
    hardest: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    suspicious: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    leak: Leak = dataclasses.field(default_factory=Leak)

    def __add__(self, other: Evidence) -> Evidence:
        """The statistics of both."""
        none = {side: Distribution() for side in SIDES}
        scores = {
            name: {side: self.scores.get(name, none)[side] + other.scores.get(name, none)[side] for side in SIDES}
            for name in self.scores | other.scores
        }
        return Evidence(
            self.examples,
            _sum(self.sizes, other.sizes),
            _sum(self.verdicts, other.verdicts),
            _sum(self.fired, other.fired),
            _sum(self.shortfalls, other.shortfalls),
            scores,
            _both(self.overlaps, other.overlaps),
            _both(self.order, other.order),
            statistics.merge_rows(self.hardest, other.hardest, self.examples),
            statistics.merge_rows(self.suspicious, other.suspicious, self.examples),
            self.leak + other.leak,
        )


def collect(
    p: params.Params,
    loaded: query_shard.Shard,
    triplets: pa.Table,
    verdicts: pa.Table,
    shortfalls: pa.Table,
    leak: Leak,
) -> Evidence:
    """The statistics of one shard."""
    names = [*p.retrievers, *p.scorers]
    negative = {name: arrays.floats(triplets, f"score_{name}").astype(np.float64) for name in names}
    positive = {name: arrays.floats(triplets, f"positive_score_{name}").astype(np.float64) for name in names}
    once = ~checks.repeated(triplets["query_id"], triplets["positive_id"])
    first, fired = statistics.waterfall(
        verdicts["verdict"], verdicts["fired"].to_numpy(), rules.rule_names(p.filter.rules)
    )
    reasons = collections.Counter(str(reason) for reason in shortfalls["reason"].to_pylist())
    kinds = collections.Counter(triplets["negative_kind"].to_pylist())
    sizes = {
        "triplets": len(triplets),
        "queries": loaded.queries,
        "positives": (positives := len(loaded.block.positives) + len(loaded.withdrawn)),
        "full": positives - len(shortfalls),
        "hard": kinds[selection.HARD],
        "random": kinds[selection.RANDOM],
        "next_cluster": kinds[selection.NEXT_CLUSTER],
    }
    return Evidence(
        p.audit.examples,
        collections.Counter(sizes),
        collections.Counter(first),
        collections.Counter(fired),
        reasons,
        {
            name: {
                "positive": distribution_of(positive[name][once]),
                "negative": distribution_of(negative[name]),
                "difference": distribution_of(positive[name] - negative[name]),
            }
            for name in names
        },
        _overlaps(p, loaded),
        _order(loaded),
        _top(p, triplets, positive[p.sample.score] - negative[p.sample.score]),
        _top(p, triplets, _suspicion(p, triplets, negative, positive)),
        leak,
    )


def _top(p: params.Params, triplets: pa.Table, order: np.ndarray) -> list[dict[str, Any]]:
    """The rows of lowest order, each negative of a query once."""
    by_order = np.argsort(order, kind="stable")
    sorted_ids = triplets.select(["query_id", "negative_id"]).take(pa.array(by_order, pa.int64()))
    again = by_order[checks.repeated(*sorted_ids.columns)]
    once = np.where(np.isin(np.arange(len(order)), again), np.nan, order)
    return statistics.top_rows(triplets, once, p.audit.examples)


def _suspicion(
    p: params.Params, triplets: pa.Table, negative: dict[str, np.ndarray], positive: dict[str, np.ndarray]
) -> np.ndarray:
    """(n,) the lower, the likelier a false negative: by ``suspected_by``."""
    by = suspected_by(p)
    if by == rules.P_FALSE:
        return -arrays.floats(triplets, rules.P_FALSE).astype(np.float64)
    return -negative[by] if by else -statistics.closeness(negative, positive)


def suspected_by(p: params.Params) -> str | None:
    """What says best which negatives are false: the learned filter, else the first scorer; None: all scores."""
    return rules.P_FALSE if p.filter.asks_to_learn else next(iter(p.scorers), None)


def _overlaps(p: params.Params, loaded: query_shard.Shard) -> dict[str, tuple[float, int]]:
    result = {}
    for one, other in itertools.combinations(p.retrievers, 2):
        depth = min(p.retrievers[one].depth, p.retrievers[other].depth)
        for ranks in sorted({min(NEAR, depth), depth}):
            result[f"{one}|{other}|{ranks}"] = statistics.overlap(
                loaded.candidates.query, loaded.candidates.ranks[one], loaded.candidates.ranks[other], ranks
            )
    return result


def _order(loaded: query_shard.Shard) -> dict[str, tuple[float, int]]:
    candidates = loaded.candidates
    plain = ~np.any(list(candidates.relations.values()), axis=0)
    return {
        name: statistics.concordance(candidates.query, scores, candidates.relations["positive"], plain)
        for name, scores in candidates.scores.items()
    }


def _both(one: dict[str, tuple[float, int]], other: dict[str, tuple[float, int]]) -> dict[str, tuple[float, int]]:
    """Sums of totals and of counts."""
    result = {}
    for key in one | other:
        (total, count), (more, further) = one.get(key, (0.0, 0)), other.get(key, (0.0, 0))
        result[key] = (total + more, count + further)
    return result


def _sum(one: collections.Counter[str], other: collections.Counter[str]) -> collections.Counter[str]:
    """Sum that keeps the zeros and the order."""
    return collections.Counter({name: one[name] + other[name] for name in {**one, **other}})
