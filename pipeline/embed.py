"""embed: documents, queries -> vectors/ENCODER.   Usage: gangue embed ENCODER [--data data]"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import arrays, at_hand, log, text
from gangue.transforms.datasets import schema
from gangue.transforms.datasets.names import shard_names, staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import configured, encoder, prompts, trust, vector_store
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts, ForEachShard

TEXTS = {"documents": ["title", "text"], "queries": ["text"]}
_IDS = {"documents": "document_id", "queries": "query_id"}


def run(data: Data, p: params.Params, name: str, flags: Sequence[str] = ()) -> Counts:
    """Embed every document and query; a text that this model has embedded before is not embedded again."""
    at_hand.forget()
    data = data.deriving_from(*TEXTS)
    settings = p.encoders[name]
    folder = configured.find(settings, f"encoders.{name}")  # a wrong name fails here, before a worker starts
    used = {dataset: configured.prompt(settings, folder, dataset) for dataset in ("queries", "documents")}
    log.say(f"embed@{name}", prompts.described(used, folder))
    if name not in p.read_encoders:
        log.say(f"embed@{name}", f"no retriever, rule or sampler reads encoders.{name}. Remove it to save the time")
    if settings.trust_remote_code:
        trust.announce(f"embed@{name}", settings.model)
    shards = [(dataset, shard) for dataset in TEXTS for shard in data.shards(dataset)]

    def build(root: beam.Pipeline) -> Any:
        work = functools.partial(embed_shard, data=data, name=name, settings=settings)
        return root | beam.Create(shards, reshuffle=False) | ForEachShard(work, needs=p.beam)

    rows = sum(sum(data.rows(dataset)) for dataset in TEXTS)
    in_place = {f"vectors/{name}/{dataset}": data.shards(dataset) for dataset in TEXTS}
    counts = runner.run(f"embed@{name}", build, data, p.beam, rows=rows, in_place=in_place, flags=flags)
    if counts["cut"]:
        at = f"{settings.max_length} tokens" if settings.max_length else "the model's own limit"
        log.say(
            f"embed@{name}",
            f"{counts['cut']} of {counts['encoded']} texts were cut at {at}; encoders.{name}.max_length may read more",
        )
    write_rejected(data, name, settings, some=counts["out:rejected"] > 0)
    return counts


def write_rejected(data: Data, name: str, settings: params.Encoder, *, some: bool) -> None:
    """Write which texts have no usable vector, why, and what helps; ``some``: whether there are any.

    They take no part in anything: ``pool`` leaves out every pair of such a document or query.

    Raises:
      ValueError: it is all of the documents, or all of the queries.
    """
    cure = (
        f"set encoders.{name}.dtype: float32" if settings.dtype == "float16" else f"name another encoders.{name}.model"
    ) + ", or correct or remove the text"
    tables = [schema.REJECTED_TEXTS.empty_table()]
    for dataset, columns in TEXTS.items() if some else ():
        start = len(tables)
        for shard in data.shards(dataset):
            vectors = data.read(f"vectors/{name}/{dataset}", shard)
            rows = np.flatnonzero(~arrays.present(vectors))
            if rows.size:
                block = data.read(dataset, shard, [_IDS[dataset], *columns])
                block = block.take(pa.array(rows))
                zero = ~arrays.matrix(vectors)[rows].any(axis=1)
                reason = np.where(zero, "vector is zero", "vector is not finite").tolist()
                same = [[value] * len(rows) for value in (dataset, cure)]
                tables.append(
                    pa.table([same[0], block[0], reason, same[1], _texts(block, dataset)], schema=schema.REJECTED_TEXTS)
                )
        gone, every = sum(map(len, tables[start:])), sum(data.rows(dataset))
        if gone and gone == every:
            raise ValueError(
                f"vectors/{name}/{dataset}: a vector must be finite and not zero, but none of {every} is."
                f" {cure[0].upper()}{cure[1:]}"
            )
    table, dataset = pa.concat_tables(tables), vector_store.rejected(name)
    with data.staging(dataset):
        data.write(staged(dataset), shard_names(1)[0], table)
        data.publish(dataset)
    if len(table):
        first = table.slice(0, 1).to_pylist()[0]
        log.say(
            f"embed@{name}",
            f"{len(table)} texts have no usable vector and take no part, first {first['id']} of"
            f" {first['dataset']} ({first['reason']}); all are in {data.shown(dataset)}. {cure[0].upper()}{cure[1:]}",
        )


def embed_shard(place: tuple[str, str], data: Data, name: str, settings: params.Encoder) -> Counts:
    """Embed one shard of documents or of queries, as far as no earlier run has."""
    dataset, shard = place
    texts = _texts(data.read(dataset, shard, TEXTS[dataset]), dataset)
    folder = configured.find(settings)  # where this worker has it
    before = configured.prompt(settings, folder, dataset)

    cut = Counts()

    def model() -> encoder.Encoder:  # loading takes seconds: only where a text is new
        return configured.load_encoder(folder, settings, f"encoders.{name}")

    def encode(missing: Sequence[str]) -> Iterator[np.ndarray]:
        return model().blocks(
            missing,
            prompt=before,
            normalise=settings.normalise,
            tokens=settings.tokens_per_batch,
            task=prompts.TASKS[dataset],
            counts=cut,
        )

    output = f"vectors/{name}/{dataset}"
    # A document is in a shard by its text. A query is by the name of its near-duplicates: where a new one renames them,
    # they are embedded again. To look into every file for them would take the square of their number.
    counts = vector_store.complete(
        data,
        output,
        shard,
        texts.to_pylist(),
        configured.of_vectors(folder, settings, before),
        lambda: model().dimensions,
        encode,
        {schema.PROMPT: before},
    )
    counts.update(cut)
    return counts


def _texts(block: pa.Table, dataset: str) -> pa.ChunkedArray:
    """What is embedded of these documents or queries."""
    return text.full_text(block["title"], block["text"]) if dataset == "documents" else block["text"]
