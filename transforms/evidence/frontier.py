"""Hardness against false negatives: what each cut of a filter lets through when known positives are hidden."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays
from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import held_out, intervals
from gangue.transforms.evidence.distribution import Distribution, distribution_of
from gangue.transforms.negatives.choosing import choose
from gangue.transforms.relevance import caution, learn_note, propensity
from gangue.transforms.running import progress

if TYPE_CHECKING:
    from gangue.pipeline import params


def cuts(data: Data, p: params.Params, rule: rules.Rule) -> list[float]:
    """Cuts of a rule from strict to loose, the last one dropping nothing or almost nothing."""
    deepest = max(max(r.depth, r.max_depth or 0) for r in p.retrievers.values())
    return rule.cuts(deepest, functools.partial(_quantiles, data, p))


def _quantiles(data: Data, p: params.Params, score: str) -> list[float]:
    """Quantiles of a score of all candidates, ascending."""
    dataset, column = ("pairs", f"score_{score}") if score in p.retrievers else (f"scores/{score}", "score")
    scores = Distribution()
    for shard in data.shards(dataset):
        scores += distribution_of(arrays.floats(data.read(dataset, shard, [column]), column))
    if not scores.count:
        return [0.0]
    shares = np.linspace(0.02, 1.0, 41).tolist()
    return np.unique([scores.quantile(share) for share in shares]).tolist()


def load(data: Data, p: params.Params, shard: str) -> query_shard.Shard:
    """A shard as judged, with so many of its queries that all shards together have about ``calibrate.queries``."""
    share = p.calibrate.queries / max(sum(data.rows("queries")), 1)
    return query_shard.sampled(data, p, query_shard.load(data, p, shard), share, p.calibrate.seed)


def expected(data: Data, p: params.Params, shard: query_shard.Shard, filters: Sequence[params.Filter]) -> pa.Table:
    """What each filter is expected to let through in one shard of queries: one row per filter, sums of its choices.

    Returns:
      ``setting``, ``queries`` with a positive, ``chosen``: all but those that somebody judged, ``expected``: sum of
      their probabilities of being false,
      ``cautious``: the same at the unfavourable end of the labelled share, ``hardness``: sum of their scores.
    """
    probability = shard.candidates.scores[rules.P_FALSE].astype(np.float64)
    cautious = caution.unfavourable(probability, learn_note.read(data)["caution"])
    queries = int((np.bincount(shard.block.positive_query, minlength=shard.queries) > 0).sum())
    rows = []
    for stack in filters:
        pair = _mined_by(data, p, shard, stack)
        hardness = shard.candidates.scores[p.sample.score][pair].astype(np.float64)
        sums = [float(np.nansum(values)) for values in (probability[pair], cautious[pair], hardness)]
        rows.append((_setting(stack), queries, len(pair), *sums))
    names = ("setting", "queries", "chosen", "expected", "cautious", "hardness")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def _setting(stack: params.Filter) -> float:
    return float(stack.rule.cut) if stack.rule.cut is not None else 0.0


def measure(
    data: Data,
    p: params.Params,
    shard: query_shard.Shard,
    filters: Sequence[params.Filter],
    hiding: held_out.Hiding,
    *,
    labelled: float = 0.5,
    seen: propensity.Propensity | None = None,
    drawn_anew: bool = True,
) -> pa.Table:
    """What each filter lets through in one shard of queries: one row per filter, sums that add up over shards.

    In each round about ``hidden`` of the positives of every query with several are hidden, and the negatives are
    chosen anew. A hidden positive that is chosen stands for as many unlabelled ones as the ``labelled`` share of all
    positives says there are for each hidden one, because hidden and unlabelled positives are taken to be exchangeable.

    Returns:
      ``queries`` tested, ``loss``: sum over them of the mean share of false negatives among their chosen (at most 1
      each, and never less than with a stricter cut), ``losses`` of each, in an order that says nothing,
      ``corrected``: the same with each of them counted as often as positives like it stay unlabelled by what ``seen``
      says of who was judged, ``chosen``, ``leaked``, ``hardness``: sums over all rounds,
      ``resampled_chosen``, ``resampled_leaked``: the same when queries are ``drawn_anew``, which an interval needs.
    """
    known = np.bincount(shard.block.positive_query, minlength=shard.queries)
    tested = known > 1
    shard = held_out.testable(data, p, shard)
    loss, corrected = np.zeros((2, len(filters), shard.queries))
    tally = np.zeros((len(filters), shard.queries, 2), np.int64)
    hardness = np.zeros(len(filters))
    for hidden, unaware, answers in held_out.rounds(data, p, shard, hiding):
        stands_for = answers * (1 if seen is None else seen.stands_for(unaware.candidates) / propensity.UNITS)
        unlabelled = known * (1 - labelled) / labelled
        each = unlabelled / np.maximum(np.bincount(shard.block.positive_query[hidden], minlength=shard.queries), 1)
        highest = np.zeros(shard.queries)
        for place, stack in enumerate(filters):
            pair = _mined_by(data, p, unaware, stack)
            query, leaked = unaware.candidates.query[pair], answers[pair]
            chosen = np.bincount(query, minlength=shard.queries)
            came_back = np.bincount(query, leaked, minlength=shard.queries)
            share = np.minimum(1.0, each * came_back / np.maximum(chosen, 1))
            highest = np.maximum(highest, share)
            loss[place] += np.where(tested, highest, 0.0) / hiding.rounds
            unseen = np.minimum(1.0, each * np.bincount(query, stands_for[pair], shard.queries) / np.maximum(chosen, 1))
            corrected[place] += np.where(tested, unseen, 0.0) / hiding.rounds
            counted = tested[query]
            np.add.at(tally[place], query[counted], np.stack([np.ones_like(leaked), leaked], axis=1)[counted])
            hardness[place] += np.nansum(unaware.candidates.scores[p.sample.score][pair[counted]])
    order = np.flatnonzero(tested)[np.argsort(shard.hashes.query[tested])]
    columns = {
        "setting": pa.array([_setting(f) for f in filters], pa.float64()),
        "queries": pa.array([int(tested.sum())] * len(filters), pa.int64()),
        "rounds": pa.array([hiding.rounds] * len(filters), pa.int64()),
        "loss": loss.sum(axis=1),
        "losses": pa.array(loss[:, order].tolist(), pa.list_(pa.float64())),
        "corrected": corrected.sum(axis=1),
        "chosen": tally[:, :, 0].sum(axis=1),
        "leaked": tally[:, :, 1].sum(axis=1),
        "hardness": hardness,
    }
    if drawn_anew:
        both = intervals.resampled(shard.hashes.query, tally.transpose(1, 0, 2).reshape(shard.queries, -1), hiding.seed)
        for place, name in enumerate(("chosen", "leaked")):
            of_name = both.reshape(len(filters), 2, -1)[:, place].astype(np.int64)
            columns[f"resampled_{name}"] = pa.array(of_name.tolist(), pa.list_(pa.int64()))
    return pa.table(columns)


def chosen_by(data: Data, p: params.Params, shard: query_shard.Shard, stack: params.Filter) -> np.ndarray:
    """(m,) the candidates of a shard that these rules and the sampler make negatives, one of a query once."""
    verdicts = rules.judge(shard.candidates, stack.rules, shard.queries)
    each = any(rule.own for rule in stack.rules)
    return arrays.distinct(choose(data, shard if each else shard.once_a_query, verdicts, p.sample).pair)


def _mined_by(data: Data, p: params.Params, shard: query_shard.Shard, stack: params.Filter) -> np.ndarray:
    """Those of ``chosen_by`` that nobody judged: a share of false negatives is one of what was mined."""
    pair = chosen_by(data, p, shard, stack)
    return pair[~shard.candidates.judged[pair]]


def points(parts: Sequence[pa.Table]) -> list[dict[str, Any]]:
    """The line of all shards: share of false negatives with its interval, hardness and quota at each cut.

    Args:
      parts: as ``measure`` gives them.
    """
    keys = ("queries", "loss", "corrected", "chosen", "leaked", "hardness")
    read = (*keys, "rounds", "resampled_chosen", "resampled_leaked")
    result = []
    for row in zip(*(part.select(["setting", *read]).to_pylist() for part in parts), strict=True):
        total = {key: sum(part[key] for part in row) for key in keys}
        leaked, drawn = (np.sum([part[f"resampled_{key}"] for part in row], axis=0) for key in ("leaked", "chosen"))
        low, high = intervals.of_queries(total["leaked"], total["chosen"], total["queries"], (leaked, drawn))
        chosen, tested = max(total["chosen"], 1), max(total["queries"], 1)
        figures = {
            "loss": total["loss"] / tested,
            "corrected": total["corrected"] / tested,
            "fn_rate": total["leaked"] / chosen,
            "fn_low": low,
            "fn_high": high,
            "hardness": total["hardness"] / chosen,
            "per_query": total["chosen"] / tested / row[0]["rounds"],
        }
        rounded = {key: float(f"{value:.6g}") for key, value in figures.items()}
        result.append({"setting": row[0]["setting"], "queries": total["queries"], **rounded})
    return result


def _named(rule: rules.Rule, score: str) -> str:
    """A rule in the line of all: its kind, and what it reads other than the rest."""
    other, which = getattr(rule, "score", score), getattr(rule, "positive", "min")
    return rule.kind + (f" on {other}" if other != score else "") + (f", positive {which}" if which != "min" else "")


def lines(data: Data, p: params.Params) -> dict[str, list[dict[str, Any]]]:
    """The line of every filter on a mined job: naive, rules on the sampler's score, the job's own, what was learned.

    The job's own rule may read another score, which its name then has, and its own cut is among the others.

    Returns:
      Filter -> points from strict to loose, as ``points`` gives them.
    """
    score = p.sample.score
    line: list[rules.Rule] = [
        rules.Naive(),
        rules.Shifted(score=score, shift=0),
        rules.Abs(score=score, abs=0.0),
        rules.Margin(score=score, margin=0.0),
        rules.Perc(score=score, perc=1.0),
    ]
    if p.filter.asks_to_learn:
        line.append(rules.Learned(p_false=1.0))
    told = p.filter.max_false_negatives is None  # else the command says which cut was chosen
    own = (p.filter if told else p.filter.with_cut(1.0)).rule
    line = [rule for rule in line if _named(rule, score) != _named(own, score)] + [own]
    alone = p.filter.model_copy(update={"also": ()})
    stacks = {}
    for rule in line:
        base = alone.with_rule(rule)
        some = [] if rule.cut is None else cuts(data, p, rule)[::3]
        if told and rule is own and rule.cut is not None:
            some = sorted({*some, rule.cut}, reverse=some[0] > some[-1])
        stacks[_named(rule, score)] = [base.with_cut(cut) for cut in some] or [base]
    measured: dict[str, list[pa.Table]] = {kind: [] for kind in stacks}
    for shard in data.shards("queries"):
        loaded = load(data, p, shard)
        for kind, filters in stacks.items():
            measured[kind].append(measure(data, p, loaded, filters, p.calibrate))
        progress.advance(len(lookup.query_rows(data).of(shard)))
    return {kind: points(of_shards) for kind, of_shards in measured.items()}
