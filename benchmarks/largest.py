"""The largest job that this machine can do: passages and queries of MS MARCO's numbers and lengths, all stages.

Usage: python -m benchmarks.largest [--documents 8800000] [--queries 500000] [--index IVF4096,Flat]
       [--work DIR] [--output NAME]

Passages have 56 words on average, 79 of the model's tokens; most are of one of the topics (one of 500 passages), the
rest as frequent as words are (Zipf); queries have six. The commonest words are English stop words; a query's others are
in a twentieth of all passages together, those of squad_sent's questions in a twelfth of its shorter sentences. A static
model embeds them (wordllama, 256 dimensions), BM25 and vectors retrieve, the learned filter judges. Then a hundredth of
new passages comes and everything runs again. With --work, a run that was stopped goes on after the last stage that
ended. One JSON object: of each stage the seconds, processor seconds, and the peaks of anonymous memory of its largest
process and of all of them (pages of mapped files can be dropped and are not counted); bytes on disk; the recall of an
index; and beside them what this machine does at best: multiply-adds and bytes a second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np
import psutil

from benchmarks.candidates import GANGUE, RESULTS
from benchmarks.growth import anonymous, write_model
from benchmarks.student import static_embedding
from gangue.pipeline import params
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import recall
from gangue.transforms.text import stopwords

WORDS, OF_TOPIC, PASSAGES_OF_TOPIC = 200_000, 60, 500
MEAN_WORDS, SPREAD, QUERY_WORDS = 56, 0.4, 6
_AT_ONCE = 20_000  # passages
EXACT = 1_000_000  # documents up to which vectors are searched as they are
STAGES = (
    "ingest", "embed static", "cluster static", "plan", "retrieve dense", "retrieve bm25", "pool", "learn", "calibrate",
    "filter", "sample", "export", "audit",
)  # fmt: skip


def vocabulary(rng: np.random.Generator) -> np.ndarray:
    """(WORDS,) words, each once, commonest first: English stop words, those of one token, two tokens joined."""
    tokenizer, _ = static_embedding()
    tokens = sorted(tokenizer.get_vocab())
    begins = [token[1:] for token in tokens if re.fullmatch("\u2581[a-z]{3,12}", token)]
    ends = rng.permutation([token for token in tokens if re.fullmatch("[a-z]{3,6}", token)])
    joined = np.char.add(*(rng.choice(parts, 2 * WORDS) for parts in (begins, ends)))
    common = [*sorted(stopwords.of("en")), *rng.permutation(begins)]
    return np.array(list(dict.fromkeys([*common, *joined]))[:WORDS])


def write(folder: pathlib.Path, first: int, documents: int, total: int, queries: int = 0) -> None:
    """Append passages from number ``first`` on to a BEIR folder's corpus; topics are those of ``total`` passages.

    With ``queries``, so many are written, each of words of a passage, which is its only positive.
    """
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    words, topics = _world(total)
    rng = np.random.default_rng([5, first])
    positives = np.sort(rng.choice(documents, queries, replace=False)) + first
    with contextlib.ExitStack() as stack:
        corpus = stack.enter_context(open(folder / "corpus.jsonl", "a", encoding="utf-8"))
        asked = stack.enter_context(open(folder / "queries.jsonl", "a", encoding="utf-8"))
        qrels = stack.enter_context(open(folder / "qrels" / "train.tsv", "a", encoding="utf-8"))
        for start in range(first, first + documents, _AT_ONCE):
            count = min(_AT_ONCE, first + documents - start)
            lengths = np.clip(rng.lognormal(np.log(MEAN_WORDS) - SPREAD**2 / 2, SPREAD, count), 8, 250).astype(int)
            ends = np.cumsum(lengths)
            text = words[_drawn(rng, topics, np.repeat(np.arange(start, start + count), lengths))]
            listed = text.tolist()
            corpus.writelines(
                f'{{"_id": "d{start + i}", "title": "", "text": "{" ".join(listed[end - length : end])}"}}\n'
                for i, (end, length) in enumerate(zip(ends.tolist(), lengths.tolist(), strict=True))
            )
            here = positives[slice(*np.searchsorted(positives, [start, start + count]))] - start
            place = ends[here, None] - 1 - rng.integers(0, lengths[here, None], (len(here), QUERY_WORDS))
            for row, query in zip((here + start).tolist(), text[place].tolist(), strict=True):
                asked.write(f'{{"_id": "q{row}", "text": "{" ".join(query)}"}}\n')
                qrels.write(f"q{row}\td{row}\t1\n")


def _world(total: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    words = vocabulary(rng)
    first = len(stopwords.of("en"))
    rank = first * (len(words) / first) ** rng.random((max(1, total // PASSAGES_OF_TOPIC), OF_TOPIC))
    return words, rank.astype(int)  # rank r as often as 1 / r


def _drawn(rng: np.random.Generator, topics: np.ndarray, passage: np.ndarray) -> np.ndarray:
    """(n,) word numbers: of the topic of each passage for six in ten, else as frequent as words are."""
    of_topic = topics[(passage * 7919) % len(topics), rng.integers(0, OF_TOPIC, len(passage))]
    any_word = np.exp(rng.random(len(passage)) * np.log(WORDS)).astype(int) - 1  # Zipf: rank r as often as 1 / r
    return np.where(rng.random(len(passage)) < 0.6, of_topic, any_word)


def job(folder: pathlib.Path, index: str, workers: int) -> dict[str, Any]:
    """Params: the defaults, but for what such a size wants."""
    lists = re.match(r"IVF(\d+)", index)
    dense = {"kind": "dense", "encoder": "static", "depth": 100, "index": index}
    return {
        "source": {"kind": "beir", "path": str(folder / "source")},
        "ingest": {"documents_per_shard": 32768, "queries_per_shard": 4096},
        "encoders": {"static": {"model": str(folder / "model")}},
        "cluster": {"clusters": int(lists[1]) if lists else 256},
        "retrievers": {
            "dense": {**dense, "nprobe": max(8, int(lists[1]) // 256)} if lists else dense,
            "bm25": {"kind": "bm25", "depth": 100},
        },
        "filter": {"kind": "learned", "max_false_negatives": 0.02},
        "sample": {"kind": "top", "score": "dense", "negatives": 5},
        "export": {"views": ["triplet"]},
        "audit": {"rounds": 1},
        "beam": {"workers": workers},
    }


def measured(command: list[str]) -> dict[str, float]:
    """Seconds, processor seconds, and peaks of anonymous memory of a command and its processes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = psutil.Popen(command, stderr=subprocess.PIPE, text=True)
    peaks, ended = [0, 0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            try:
                held = [anonymous(one.pid) for one in (process, *process.children(recursive=True))]
            except psutil.Error:
                continue
            peaks[:] = max(peaks[0], *held), max(peaks[1], sum(held))

    thread = threading.Thread(target=watch)
    thread.start()
    _, said = process.communicate()
    ended.set()
    thread.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{said}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(time.monotonic() - started, 1),
        "processor_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "largest_process_mib": round(peaks[0] / 1024),
        "all_processes_mib": round(peaks[1] / 1024),
    }


def machine(folder: pathlib.Path) -> dict[str, float]:
    """The best of this machine: multiply-adds of a float32 matrix product, bytes written to disk and read."""
    rng = np.random.default_rng(0)
    left, right = rng.random((4096, 256), np.float32), rng.random((256, 65536), np.float32)
    left @ right
    started = time.monotonic()
    left @ right
    multiply_adds = left.shape[0] * left.shape[1] * right.shape[1] / (time.monotonic() - started)
    content, path = os.urandom(1 << 28), folder / "speed"
    started = time.monotonic()
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    wrote = len(content) / (time.monotonic() - started)
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        started = time.monotonic()
        file.read()
    read = len(content) / (time.monotonic() - started)
    path.unlink()
    return {"multiply_adds_per_second": multiply_adds, "written_per_second": wrote, "read_per_second": read}


def run(folder: pathlib.Path, result: dict[str, Any], part: str) -> None:
    """Every stage as a command of its own, into ``result[part]``; what that has already is not run again."""
    places = ["--data", str(folder / "data"), "--params", str(folder / "params.yaml")]
    stages = result.setdefault(part, {})
    for stage in STAGES:
        if stage in stages:
            continue
        reports = ["--reports", str(folder / "reports")] if stage == "audit" else []
        stages[stage] = measured([GANGUE, *stage.split(), *places, *reports])
        keep(folder, result)
        print(stage, stages[stage], file=sys.stderr, flush=True)


def keep(folder: pathlib.Path, result: dict[str, Any]) -> None:
    """Write what was measured so far beside the datasets."""
    (folder / "result.new").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "result.new").replace(folder / "result.json")


def size_of(folder: pathlib.Path) -> dict[str, int]:
    """Bytes of each dataset."""
    return {
        entry.name: sum(path.stat().st_size for path in entry.rglob("*") if path.is_file())
        for entry in sorted(folder.iterdir())
    }


def main() -> None:
    """Write, run, add, run again, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=8_800_000)
    parser.add_argument("--queries", type=int, default=500_000)
    parser.add_argument("--index", help=f"a FAISS factory string; by default Flat up to {EXACT:,} documents")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here")
    parser.add_argument("--output", help="NAME: also write benchmarks/results/largest_NAME.json")
    asked = parser.parse_args()
    work = asked.work or pathlib.Path(tempfile.mkdtemp())
    more = asked.documents // 100
    total = asked.documents + more
    kept = work / "result.json"
    result: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    index = asked.index or ("Flat" if asked.documents <= EXACT else "IVF4096,Flat")
    if not result:
        shutil.rmtree(work / "source", ignore_errors=True)
        write(work / "source", 0, asked.documents, total, asked.queries)
        write_model(work / "model")
        settings = job(work, index, asked.workers)
        params.parse(settings)
        (work / "params.yaml").write_text(json.dumps(settings))
        result |= {"documents": asked.documents, "queries": asked.queries, "index": index}
        result["machine"] = {name: round(value) for name, value in machine(work).items()}
        keep(work, result)
    run(work, result, "stages")
    if "rows" not in result:
        data = Data(str(work / "data"))
        result["rows"] = {name: sum(data.rows(name)) for name in ("documents", "queries", "pairs", "triplets")}
        result["bytes"] = size_of(work / "data")
        if found := recall.measured(data, "dense"):
            result["recall"] = round(found.share, 4)
        write(work / "source", asked.documents, more, total)
        keep(work, result)
    run(work, result, "a_hundredth_more")
    print(json.dumps(result, indent=1))
    if asked.output:
        (RESULTS / f"largest_{asked.output}.json").write_text(json.dumps(result, indent=1) + "\n")
    if asked.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
