"""How many false negatives get through: hide known positives, mine again, count those that come back.

A hidden positive is a true answer that nobody labelled, which is just what a false negative is. The same is
done without any rule on scores (``naive``), so that there is something to compare with.

Where no query has two positives, what is known to answer a query is judged as though nobody knew it: its positive,
positives of queries that ask the same, near copies of its positive.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays, randomness
from gangue.transforms.candidates import pooling, query_shard, relations, rules
from gangue.transforms.candidates.relations import QueryBlock
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import checks, intervals
from gangue.transforms.evidence.distribution import Distribution, distribution_of
from gangue.transforms.negatives import selection
from gangue.transforms.negatives.choosing import choose
from gangue.transforms.negatives.samplers import joint
from gangue.transforms.relevance import describing, learn_note, propensity

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


RELATED = {"alone": "positive", "siblings": "sibling_positive", "near_copies": "near_duplicate"}
"""What is known to answer a query that has one label, by its name in ``audit.json``: the relation that says so."""


@dataclasses.dataclass(frozen=True)
class Leak:
    """Outcome of the test; queries and hidden positives are counted once per round.

    ``related``: relation -> documents with it that were tested, ``related_leaked``: those of them that would be
    negatives if nobody knew (``of_relation``).
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


def hidden_positives(
    positive_query: np.ndarray, positive_hashes: np.ndarray, share: float, round_hash: np.ndarray
) -> np.ndarray:
    """(p,) bool: about ``share`` of the positives of each query with two or more, one at least, never all.

    Args:
      positive_query: (p,) query number of each positive, ascending.
      positive_hashes: (p,) uint64 hash of (query id, document id).
      share: in (0, 1).
      round_hash: (1,) uint64 hash of (seed, round).

    >>> hashes = np.arange(5, dtype=np.uint64)
    >>> hidden_positives(np.array([0, 1, 1, 1, 1]), hashes, 0.5, np.uint64([3])).astype(int).tolist()
    [0, 1, 0, 1, 0]
    """
    noise = randomness.uniforms(randomness.mix(round_hash, positive_hashes))
    place = arrays.rank_within(positive_query, [noise])
    size = np.bincount(positive_query)[positive_query] if len(positive_query) else positive_query
    hidden = np.clip(np.round(share * size), 1, np.maximum(size - 1, 1))
    return (size > 1) & (place < hidden)


class Hiding(Protocol):
    """How positives are hidden (``gangue.pipeline.params.Calibrate``)."""

    @property
    def hidden(self) -> float: ...  # noqa: D102
    @property
    def rounds(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


def testable(data: Data, p: params.Params, shard: query_shard.Shard) -> query_shard.Shard:
    """The shard with the queries that have several positives, of which some are hidden, and those that ask the same."""
    several = np.bincount(shard.block.positive_query, minlength=shard.queries) > 1
    return query_shard.limited(data, p, shard, query_shard.asking_the_same(shard, several))


def rounds(
    data: Data, p: params.Params, shard: query_shard.Shard, hiding: Hiding
) -> Iterator[tuple[np.ndarray, query_shard.Shard, np.ndarray]]:
    """Hide other positives of a testable shard in each round.

    Yields:
      (p,) bool which positives are hidden; the shard as it would be; (n,) bool which of its candidates are hidden ones.
    """
    for number in range(hiding.rounds):
        drawn = randomness.mix(hiding.seed, number)
        hidden = hidden_positives(shard.block.positive_query, shard.positive_hashes, hiding.hidden, drawn)
        if not hidden.any():
            return
        unaware = hide(data, p, shard, hidden)
        yield hidden, unaware, answers(data, shard.block, unaware, hidden)


def hide(data: Data, p: params.Params, shard: query_shard.Shard, hidden: np.ndarray) -> query_shard.Shard:
    """The shard as it would be had some positives never been labelled.

    Args:
      shard: as loaded.   hidden: (p,) bool, which positives nobody knows.

    Returns:
      A shard without them: they are candidates now, where a retriever returned them, and score as candidates do.
    """
    block = relations.QueryBlock(shard.block.queries, shard.block.positives.filter(pa.array(~hidden)))
    found = pooling.best_rank(shard.candidates.ranks) < pooling.NO_RANK
    was_positive = shard.candidates.relations["positive"]
    unknown = arrays.pair_among(
        shard.candidates.query,
        shard.pairs["document_row"].to_numpy(),
        shard.block.positive_query[hidden],
        shard.block.positive_row[hidden],
    )
    keep = ~was_positive | ~unknown | found
    pairs = shard.pairs.filter(pa.array(keep))
    query = shard.candidates.query[keep]
    order = pooling.best_rank({n: r[keep] for n, r in shard.candidates.ranks.items()})
    involved = relations.involved(data, block, pairs["document_row"].to_numpy())
    kinds = relations.annotate(block, involved, query, order, shard.candidates.tie[keep])
    scores = {name: score[keep].copy() for name, score in shard.candidates.scores.items()}
    named = {relation: pa.array(kinds[relation]) for relation in schema.RELATIONS}
    for relation, column in named.items():
        pairs = pairs.set_column(pairs.column_names.index(relation), relation, column)
    for name in p.scorers:
        scores[name][~pooling.worth_scoring(pairs, p.scorers[name].depth)] = np.nan
    return _judged_anew(data, p, shard.name, block, pairs, query, kinds, scores)


def _judged_anew(
    data: Data,
    p: params.Params,
    name: str,
    block: QueryBlock,
    pairs: pa.Table,
    query: np.ndarray,
    kinds: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
) -> query_shard.Shard:
    """The shard of these pairs, of which something is known no more: so p_false, where there is one, is another.

    Whoever does not know the hidden positives describes every pair of their queries in another way.
    """
    others = {score: values for score, values in scores.items() if score != rules.P_FALSE}
    learned = rules.P_FALSE in scores
    unaware = query_shard.shard_of(data, p, name, block, pairs, query, kinds, others, compared=not learned)
    if not learned:
        return unaware
    others[rules.P_FALSE] = describing.false_probability(data, p, unaware, learn_note.read(data))
    return query_shard.shard_of(data, p, name, block, pairs, query, kinds, others)


def measure(data: Data, p: params.Params, shard: query_shard.Shard, seen: propensity.Propensity | None = None) -> Leak:
    """Hide, mine and count in one shard of queries, ``audit.rounds`` times.

    Args:
      data, p, shard: a shard as judged.
      seen: how likely documents were judged, for the estimate that is corrected for it.
    """
    related = {
        relation: alone(data, p, shard) if relation == "positive" else of_relation(data, p, shard, relation)
        for relation in RELATED.values()
    }
    shard = testable(data, p, shard)
    stacks = {"rules": p.filter.rules, "naive": (rules.Naive(),)}
    tallies = {name: np.zeros((shard.queries, 5), np.int64) for name in stacks}
    hardness = {name: Distribution() for name in stacks}
    supplied = {name: np.zeros((len(p.retrievers), 2), np.int64) for name in stacks}
    queries = hidden_count = 0
    for hidden, unaware, came_back in rounds(data, p, shard, p.audit):
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
            np.add.at(supplied[name], supplier, np.stack([np.ones_like(supplier), leaked[hard]], axis=1))

    def summed(name: str) -> Stack:
        resampled = intervals.resampled(shard.hashes.query, tallies[name][:, :3], p.audit.seed)
        chosen, leaked, corrected, hard, hard_leaked = (int(total) for total in tallies[name].sum(axis=0))
        of_each = [collections.Counter(dict(zip(p.retrievers, n, strict=True))) for n in supplied[name].T.tolist()]
        drawn = resampled.astype(np.int64).tolist()
        return Stack(chosen, leaked, hard, hard_leaked, corrected, hardness[name], of_each[0], of_each[1], drawn)

    known, leaking = (collections.Counter({kind: count[i] for kind, count in related.items()}) for i in (0, 1))
    return Leak(queries, hidden_count, known, leaking, summed("rules"), summed("naive"))


def alone(data: Data, p: params.Params, shard: query_shard.Shard) -> tuple[int, int]:
    """How many positives that are the only one of their query were retrieved, and how many would else be negatives.

    Only the learned filter judges each as if nobody knew it; most rules compare with the positive.
    """
    if any(rule.kind not in ("learned", "naive") for rule in p.filter.rules):
        return 0, 0
    candidates = shard.candidates
    single = np.bincount(candidates.positive_query, minlength=shard.queries)[candidates.query] == 1
    unknown = candidates.relations["positive"] & candidates.retrieved & single
    if not unknown.any():
        return 0, 0
    kinds = {**candidates.relations, "positive": candidates.relations["positive"] & ~unknown}
    unaware = dataclasses.replace(shard, candidates=dataclasses.replace(candidates, relations=kinds))
    return _let_through(data, p, unaware, unknown)


def of_relation(data: Data, p: params.Params, shard: query_shard.Shard, relation: str) -> tuple[int, int]:
    """How many documents were retrieved that only this relation drops, and how many would else be negatives.

    They answer the query, and no label of it says so: what is dropped as such is judged as any candidate. Of those
    that are near copies of each other the best one is tested, for the others are duplicates of a candidate then. What
    a cross-encoder would have read of a candidate, and did not, is not tested.
    """
    asking = np.zeros(shard.queries, bool)
    asking[shard.candidates.query[shard.candidates.relations[relation] & shard.candidates.retrieved]] = True
    if not asking.any():
        return 0, 0
    shard = query_shard.limited(data, p, shard, asking)
    candidates, kinds = shard.candidates, dict(shard.candidates.relations)
    best = pooling.best_rank(candidates.ranks)
    other = np.any([values for name, values in kinds.items() if name not in (relation, "duplicate")], axis=0)
    for name, scorer in p.scorers.items():
        other |= np.isnan(candidates.scores[name]) & (best <= scorer.depth)
    tested = np.flatnonzero(kinds[relation] & candidates.retrieved & ~other)
    documents = lookup.rows(data, "documents", ("near_group",)).take(shard.pairs["document_row"].to_numpy()[tested])
    (groups,) = arrays.codes(documents["near_group"])
    again = relations.duplicates(candidates.query[tested], groups, best[tested], candidates.tie[tested])
    unknown = np.zeros(len(best), bool)
    unknown[tested[~again]] = True
    for name in (relation, "duplicate"):
        kinds[name] = kinds[name] & ~unknown
    given = (shard.name, shard.block, shard.pairs, candidates.query, kinds, dict(candidates.scores))
    unaware = _judged_anew(data, p, *given)
    return _let_through(data, p, unaware, unknown)


def _let_through(data: Data, p: params.Params, unaware: query_shard.Shard, unknown: np.ndarray) -> tuple[int, int]:
    """How many candidates are answers that nobody knows, (n,) bool, and how many of these would be negatives."""
    chosen = choose(data, unaware, rules.judge(unaware.candidates, p.filter.rules, unaware.queries), p.sample)
    return int(unknown.sum()), int(np.count_nonzero(unknown[arrays.distinct(chosen.pair)]))


def answers(data: Data, block: QueryBlock, unaware: query_shard.Shard, hidden: np.ndarray) -> np.ndarray:
    """(n,) bool: the candidate is a hidden positive of its query, reads like one or is almost a copy."""
    documents = lookup.rows(data, "documents", ("text_hash", "near_group"))
    candidate = documents.take(unaware.pairs["document_row"].to_numpy())
    answer = documents.take(block.positive_row[hidden])
    query, asked = pa.array(unaware.candidates.query), pa.array(block.positive_query[hidden])
    same = [checks.among([query, candidate[name]], [asked, answer[name]]) for name in ("text_hash", "near_group")]
    return np.any(same, axis=0)


def figures(stack: Stack, queries: int, rounds: int) -> dict[str, Any]:
    """Share of the negatives that leaked, how sure it is, and which retriever's hard ones did.

    The share of all hard ones lies between those of the retrievers: what several supply is as noisy as their mean
    (R²anker, arXiv 2206.08063, trains on such a joint distribution).

    The interval is a bootstrap over queries, for negatives of one query rise and fall together. Where nothing
    leaked a bootstrap sees no spread: then it is Wilson's, with a query as one trial.

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
    low, high = intervals.interval_of_ratio(np.array(stack.resampled[1]), np.array(stack.resampled[0]))
    if stack.leaked in (0, stack.chosen):
        trials = queries / rounds
        low, high = intervals.wilson(trials if stack.leaked else 0, trials)
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
