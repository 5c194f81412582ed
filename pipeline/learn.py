"""learn: pairs, scores, vectors -> relevance.   Usage: python -m pipeline.learn [--data data]

Teaches the false-negative filter of ``filter.kind: learned`` and says of every pair how likely it is a positive that
nobody labelled. A filter without a learned rule only leaves a note.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import threadpoolctl

from pipeline import commandline, describing, judging, params, runner
from transforms import arrays, pooling, randomness, relevance, schema
from transforms.shards import Counts, ForEachShard
from transforms.storage import Data, staged

EXAMPLES = "examples"


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> Counts:
    """Teach the models, one per fold of queries, and judge every pair by the one that did not see its query."""
    if not p.filter.learns:
        note = {"usable": False, "reason": "no rule of filter is learned", "features": []}
        with data.staging("relevance"):
            data.write_text(f"{staged('relevance')}/{judging.MODEL}", json.dumps(note) + "\n")
            data.publish("relevance")
        return Counts()
    pairs = sum(data.rows("pairs"))

    def build(root: beam.Pipeline) -> Any:
        shards = root | beam.Create(data.shards("queries"))
        describe = functools.partial(describe_shard, data=data, p=p, share=min(1.0, p.learn.examples / max(pairs, 1)))
        described = shards | "Describe" >> ForEachShard(describe)
        teach = functools.partial(teach_models, data=data, p=p)
        taught = root | "One" >> beam.Create(["model"]) | "Teach" >> ForEachShard(teach, after=described)
        return shards | "Judge" >> ForEachShard(functools.partial(judge_shard, data=data, p=p), after=taught)

    data.begin(EXAMPLES)
    try:
        counts = runner.run("learn", build, data, p.beam, writes=["relevance"], rows=pairs, flags=flags)
    finally:
        data.begin(EXAMPLES)
    model = judging.learned(data)
    if not model["usable"]:
        print(f"learn: {model['reason']}; filter.fallback judges instead", file=sys.stderr)  # noqa: T201
    return counts


def describe_shard(shard: str, data: Data, p: params.Params, share: float) -> Counts:
    """Write the examples of one shard."""
    table = examples(data, p, judging.load(data, p, shard, judged=False, compared=False), share)
    data.write(staged(EXAMPLES), shard, table, suffix=".arrow")
    return Counts({"examples": len(table)})


def examples(data: Data, p: params.Params, loaded: judging.Shard, share: float = 1.0) -> pa.Table:
    """What to learn from in one shard: retrieved positives as if nobody knew them, and some of the candidates.

    Args:
      share: of the queries that may serve as examples.

    Returns:
      ``features``, ``positive``, ``weight``: how many pairs the row stands for, ``fold`` of its query.
    """
    candidates = loaded.candidates
    words = randomness.mix(p.learn.seed, loaded.words.query[candidates.query], loaded.words.document)
    asked = randomness.uniforms(randomness.mix(p.learn.seed, loaded.words.query)) < share
    free = ~np.any(list(candidates.relations.values()), axis=0) & candidates.retrieved
    positive = candidates.relations["positive"] & candidates.retrieved
    wanted = p.learn.candidates * np.maximum(np.bincount(candidates.query[positive], minlength=loaded.queries), 1)
    place = arrays.rank_within(candidates.query, [np.where(free, randomness.uniforms(words), 2.0)])
    chosen = np.flatnonzero(asked[candidates.query] & (positive | (free & (place < wanted[candidates.query]))))
    left_out = describing.left_out_for_learning(loaded, randomness.mix(p.learn.seed + 1, words))
    values = describing.describe(data, p, loaded, left_out)[chosen]
    of_query = np.bincount(candidates.query[free], minlength=loaded.queries)
    weight = np.where(positive, 1.0, (of_query / np.maximum(np.minimum(of_query, wanted), 1))[candidates.query])
    fold = relevance.fold_of(loaded.block.queries["near_group"].to_pylist())
    return pa.table(
        {
            "features": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1]),
            "positive": pa.array(positive[chosen]),
            "weight": pa.array(weight[chosen], pa.float32()),
            "fold": pa.array(fold[candidates.query[chosen]], pa.int8()),
            "order": pa.array(words[chosen]),
        }
    )


def teach_models(_: str, data: Data, p: params.Params) -> Counts:
    """Teach a model per fold; write them, or why there are none."""
    note = taught(data.read_all(staged(EXAMPLES)), describing.names(p))
    data.write_text(f"{staged('relevance')}/{judging.MODEL}", json.dumps(note, indent=1) + "\n")
    return Counts()


def taught(table: pa.Table, names: Sequence[str]) -> dict[str, Any]:
    """Models, quality and importances learned from ``examples``, or the reason why there are none."""
    table = table.take(pc.sort_indices(table["order"]))  # whatever the shards: sums go by the order of rows
    note: dict[str, Any] = {"usable": False, "features": names}
    try:
        with threadpoolctl.threadpool_limits(1, "blas"):  # so that no bit depends on the number of threads
            models, note["quality"] = relevance.learn(
                arrays.matrix(table, "features").astype(np.float64),
                table["positive"].to_numpy(),
                table["weight"].to_numpy().astype(np.float64),
                table["fold"].to_numpy().astype(np.int64),
            )
        note["models"] = [vars(model) for model in models]
        note["importances"] = relevance.importances(models, names)
        auc = note["quality"]["auc"]
        note["usable"] = auc >= relevance.USEFUL
        note["reason"] = f"the area under the curve must be at least {relevance.USEFUL}, it is {auc:.3f}"
    except ValueError as error:
        note["reason"] = str(error)
    return note


def judge_shard(shard: str, data: Data, p: params.Params) -> Counts:
    """Write how likely each pair of one shard is a positive that nobody labelled; null where nothing was learned."""
    loaded = judging.load(data, p, shard, judged=False, compared=False)
    learned = judging.learned(data, staged("relevance"))
    probability = describing.false_probability(data, p, loaded, learned)
    table = pa.table(
        [loaded.pairs["query_id"], loaded.pairs["document_id"], pooling.null_where_nan(probability)],
        schema=schema.RELEVANCE,
    )
    output = staged("relevance")
    data.write(output, shard, table, read_once=True)
    judged = int(np.isfinite(probability).sum())
    return Counts(
        {"in": len(table), "out:judged": judged, "out:not_judged": len(table) - judged, f"rows:{output}": len(table)}
    )


if __name__ == "__main__":
    commandline.main("learn", run)
