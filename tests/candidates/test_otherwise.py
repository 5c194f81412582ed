"""Documents that labels call relevant, though they are no positives of the query, are no negatives of it."""

import json

import pytest

from gangue.pipeline import mine
from gangue.transforms.datasets.storage import Data


def mined(folder, source, *, negatives=3, **sections):
    values = {
        "source": {"path": str(folder), **source},
        "ingest": {"queries_per_shard": 8, "documents_per_shard": 16},
        "retrievers": {"bm25": {"kind": "bm25", "depth": 40}},
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "bm25", "negatives": negatives},
        **sections,
    }
    (folder / "params.yaml").write_text(json.dumps(values))
    mine.run(*(str(folder / name) for name in ("params.yaml", "data", "reports")))
    return Data(str(folder / "data"))


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def verdicts(data, name):
    """(query, document) of the pairs that have this relation."""
    pairs = data.read_all("pairs").to_pylist()
    return {(pair["query_id"], pair["document_id"]) for pair in pairs if pair[name]}


@pytest.mark.parametrize("also", [False, True])
def test_a_document_of_a_lower_grade_is_neither_positive_nor_negative(tmp_path, also):
    topics = ["mill", "weir", "kiln", "forge", "dairy", "quay", "loom", "barn", "well", "oven", "press", "vat"]
    asked = {f"q{i}": f"how is part {i} of the {topic} mended" for i, topic in enumerate(topics)}
    held = {f"d{i}": f"part {i} of the {topic} is mended with lime" for i, topic in enumerate(topics)}
    held |= {
        f"r{i}": f"how is part {i} of the {topic} mended, a page that says a little" for i, topic in enumerate(topics)
    }
    held |= {f"c{i}": held[f"r{i}"] + "." for i in range(3)}  # almost the same
    lines(tmp_path / "corpus.jsonl", [{"_id": name, "text": body} for name, body in held.items()])
    lines(tmp_path / "queries.jsonl", [{"_id": name, "text": body} for name, body in asked.items()])
    graded = [f"q{i}\td{i}\t2\nq{i}\tr{i}\t1\n" for i in range(len(topics))]
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(graded))
    rule = {"filter": {"kind": "abs", "score": "bm25", "abs": 99.0}} if also else {}
    data = mined(tmp_path, {"kind": "beir", "min_grade": 2}, **rule)
    partly = {(f"q{i}", f"r{i}") for i in range(len(topics))}
    chosen = {(row["query_id"], row["negative_id"]) for row in data.read_all("triplets").to_pylist()}
    assert verdicts(data, "partly_relevant") == partly | {(f"q{i}", f"c{i}") for i in range(3)}
    assert not chosen & verdicts(data, "partly_relevant")
    assert len(chosen) == 3 * len(topics)
    assert not data.rows("rejected")[0], "nor is anything wrong with it"


@pytest.mark.parametrize("groups", [5, 40])
def test_a_labelled_pair_is_no_negative_the_other_way_round(tmp_path, groups):
    words = ["stone", "river", "lamp", "wheel", "glass", "cloth", "bread"]
    said = [[f"{form} the {words[g % 7]} {g} be mended" for form in ("may", "should", "Could")] for g in range(groups)]
    rows = [{"anchor": one, "positive": other} for a, b, c in said for one, other in ((a, b), (b, c.upper()), (c, a))]
    lines(tmp_path / "pairs.jsonl", rows)
    data = mined(tmp_path, {"kind": "pairs", "pairs": "pairs.jsonl"})
    labelled = {(row["anchor"].lower(), row["positive"].lower()) for row in rows}
    triplets = data.read_all("triplets").to_pylist()
    chosen = {(row["query"].lower(), row["negative"].lower()) for row in triplets}
    assert len(triplets) == 3 * len(rows)
    assert not chosen & {(other, one) for one, other in labelled}
    assert len(verdicts(data, "reverse_positive")) == len(rows)


def test_where_no_document_reads_like_a_query_nothing_is_reversed(tmp_path):
    lines(tmp_path / "pairs.jsonl", [{"anchor": f"what is {i}", "positive": f"it is {i}"} for i in range(20)])
    data = mined(tmp_path, {"kind": "pairs", "pairs": "pairs.jsonl"})
    assert not verdicts(data, "reverse_positive")
    assert sum(data.rows("triplets")) == 60


def graded(folder, *, wrong=0.0, labels=(), zeros=False):
    """Each query has a positive of grade 2 and one of grade 1; with ``zeros`` what is almost the latter has 0."""
    topics = ["mill", "weir", "kiln", "forge", "dairy", "quay", "loom", "barn", "well", "oven", "press", "vat"]
    asked = {f"q{i}": f"how is part {i} of the {topic} mended" for i, topic in enumerate(topics)}
    held = {f"d{i}": f"part {i} of the {topic} is mended with lime" for i, topic in enumerate(topics)}
    held |= {f"r{i}": f"{asked[f'q{i}']}, a page that says a little of it all, and more" for i in range(len(topics))}
    held |= {f"z{i}": held[f"r{i}"] + "." for i in range(len(topics))} if zeros else {}
    lines(folder / "corpus.jsonl", [{"_id": name, "text": body} for name, body in held.items()])
    lines(folder / "queries.jsonl", [{"_id": name, "text": body} for name, body in asked.items()])
    rows = [f"q{i}\td{i}\t2\nq{i}\tr{i}\t1\n" + f"q{i}\tz{i}\t0\n" * zeros for i in range(len(topics))]
    (folder / "qrels").mkdir()
    (folder / "qrels" / "train.tsv").write_text("".join(rows))
    told = [{"query_id": f"q{i}", "document_id": f"r{i}", "label": label} for i, label in labels]
    lines(folder / "labels" / "a.jsonl", told)
    given = {"labels": {"path": str(folder / "labels"), "wrong": wrong}} if told else {}
    return mined(folder, {"kind": "beir", "min_grade": 2}, **given)


def test_a_label_that_says_none_makes_a_negative_of_a_lower_grade_and_one_that_says_yes_does_not(tmp_path):
    data = graded(tmp_path, wrong=0.2, labels=[*((i, 0) for i in range(4)), *((i, 1) for i in range(4, 8))])
    assert not sum(data.rows("rejected"))
    partly = {(f"q{i}", f"r{i}") for i in range(4, 12)}
    assert verdicts(data, "partly_relevant") == partly
    chosen = {(row["query_id"], row["negative_id"]) for row in data.read_all("triplets").to_pylist()}
    assert not chosen & partly
    assert chosen >= {(f"q{i}", f"r{i}") for i in range(4)}


def test_what_was_judged_none_is_a_negative_though_almost_one_of_a_lower_grade_or_a_pair_reversed(tmp_path):
    data = graded(tmp_path / "graded", zeros=True)
    chosen = {(row["query_id"], row["negative_id"]) for row in data.read_all("triplets").to_pylist()}
    assert {(f"q{i}", f"z{i}") for i in range(12)} <= chosen
    assert not chosen & {(f"q{i}", f"r{i}") for i in range(12)}
    said = [
        (f"may the stone {i} be mended", f"could stone {i} get mended", f"no stone {i} is mended") for i in range(9)
    ]
    rows = [{"anchor": a, "positive": b} for a, b, _ in said]
    rows += [{"anchor": b, "positive": c, "negative": a} for a, b, c in said]
    lines(tmp_path / "pairs" / "pairs.jsonl", rows)
    data = mined(tmp_path / "pairs", {"kind": "pairs", "pairs": "pairs.jsonl"}, negatives=30)
    chosen = {(row["query"], row["negative"]) for row in data.read_all("triplets").to_pylist()}
    assert len(verdicts(data, "reverse_positive")) == 9
    assert {(b, a) for a, b, _ in said} <= chosen
