"""sample: verdicts -> negatives, shortfalls.   Usage: gangue sample [--data data]"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import arrays, log
from gangue.transforms.candidates import pooling, query_shard, rules
from gangue.transforms.candidates.query_shard import judged_before
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.negatives import reuse, reusing, selection, weighing
from gangue.transforms.negatives.choosing import choose
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts, ForEachShard

NOT_FINITE = "not_finite"
"""The reason of a positive that takes no part: it or its query has no usable vector, or no finite score."""


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> Counts:
    """Choose the negatives of every (query, positive)."""
    data = data.deriving_from("verdicts")
    p = query_shard.in_force(data, p)

    def build(root: beam.Pipeline) -> Any:
        settled = None if p.sample.reuse is None else root | SettleReuse(data, p)
        work = functools.partial(sample_shard, data=data, p=p)
        return (
            root | beam.Create(data.shards("queries"), reshuffle=False) | "Sample" >> ForEachShard(work, after=settled)
        )

    rows = sum(data.rows("verdicts"))
    writes = ["negatives", "shortfalls"]
    try:
        counts = runner.run("sample", build, data, p.beam, writes=writes, rows=rows, flags=flags)
    finally:
        for dataset in (reusing.PROPOSALS, reusing.DENIALS):
            data.begin(dataset)  # what they say is in the negatives now
    if counts["nearly_uniform"]:
        log.say(
            "sample",
            f"{p.sample.kind} weighs the candidates of {counts['nearly_uniform']} positives almost alike"
            f" (largest over smallest weight below 2), so it draws at random there. {p.sample.sampler.sharper}",
        )
    if counts["judged_left"]:
        log.say(
            "sample",
            f"{counts['judged_left']} of the {counts['judged']} judged negatives are chosen for no positive: no rule"
            " drops them, and sample chooses among them as among the others",
        )
    return counts


@dataclasses.dataclass
class SettleReuse(beam.PTransform):
    """Have queries propose negatives and documents refuse those beyond ``sample.reuse``, in rounds.

    A round is a barrier: every shard of queries writes what it would choose, then one task refuses.
    In: the root.  Out: what is done when the last round is.
    """

    data: Data
    p: params.Params

    def expand(self, root: Any) -> Any:
        """Wire the rounds."""
        refused = None
        for number in range(reuse.ROUNDS):
            propose_shard = functools.partial(propose, data=self.data, p=self.p, number=number)
            refuse = functools.partial(reusing.refuse, data=self.data, p=self.p, number=number)
            shards = root | f"Shards {number}" >> beam.Create(self.data.shards("queries"), reshuffle=False)
            proposed = shards | f"Propose {number}" >> ForEachShard(propose_shard, after=refused)
            one = root | f"Name {number}" >> beam.Create([reusing.DENIALS])
            refused = one | f"Refuse {number}" >> ForEachShard(refuse, after=proposed)
        return refused


def propose(shard: str, data: Data, p: params.Params, number: int) -> Counts:
    """Write what one shard would choose, for a round of ``sample.reuse``."""
    loaded = query_shard.load(data, p, shard)
    rows = lookup.query_rows(data).of(shard)
    early, late = reusing.denied(data, loaded, rows, number)
    if number == 0 or late.any():  # or else the shard proposes what it did
        chosen = choose(data, loaded, judged_before(data, p, loaded), p.sample, early | late)
        reusing.write_proposals(data, p, shard, loaded, rows, chosen.pair)
    return Counts()


def sample_shard(shard: str, data: Data, p: params.Params) -> Counts:
    """Choose the negatives of one shard."""
    loaded = query_shard.load(data, p, shard)
    verdicts = judged_before(data, p, loaded)
    if p.sample.reuse is None:
        chosen = choose(data, loaded, verdicts, p.sample)
    else:
        # What the last round refused has no round left to be replaced in.
        rows = lookup.query_rows(data).of(shard)
        early, late = reusing.denied(data, loaded, rows, reuse.ROUNDS)
        chosen = choose(data, loaded, verdicts, p.sample, early)
        chosen = chosen.without(late[chosen.pair])
    weights = weighing.weigh(data, p, loaded, chosen)
    negatives = _negatives(loaded, chosen, weights, p)
    shortfalls = _shortfalls(loaded, verdicts, chosen, p)
    counts = Counts(
        {
            "in": int(chosen.kept.sum()),
            "out:chosen": len(negatives),
            "out:surplus": chosen.surplus,
            "out:unscored": int(chosen.unscored.sum()),
            "out:left_to_others": int(chosen.denied.sum()),
            "chosen": len(negatives),
            "short": len(shortfalls),
            "judged": int(loaded.candidates.judged.sum()),
            "judged_left": int(
                loaded.candidates.judged.sum() - loaded.candidates.judged[arrays.distinct(chosen.pair)].sum()
            ),
            "nearly_uniform": chosen.flat,
            "band_widened": chosen.widened,
        }
    )
    for dataset, table in (("negatives", negatives), ("shortfalls", shortfalls)):
        data.write(staged(dataset), shard, table)
        counts[f"rows:{staged(dataset)}"] = len(table)
    return counts


def _negatives(loaded: query_shard.Shard, chosen: selection.Chosen, weights: np.ndarray, p: params.Params) -> pa.Table:
    candidates, pair, positive = loaded.candidates, chosen.pair, chosen.positive
    positives = loaded.block.positives
    names = [*p.retrievers, *p.scorers]
    table = pa.table(
        [
            loaded.pairs["query_id"].take(pa.array(pair)),
            positives["document_id"].take(pa.array(positive)),
            loaded.pairs["document_id"].take(pa.array(pair)),
            pa.array(chosen.kind, pa.string()),
            pa.array(weights, pa.float32()),
            *(loaded.pairs[f"rank_{name}"].take(pa.array(pair)) for name in p.retrievers),
            *(pooling.null_where_nan(candidates.scores[name][pair]) for name in names),
            *(pooling.null_where_nan(candidates.positive_scores[name][positive]) for name in names),
            *([pooling.null_where_nan(candidates.scores[rules.P_FALSE][pair])] if p.filter.asks_to_learn else []),
            positives["document_row"].take(pa.array(positive)),
            loaded.pairs["document_row"].take(pa.array(pair)),
        ],
        schema=schema.negatives(p.retrievers, p.scorers, learned=p.filter.asks_to_learn),
    )
    return table.sort_by([(name, "ascending") for name in ("query_id", "positive_id", "negative_id")])


def _shortfalls(
    loaded: query_shard.Shard, verdicts: rules.Verdicts, chosen: selection.Chosen, p: params.Params
) -> pa.Table:
    """Every (query, positive) that got fewer negatives than wanted, and the verdict that cost it most."""
    positives = loaded.block.positives
    found = np.bincount(chosen.positive, minlength=len(positives))
    times = np.bincount(chosen.positive, chosen.times, minlength=len(positives))
    short = np.flatnonzero(found < p.sample.negatives)
    asked = np.zeros(loaded.queries, bool)
    asked[loaded.candidates.positive_query[short]] = True
    rows = np.flatnonzero(asked[loaded.candidates.query[verdicts.pair]])
    query, positive = loaded.candidates.query[verdicts.pair[rows]], verdicts.positive[rows]
    # Verdicts that hold for all positives count for each of them.
    kinds = len(verdicts.names) + 1
    own = positive >= 0
    verdict = verdicts.verdict[rows] % kinds  # kept is the last
    by_positive = arrays.tally(positive[own], verdict[own], (len(positives), kinds))
    by_query = arrays.tally(query[~own], verdict[~own], (loaded.queries, kinds))
    tally = by_positive[short] + by_query[loaded.candidates.positive_query[short]]
    tally[:, verdicts.names.index("positive")] = 0
    fallen = tally[:, :-1]
    names = np.array(verdicts.names, dtype=object)
    reason = np.where(
        tally.sum(axis=1) == 0,
        "nothing_found",
        np.where(fallen.sum(axis=1) == 0, "too_few_found", names[fallen.argmax(axis=1)]),
    )
    kept, unscored = chosen.kept[short], chosen.unscored[short]
    reason = np.where(kept >= p.sample.negatives, "passed_over", reason)  # kept, and not chosen
    lacking = (kept >= p.sample.negatives) & (kept - unscored < p.sample.negatives)
    reason = np.where(lacking, rules.UNSCORED, reason)  # the sampler's scorer did not read them
    reason = np.where(times[short] >= p.sample.negatives, "repeated", reason)  # full, some of them several times
    reason = np.where(found[short] + chosen.denied[short] >= p.sample.negatives, "left_to_others", reason)
    table = pa.table(
        [
            positives["query_id"].take(pa.array(short)),
            positives["document_id"].take(pa.array(short)),
            pa.array(np.full(len(short), p.sample.negatives), pa.int32()),
            pa.array(found[short], pa.int32()),
            pa.array(tally.sum(axis=1), pa.int32()),
            pa.array(reason.tolist(), pa.string()),
        ],
        schema=schema.SHORTFALLS,
    )
    gone = loaded.withdrawn
    if not len(gone):
        return table
    numbers = (pa.array(np.full(len(gone), number), pa.int32()) for number in (p.sample.negatives, 0, 0))
    reasons = pa.array([NOT_FINITE] * len(gone), pa.string())
    more = pa.table([gone["query_id"], gone["document_id"], *numbers, reasons], schema=schema.SHORTFALLS)
    return pa.concat_tables([table, more]).sort_by([(name, "ascending") for name in ("query_id", "positive_id")])
