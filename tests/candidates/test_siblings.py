"""Positives of queries that ask the same: false negatives that are known even where each query has one label."""

import json

import planted
import pytest

from gangue.pipeline import mine


@pytest.mark.parametrize("asked_twice", [False, True])
def test_positives_of_queries_that_ask_the_same_test_the_filter(tmp_path, asked_twice):
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
    found = {}
    for kind in ("naive", "strict"):
        rule = {"kind": "naive"} if kind == "naive" else {"kind": "learned", "p_false": 1e-9}
        values = planted.sections(tmp_path, filter=rule, sample={"kind": "top", "score": "dense", "negatives": 8})
        (tmp_path / "params.yaml").write_text(json.dumps(values))
        mine.run(str(tmp_path / "params.yaml"), str(tmp_path / kind), str(tmp_path / "reports"))
        metrics = json.loads((tmp_path / "reports" / "audit.json").read_text())
        found[kind] = metrics["leak"]["siblings"]
        page = (tmp_path / "reports" / "report.html").read_text()
        assert ("positives of queries that ask the same" in page) == asked_twice
    if not asked_twice:
        assert all(one == {"retrieved": 0, "leaked": 0} for one in found.values())
        return
    assert found["naive"]["retrieved"] == found["strict"]["retrieved"] > 10
    assert found["naive"]["leaked"] > 5
    assert found["strict"]["leaked"] == 0
