"""score: pairs, text -> scores/SCORER.   Usage: gangue score SCORER [--data data]"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import arrays, at_hand, log, randomness, text
from gangue.transforms.candidates import pooling
from gangue.transforms.datasets import lookup, schema, unfinished
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import configured, cross_encoder, trust, vector_store
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts, ForEachShard


def run(data: Data, p: params.Params, name: str, flags: Sequence[str] = ()) -> Counts:
    """Score the pairs worth scoring; a pair of texts that these models have scored before is not scored again."""
    data = data.deriving_from(f"models/{name}")
    if p.scorers[name].trust_remote_code:
        trust.announce(f"score@{name}", p.scorers[name].model or f"models/{name}")

    def build(root: beam.Pipeline) -> Any:
        work = functools.partial(score_shard, data=data, p=p, name=name)
        return root | beam.Create(data.shards("queries"), reshuffle=False) | ForEachShard(work, needs=p.beam)

    in_place = {f"scores/{name}": data.shards("queries")}
    rows = sum(data.rows("pairs"))
    counts = runner.run(f"score@{name}", build, data, p.beam, rows=rows, in_place=in_place, flags=flags)
    if counts["cut"]:
        log.say(
            f"score@{name}",
            f"{counts['cut']} of {counts['predicted']} pairs were cut at {p.scorers[name].max_length} tokens;"
            f" scorers.{name}.max_length reads more",
        )
    if counts["out:not_finite"] and not counts["out:scored"]:
        raise ValueError(
            f"scores/{name}: a score must be finite, but none of {counts['out:not_finite']} is."
            f" {_cure(p.scorers[name], name)}"
        )
    if counts["out:not_finite"]:
        log.say(
            f"score@{name}",
            f"{counts['out:not_finite']} pairs have no finite score and take no part; theirs is null in"
            f" {data.shown(f'scores/{name}')}. {_cure(p.scorers[name], name)}",
        )
    return counts


def _cure(settings: params.Scorer, name: str) -> str:
    """What helps where a score is not finite."""
    if settings.dtype == "float16":
        return f"Set scorers.{name}.dtype: float32"
    return f"Name another scorers.{name}.model, or correct or remove the texts"


def score_shard(shard: str, data: Data, p: params.Params, name: str) -> Counts:
    """Score the pairs of one shard of queries, as far as no earlier run has."""
    settings = p.scorers[name]
    queries = data.read("queries", shard, ["query_id", "text", "near_group"])
    pairs = data.read("pairs", shard)
    worth = pooling.worth_scoring(pairs, settings.depth)
    pairs = pairs.filter(pa.array(worth)).select(["query_id", "document_id", "document_row"])
    query = arrays.place_among(pairs["query_id"], queries["query_id"])
    rows, (document,) = arrays.places(pairs["document_row"].to_numpy())
    documents = lookup.rows(data, "documents", ("title", "text")).take(rows)
    texts = text.full_text(documents["title"], documents["text"]).to_pylist()
    query_texts = queries["text"].to_pylist()
    query_hash = text.hashes(query_texts).take(pa.array(query))
    document_hash = text.hashes(texts).take(pa.array(document))

    model_print, folders = _models(data, settings, name)
    scores = _known(data, f"scores/{name}", shard, model_print, query_hash, document_hash)
    missing = np.isnan(scores)
    kept = unfinished.Unfinished(data, f"scores/{name}", shard)

    def scored(rows: np.ndarray) -> pa.Table:
        some = pa.array(rows)
        ids = (column.take(some) for column in (pairs["query_id"], pairs["document_id"], query_hash, document_hash))
        values = pa.array(scores[rows], pa.float32(), mask=~np.isfinite(scores[rows]))
        return pa.table([*ids, values], schema=schema.SCORES).replace_schema_metadata({schema.FINGERPRINT: model_print})

    cut = Counts()
    fold = randomness.fold_of(queries["near_group"].to_pylist(), len(folders))[query]
    for number, folder in enumerate(folders):
        todo = np.flatnonzero(missing & (fold == number))
        if todo.size:
            model = configured.load_scorer(folder, settings, f"scorers.{name}")
            asked, given = [query_texts[i] for i in query[todo]], [texts[i] for i in document[todo]]
            for part in model.slices(asked, given, tokens=settings.tokens_per_batch):
                scores[todo[part]] = model.score(asked[part], given[part], tokens=settings.tokens_per_batch, counts=cut)
                kept.keep(lambda: scored(np.flatnonzero(np.isfinite(scores))))
    finite = np.isfinite(scores)
    table = scored(np.arange(len(scores)))
    data.write(f"scores/{name}", shard, table, anew=True)
    return Counts(
        {
            "in": len(worth),
            "out:scored": int(finite.sum()),
            "out:not_finite": int((~finite).sum()),
            "out:not_worth_scoring": int((~worth).sum()),
            f"rows:scores/{name}": len(table),
            "predicted": int(missing.sum()),
            "reused": int((~missing).sum()),
            **cut,
        }
    )


@at_hand.keep
def _models(data: Data, settings: params.Scorer, name: str) -> tuple[str, tuple[str, ...]]:
    """What the scores depend on, and the folder of the model of each fold."""
    if settings.model is not None:
        found = [configured.find(settings, f"scorers.{name}")]
    else:
        found = [_taught(data, f"models/{name}", f"fold-{fold}") for fold in range(cross_encoder.FOLDS)]
    prints = [configured.of_scores(folder, settings) for folder in found]
    return "+".join(prints), tuple(found)


def _taught(data: Data, dataset: str, name: str) -> str:
    try:
        return data.fetched(dataset, name)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{data.shown(dataset, name)}: the taught model must exist. Make it: gangue mine, or dvc repro"
        ) from None


def _known(
    data: Data,
    dataset: str,
    shard: str,
    fingerprint: str,
    query_hash: pa.Array,
    document_hash: pa.Array,
) -> np.ndarray:
    """(n,) scores that these models gave these texts in an earlier file; NaN where they did not."""
    files = vector_store.meeting(data, dataset, shard)
    found = (vector_store.of_model(data, dataset, file, fingerprint) for file in files)
    tables = [table for table in found if table is not None]
    scores = np.full(len(query_hash), np.nan, np.float32)
    if not tables:
        return scores
    old = pa.concat_tables(tables)
    key, old_key = arrays.pair_codes([query_hash, document_hash], [old["query_hash"], old["document_hash"]])
    unique, first = np.unique(old_key, return_index=True)
    place = np.minimum(np.searchsorted(unique, key), len(unique) - 1)
    same = unique[place] == key
    scores[same] = arrays.floats(old, "score")[first[place[same]]]
    return scores
