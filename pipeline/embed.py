"""embed: documents, queries -> vectors/ENCODER.   Usage: python -m pipeline.embed ENCODER [--data data]"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from pipeline import commandline, params, runner
from transforms import encoder, prompts, schema, text, trust, vector_store
from transforms.shards import Counts, ForEachShard
from transforms.storage import Data

TEXTS = {"documents": ["title", "text"], "queries": ["text"]}


def run(data: Data, p: params.Params, name: str, flags: Sequence[str] = ()) -> Counts:
    """Embed every document and query; a text that this model has embedded before is not embedded again."""
    encoder.forget()
    fingerprint.cache_clear()
    settings = p.encoders[name]
    folder = encoder.locate(settings.model, settings.revision)  # a wrong name fails here, before a worker starts
    used = {dataset: prompt(settings, folder, dataset) for dataset in ("queries", "documents")}
    print(f"embed@{name}: {prompts.described(used, folder)}", file=sys.stderr)  # noqa: T201
    if settings.trust_remote_code:
        trust.announce(f"embed@{name}", settings.model)
    shards = [(dataset, shard) for dataset in TEXTS for shard in data.shards(dataset)]
    cuts = {dataset: vector_store.cuts(data, f"vectors/{name}/{dataset}") for dataset in TEXTS}

    def build(root: beam.Pipeline) -> Any:
        work = functools.partial(embed_shard, data=data, name=name, settings=settings, cuts=cuts)
        return root | beam.Create(shards) | ForEachShard(work, hints=p.beam.hints)

    rows = sum(sum(data.rows(dataset)) for dataset in TEXTS)
    in_place = {f"vectors/{name}/{dataset}": data.shards(dataset) for dataset in TEXTS}
    return runner.run(f"embed@{name}", build, data, p.beam, rows=rows, in_place=in_place, flags=flags)


def embed_shard(
    place: tuple[str, str], data: Data, name: str, settings: params.Encoder, cuts: Mapping[str, frozenset[int]]
) -> Counts:
    """Embed one shard of documents or of queries; ``cuts``: into how many shards each dataset's vectors were cut."""
    dataset, shard = place
    block = data.read(dataset, shard, TEXTS[dataset])
    texts = text.full_text(block["title"], block["text"]) if dataset == "documents" else block["text"]
    folder = encoder.locate(settings.model, settings.revision)  # where this worker has it
    before = prompt(settings, folder, dataset)

    def model() -> encoder.Encoder:  # loading takes seconds: only where a text is new
        return load(folder, settings)

    def encode(missing: Sequence[str]) -> np.ndarray:
        return model().encode(
            missing,
            prompt=before,
            normalise=settings.normalise,
            tokens=settings.tokens_per_batch,
            task=prompts.TASKS[dataset],
        )

    output = f"vectors/{name}/{dataset}"
    counts, _ = vector_store.complete(
        data,
        output,
        shard,
        texts.to_pylist(),
        fingerprint(folder, settings, before),
        lambda: model().dimensions,
        encode,
        # A document is in a shard by its text. A query is by the name of its near-duplicates: where a new one renames
        # them, they are embedded again. To look into every file for them would take the square of their number.
        vector_store.overlapping(shard, cuts[dataset]),
        {schema.PROMPT: before},
    )
    return counts


def prompt(settings: params.Encoder, folder: str, dataset: str) -> str:
    """What goes before each text of ``queries`` or ``documents``."""
    return prompts.chosen(
        settings.document_prompt if dataset == "documents" else settings.query_prompt, folder, dataset
    )


def load(folder: str, settings: params.Encoder) -> encoder.Encoder:
    """The model of an encoder."""
    return encoder.load(
        folder,
        settings.max_length,
        settings.dtype,
        settings.trust_remote_code,
        settings.backend,
        settings.model_file,
    )


@functools.cache
def fingerprint(folder: str, settings: params.Encoder, prompt: str) -> str:
    """What the vectors of this encoder under this prompt depend on."""
    return encoder.fingerprint(
        folder,
        prompt=prompt,
        max_length=settings.max_length,
        dtype=settings.dtype,
        normalise=settings.normalise,
        **({} if settings.backend == "torch" else {"backend": settings.backend, "model_file": settings.model_file}),
        **trust.settings(settings.trust_remote_code),
    )


if __name__ == "__main__":
    commandline.main("embed", run, lambda p: list(p.encoders))
