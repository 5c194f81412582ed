"""The benchmark that holds the promise on bare pairs against all labels: what it writes, draws and counts."""

import csv
import json
import sys

import numpy as np
import planted
import pyarrow as pa
import pytest

from benchmarks import pairs_truth as benchmark
from gangue.pipeline import params
from gangue.transforms import sources
from gangue.transforms.datasets.storage import Data

DOCUMENTS = {
    "d1": ("", "Lift of  a wing"),
    "d2": ("Lift", "of a wing"),  # a copy of d1
    "d3": ("", "Drag, lift, wing: three words\nand a break"),
    "d4": ("", "Heat of a plate"),
    "d5": ("", 'A "plate" melts, and melts, and melts'),
    "d6": ("", "nobody asks for this"),
}
QUERIES = {"q1": "lift wing", "q2": "Lift  WING", "q3": "plate", "q4": "heat", "q5": " "}
QRELS = {
    "train": [("q1", "d1", 1), ("q1", "d4", 0), ("q3", "d4", 1), ("q5", "d6", 1)],
    "test": [("q2", "d3", 2), ("q3", "d5", 1), ("q4", "d4", 1)],
}
LIFT, DRAG, HEAT = "lift of a wing", "drag, lift, wing: three words and a break", "heat of a plate"
MELTS, NOBODY = 'a "plate" melts, and melts, and melts', "nobody asks for this"


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "beir"
    (found / "qrels").mkdir(parents=True)
    records = {
        "corpus": [{"_id": name, "title": title, "text": text} for name, (title, text) in DOCUMENTS.items()],
        "queries": [{"_id": name, "text": text} for name, text in QUERIES.items()],
    }
    for name, rows in records.items():
        (found / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, judged in QRELS.items():
        rows = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in judged)]
        (found / "qrels" / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return found


@pytest.fixture
def truth(folder):
    return benchmark.read(folder)


# What is true.


def test_all_splits_count_and_texts_that_read_alike_are_one(truth):
    assert set(truth.documents) == {LIFT, DRAG, HEAT, MELTS, NOBODY}
    assert truth.documents[LIFT] == "Lift of  a wing"
    assert truth.answers == {"lift wing": [DRAG, LIFT], "plate": [MELTS, HEAT], "heat": [HEAT]}


def test_a_folder_without_judgements_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"qrels: must have train, dev, test.tsv, found none. Correct --data"):
        benchmark.read(tmp_path)


def test_a_negative_is_false_where_any_query_of_that_text_has_a_positive_of_that_text(truth):
    rows = [
        ("LIFT wing", "Lift of a\twing", True),  # q1's, d1 or its copy
        ("lift wing", truth.documents[DRAG], True),  # q2's, which reads like q1
        ("lift wing", truth.documents[HEAT], False),  # judged, with grade 0
        ("plate", truth.documents[HEAT], True),  # shared with "heat"
        ("heat", truth.documents[MELTS], False),
        ("heat", truth.documents[HEAT], True),
    ]
    chosen = chosen_of(rows)
    assert truth.false(chosen).tolist() == [false for _, _, false in rows]
    figures = benchmark.figures(truth, chosen, pairs=3)
    assert figures == pytest.approx({"share": 4 / 6, "hardness": 2.5, "per_query": 2})
    low, high = benchmark.interval(truth, chosen)
    assert low < 4 / 6 < high


def chosen_of(rows):
    queries, documents = (benchmark.keys(row[place] for row in rows) for place in range(2))
    return benchmark.Chosen(queries, documents, np.arange(len(rows), dtype=float))


def test_nothing_false_and_nothing_at_all_have_an_interval_too(truth):
    none_false = chosen_of([(name, truth.documents[NOBODY]) for name in truth.answers])
    assert benchmark.interval(truth, none_false) == benchmark.intervals.wilson(0, 3)
    assert benchmark.interval(truth, chosen_of([])) == (0, 1)
    assert benchmark.rounded(benchmark.figures(truth, chosen_of([]), 3)) == {
        "share": 0,
        "hardness": None,
        "per_query": 0,
    }


def test_triplets_are_read_by_their_texts(tmp_path, truth):
    rows = [
        {"query": "Lift  WING", "negative": "Lift of a wing", "negative_kind": "hard", "score_dense": 0.5},
        {"query": "plate", "negative": truth.documents[DRAG], "negative_kind": "random", "score_dense": 0.1},
    ]
    data = Data(str(tmp_path / "data"))
    data.write("triplets", "part-00000-of-00001", pa.Table.from_pylist(rows))
    data.commit("triplets")
    chosen, hard = benchmark.mined(data)
    assert truth.false(chosen).tolist() == hard.tolist() == [True, False]
    assert chosen.scores.tolist() == [0.5, 0.1]
    chosen, hard = benchmark.mined(data, {("plate", DRAG)})
    assert truth.false(chosen).tolist() == hard.tolist() == [True]


def test_judged_negatives_are_no_positives_unless_a_miner_made_them(truth):
    known, there, best = {"lift wing": LIFT}, sorted(truth.documents), benchmark.by_bm25(truth)
    hard = benchmark.told(truth, known, there, "hard", 2, best, 0)["lift wing"]
    mined = benchmark.told(truth, known, there, "mined", 2, best, 0)["lift wing"]
    answers = {truth.documents[key] for key in truth.answers["lift wing"]}
    assert not answers & set(hard)
    assert truth.documents[DRAG] in mined
    assert truth.documents[LIFT] not in mined
    changed = benchmark.told(truth, known, there, "changed", 3, best, 0)["lift wing"]
    words = truth.documents[LIFT].split()
    assert all(sum(a != b for a, b in zip(words, one.split(), strict=True)) <= 1 for one in changed)
    assert len(changed) == 3


# What is known.


def test_a_document_serves_one_query_only_and_fewer_pairs_are_the_first_of_more(truth):
    for seed in range(20):
        known = benchmark.draw(truth, 3, seed, None)
        assert len(set(known.values())) == len(known)
        assert all(document in truth.answers[query] for query, document in known.items())
        assert list(benchmark.draw(truth, 2, seed, None).items()) == list(known.items())[:2]
        assert known == benchmark.draw(truth, 3, seed, None)
    assert {benchmark.draw(truth, 1, seed, None).get("lift wing") for seed in range(20)} == {LIFT, DRAG, None}


def test_the_known_positive_is_the_one_that_bm25_ranks_best_or_worst(truth):
    best = benchmark.by_bm25(truth)
    for seed in range(10):
        assert benchmark.draw(truth, 3, seed, best)["lift wing"] == LIFT  # the shorter text
        assert benchmark.draw(truth, 3, seed, lambda *asked: -best(*asked))["lift wing"] == DRAG
    assert best("lift wing", [NOBODY, LIFT, DRAG]).argsort().tolist() == [0, 2, 1]


def test_a_query_without_a_known_word_has_no_best(truth):
    truth.queries["??"] = "?? zebra"
    assert benchmark.by_bm25(truth)("??", [LIFT, DRAG]).tolist() == [0, 0]


def test_further_documents_are_those_that_are_not_known_or_all(truth):
    known = {"lift wing": LIFT, "heat": HEAT}
    assert benchmark.further(truth, known, 0, 1) == []
    assert sorted(benchmark.further(truth, known, 9, 1)) == sorted([DRAG, MELTS, NOBODY])
    assert benchmark.further(truth, known, 2, 1) == benchmark.further(truth, known, 9, 1)[:2]
    assert set(benchmark.further(truth, known, "all", 1)) == set(truth.documents)


# What the product is told.


def written(tmp_path, truth, corpus, pretrained=None):
    settings = benchmark.sections("encoder", 0.02, pretrained)
    return benchmark.write_job(tmp_path / "job", truth, {"lift wing": DRAG, "plate": MELTS}, corpus, settings)


def test_the_product_gets_texts_without_ids_and_reads_them_as_they_were(tmp_path, truth):
    p = written(tmp_path, truth, [LIFT, NOBODY])
    with (tmp_path / "job/source/pairs.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["anchor", "positive"],
            ["lift wing", truth.documents[DRAG]],
            ["plate", truth.documents[MELTS]],
        ]
    found = {block.dataset: block.table.to_pylist() for block in sources.read(p.source)}
    assert set(found) == {"documents", "queries", "positives"}, "and rejects none"
    assert [row["text"] for row in found["documents"]] == [truth.documents[d] for d in (LIFT, NOBODY, DRAG, MELTS)]
    assert [row["text"] for row in found["queries"]] == ["lift wing", "plate"]


def test_without_further_documents_there_is_no_corpus_file(tmp_path, truth):
    assert written(tmp_path, truth, [LIFT]).source.corpus == "corpus.jsonl"
    assert written(tmp_path, truth, []).source.corpus is None
    assert [path.name for path in (tmp_path / "job/source").iterdir()] == ["pairs.csv"]


def test_the_job_is_the_default_one_with_a_budget(tmp_path, truth):
    p = written(tmp_path, truth, [])
    assert (p.filter.rule.kind, p.filter.max_false_negatives, p.sample.negatives) == ("learned", 0.02, 5)
    assert (p.learn, p.calibrate, p.ingest) == (params.Learn(), params.Calibrate(), params.Ingest())
    assert benchmark.sections("encoder", 0.02, tmp_path / "model.json")["learn"] == {
        "pretrained": str(tmp_path / "model.json")
    }


# What is said of it.


@pytest.mark.parametrize(
    ("refused", "share", "low", "expected"),
    [
        (None, 0.02, 0.01, "kept"),
        (None, 0.03, 0.02, "covered"),
        (None, 0.03, 0.021, "BROKEN"),
        ("too few", 0.5, 0.4, "refused"),
    ],
)
def test_the_verdict(refused, share, low, expected):
    assert benchmark.verdict(0.02, refused, share, low) == expected


def test_a_rule_is_compared_at_equal_hardness_where_it_leaves_as_many_negatives():
    line = [
        {"hardness": 0.2, "share": 0.0, "per_query": 3.0},
        {"hardness": 0.4, "share": 0.1, "per_query": 5.0},
        {"hardness": 0.6, "share": 0.3, "per_query": 5.0},
    ]
    assert benchmark.as_hard(line, 0.5, 5) == pytest.approx(0.2)
    assert benchmark.as_hard(line, 0.3, 5) == pytest.approx(0.1), "the easiest one that leaves as many"
    assert benchmark.as_hard(line, 0.3, 3) == pytest.approx(0.05)
    assert benchmark.as_hard(line, 0.7, 5) is None


# The whole of it.


def test_a_job_runs_and_its_line_says_everything(tmp_path, capsys, monkeypatch):
    planted.beir(tmp_path, labelled=6, unlabelled=0)
    work, encoder = tmp_path / "work", str(tmp_path / "encoder")
    asked = ("--pairs", "60", "500", "--corpus", "all", "--labelled", "dense", "--work", str(work))
    monkeypatch.setattr(sys, "argv", ["pairs_truth", "--data", str(tmp_path), "--encoder", encoder, *asked])
    assert benchmark.main() == 0
    (line,) = [json.loads(row) for row in capsys.readouterr().out.splitlines()]  # there are but 60 queries
    assert (line["pairs"], line["corpus"], line["labelled"], line["seed"]) == (60, "all", "dense", 0)
    assert line["known"] == pytest.approx(1 / 6, rel=1e-4)
    assert line["verdict"] in ("kept", "covered", "refused", "stopped", "BROKEN")
    assert (line["verdict"] in ("refused", "stopped")) == (line["refused"] is not None)
    assert line["naive"]["share"] > 0.2, "the corpus must be hard"
    assert line["shifted 10"]["share"] < line["naive"]["share"]
    assert line["naive"]["per_query"] == 5
    log = (work / "60_all_dense_0/log.txt").read_text().splitlines()
    (embedded,) = [row for row in log if "embed@minilm: embedded" in row]
    assert "reused" in embedded
    assert "encoded" not in embedded, "the vectors were at hand"
    with (work / "60_all_dense_0/source/pairs.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert nearest(tmp_path, encoder) == dict(rows)


def nearest(folder, encoder):
    """Query -> its positive of the highest cosine, by plain encoding."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(encoder, device="cpu")
    texts = {}
    for name in ("corpus", "queries"):
        rows = map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines())
        texts |= {row["_id"]: row["text"] for row in rows}
    best = {}
    for query, document, _ in (r.split("\t") for r in (folder / "qrels/test.tsv").read_text().splitlines()[1:]):
        one, other = model.encode([texts[query], texts[document]], normalize_embeddings=True)
        best.setdefault(query, []).append((float(one @ other), texts[document]))
    return {texts[query]: max(found)[1] for query, found in best.items()}
