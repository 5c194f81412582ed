"""teach: pairs, text -> models/SCORER.   Usage: gangue teach SCORER [--data data]

Makes the cross-encoder of a scorer that has none: one model for each fold of queries, taught on the others, so
that no pair is ever scored by a model that saw its query.
"""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import arrays, randomness, text
from gangue.transforms.datasets import lookup, schema, unfinished
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import configured, cross_encoder, folders, trust
from gangue.transforms.retrieval import drawing
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts, ForEachShard


def run(data: Data, p: params.Params, name: str, flags: Sequence[str] = ()) -> Counts:
    """Teach the models of a scorer, one per fold; a scorer that has a model is only noted down."""
    data = data.deriving_from("pairs")
    settings = p.scorers[name]
    output = f"models/{name}"
    teach, note = settings.teach, {"model": settings.model, "revision": settings.revision}
    if teach and p.encoders[teach.encoder].trust_remote_code:
        trust.announce(f"teach@{name}", p.encoders[teach.encoder].model)

    def build(root: beam.Pipeline) -> Any:
        work = functools.partial(teach_fold, data=data, p=p, name=name)
        return root | beam.Create(range(cross_encoder.FOLDS), reshuffle=False) | ForEachShard(work, needs=p.beam)

    counts = Counts()
    with data.staging(output):
        taught = json.dumps(note | {"taught": teach is not None}, sort_keys=True)
        data.write_note(staged(output), "origin.json", taught + "\n")
        if teach:
            rows = sum(data.rows("positives")) * (1 + teach.negatives + teach.random) * teach.epochs
            counts = runner.run(f"teach@{name}", build, data, p.beam, rows=rows, flags=flags)
        data.publish(output)
    return counts


def teach_fold(fold: int, data: Data, p: params.Params, name: str) -> Counts:
    """Teach the model that will score this fold, on the queries of all others.

    Killed, it goes on from seconds before: its checkpoint lies hidden in the dataset until all folds are published.
    Where the datasets are remote it lies on the worker's disk and goes with it: a fold may be lost.
    """
    settings = p.scorers[name]
    assert settings.teach is not None
    query_texts, document_rows, labels = _examples(data, settings.teach, fold)
    if not labels.any() or labels.all():
        raise ValueError(
            f"scorers.{name}.teach: each of {cross_encoder.FOLDS} folds of queries needs positives and candidates to"
            f" learn from, fold {fold} has none. Give more pairs, or name a model: scorers.{name}.model"
        )
    documents = lookup.rows(data, "documents", ("title", "text")).take(document_rows)
    start = p.encoders[settings.teach.encoder]
    hidden = data.path(f"models/{name}", unfinished.name_of(f"fold-{fold}"))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(data.adding(staged(f"models/{name}"), f"fold-{fold}"))
        origin = configured.find(start, f"encoders.{settings.teach.encoder}")
        stack.enter_context(folders.named(origin, start.model, f"scorers.{name}"))
        cross_encoder.teach(
            origin,
            query_texts,
            text.full_text(documents["title"], documents["text"]).to_pylist(),
            labels,
            layers=settings.teach.layers,
            max_length=settings.max_length,
            epochs=settings.teach.epochs,
            batch_size=settings.teach.batch_size,
            learning_rate=settings.teach.learning_rate,
            seed=settings.teach.seed,
            output=folder,
            checkpoint=hidden if data.local else stack.enter_context(tempfile.TemporaryDirectory()),
            trust_remote_code=start.trust_remote_code,
        )
    return Counts({"in": len(labels), "out:taught": len(labels), "positives": int(labels.sum())})


def _examples(data: Data, settings: params.Teach, fold: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Training pairs: n query texts, (n,) document rows, (n,) labels; positives, and candidates drawn by hash.

    They are in the order of a hash of the query and of the document's row, whatever shards the queries lie in.
    """
    texts: list[str] = []
    keys, rows, labels = [], [], []
    for shard in data.shards("queries"):
        queries = data.read("queries", shard, ["query_id", "text", "near_group"])
        pairs = data.read("pairs", shard, ["query_id", "document_id", "document_row", *schema.RELATIONS])
        of_pair = arrays.place_among(pairs["query_id"], queries["query_id"])
        others = randomness.fold_of(queries["near_group"].to_pylist(), cross_encoder.FOLDS) != fold
        kinds = {relation: pairs[relation].to_numpy() for relation in schema.RELATIONS}
        positive = kinds["positive"]
        eligible = ~np.any(list(kinds.values()), axis=0)
        hashes = randomness.mix(
            settings.seed, randomness.id_hashes(pairs["query_id"]), randomness.id_hashes(pairs["document_id"])
        )
        place = arrays.rank_within(of_pair, [np.where(eligible, randomness.uniforms(hashes), 2.0)])
        wanted = settings.negatives * np.bincount(of_pair[positive], minlength=len(queries))
        chosen = others[of_pair] & (positive | (eligible & (place < wanted[of_pair])))
        strings = queries["text"].to_pylist()
        texts += [strings[i] for i in of_pair[chosen]]
        names = randomness.id_hashes(queries["query_id"])
        keys.append(names[of_pair[chosen]])
        rows.append(pairs["document_row"].to_numpy()[chosen])
        labels.append(positive[chosen])
        query, drawn = _easy(data, settings, queries, pairs, of_pair, others)
        texts += [strings[i] for i in query]
        keys.append(names[query])
        rows.append(drawn)
        labels.append(np.zeros(len(drawn), bool))
    row = np.concatenate(rows)
    order = np.lexsort((row, np.concatenate(keys)))
    return [texts[i] for i in order], row[order], np.concatenate(labels)[order]


def _easy(
    data: Data, settings: params.Teach, queries: pa.Table, pairs: pa.Table, of_pair: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Random documents for each positive: (n,) query number, (n,) document row; none is anything to its query."""
    kinds = np.any([pairs[relation].to_numpy() for relation in schema.RELATIONS], axis=0)
    positives = np.bincount(of_pair[pairs["positive"].to_numpy()], minlength=len(queries))
    wanted = np.where(others, settings.random * positives, 0)
    hashes, cells = randomness.id_hashes(queries["query_id"]), drawing.cells_of(data)
    asking, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    power = np.ceil(np.log2(np.maximum(wanted, 1)))  # those that want about as many together: one may want thousands
    for size in np.unique(power[wanted > 0]):
        some = np.flatnonzero((wanted > 0) & (power == size))
        most = int(wanted[some].max())
        drawn = drawing.draw(hashes[some], most, cells, settings.seed)
        place, turn = np.nonzero((drawn >= 0) & (np.arange(most) < wanted[some, None]))
        asking.append(some[place])
        rows.append(drawn[place, turn])
    query, row = np.concatenate(asking), np.concatenate(rows)
    keep = ~arrays.pair_among(query, row, of_pair[kinds], pairs["document_row"].to_numpy()[kinds])
    return query[keep], row[keep]
