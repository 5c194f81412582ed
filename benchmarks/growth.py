"""Time and memory of every stage as the corpus grows.

Usage: python -m benchmarks.growth [--documents 10000 100000 1000000] [--queries 500] [--work DIR] [--output]

Documents are twelve words, eight of them from one of two thousand topics; queries are four words of a topic, and a
document of it is their positive. A static model embeds them, a flat and an IVF index and BM25 retrieve, and the
cheapest rule and sampler choose, so that nothing hides what a stage itself needs. Every stage runs as a command of its
own. One JSON object: for each size and stage seconds and the peak of anonymous memory (what the stage holds; pages of
files that are mapped can be dropped at any time, and are not counted), and the recall that retrieve measured.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from typing import Any

import numpy as np

from benchmarks.candidates import GANGUE
from benchmarks.student import static_embedding
from gangue.pipeline import params
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import recall

RESULTS = pathlib.Path(__file__).parent / "results"
TOPICS, OF_TOPIC = 2000, 30


def stdlib_words() -> np.ndarray:
    """The words of Python's standard library, each once, sorted."""
    found = {
        word
        for path in sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
        for word in re.findall(r"[a-z]{4,12}", path.read_text(encoding="utf-8", errors="ignore"))
    }
    return np.array(sorted(found))


def write(folder: pathlib.Path, documents: int, queries: int) -> None:
    """A BEIR folder of so many documents."""
    rng = np.random.default_rng(3)
    words = stdlib_words()
    topics = rng.integers(0, len(words), (TOPICS, OF_TOPIC))
    folder.mkdir(parents=True)
    first = np.full(TOPICS, -1)
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as file:
        for start in range(0, documents, 10_000):
            count = min(10_000, documents - start)
            topic = rng.integers(0, TOPICS, count)
            chosen = topics[topic[:, None], rng.integers(0, OF_TOPIC, (count, 8))]
            drawn = words[np.hstack([chosen, rng.integers(0, len(words), (count, 4))])]
            for number, row in enumerate(drawn.tolist(), start):
                file.write(json.dumps({"_id": f"d{number}", "title": "", "text": " ".join(row)}) + "\n")
            first[topic] = np.where(first[topic] < 0, start + np.arange(count), first[topic])
    asked = rng.choice(np.flatnonzero(first >= 0), min(queries, int((first >= 0).sum())), replace=False)
    drawn = words[topics[asked[:, None], rng.integers(0, OF_TOPIC, (len(asked), 4))]]
    rows = [{"_id": f"q{number}", "text": " ".join(row)} for number, row in enumerate(drawn.tolist())]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "qrels").mkdir()
    labels = "".join(f"q{number}\td{first[topic]}\t1\n" for number, topic in enumerate(asked))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + labels)


def write_model(folder: pathlib.Path) -> None:
    """A static embedding as a sentence-transformers folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer, weights = static_embedding()
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu").save(str(folder))


def lists_for(documents: int) -> int:
    """Lists of an index: the root of the documents, to the next power of two.

    >>> lists_for(20_000), lists_for(1_000_000)
    (128, 1024)
    """
    return int(2 ** np.round(np.log2(np.sqrt(documents))))


def job(folder: pathlib.Path, documents: int) -> dict[str, Any]:
    """Params; as many clusters, and lists of the index, as the corpus wants."""
    lists = lists_for(documents)
    dense = {"kind": "dense", "encoder": "static", "depth": 100}
    return {
        "source": {"kind": "beir", "path": str(folder / "source")},
        "ingest": {"documents_per_shard": 4096, "queries_per_shard": 256},
        "encoders": {"static": {"model": str(folder / "model")}},
        "cluster": {"clusters": lists},
        "retrievers": {
            "flat": dense,
            "ivf": {**dense, "index": f"IVF{lists},Flat", "nprobe": max(8, lists // 64)},
            "bm25": {"kind": "bm25", "depth": 100},
        },
        "filter": {"kind": "perc", "score": "flat", "perc": 0.95},
        "sample": {"kind": "top", "score": "flat", "negatives": 5},
        "export": {"views": ["triplet"]},
        "audit": {"rounds": 1},
    }


STAGES = (
    "ingest", "embed static", "cluster static", "plan", "retrieve flat", "retrieve ivf", "retrieve bm25", "pool",
    "learn", "calibrate", "filter", "sample", "export", "audit",
)  # fmt: skip


def anonymous(process: int) -> int:
    """KiB of memory that a process holds for itself; 0 where it has ended."""
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) if found else 0


def measured(command: list[str]) -> dict[str, float]:
    """Seconds and peak of anonymous memory of a command."""
    started = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            peak[0] = max(peak[0], anonymous(process.pid))

    thread = threading.Thread(target=watch)
    thread.start()
    _, said = process.communicate()
    ended.set()
    thread.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{said}")
    return {"seconds": round(time.monotonic() - started, 1), "anonymous_mib": round(peak[0] / 1024)}


def main() -> None:
    """Write, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, and go on where a run before ended")
    parser.add_argument("--output", action="store_true", help="also write benchmarks/results/growth.json")
    arguments = parser.parse_args()
    work = arguments.work or pathlib.Path(tempfile.mkdtemp())
    kept = work / "measured.json"
    before = json.loads(kept.read_text()) if kept.exists() else {}
    result: dict[str, Any] = {"queries": arguments.queries, "stages": {}, "recall": {}}
    for documents in arguments.documents:
        folder = work / str(documents)
        if not (folder / "source").exists():
            write(folder / "source", documents, arguments.queries)
            write_model(folder / "model")
        settings = job(folder, documents)
        params.parse(settings)
        (folder / "params.yaml").write_text(json.dumps(settings))
        places = ["--data", str(folder / "data"), "--params", str(folder / "params.yaml")]
        for stage in STAGES:
            reports = ["--reports", str(folder / "reports")] if stage == "audit" else []
            key = f"{documents} documents, {arguments.queries} queries: {stage}"
            if key not in before:
                before[key] = measured([GANGUE, *stage.split(), *places, *reports])
                kept.write_text(json.dumps(before))
                print(key, before[key], file=sys.stderr, flush=True)
            result["stages"].setdefault(stage, {})[documents] = before[key]
        if found_by_index := recall.measured(Data(str(folder / "data")), "ivf"):
            result["recall"][documents] = round(found_by_index.share, 4)
    print(json.dumps(result, indent=1))
    if arguments.output:
        (RESULTS / "growth.json").write_text(json.dumps(result, indent=1) + "\n")
    if arguments.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
