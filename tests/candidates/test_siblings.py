"""Positives of queries that ask the same and near copies of positives: false negatives that are known even where each
query has one label.
"""

import json
import random

import models
import numpy as np
import planted
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gangue.pipeline import mine
from gangue.pipeline.command import show
from gangue.transforms.candidates import relations

RULES = {"naive": {"kind": "naive"}, "strict": {"kind": "learned", "p_false": 1e-9}}


def leaking(folder, name, capsys, rule, **changes):
    """What the leak test says of this relation where this rule judges."""
    values = planted.sections(folder, filter=rule, sample={"kind": "top", "score": "dense", "negatives": 8}, **changes)
    (folder / "params.yaml").write_text(json.dumps(values))
    given = str(folder / "params.yaml"), str(folder / rule["kind"]), str(folder / "reports")
    mine.run(*given)
    found = json.loads((folder / "reports" / "audit.json").read_text())["leak"][name]
    page = (folder / "reports" / "report.html").read_text()
    capsys.readouterr()
    show.summary(*given)
    for said in (page, capsys.readouterr().out):
        assert "leak test: not measured" in said.lower()
        assert (show._RELATED[name] in said) == bool(found["retrieved"])
    return found


def test_labelled_positives_themselves_test_the_learned_filter(tmp_path, capsys):
    planted.write(tmp_path, topics=40, labelled=1, unlabelled=2)
    found = [
        leaking(tmp_path, "alone", capsys, rule)
        for rule in (*RULES.values(), {"kind": "abs", "score": "dense", "abs": 0.9})
    ]
    assert found[0]["retrieved"] == 40
    assert found[0]["leaked"] > 30, "without a rule most of them would be negatives: they come first"
    assert found[1] == {"retrieved": 40, "leaked": 0}
    assert found[2] == {"retrieved": 0, "leaked": 0}, "no other rule judges a positive as if nobody knew it"


@pytest.mark.parametrize("asked_twice", [False, True])
def test_positives_of_queries_that_ask_the_same_test_the_filter(tmp_path, capsys, asked_twice):
    planted.write(tmp_path, topics=40, labelled=1, unlabelled=0)
    source = tmp_path / "source"
    queries = [json.loads(line) for line in (source / "queries.jsonl").read_text().splitlines()]
    documents = [json.loads(line) for line in (source / "documents.jsonl").read_text().splitlines()]
    positives = [json.loads(line) for line in (source / "positives.jsonl").read_text().splitlines()]
    if asked_twice:  # the same question, with one of the decoys, as good as unknown, for its answer
        for query in queries[:10]:
            topic = query["query_id"][1:]
            other = next(d for d in documents if f"x{topic}x" in d["document_id"] and d["document_id"].endswith("x05"))
            positives.append({"query_id": f"{query['query_id']}b", "document_id": other["document_id"]})
        queries += [{"query_id": f"{q['query_id']}b", "text": q["text"].upper()} for q in queries[:10]]
    for name, rows in (("queries", queries), ("positives", positives)):
        (source / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {kind: leaking(tmp_path, "siblings", capsys, rule) for kind, rule in RULES.items()}
    if not asked_twice:
        assert all(one == {"retrieved": 0, "leaked": 0} for one in found.values())
        return
    assert found["naive"]["retrieved"] == found["strict"]["retrieved"] > 10
    assert found["naive"]["leaked"] > 5
    assert found["strict"]["leaked"] == 0


def write_copies(folder, ends):
    """A corpus with one known answer of each question, and near copies of ten of these, one with each of the ends."""
    planted.write(folder, topics=40, labelled=1, unlabelled=0)
    source = folder / "source"
    positives = {json.loads(line)["document_id"] for line in (source / "positives.jsonl").read_text().splitlines()}
    documents = [json.loads(line) for line in (source / "documents.jsonl").read_text().splitlines()]
    known = [row for row in documents if row["document_id"] in positives]
    for number, row in enumerate(known):  # long enough for a text with another end to be nearly the same
        row["text"] = " ".join(random.Random(number).choices(row["text"].split(), k=60))
    copies = [
        {"document_id": f"{row['document_id']}{end}", "text": f"{row['text']} {end}"}
        for row in known[:10]
        for end in ends
    ]
    same = {"document_id": "same", "text": known[0]["text"].upper()}
    (source / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*documents, *copies, same]))


def test_near_copies_of_positives_test_the_filter(tmp_path, capsys):
    write_copies(tmp_path, ("again", "twice"))
    naive, strict = (leaking(tmp_path, "near_copies", capsys, rule) for rule in RULES.values())
    assert naive["retrieved"] == strict["retrieved"] == 10, "of two copies of a positive the better one"
    assert naive["leaked"] > 5
    assert strict["leaked"] == 0


def test_without_near_copies_nothing_is_said_of_them(tmp_path, capsys):
    write_copies(tmp_path, ())
    assert leaking(tmp_path, "near_copies", capsys, RULES["strict"]) == {"retrieved": 0, "leaked": 0}


def test_near_copies_that_a_cross_encoder_would_have_read_are_not_tested(tmp_path, capsys):
    write_copies(tmp_path, ("again",))
    model = models.cross_encoder(tmp_path / "judge")
    rule, found = {"kind": "denoise", "score": "judge", "max": 0.0}, []
    for depth in (24, 1):
        scorers = {"judge": {"model": str(model), "depth": depth, "max_length": 32}}
        found.append(leaking(tmp_path, "near_copies", capsys, rule, scorers=scorers)["retrieved"])
    assert found[0] == 0
    assert found[1] > 5, "no candidate is read at their ranks"


small = st.integers(0, 4)


@given(st.lists(small, min_size=1, max_size=12), st.lists(st.tuples(small, small)), st.lists(st.tuples(small, small)))
def test_a_siblings_positive_is_one_of_another_query_that_asks_the_same(asking, positives, pairs):
    names = [f"q{i:02}" for i in range(len(asking))]
    positives = sorted((query % len(asking), group) for query, group in positives)
    pairs = [(query % len(asking), group) for query, group in pairs]
    block = relations.QueryBlock(
        pa.table({"query_id": names, "near_group": [f"g{group}" for group in asking]}),
        pa.table({"query_id": pa.array([names[query] for query, _ in positives], pa.string())}),
    )
    query, group = np.array(pairs, np.int64).reshape(-1, 2).T
    found = relations.of_siblings(block, query, group, np.array([group for _, group in positives], np.int64))
    assert found.tolist() == [
        any(asking[other] == asking[mine_] and other != mine_ and theirs == own for other, theirs in positives)
        for mine_, own in pairs
    ]
