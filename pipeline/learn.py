"""learn: pairs, scores, vectors -> relevance.   Usage: gangue learn [--data data]

Says of every pair how likely it is a positive that nobody labelled: by the filter that Gangue comes with, by one that
is taught on the job's own positives where there are enough, and by the share of all positives that is labelled, which
is read off the data. A job that asks for none of this (``filter``: no learned rule, no budget) only leaves a note.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import arrays, log, randomness
from gangue.transforms.candidates import pooling, query_shard
from gangue.transforms.datasets import schema
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.relevance import (
    classifier,
    conclusions,
    describing,
    feature_names,
    learn_note,
    portable,
    pretrained,
    teaching,
)
from gangue.transforms.running import process_wide, runner
from gangue.transforms.running.shards import Counts, ForEachShard

EXAMPLES, OPINIONS, SAMPLED = "examples", "opinions", "sampled"
_SAMPLE = 2000  # queries, about, that the labelled share is read off
NOTHING = {
    "usable": False,
    "weight": 0.0,
    "distrusted": False,
    "findings": [],
    "reason": "no rule is learned, no budget to keep",
}


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> Counts:
    """Teach the models, one per fold of queries, estimate the labelled share, and judge every pair."""
    sections = (f"sections/{name}" for name in ("encoders", "scorers"))
    data = data.deriving_from("pairs", *(f"scores/{name}" for name in p.scorers), *sections)
    if not p.filter.asks_to_learn:
        with data.staging("relevance"):
            data.write_note(staged("relevance"), learn_note.MODEL, json.dumps(NOTHING) + "\n")
            data.publish("relevance")
        return Counts()
    pretrained.load(p.learn.pretrained)  # one that cannot be read is named now
    pairs = sum(data.rows("pairs"))

    def build(root: beam.Pipeline) -> Any:
        shards = root | beam.Create(data.shards("queries"), reshuffle=False)
        describe = functools.partial(describe_shard, data=data, p=p, share=min(1.0, p.learn.examples / max(pairs, 1)))
        described = shards | "Describe" >> ForEachShard(describe)
        one = root | "One" >> beam.Create(["model"])
        taught = one | "Teach" >> ForEachShard(functools.partial(teach_models, data=data, p=p), after=described)
        share = min(1.0, _SAMPLE / max(sum(data.rows("queries")), 1))
        weigh = functools.partial(weigh_shard, data=data, p=p, share=share)
        weighed = shards | "Weigh" >> ForEachShard(weigh, after=taught)
        shared = one | "Share" >> ForEachShard(functools.partial(estimate_share, data=data, p=p), after=weighed)
        return shards | "Judge" >> ForEachShard(functools.partial(judge_shard, data=data), after=shared)

    scratch = (EXAMPLES, OPINIONS, SAMPLED)
    try:
        for name in scratch:
            data.begin(name)
        counts = runner.run("learn", build, data, p.beam, writes=["relevance"], rows=pairs, flags=flags)
    finally:
        for name in scratch:
            data.begin(name)
    for line in said(learn_note.read(data)):
        log.say("learn", line)
    return counts


def said(note: dict[str, Any]) -> list[str]:
    """What a person must know of a note, a line each."""
    lines = [note["share"]["words"]]
    if note["share"]["assumed_random"]:
        lines.append(
            "assumed: chance decided which of a query's positives are labelled. If clicks or a ranking did, say"
            " learn.labelled: chosen"
        )
    lines += [f"the scorer {name} is not used to judge: {why}" for name, why in note.get("outranked", {}).items()]
    if not note["usable"]:
        lines.append(f"the pretrained filter judges alone: {note['reason']}")
    return [*lines, *note["findings"]]


def describe_shard(shard: str, data: Data, p: params.Params, share: float) -> Counts:
    """Write the examples of one shard."""
    table = examples(data, p, query_shard.load(data, p, shard, judged=False, compared=False), share)
    data.write(staged(EXAMPLES), shard, table, suffix=".arrow")
    return Counts({"examples": len(table)})


def examples(data: Data, p: params.Params, loaded: query_shard.Shard, share: float = 1.0) -> pa.Table:
    """What to learn from in one shard: retrieved positives as if nobody knew them, and some of the candidates.

    Args:
      share: of the queries that may serve as examples.

    Returns:
      ``features``, ``positive``, ``weight``: how many pairs the row stands for, ``fold`` of its query, ``several``:
      whether the query has another known positive, ``blind``: log odds of being a positive by what is not taught here.
    """
    asked = randomness.uniforms(randomness.mix(p.learn.seed, loaded.hashes.query)) < share
    loaded = query_shard.limited(data, p, loaded, asked, compared=False)
    candidates = loaded.candidates
    hashes = randomness.mix(p.learn.seed, loaded.hashes.query[candidates.query], loaded.hashes.document)
    free = ~np.any(list(candidates.relations.values()), axis=0) & candidates.retrieved
    positive = candidates.relations["positive"] & candidates.retrieved
    wanted = p.learn.candidates * np.maximum(np.bincount(candidates.query[positive], minlength=loaded.queries), 1)
    place = arrays.rank_within(candidates.query, [np.where(free, randomness.uniforms(hashes), 2.0)])
    chosen = np.flatnonzero(positive | (free & (place < wanted[candidates.query])))
    left_out = describing.left_out_for_learning(loaded, randomness.mix(p.learn.seed + 1, hashes))
    columns = describing.describe(data, p, loaded, left_out)
    values = describing.matrix(columns, feature_names.names(p))[chosen]
    blind = portable.blind(describing.portable_pairs(p, loaded, columns))[chosen]
    with process_wide.one_blas_thread():
        alike = pretrained.load(p.learn.pretrained).blind.logits(blind)
    several = np.bincount(candidates.positive_query, minlength=loaded.queries)[candidates.query[chosen]] > 1
    of_query = np.bincount(candidates.query[free], minlength=loaded.queries)
    weight = np.where(positive, 1.0, (of_query / np.maximum(np.minimum(of_query, wanted), 1))[candidates.query])
    fold = randomness.fold_of(loaded.block.queries["near_group"].to_pylist(), classifier.FOLDS)
    return pa.table(
        {
            "features": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1]),
            "positive": pa.array(positive[chosen]),
            "weight": pa.array(weight[chosen], pa.float32()),
            "fold": pa.array(fold[candidates.query[chosen]], pa.int8()),
            "order": pa.array(hashes[chosen]),
            "several": pa.array(several),
            "blind": pa.array(alike),
        }
    )


def teach_models(_: str, data: Data, p: params.Params) -> Counts:
    """Teach a model per fold; write them, or why there are none."""
    given, names = data.read_all(staged(EXAMPLES)), feature_names.names(p)
    _write(data, teaching.taught(given, names, [*p.scorers], [*p.retrievers]))
    return Counts()


def _write(data: Data, note: dict[str, Any]) -> None:
    data.write_note(staged("relevance"), learn_note.MODEL, json.dumps(note, indent=1) + "\n")


def weigh_shard(shard: str, data: Data, p: params.Params, share: float) -> Counts:
    """Write the log odds of each pair of a shard, and what the labelled share is read off for some of its queries."""
    loaded = query_shard.load(data, p, shard, judged=False, compared=False)
    asked = asked_for_share(p, loaded, share)
    opinion = describing.opinion(data, p, loaded, learn_note.read(data, staged("relevance")), asked)
    evidence = describing.evidence(data, p, loaded)
    columns = [loaded.pairs["query_id"], loaded.pairs["document_id"], opinion.full, opinion.taught, evidence]
    table = pa.table(columns, names=["query_id", "document_id", "full", "taught", "evidence"])
    data.write(staged(OPINIONS), shard, table, suffix=".arrow")
    some = sampled(loaded, opinion, describing.labels(data, loaded), asked)
    data.write(staged(SAMPLED), shard, some, suffix=".arrow")
    return Counts({"sampled": len(some)})


def asked_for_share(p: params.Params, loaded: query_shard.Shard, share: float) -> np.ndarray:
    """(q,) bool, about a ``share`` of the queries of a shard, whose documents the labelled share is read off."""
    return randomness.uniforms(randomness.mix(p.learn.seed + 2, loaded.hashes.query)) < share


def sampled(loaded: query_shard.Shard, opinion: describing.Opinion, told: np.ndarray, asked: np.ndarray) -> pa.Table:
    """What was found for the queries ``asked``, (q,) bool, of a shard, and what is thought of it.

    Also every pair that somebody labelled (``told``, as ``describing.labels`` gives it), of whatever query. A positive
    that is known by such a label alone is none that the source labelled: ``known`` is false.
    """
    candidates = loaded.candidates
    free = ~np.any(list(candidates.relations.values()), axis=0)
    known = candidates.relations["positive"]
    counted = asked[candidates.query] & (free | known) & candidates.retrieved
    missed = asked[candidates.query] & known & ~candidates.retrieved & (told < 0)
    rows = np.flatnonzero(counted | missed | (told >= 0))
    hashes = loaded.hashes.query[candidates.query[rows]]
    columns = {
        "query": pa.array(hashes),
        "counted": pa.array(counted[rows]),
        "missed": pa.array(missed[rows]),
        "known": pa.array((known & (told < 0))[rows]),
        "told": pa.array(told[rows]),
        "judged": pa.array(candidates.judged[rows]),
        **{name: pa.array(getattr(opinion, name)[rows]) for name in ("blind", "agreed", "full", "taught")},
        **{
            conclusions.score_column(name): pa.array(candidates.scores[name][rows].astype(np.float64))
            for name in candidates.ranks
        },
    }
    return pa.table(columns)


def estimate_share(_: str, data: Data, p: params.Params) -> Counts:
    """Add the labelled share, and the constants that it asks for, to the note."""
    note, documents = learn_note.read(data, staged("relevance")), sum(data.rows("documents"))
    with process_wide.one_blas_thread():
        found = conclusions.concluded(p, note, data.read_all(staged(SAMPLED)), documents)
    _write(data, note | found)
    return Counts()


def judge_shard(shard: str, data: Data) -> Counts:
    """Write how likely each pair of one shard is a positive that nobody labelled."""
    table = data.read(staged(OPINIONS), shard)
    full, taught, evidence = (table[name].to_numpy() for name in ("full", "taught", "evidence"))
    probability = describing.probability(full, taught, evidence, learn_note.read(data, staged("relevance")))
    judged = pa.table(
        [table["query_id"], table["document_id"], pooling.null_where_nan(probability)],
        schema=schema.RELEVANCE,
    )
    output = staged("relevance")
    data.write(output, shard, judged, intermediate=True)
    return Counts({"in": len(judged), "out:judged": len(judged), f"rows:{output}": len(judged)})
