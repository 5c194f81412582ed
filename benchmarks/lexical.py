"""Queries a second that BM25 searches: by postings, and by products of whole blocks as it did before.

Usage: python -m benchmarks.lexical [--documents 2000 100000 1000000] [--queries 512] [--before 512] [--output]

Documents have the lengths of passages, some 35 words without stop words, drawn by Zipf's law from a million; a short
query is 3 to 8 words of one document, a long one 40 of two. ``search`` is timed with all that it does: queries are cut
into words, what was fetched is scored again, and ties are settled. Both ways search in turns, three times; the seconds
are the processor's, of one core, so what else runs counts little. Before, whole blocks of 128 queries by 32,768
documents were multiplied and sorted. One JSON object: for each number of documents the seconds of each step of the
index and its bytes; for short and long queries the medians of queries a second, after and before, and their ratio. The
hits of both are compared, and an error is raised if they differ.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import synthetic
from gangue.transforms import at_hand, text
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import bm25, lexical, searching, topk

RESULTS = pathlib.Path(__file__).parent / "results"
WORDS, STOPWORDS, EXPONENT, LENGTH = 1_000_000, 60, 1.05, 35
SHORT, LONG = (3, 8), 40
PER_SHARD, DEPTH, TURNS = 4096, 100, 3
ROWS, QUERIES = 32768, 128  # of a block, before


class Exhaustive(bm25.Bm25Retriever):
    """As it searched before."""

    def search(self, queries: np.ndarray, depth: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As ``Opened.search``."""
        counts = self._counts(queries)
        weights = lookup.rows(self.data, self.weights, tuple(lexical.WEIGHTS.names))
        scores = np.full((len(queries), 0), -np.inf, np.float32)
        rows = np.full((len(queries), 0), -1, np.int64)
        for first in range(0, len(weights), ROWS):
            keep = allowed[first : first + ROWS]
            block = weights.take(np.arange(first, first + len(keep)))
            transposed = lexical.matrix(block, counts.shape[1]).T.tocsr()
            k = min(depth, len(keep))
            found: list[tuple[np.ndarray, np.ndarray]] = []
            for start in range(0, len(queries), QUERIES):
                part = (counts[start : start + QUERIES] @ transposed).toarray()
                part[(part <= 0) | ~keep] = -np.inf
                best = np.argpartition(-part, k - 1, axis=1)[:, :k]
                found.append((np.take_along_axis(part, best, 1).astype(np.float32), best + first))
            more_scores, more_rows = map(np.concatenate, zip(*found, strict=True))
            more_rows[np.isneginf(more_scores)] = -1
            scores, rows = topk.merge(scores, rows, more_scores, more_rows, depth)
        return rows, scores


def write(data: Data, documents: int, queries: int) -> None:
    """Documents, and so many short queries followed by so many long ones."""
    rng = np.random.default_rng(5)
    chance = np.cumsum(1 / np.arange(STOPWORDS + 1, STOPWORDS + 1 + WORDS) ** EXPONENT)
    names = np.array([f"w{number}" for number in range(WORDS)])
    asked: list[str] = []
    shards = list(synthetic.parts(documents, PER_SHARD))
    per_shard = -(-queries // len(shards))
    for shard, part in shards:
        lengths = np.clip(rng.lognormal(np.log(LENGTH * 0.9), 0.45, len(part)), 3, 200).astype(int)
        words = names[np.searchsorted(chance, rng.random(lengths.sum()) * chance[-1])]
        drawn = np.split(words, np.cumsum(lengths)[:-1])
        texts = [" ".join(document) for document in drawn]
        ids, hashes = [f"d{number:08d}" for number in part], text.hashes(texts)
        table = pa.table([ids, pa.array([""] * len(ids)), texts, hashes, pa.array(ids)], schema=schema.DOCUMENTS)
        data.write("documents", shard, table)
        for one, other in zip(drawn[:per_shard], drawn[-per_shard:], strict=True):
            short, long = rng.permutation(one)[: rng.integers(*SHORT, endpoint=True)], np.concatenate([one, other])
            asked += [" ".join(short), " ".join(rng.permutation(long)[:LONG])]
    asked = asked[0 : 2 * queries : 2] + asked[1 : 2 * queries : 2]
    ids = [f"q{number:06d}" for number in range(len(asked))]
    table = pa.table(
        [ids, asked, pa.array([[]] * len(ids), pa.list_(pa.string())), text.hashes(asked), ids], schema=schema.QUERIES
    )
    data.write("queries", synthetic.parts(1, 1)[0][0], table)
    for dataset in ("documents", "queries"):
        data.commit(dataset)


def index(data: Data) -> dict[str, Any]:
    """Build the index, one step after the other; seconds of each, and bytes of each dataset."""
    building = bm25.Bm25(kind="bm25", stopwords=None).indexing(data, "bm25")
    seconds = {}
    for step in building.steps:
        began = time.process_time()
        for element in step.elements:
            step.work(element)
        seconds[step.name] = round(time.process_time() - began, 2)
    for dataset in building.datasets:
        data.publish(dataset)
    sizes = {}
    for dataset in building.datasets:
        manifest = data.manifest(dataset)
        assert manifest is not None
        sizes[dataset] = sum(file.bytes for file in manifest.files.values())
    return {"index_seconds": seconds, "index_bytes": sizes}


def compared(data: Data, rows: np.ndarray, before: int) -> dict[str, float]:
    """Queries a second of both ways, in turns; ``before`` of the queries are searched as before."""
    retriever = bm25.Bm25(kind="bm25").open(data, "bm25")
    exhaustive = Exhaustive(data, retriever.weights, retriever.vocabulary)
    rates: dict[str, list[float]] = {"after": [], "before": []}
    searching.search(data, retriever, rows[:1], np.arange(1), DEPTH)  # the files are read
    for _ in range(TURNS):
        hits = {}
        for name, by, asked in (("after", retriever, rows), ("before", exhaustive, rows[:before])):
            began = time.process_time()
            hits[name] = searching.search(data, by, asked, np.arange(len(asked)), DEPTH)
            rates[name].append(len(asked) / (time.process_time() - began))
        found = hits["after"].without(np.arange(before, len(rows)))
        for one, other in zip(*(ordered(some) for some in (found, hits["before"])), strict=True):
            if not np.array_equal(one, other):
                raise ValueError("hits must be equal by postings and by products of blocks, and differ")
    after, earlier = (statistics.median(rates[name]) for name in ("after", "before"))
    return {"queries_per_second": round(after, 1), "before": round(earlier, 1), "ratio": round(after / earlier, 1)}


def ordered(hits: searching.Hits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query, document and score, by query: ties are settled query by query."""
    order = np.argsort(hits.query, kind="stable")
    return hits.query[order], hits.document[order], hits.score[order]


def main() -> None:
    """Write, index, search, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[2_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=512, help="of each length")
    parser.add_argument("--before", type=int, default=512, help="how many of them are searched as before")
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, and use those that are here")
    parser.add_argument("--output", action="store_true", help="also write benchmarks/results/lexical.json")
    given = parser.parse_args()
    report: dict[str, Any] = {"queries": given.queries, "queries_before": given.before, "depth": DEPTH, "documents": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for documents in given.documents:
            folder = (given.work or pathlib.Path(scratch)) / str(documents)
            data, note = Data(str(folder)), folder / "index.json"
            if not note.exists():
                write(data, documents, given.queries)
                note.write_text(json.dumps(index(data)), encoding="utf-8")
            at_hand.forget()
            kinds = {"short": np.arange(given.queries), "long": np.arange(given.queries, 2 * given.queries)}
            report["documents"][str(documents)] = json.loads(note.read_text(encoding="utf-8")) | {
                kind: compared(data, rows, given.before) for kind, rows in kinds.items()
            }
            print(documents, report["documents"][str(documents)], file=sys.stderr, flush=True)
    content = json.dumps(report, indent=1)
    print(content)
    if given.output:
        (RESULTS / "lexical.json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
