"""Which negatives make the better retriever: one student for each way to choose them, and whose order holds.

Usage: python -m benchmarks.students --data FOLDER [--hide] [--seeds 3] [--queries N] [--work DIR] [--output NAME]

The train split of a BEIR folder is mined by all-MiniLM-L6-v2 and BM25 with every system of
``benchmarks.training_sets``: same pairs, same number of negatives. With ``--hide`` half of the positives of each train
query that has several are hidden from all of them, as in ``benchmarks.frontier``: a corpus with many positives that
nobody labelled. A static embedding learns from each set with
``MultipleNegativesRankingLoss``, as often as there are seeds: same batches of pairs, same steps. Each then searches all
documents for the queries of the test split. A seed draws the order of the pairs, and the negatives where a system
draws. One JSON line per system on standard output:

  system            see ``training_sets.SYSTEMS``; ``untaught`` is the student before it learns
  ndcg@10, mrr@10, recall@100   mean over test queries and seeds
  seeds             the same for each seed
  filled            share of the negatives that were drawn from the corpus, because the system found too few
  steps, seconds    per student

Two systems are compared by a paired bootstrap over the test queries (each query's mean over seeds); a claim is not
resolved where the 95 % interval of the difference holds 0. The report is benchmarks/results/students_NAME.json.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import shutil
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import beir, frontier, student, training_sets
from benchmarks.training_sets import IN_BATCH, THEIRS, TrainingSet
from gangue.transforms import randomness
from gangue.transforms.datasets.storage import Data

RESULTS = pathlib.Path(__file__).parent / "results"
UNTAUGHT = "untaught"
LEARNED = ("learned", "learned_2pc", "advised", "learned_star")
ALIKE = 0.01  # systems whose difference lies within are alike

CLAIMS: dict[str, tuple[str, list[tuple[str, str]], list[tuple[str, str]]]] = {
    "O2: perc ~ margin > naive": ("ndcg@10", [("naive", "margin"), ("naive", "perc")], [("margin", "perc")]),
    "O3: random < naive top-k < SimANS": ("ndcg@10", [("random", "naive"), ("naive", "simans")], []),
    "O5: in-batch < random < STAR": ("mrr@10", [(IN_BATCH, "random"), ("random", "star")], []),
}
"""Published order -> metric, pairs of (worse, better), pairs of alike. O1, of false negatives, is frontier's."""

Values = dict[str, np.ndarray]  # metric -> (test queries,)


def sets_of(
    folder: pathlib.Path, work: pathlib.Path, seeds: int, model: dict[str, Any] = training_sets.MINILM
) -> tuple[dict[str, list[TrainingSet]], dict[str, str]]:
    """System -> its set for each seed; and system -> why it has none."""
    sets: dict[str, list[TrainingSet]] = collections.defaultdict(list)
    without: dict[str, str] = {}
    data = Data(str(work / "data"))
    for system, _, found in training_sets.ours(folder, data, seeds, model):
        if isinstance(found, str):
            without[system] = found
        else:
            sets[system].append(found)
    for system, _, one in training_sets.theirs(folder, data, seeds, model):
        sets[system].append(one)
    sets[IN_BATCH] = [training_sets.in_batch(data)] * seeds
    return sets, without


def abridged(folder: pathlib.Path, target: pathlib.Path, queries: int | None, *, hide: bool) -> pathlib.Path:
    """The same BEIR folder with so many of its train queries, which a hash picks, or with half of their positives."""
    lessons = beir.read(folder, "train")
    order = sorted(lessons.queries, key=lambda query: randomness.id_hashes(pa.array([query]))[0])
    positives: dict[str, list[str]] = {query: [] for query in order[:queries]}
    for query, document in lessons.pairs:
        if query in positives:
            positives[query].append(document)
    hidden = frontier.hide(positives, seed=0) if hide else {}
    (target / "qrels").mkdir(parents=True, exist_ok=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        shutil.copyfile(folder / name, target / name)
    known = [(query, d) for query, documents in positives.items() for d in documents if d not in hidden.get(query, ())]
    lines = ["query-id\tcorpus-id\tscore", *(f"{query}\t{document}\t1" for query, document in known)]
    (target / "qrels/train.tsv").write_text("\n".join(lines) + "\n")
    return target


def school(
    folder: pathlib.Path, sets: dict[str, list[TrainingSet]], how: student.Schooling
) -> tuple[dict[str, list[Values]], dict[str, list[float]]]:
    """System -> metrics of its student for each seed, and seconds of each; all systems of a seed before the next."""
    lessons, exam = beir.read(folder, "train"), beir.read(folder, "test")
    relevant: dict[str, set[str]] = {query: set() for query in exam.queries}
    for query, document in exam.pairs:
        relevant[query].add(document)
    primer = student.Primer([*exam.documents.values(), *lessons.queries.values(), *exam.queries.values()])
    results: dict[str, list[Values]] = collections.defaultdict(list)
    seconds: dict[str, list[float]] = collections.defaultdict(list)
    results[UNTAUGHT].append(student.evaluate(primer.student(), exam.queries, exam.documents, relevant))
    for seed in range(max(len(several) for several in sets.values())):
        for system, several in sets.items():
            started, model = time.monotonic(), primer.student()
            student.teach(model, several[seed], lessons.queries, lessons.documents, how, seed)
            seconds[system].append(time.monotonic() - started)
            results[system].append(student.evaluate(model, exam.queries, exam.documents, relevant))
    return results, seconds


def compared(results: dict[str, list[Values]], metric: str, worse: str, better: str) -> dict[str, Any]:
    """The difference of two systems, mean over seeds, with its interval."""
    left, right = (np.mean([values[metric] for values in results[name]], axis=0) for name in (worse, better))
    return {"metric": metric, "worse": worse, "better": better, **student.difference(left, right)}


def judged(results: dict[str, list[Values]]) -> dict[str, Any]:
    """Claim -> ``held``, ``reversed`` (some part of it is) or ``not resolved``, with every part."""
    claims = {}
    for claim, (metric, ordered, alike) in CLAIMS.items():
        parts = [compared(results, metric, *pair) for pair in ordered]
        for part in parts:
            part["verdict"] = student.verdict(part)
        for pair in alike:
            part = compared(results, metric, *pair)
            apart = part["low"] > ALIKE or part["high"] < -ALIKE
            within = part["low"] > -ALIKE and part["high"] < ALIKE
            parts.append({**part, "verdict": "held" if within else "reversed" if apart else "not resolved"})
        verdicts = {part["verdict"] for part in parts}
        whole = next((name for name in ("reversed", "not resolved") if name in verdicts), "held")
        claims[claim] = {"verdict": whole, "parts": parts}
    return claims


def lines_of(
    results: dict[str, list[Values]], sets: dict[str, list[TrainingSet]], seconds: dict[str, list[float]], steps: int
) -> list[dict[str, Any]]:
    """One line per system."""
    lines = []
    for system, runs in results.items():
        each = {metric: [round(float(run[metric].mean()), 5) for run in runs] for metric in student.METRICS}
        line = {"system": system, **{metric: round(float(np.mean(v)), 5) for metric, v in each.items()}, "seeds": each}
        if system in sets:
            line["filled"] = round(float(np.mean([one.filled for one in sets[system]])), 4)
            line |= {"steps": steps, "seconds": round(float(np.median(seconds[system])), 1)}
        lines.append(line)
    return lines


def main() -> int:
    """Mine, teach, compare and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.students", description=__doc__)
    parser.add_argument("--data", required=True, type=pathlib.Path, help="BEIR folder with qrels of train and test")
    parser.add_argument("--seeds", type=int, default=3, help="students per system")
    parser.add_argument("--epochs", type=int, default=student.Schooling.epochs)
    parser.add_argument("--queries", type=int, help="mine and teach with so many of the train queries; all of them")
    parser.add_argument("--hide", action="store_true", help="hide half of the positives of train queries with several")
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, vectors above all")
    parser.add_argument("--output", help="NAME: also write benchmarks/results/students_NAME.json")
    asked = parser.parse_args()
    how = student.Schooling(epochs=asked.epochs)
    with tempfile.TemporaryDirectory() as scratch:
        work = asked.work or pathlib.Path(scratch)
        folder = asked.data
        if asked.queries or asked.hide:
            folder = abridged(folder, work / "source", asked.queries, hide=asked.hide)
        sets, without = sets_of(folder, work, asked.seeds)
        results, seconds = school(folder, sets, how)
    pairs = len(sets[IN_BATCH][0].negatives)
    lines = lines_of(results, sets, seconds, steps=-(-pairs // how.batch_size) * how.epochs)
    for line in lines:
        print(json.dumps(line))
    others = [name for name in results if name not in ("perc", UNTAUGHT)]
    report = {
        "data": asked.data.name,
        "train_queries": len({query for query, _ in sets[IN_BATCH][0].negatives}),
        "hidden": asked.hide,
        "pairs": pairs,
        "negatives": training_sets.NEGATIVES,
        "test_queries": len(results[UNTAUGHT][0]["ndcg@10"]),
        "seeds": asked.seeds,
        "schooling": vars(how),
        "claims": judged(results),
        "against_perc": [compared(results, "ndcg@10", "perc", name) for name in others],
        "against_theirs": [compared(results, "ndcg@10", THEIRS, name) for name in LEARNED if name in results],
        "without_a_set": without,
        "lines": lines,
    }
    print(json.dumps({claim: found["verdict"] for claim, found in report["claims"].items()}), file=sys.stderr)
    if asked.output:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"students_{asked.output}.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
