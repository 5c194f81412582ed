"""What a job of 10^7 to 10^9 documents stores, shuffles, takes and costs on Dataflow, worked out from a small one.

Usage: python -m benchmarks.capacity [--data BEIR_FOLDER] [--output benchmarks/results/capacity.json]

The default job of ``params.yaml`` is mined from the folder; its files are weighed and its stages timed, on one core.
It has no cross-encoder. Without a folder the plans are worked out again from what the result says was measured. The
rate of a GPU is that of ``benchmarks.gpu``, 96 tokens a text; that of BM25, whose searches of a small corpus are all
overhead, of ``benchmarks.lexical``, a million documents and queries of 40 words.
What follows from these is marked ``measured``, what was typed in ``assumed``. Rows are multiplied, never fitted: a
stage that does not grow as its formula says is a mistake here, and the formulas are short enough to be read.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import threadpoolctl
import torch
import yaml
from apache_beam import coders

from benchmarks.beir import records
from gangue.pipeline import mine, params
from gangue.transforms import text
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import invariants
from gangue.transforms.models import encoder, folders
from gangue.transforms.retrieval.faiss_setup import faiss
from gangue.transforms.running import runner

RESULTS = pathlib.Path(__file__).parent / "results"
SIZES = {10**7: (10**6, 4096), 10**8: (10**7, 16384), 10**9: (10**7, 65536)}  # documents: queries, queries per shard
DOCUMENTS_PER_SHARD = 16384
MEMORY = 56 * 2**30  # what a process can hold on a machine of 64 GB

FIXED = (  # of one size in jobs of any
    ".", "audit", "calibration", "clusters/minilm/centroids", "indexes/bm25/recall", "indexes/dense/recall", "quotas",
    "sections",
)  # fmt: skip

ASSUMED = {
    # Not measured: there is no cloud here. Change these and run it again.
    "gpu_machine_dollars_per_hour": 11.1,  # a3-highgpu-1g, its H100 and 26 vCPUs, list price
    "vcpu_dollars_per_hour": 0.056,  # Dataflow batch worker, us-central1, list price
    "ram_dollars_per_gb_hour": 0.003557,
    "shuffle_dollars_per_gb": 0.011,
    "storage_dollars_per_gb_month": 0.02,
    "ram_gb_per_vcpu": 8.0,  # n2-highmem
    "read_bytes_per_second": 100e6,  # from a bucket, by one vCPU
}


def main() -> None:
    """Mine the small job, measure it, and write the plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=pathlib.Path, help="a BEIR folder to measure on")
    parser.add_argument("--split", default="train")
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS / "capacity.json")
    arguments = parser.parse_args()
    if arguments.data is None:
        earlier = json.loads(arguments.output.read_text())
        corpus, measured = earlier["corpus"], earlier["measured"]
    else:
        torch.set_num_threads(1)
        faiss.omp_set_num_threads(1)
        with threadpoolctl.threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
            corpus, measured = arguments.data.name, measure(arguments.data, arguments.split, folder)
    gpu = json.loads((RESULTS / "gpu.json").read_text())
    rate = gpu["bfloat16, 96 tokens"]["embed"]["per_second"]["stage"]
    lexical = json.loads((RESULTS / "lexical.json").read_text())["documents"]
    largest = max(lexical, key=int)
    measured["pairs_searched_per_second"]["bm25"] = round(int(largest) * lexical[largest]["long"]["queries_per_second"])
    measured["gpu"] = {"device": gpu["device"], "texts_per_second": rate}
    result = planned(corpus, measured)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


def planned(corpus: str, measured: dict[str, Any]) -> dict[str, Any]:
    """What was measured and assumed, the limits, and a plan for each size."""
    plans = [plan(measured, documents) for documents in SIZES]
    return {"corpus": corpus, "measured": measured, "assumed": ASSUMED, "limits": limits(measured), "plans": plans}


def measure(source: pathlib.Path, split: str, folder: str) -> dict[str, Any]:
    """Bytes and seconds of the default job on a folder: per document, query, pair and so on."""
    values = yaml.safe_load(pathlib.Path("params.yaml").read_text())
    values["source"] = {"kind": "beir", "path": str(source), "splits": [split]}
    path, data = os.path.join(folder, "params.yaml"), Data(os.path.join(folder, "data"))
    pathlib.Path(path).write_text(yaml.safe_dump(values))
    seconds = timed(lambda: mine.run(path, data.root, os.path.join(folder, "reports")))
    p = params.load(path)
    rows = {name: sum(data.rows(name)) for name in ("documents", "queries", "pairs", "triplets")}
    rows |= {f"candidates/{name}": sum(data.rows(f"candidates/{name}")) for name in p.retrievers}
    return {
        "rows": rows,
        "cpu_seconds": {name: round(value, 2) for name, value in seconds.items()},
        "stored_bytes": stored(data.root),
        "column_bytes_per_document": columns(data, "documents"),
        "name_bytes": crossing(data),
        "texts_per_second": round(embedding_rate(data, p), 1),
        "short_texts_per_second": round(short_rate(source, p), 1),
        "pairs_searched_per_second": {"dense": round(search_rate())},
    }


def timed(job: Callable[[], None]) -> dict[str, float]:
    """CPU seconds of each stage of a job that runs in this process."""
    seconds: dict[str, float] = {}
    original = runner.run

    def run(stage: str, *arguments: Any, **settings: Any) -> Any:
        began = time.process_time()
        counts = original(stage, *arguments, **settings)
        seconds[stage.partition("@")[0]] = seconds.get(stage.partition("@")[0], 0) + time.process_time() - began
        return counts

    runner.run = run
    try:
        job()
    finally:
        runner.run = original
    return seconds


def stored(root: str) -> dict[str, int]:
    """Bytes on disk of each dataset."""
    sizes: dict[str, int] = {}
    for path in pathlib.Path(root).rglob("*"):
        if path.is_file():
            dataset = path.relative_to(root).parent.as_posix()
            sizes[dataset] = sizes.get(dataset, 0) + path.stat().st_size
    return dict(sorted(sizes.items()))


def columns(data: Data, dataset: str) -> dict[str, float]:
    """Compressed bytes a row of each column."""
    sizes: dict[str, int] = {}
    for name in data.files(dataset):
        group = pq.read_metadata(data.path(dataset, name)).row_group(0)
        for number in range(group.num_columns):
            column = group.column(number)
            sizes[column.path_in_schema] = sizes.get(column.path_in_schema, 0) + column.total_compressed_size
    return {name: round(size / sum(data.rows(dataset)), 2) for name, size in sizes.items()}


def crossing(data: Data) -> int:
    """Bytes of an element that crosses a shuffle: the name of a shard under a random key, as Beam encodes it."""
    coder = coders.TupleCoder([coders.VarIntCoder(), coders.StrUtf8Coder()])
    return max(len(coder.encode((2**31, shard))) for shard in data.shards("documents"))


def embedding_rate(data: Data, p: params.Params) -> float:
    """Documents embedded a second, on one core."""
    block = data.read("documents", data.shards("documents")[0], ["title", "text"])
    return rate_of(text.full_text(block["title"], block["text"]).to_pylist()[:256], p)


def short_rate(source: pathlib.Path, p: params.Params) -> float:
    """Queries embedded a second, on one core."""
    return rate_of([record["text"] for record in records(source / "queries.jsonl")][:512], p)


def rate_of(texts: list[str], p: params.Params) -> float:
    """Texts embedded a second, on one core."""
    (settings,) = p.encoders.values()
    model = encoder.load(folders.locate(settings.model), settings.max_length, settings.dtype)
    began = time.process_time()
    model.encode(texts, prompt="", normalise=True, tokens=settings.tokens_per_batch)
    return len(texts) / (time.process_time() - began)


def search_rate() -> float:
    """(Query, document) pairs searched exactly a second, on one core; over enough documents to fill a block."""
    rng = np.random.default_rng(1)
    documents, queries = (rng.normal(size=(n, 384)).astype(np.float32) for n in (65536, 1024))
    began = time.process_time()
    faiss.knn(queries, documents, 58, metric=faiss.METRIC_INNER_PRODUCT)
    return len(queries) * len(documents) / (time.process_time() - began)


def plan(measured: dict[str, Any], documents: int) -> dict[str, Any]:
    """Bytes, hours and dollars of a job of so many documents."""
    queries, per_shard = SIZES[documents]
    rows, seconds, sizes = measured["rows"], measured["cpu_seconds"], measured["stored_bytes"]
    by_document, by_query = documents / rows["documents"], queries / rows["queries"]
    grown = {
        name: size * (by_document if of_documents(name) else by_query)
        for name, size in sizes.items()
        if not name.startswith(FIXED)
    }
    shards = {"documents": -(-documents // DOCUMENTS_PER_SHARD), "queries": -(-queries // per_shard)}
    # Of documents: ingest 3, embed, cluster, the index of BM25 3; of queries: ingest, embed, retrieve 2, learn 3, one
    # each of pool, calibrate, filter, sample, export and audit. Each name is shuffled once.
    passes = 8 * shards["documents"] + 13 * shards["queries"]
    cpu_hours = {stage: spent * scale(stage, by_document, by_query) / 3600 for stage, spent in seconds.items()}
    model_hours = cpu_hours.pop("embed")
    cpu_hours["retrieve"] = sum(
        queries * documents / rate / 3600 for rate in measured["pairs_searched_per_second"].values()
    )
    # A shard of queries asks for documents of every shard, so each reads these columns whole. What is mapped (vectors,
    # the weights by which BM25 scores again) a worker copies once.
    column = measured["column_bytes_per_document"]
    names = {
        "retrieve": 2 * column["document_id"] + sizes["indexes/bm25/postings"] / rows["documents"],
        "pool": column["document_id"] + column["text_hash"] + column["near_group"],
        "export": column["title"] + column["text"],
        "audit": sum(column[name] for name in invariants.READ),
    }
    reread = {stage: shards["queries"] * documents * size for stage, size in names.items()}
    read_hours = sum(reread.values()) / ASSUMED["read_bytes_per_second"] / 3600
    gpu_hours = {"embed": (documents + queries) / measured["gpu"]["texts_per_second"] / 3600}
    hour = ASSUMED["vcpu_dollars_per_hour"] + ASSUMED["ram_gb_per_vcpu"] * ASSUMED["ram_dollars_per_gb_hour"]
    shuffled = passes * measured["name_bytes"]
    dollars = {
        "cpu": (sum(cpu_hours.values()) + read_hours) * hour,
        "gpu": sum(gpu_hours.values()) * ASSUMED["gpu_machine_dollars_per_hour"],
        "shuffle": shuffled / 1e9 * ASSUMED["shuffle_dollars_per_gb"],
        "storage_month": sum(grown.values()) / 1e9 * ASSUMED["storage_dollars_per_gb_month"],
    }
    return {
        "documents": documents,
        "queries": queries,
        "shards": shards,
        "stored_bytes": {name: round(size) for name, size in grown.items()},
        "stored": round(sum(grown.values())),
        "stored_per_document": round(sum(grown.values()) / documents),
        "shuffled": shuffled,
        "reread": {stage: round(size) for stage, size in reread.items()},
        "cpu_hours": {stage: round(hours, 1) for stage, hours in cpu_hours.items()} | {"reading": round(read_hours, 1)},
        "embed_on_cpu_hours": round(model_hours, 1),
        "gpu_hours": {stage: round(hours, 2) for stage, hours in gpu_hours.items()},
        "dollars": {name: round(cost, 2) for name, cost in dollars.items()},
        "dollars_per_million_documents": round(sum(dollars.values()) / documents * 1e6, 2),
        "beyond": [limit["what"] for limit in limits(measured) if limit["documents"] < documents],
    }


def of_documents(dataset: str) -> bool:
    """Whether a dataset grows with the documents; all others grow with the queries."""
    return dataset.startswith(("documents", "clusters", "indexes")) or dataset.endswith("/documents")


def scale(stage: str, by_document: float, by_query: float) -> float:
    """By how much longer a stage takes, searching apart."""
    return {"ingest": by_document, "embed": by_document, "cluster": by_document}.get(stage, by_query)


def limits(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """What one worker holds or does alone, and how many documents that allows; least first."""
    vector = 4 * 384
    held = {
        "a hash of every document's signature in the one plan (ingest.near_duplicate)": 8,
        "where every document lies for random draws (pool, teach)": 2,
        "cluster of every document (cluster rules)": 4,
        "whether a document is the first of its text (retrieve, pool)": 1,
    }
    found = [{"what": what, "bytes_per_document": b, "documents": int(MEMORY / b)} for what, b in held.items()]
    ingest = measured["cpu_seconds"]["ingest"] / measured["rows"]["documents"]
    day = {
        "what": "a day of one process for all of ingest, of which only planning is not shared",
        "documents": int(86400 / ingest),
    }
    stored = {
        "200 GB of disk for document vectors, which a worker copies and maps where datasets are remote"
        " (pool, cluster, learn; retrieve Flat: those of its ranges)": vector,
        "200 GB of disk for the IVF,Flat index, which every worker copies (retrieve)": vector + 8,
        "200 GB of disk for MinHash signatures on the worker that plans (ingest.near_duplicate)": 512,
    }
    found += [{"what": what, "bytes_per_document": b, "documents": int(200e9 / b)} for what, b in stored.items()]
    found += [day]
    return sorted(found, key=lambda limit: float(limit["documents"]))


def table(result: dict[str, Any]) -> str:
    """The plans as Markdown, which docs/dataflow.md shows."""
    plans = result["plans"]
    lines: dict[str, Callable[[dict[str, Any]], str]] = {
        "documents / queries": lambda p: f"{p['documents']:.0e} / {p['queries']:.0e}",
        "shards of documents / queries": lambda p: f"{p['shards']['documents']:,} / {p['shards']['queries']:,}",
        "stored": lambda p: f"{p['stored'] / 1e9:,.0f} GB",
        "stored per document": lambda p: f"{p['stored_per_document']:,} bytes",
        "through all shuffles": lambda p: f"{p['shuffled'] / 1e6:,.1f} MB",
        "columns read again by every shard of queries": lambda p: f"{sum(p['reread'].values()) / 1e12:,.1f} TB",
        "vCPU hours: search": lambda p: f"{p['cpu_hours']['retrieve']:,.0f}",
        "vCPU hours: reading": lambda p: f"{p['cpu_hours']['reading']:,.0f}",
        "vCPU hours: all others": lambda p: (
            f"{sum(h for s, h in p['cpu_hours'].items() if s not in ('retrieve', 'reading')):,.0f}"
        ),
        "GPU hours (H100)": lambda p: f"{sum(p['gpu_hours'].values()):,.0f}",
        "or vCPU hours without a GPU": lambda p: f"{p['embed_on_cpu_hours']:,.0f}",
        "cost": lambda p: f"${sum(p['dollars'].values()):,.0f}",
        "cost per million documents": lambda p: f"${p['dollars_per_million_documents']:,.2f}",
        "of what one worker holds or does alone, too much": lambda p: f"{len(p['beyond'])} of {len(result['limits'])}",
    }
    rows = [f"| {name} | " + " | ".join(show(p) for p in plans) + " |" for name, show in lines.items()]
    held = [
        f"| {limit['what']} | {limit.get('bytes_per_document', '')} | {limit['documents']:.1e} |"
        for limit in result["limits"]
    ]
    head = [rows[0], "|---" * (1 + len(plans)) + "|"]
    return "\n".join([*head, *rows[1:], "", "| what | bytes a document | up to documents |", "|---|---|---|", *held])


if __name__ == "__main__":
    main()
