"""How many false negatives get through: hide known positives, mine again, count those that come back.

A hidden positive is a true answer that nobody labelled, which is just what a false negative is. The same is
done without any rule on scores (``naive``), so that there is something to compare with.

Where no query has two positives, what else is known to answer a query is tested (``related``).
"""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import held_out, intervals, related
from gangue.transforms.evidence.distribution import Distribution, distribution_of
from gangue.transforms.negatives import selection
from gangue.transforms.negatives.choosing import choose
from gangue.transforms.negatives.samplers import joint
from gangue.transforms.relevance import propensity

if TYPE_CHECKING:
    from gangue.pipeline import params


@dataclasses.dataclass(frozen=True)
class Stack:
    """What one stack of rules let through: sums, which add up over shards.

    Attributes:
      chosen: negatives of queries with hidden positives, over all rounds.
      leaked: hidden positives among them.
      hard: those among the chosen that were not drawn at random.
      hard_leaked: hidden positives among these.
      corrected: unlabelled positives that the leaked ones stand for, in ``propensity.UNITS`` of the average.
      hardness: ``sample.score`` of the chosen.
      supplied, supplied_leaked: the hard ones, and those that leaked, by the retriever that ranks each best.
      resampled: (3, replicates) chosen, leaked and corrected when queries are drawn anew.
    """

    chosen: int = 0
    leaked: int = 0
    hard: int = 0
    hard_leaked: int = 0
    corrected: int = 0
    hardness: Distribution = dataclasses.field(default_factory=Distribution)
    supplied: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    supplied_leaked: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    resampled: list[list[int]] = dataclasses.field(default_factory=lambda: [[0] * intervals.REPLICATES] * 3)

    def __add__(self, other: Stack) -> Stack:
        """Sum of two shards."""
        return Stack(
            self.chosen + other.chosen,
            self.leaked + other.leaked,
            self.hard + other.hard,
            self.hard_leaked + other.hard_leaked,
            self.corrected + other.corrected,
            self.hardness + other.hardness,
            self.supplied + other.supplied,
            self.supplied_leaked + other.supplied_leaked,
            np.add(self.resampled, other.resampled).tolist(),
        )


@dataclasses.dataclass(frozen=True)
class Leak:
    """Outcome of the test; queries and hidden positives are counted once per round.

    ``related``: relation -> documents with it that were tested, ``related_leaked``: those of them that would be
    negatives if nobody knew (``related.tested``).
    """

    queries: int = 0
    hidden: int = 0
    related: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    related_leaked: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    rules: Stack = dataclasses.field(default_factory=Stack)
    naive: Stack = dataclasses.field(default_factory=Stack)

    def __add__(self, other: Leak) -> Leak:
        """Sum of two shards."""
        return Leak(
            self.queries + other.queries,
            self.hidden + other.hidden,
            self.related + other.related,
            self.related_leaked + other.related_leaked,
            self.rules + other.rules,
            self.naive + other.naive,
        )


def measure(data: Data, p: params.Params, shard: query_shard.Shard, seen: propensity.Propensity | None = None) -> Leak:
    """Hide, mine and count in one shard of queries, ``audit.rounds`` times.

    Args:
      data, p, shard: a shard as judged.
      seen: how likely documents were judged, for the estimate that is corrected for it.
    """
    known_otherwise = related.tested(data, p, shard)
    shard = held_out.testable(data, p, shard)
    stacks = {"rules": p.filter.rules, "naive": (rules.Naive(),)}
    tallies = {name: np.zeros((shard.queries, 5), np.int64) for name in stacks}
    hardness = {name: Distribution() for name in stacks}
    supplied = {name: np.zeros((len(p.retrievers), 2), np.int64) for name in stacks}
    queries = hidden_count = 0
    for hidden, unaware, came_back in held_out.rounds(data, p, shard, p.audit):
        tested = np.unique(shard.block.positive_query[hidden])
        queries, hidden_count = queries + len(tested), hidden_count + int(hidden.sum())
        stands_for = came_back * (propensity.UNITS if seen is None else seen.stands_for(unaware.candidates))
        for name, stack in stacks.items():
            verdicts = rules.judge(unaware.candidates, stack, unaware.queries)
            chosen = choose(data, unaware, verdicts, p.sample)
            counts = np.isin(unaware.candidates.query[chosen.pair], tested)
            pair, hard = chosen.pair[counts], chosen.kind[counts] == selection.HARD
            query = unaware.candidates.query[pair]
            leaked = came_back[pair]
            row = np.stack([np.ones_like(hard), leaked, stands_for[pair], hard, leaked & hard], axis=1)
            np.add.at(tallies[name], query, row)
            hardness[name] += distribution_of(unaware.candidates.scores[p.sample.score][pair])
            supplier = joint.suppliers(np.array([rank[pair[hard]] for rank in unaware.candidates.ranks.values()]))
            found = supplier >= 0  # a hard one may have been judged, and found by none
            np.add.at(supplied[name], supplier[found], np.stack([np.ones_like(supplier), leaked[hard]], axis=1)[found])

    def summed(name: str) -> Stack:
        resampled = intervals.resampled(shard.hashes.query, tallies[name][:, :3], p.audit.seed)
        chosen, leaked, corrected, hard, hard_leaked = (int(total) for total in tallies[name].sum(axis=0))
        of_each = [collections.Counter(dict(zip(p.retrievers, n, strict=True))) for n in supplied[name].T.tolist()]
        drawn = resampled.astype(np.int64).tolist()
        return Stack(chosen, leaked, hard, hard_leaked, corrected, hardness[name], of_each[0], of_each[1], drawn)

    known, leaking = (collections.Counter({kind: count[i] for kind, count in known_otherwise.items()}) for i in (0, 1))
    return Leak(queries, hidden_count, known, leaking, summed("rules"), summed("naive"))


def figures(stack: Stack, queries: int, rounds: int) -> dict[str, Any]:
    """Share of the negatives that leaked, how sure it is, and which retriever's hard ones did.

    The share of all hard ones lies between those of the retrievers: what several supply is as noisy as their mean
    (R²anker, arXiv 2206.08063, trains on such a joint distribution).

    The interval is a bootstrap over queries, for negatives of one query rise and fall together (``of_queries``).

    Args:
      stack: as counted.
      queries: how many, over all rounds.
      rounds: how many.

    >>> figures(Stack(chosen=40, leaked=0), 20, 1)["high"]
    0.161125
    """
    if not stack.chosen:
        nothing = dict.fromkeys(("share", "low", "high", "hard_share", "hardness"))
        return {**nothing, "chosen": 0, "leaked": 0, "hard": 0, "by_retriever": {}}
    drawn = np.array(stack.resampled[1]), np.array(stack.resampled[0])
    low, high = intervals.of_queries(stack.leaked, stack.chosen, queries / rounds, drawn)
    result: dict[str, Any] = {
        "share": round(stack.leaked / stack.chosen, 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "hard_share": round(stack.hard_leaked / stack.hard, 6) if stack.hard else None,
        "hardness": round(stack.hardness.mean, 6) if stack.hardness.count else None,
        "chosen": stack.chosen,
        "leaked": stack.leaked,
        "hard": stack.hard,
        "by_retriever": {
            name: {"hard": count, "share": round(stack.supplied_leaked[name] / count, 6)}
            for name, count in sorted(stack.supplied.items())
            if count
        },
    }
    if rounds == 1:
        wilson = intervals.wilson(stack.leaked, stack.chosen)
        result |= {"wilson_low": round(wilson[0], 6), "wilson_high": round(wilson[1], 6)}
    return result


def corrected(stack: Stack) -> dict[str, float]:
    """The share with each leaked positive counted as often as positives like it stayed unlabelled; its interval.

    Inverse-propensity weighting: hidden positives come from what the labellers saw, unlabelled ones rather do not.

    >>> corrected(Stack(chosen=40, leaked=2, corrected=3 * propensity.UNITS))["share"]
    0.075
    """
    chosen, _, stood_for = (np.array(drawn) for drawn in stack.resampled)
    low, high = intervals.interval_of_ratio(stood_for / propensity.UNITS, chosen)
    share = stack.corrected / propensity.UNITS / max(1, stack.chosen)
    return {name: round(min(1.0, x), 6) for name, x in (("share", share), ("low", low), ("high", high))}
