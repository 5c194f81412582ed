"""Gangue beside ``sentence_transformers.util.mine_hard_negatives``: the same negatives, at what cost?

Usage: python -m benchmarks.against_sentence_transformers --data FOLDER [--split train] [--repeats 3]
       python -m benchmarks.against_sentence_transformers --documents 1000000

Each side runs in processes of its own, in turns, and reads the texts, embeds them, mines and writes. Both
keep their vectors on disk. Every difference between the negatives is explained by name; the program fails
where one is not. With ``--documents`` the corpus is a made-up one of that size (``benchmarks.growth``) under a static
model, so that a machine without a GPU can embed it. Beside both sides: the memory of the bare libraries and model.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import beir, growth, sides
from benchmarks.differences import Ours, Tally, compare
from gangue.transforms.datasets.storage import Data

RESULTS = pathlib.Path(__file__).parent / "results"
TIMED = "perc"
QUERIES = 500  # of a made-up corpus
EMBEDDING = ("imports", "embed")  # seconds of both sides that no miner can save


def measure(job: sides.Job, repeats: int, scratch: pathlib.Path) -> dict[str, list[dict[str, Any]]]:
    """Run both sides in turns; the first turn leaves what each mode mined in ``scratch/SIDE-0``."""
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": [], "bare": []}
    for turn in range(repeats):
        for side in ("ours", "theirs", "bare") if turn % 2 == 0 else ("bare", "theirs", "ours"):
            output = scratch / f"{side}-{turn}"
            output.mkdir()
            modes = [TIMED, *(mode for mode in sides.FILTERS if mode != TIMED)] if turn == 0 else [TIMED]
            runs[side].append(_run(dataclasses.replace(job, side=side, modes=modes, output=str(output))))
    return runs


def _run(job: sides.Job) -> dict[str, Any]:
    asked, log = pathlib.Path(job.output, "job.json"), pathlib.Path(job.output, "log.txt")
    asked.write_text(json.dumps(dataclasses.asdict(dataclasses.replace(job, started=time.monotonic()))))
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.sides", str(asked)], stdout=file, stderr=file, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{job.side}: must end with exit code 0, got {done.returncode}\n{log.read_text()[-3000:]}")
    return json.loads(pathlib.Path(job.output, "report.json").read_text())


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of one side's runs."""
    names = runs[0]["seconds"]
    median = {name: statistics.median(run["seconds"][name] for run in runs) for name in names}
    walls = [sum(run["seconds"].values()) for run in runs]
    rest = [sum(s for name, s in run["seconds"].items() if name not in EMBEDDING) for run in runs]
    return {
        "wall_s": round(statistics.median(walls), 2),
        "best_wall_s": round(min(walls), 2),  # the one that others on the machine disturbed least
        "walls_s": [round(wall, 2) for wall in walls],
        "embedding_s": round(median["embed"], 2),
        "imports_s": round(median["imports"], 2),
        "rest_s": round(statistics.median(rest), 2),
        "seconds": {name: round(value, 2) for name, value in median.items()},
        "cpu_s": round(statistics.median(run["cpu_s"] for run in runs), 2),
        "peak_mib": round(statistics.median(run["peak_mib"] for run in runs)),
    }


def differences(corpus: beir.Corpus, mode: str, scratch: pathlib.Path) -> Tally:
    """Compare what the two sides mined in one mode, text by text."""
    mined = ours_by_query(corpus, mode, scratch / "ours-0")
    found = theirs_by_pair(mode, scratch / "theirs-0")
    tally = Tally()
    for query, positive in dict.fromkeys((corpus.queries[q], corpus.documents[d]) for q, d in corpus.pairs):
        compare(tally, query, positive, mined[query], found.get((query, positive), {}), sides.NEGATIVES)
    return tally


def ours_by_query(corpus: beir.Corpus, mode: str, output: pathlib.Path) -> dict[str, Ours]:
    """Our triplets and verdicts by query text."""
    import pyarrow.parquet as pq

    chosen: dict[str, dict[str, dict[str, float]]] = collections.defaultdict(lambda: collections.defaultdict(dict))
    for row in pq.read_table(output / f"{mode}.triplets.parquet").to_pylist():
        chosen[row["query"]][row["positive"]][row["negative"]] = row["score_dense"]
    verdicts: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for row in pq.read_table(output / f"{mode}.verdicts.parquet").to_pylist():
        texts = verdicts[corpus.queries[row["query_id"]]]
        texts.setdefault(corpus.documents[row["document_id"]], row["verdict"])
    weakest: dict[str, float] = {}  # by id of the query
    for row in Data(str(output / "data")).read_all("pairs", ["query_id", "positive", "score_dense"]).to_pylist():
        if row["positive"]:
            weakest[row["query_id"]] = min(weakest.get(row["query_id"], 2.0), row["score_dense"])
    levels: dict[str, list[float]] = collections.defaultdict(list)
    for name, query in corpus.queries.items():
        levels[query] += ceiling(mode, weakest[name])
    copies: dict[str, list[str]] = collections.defaultdict(list)
    for text in set(corpus.documents.values()):
        copies[" ".join(text.lower().split())].append(text)
    for texts in verdicts.values():
        for text in list(texts):
            for copy in copies[" ".join(text.lower().split())]:
                texts.setdefault(copy, "duplicate")
    return {query: Ours(chosen[query], verdicts[query], tuple(levels[query])) for query in corpus.queries.values()}


def ceiling(mode: str, weakest: float) -> list[float]:
    """The score that a negative must stay below, if the mode has one."""
    if mode == "abs":
        return [sides.ABS]
    if mode == "margin":
        return [weakest - sides.MARGIN]
    return [weakest - abs(weakest) * (1 - sides.PERC)] if mode == "perc" else []


def theirs_by_pair(mode: str, output: pathlib.Path) -> dict[tuple[str, str], dict[str, float]]:
    """Their negatives and scores by texts of query and positive."""
    import pyarrow.parquet as pq

    found: dict[tuple[str, str], dict[str, float]] = collections.defaultdict(dict)
    for row in pq.read_table(output / f"{mode}.triplets.parquet").to_pylist():
        found[row["anchor"], row["positive"]][row["negative"]] = row["scores"][1]
    return found


def main() -> int:
    """Measure, compare, print; 1 where a difference stays unexplained."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against_sentence_transformers", description=__doc__)
    corpora = parser.add_mutually_exclusive_group(required=True)
    corpora.add_argument("--data", type=pathlib.Path, help="BEIR folder")
    corpora.add_argument("--documents", type=int, help="make up a corpus of this size, under a static model")
    parser.add_argument("--split", default="train")
    parser.add_argument("--repeats", type=int, default=1, help="turns of both sides; medians are reported")
    parser.add_argument("--faiss", action="store_true", help="sentence-transformers searches with FAISS")
    parser.add_argument("--output", help="NAME: also write benchmarks/results/against_sentence_transformers_NAME.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        source = asked.data or scratch / f"{asked.documents}_made_up"
        if asked.documents:
            growth.write(source, asked.documents, QUERIES)
            growth.write_model(scratch / "model")
        corpus = beir.read(source, asked.split)
        depth = sides.CANDIDATES + corpus.most_positives
        job = sides.Job("", str(source), asked.split, [], depth, "", 0.0, asked.faiss)
        if asked.documents:
            job = dataclasses.replace(job, model=str(scratch / "model"), max_length=None)
        runs = measure(job, asked.repeats, scratch)
        tallies = {mode: differences(corpus, mode, scratch) for mode in sides.FILTERS}
    ours, theirs = summary(runs["ours"]), summary(runs["theirs"])
    report = {
        "data": source.name,
        "split": asked.split,
        "texts": {
            "documents": len(corpus.documents),
            "queries": len(corpus.queries),
            "pairs": len(corpus.pairs),
        },
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "python": platform.python_version(),
        },
        "timed_mode": TIMED,
        "faiss": asked.faiss,
        "ours": ours,
        "theirs": theirs,
        "bare_peak_mib": round(statistics.median(run["peak_mib"] for run in runs["bare"])),
        "ours_over_theirs": {
            name: round(ours[name] / theirs[name], 3)
            for name in ("wall_s", "best_wall_s", "cpu_s", "embedding_s", "rest_s", "peak_mib")
        },
        "negatives": {mode: _shown(tally) for mode, tally in tallies.items()},
    }
    print(json.dumps(report, indent=2))
    lines = [f"{mode}: {line}" for mode, tally in tallies.items() for line in tally.unexplained]
    if lines:
        shown = "\n".join(lines[:20])
        print(f"{len(lines)} differences must have a reason, and have none:\n{shown}", file=sys.stderr)
    if asked.output and not lines:
        RESULTS.mkdir(exist_ok=True)
        target = RESULTS / f"against_sentence_transformers_{asked.output}.json"
        target.write_text(json.dumps(report, indent=2) + "\n")
    return int(bool(lines))


def _shown(tally: Tally) -> dict[str, Any]:
    return {
        "same": tally.same,
        "only_theirs": dict(tally.only_theirs.most_common()),
        "only_ours": dict(tally.only_ours.most_common()),
        "unexplained": len(tally.unexplained),
        "largest_gap": tally.largest_gap,
    }


if __name__ == "__main__":
    sys.exit(main())
