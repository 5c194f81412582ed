"""Judged pairs: what a source, its columns or a labelled sample say is no positive, and what labels move."""

import json
import re
import types

import numpy as np
import planted
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import whole_path

from gangue.pipeline import mine, params
from gangue.transforms import sources
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import labelling
from gangue.transforms.records import rejection
from gangue.transforms.relevance import caution, learn_note


def read(source, labels=None):
    found = {}
    for dataset, table in sources.read(params.parse({**REST, "source": source}).source, labels):
        found.setdefault(dataset, []).extend(table.to_pylist())
    return found


REST = {
    "retrievers": {"bm25": {"kind": "bm25"}},
    "filter": {"kind": "naive"},
    "sample": {"kind": "top", "score": "bm25"},
}


def test_zeros_beside_a_split_are_judged_pairs(tmp_path):
    planted.beir(tmp_path, topics=4)
    (tmp_path / "qrels" / "test.judged_zero.tsv").write_text("q000\tx\t0\nq001\ty\t-1\n")
    found = read({"kind": "beir", "path": str(tmp_path), "splits": ["test"]})
    assert [(r["query_id"], r["document_id"], r["grade"], r["source"]) for r in found["judged"]] == [
        ("q000", "x", 0.0, "grade"),
        ("q001", "y", -1.0, "grade"),
    ]
    assert "rejected" not in found


FORMS = {
    "a string": "no answer",
    "a list": ["no answer", "none either"],
    "passages": [{"text": "no answer", "title": "", "docid": "7"}, {"text": "none either"}],
    "nothing": None,
    "an empty list": [],
}


CASES = [(form, suffix) for form in FORMS for suffix in (".jsonl", ".parquet", ".csv")]
CASES = [(form, suffix) for form, suffix in CASES if suffix != ".csv" or not isinstance(FORMS[form], list)]


@pytest.mark.parametrize("column", ["neg", "negative", "negatives", "negative_passages"])
@pytest.mark.parametrize(("form", "suffix"), CASES)
def test_columns_of_negatives_are_judged_pairs_and_documents(tmp_path, column, form, suffix):
    value = FORMS[form]
    rows = [{"anchor": "why", "positive": "because", column: value}, {"anchor": "how", "positive": "so", column: None}]
    if suffix == ".jsonl":
        (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    else:
        (tmp_path / "x.csv").write_text(f"anchor,positive,{column}\nwhy,because,{value or ''}\nhow,so,\n")
    found = read({"kind": "pairs", "path": str(tmp_path), "pairs": f"x{suffix}"})
    expected = {"a string": ["no answer"], "nothing": [], "an empty list": []}.get(form, ["no answer", "none either"])
    ids = {row["text"]: row["document_id"] for row in found["documents"]}
    assert sorted(ids) == sorted(["because", "so", *expected])
    asked = {row["text"]: row["query_id"] for row in found["queries"]}
    assert [(r["query_id"], r["document_id"], r["source"]) for r in found.get("judged", [])] == [
        (asked["why"], ids[text], "column") for text in expected
    ]
    assert "rejected" not in found


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv", ".tsv"])
@pytest.mark.parametrize("named", ["negative_{}", "neg{}", "negatives-{}"])
def test_a_column_for_each_negative_is_read_and_columns_that_are_not_are_named(tmp_path, capsys, named, suffix):
    rows = [{"anchor": f"why {i}", "positive": f"so {i}"} for i in range(3)]
    for row, count in zip(rows, (2, 0, 12), strict=True):
        row |= {named.format(n): f"no {n} {row['anchor']}" if n <= count else None for n in range(1, 13)}
        row |= {"negative_score_1": "0.5", "language": "en"}
    if suffix == ".jsonl":
        (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    else:
        written = [[*rows[0]], *([value or "" for value in row.values()] for row in rows)]
        separator = "," if suffix == ".csv" else "\t"
        (tmp_path / f"x{suffix}").write_text("".join(separator.join(row) + "\n" for row in written))
    source = {"kind": "pairs", "path": str(tmp_path), "pairs": f"x{suffix}"}
    found = read(source)
    assert (len(found["judged"]), len(found["documents"])) == (14, 17)
    assert capsys.readouterr().err.endswith(f"x{suffix}: columns that are not read: negative_score_1, language\n")
    assert len(read({**source, "negatives": [named.format(2)]})["judged"]) == 2
    assert f"not read: {named.format(1)}, {named.format(3)}, " in capsys.readouterr().err


def test_negatives_that_nobody_judged_can_be_left_out(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({"anchor": "why", "positive": "because", "neg": ["no"]}) + "\n")
    found = read({"kind": "pairs", "path": str(tmp_path), "pairs": "x.jsonl", "negatives": []})
    assert set(found) == {"documents", "queries", "positives"}


def test_a_negative_that_is_none_is_rejected_by_name_and_the_others_of_its_row_stay(tmp_path):
    neg = ["no", None, 7, {"text": "nor this"}, {"docid": "9"}, ["x"], {"title": "Never", "text": ""}, {"text": " "}]
    (tmp_path / "x.jsonl").write_text(json.dumps({"anchor": "why", "positive": "because", "neg": neg}) + "\n")
    found = read({"kind": "pairs", "path": str(tmp_path), "pairs": "x.jsonl"})
    assert [(row["line"], row["reason"], row["record"]) for row in found["rejected"]] == [
        (1, "neg is not a string", "why\t7"),
        (1, "neg.text is missing", "why\t{'docid': '9'}"),
        (1, "neg is not a string", "why\t['x']"),
        (1, "neg.text is empty", "why\t{'text': ' '}"),
    ]
    assert [(row["title"], row["text"]) for row in found["documents"][1:]] == [
        ("", "no"),
        ("", "nor this"),
        ("Never", ""),
    ]
    assert len(found["judged"]) == 3


def test_an_id_that_is_none_is_rejected_by_name_and_the_others_of_its_row_stay(tmp_path):
    documents = [{"_id": f"d{i}", "text": f"because {i}"} for i in range(9)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    rows = [{"anchor": f"why {i}", "positive": f"d{i}", "neg": ["d7", None, {"text": "d8"}, "d8"]} for i in range(2)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read({"kind": "pairs", "path": str(tmp_path), "pairs": "x.jsonl", "corpus": "c.jsonl"})
    assert [row["reason"] for row in found["rejected"]] == ["neg is neither a string nor a whole number"] * 2
    assert [row["document_id"] for row in found["judged"]] == ["d7", "d8"] * 2


NONE = {
    "flags": [0, 1, 1],
    "written flags": ["FALSE", "yes", "1"],
    "booleans": [True, False, False],
    "scores": [0.31, 0.87, 0.5],
    "written scores": ["0,31", "0.87", "5 %"],
    "ids": [17, 4, 9],
    "written ids": ["d17", "d04", "doc_9"],
    "lists of ids": [["d1", "d2"], ["d4"], None],
    "passages by id": [[{"docid": "d1"}], None, [{"docid": "d2", "score": 0.3}]],
    "lists written as strings": ["['not so', 'nor so']", "[]", '["never"]'],
}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
@pytest.mark.parametrize("form", NONE)
def test_a_column_of_negatives_that_holds_no_documents_is_refused_by_name(tmp_path, form, suffix):
    if suffix == ".csv" and not isinstance(NONE[form][0], str):
        return
    rows = [{"anchor": f"why {i}", "positive": f"because of {i}", "neg": one} for i, one in enumerate(NONE[form])]
    if suffix == ".jsonl":
        (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    else:
        pa_csv.write_csv(pa.Table.from_pylist(rows), tmp_path / "x.csv")
    source = {"kind": "pairs", "path": str(tmp_path), "pairs": f"x{suffix}"}
    with pytest.raises(ValueError, match=rf"x{suffix}: column neg must hold texts .* none: source\.negatives: \[\]"):
        read(source)
    assert set(read({**source, "negatives": []})) == {"documents", "queries", "positives"}


def test_answers_that_are_numbers_have_negatives_that_are_numbers(tmp_path):
    rows = [{"anchor": f"what is {i} + {i}", "positive": str(2 * i), "neg": [str(3 * i)]} for i in range(1, 4)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read({"kind": "pairs", "path": str(tmp_path), "pairs": "x.jsonl"})
    assert len(found["judged"]) == 3


def test_flags_beside_ids_are_no_ids(tmp_path):
    documents = [{"_id": str(i), "text": f"because {i}"} for i in range(9)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    source = {"kind": "pairs", "path": str(tmp_path), "pairs": "x.jsonl", "corpus": "c.jsonl"}
    for value, refused in ((lambda i: i % 2, True), (lambda i: (i + 4) % 9, False)):
        rows = [{"anchor": f"why {i}", "positive": str(i), "negative": value(i)} for i in range(9)]
        (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if refused:
            with pytest.raises(ValueError, match=r"column negative must hold ids of judged negatives, .* such as 0\."):
                read(source)
        else:
            assert len(read(source)["judged"]) == 9


# ---- a whole job


def job_of(folder, labels=(), wrong=0.0, grades=(), budget=None, **learn):
    """The planted job, with labels of pairs and judgements of the source; its negatives by naive, or by a budget."""
    rule = {"kind": "naive"} if budget is None else {"kind": "learned", "max_false_negatives": budget}
    values = planted.sections(folder, filter=rule, sample={"kind": "top", "score": "dense", "negatives": 8})
    values["learn"] = learn
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.jsonl").write_text(
        "".join(json.dumps({"query_id": q, "document_id": d, "label": label}) + "\n" for q, d, label in labels)
    )
    values["labels"] = {"path": str(folder / "labels"), "wrong": wrong}
    if grades:
        path = folder / "source" / "positives.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = [{"grade": 1, **row} for row in rows]
        rows += [{"query_id": q, "document_id": d, "grade": grade} for q, d, grade in grades]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        values["source"]["grade"] = "grade"
    p = params.parse(values)
    data = Data(str(folder / "data"))
    whole_path.run(data, p)
    return types.SimpleNamespace(folder=folder, data=data, p=p, rows=data.read_all("triplets").to_pylist())


def negatives(job):
    return {(row["query_id"], row["negative_id"]) for row in job.rows}


def test_a_judged_pair_is_a_negative_whatever_rules_say_and_a_positive_by_label_is_none(tmp_path):
    false = sorted(planted.write(tmp_path, topics=16))
    rule = {"kind": "learned", "p_false": 1e-6}  # which drops all
    values = planted.sections(tmp_path, filter=rule, sample={"kind": "top", "score": "dense", "negatives": 8})
    texts = [json.loads(line) for line in (tmp_path / "source" / "documents.jsonl").read_text().splitlines()]
    decoys = sorted(
        r["document_id"] for r in texts if "x000x" in r["document_id"] and ("q000", r["document_id"]) not in false
    )
    known = {
        r["document_id"] for r in map(json.loads, (tmp_path / "source" / "positives.jsonl").read_text().splitlines())
    }
    decoys = [name for name in decoys if name not in known]
    far = next(r["document_id"] for r in texts if "x009x" in r["document_id"])  # which no retriever returns for q000
    rows = [("q000", decoys[0], 0), ("q000", far, "no"), (*false[0], 1), ("q001", decoys[1], None), ("nobody", far, 0)]
    lines = [json.dumps({"query_id": q, "document_id": d, "label": label}) + "\n" for q, d, label in rows]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    values["labels"] = {"path": str(tmp_path / "a.jsonl")}
    data = Data(str(tmp_path / "data"))
    whole_path.run(data, params.parse(values))
    mined = {(r["query_id"], r["negative_id"]): r for r in data.read_all("triplets").to_pylist()}
    assert {pair for pair in mined if pair[0] == "q000"} >= {("q000", decoys[0]), ("q000", far)}
    assert all(row["p_false"] == 0 for pair, row in mined.items() if pair in {("q000", decoys[0]), ("q000", far)})
    assert set(mined) <= {("q000", decoys[0]), ("q000", far)}, "everything else is dropped"
    positives = {(r["query_id"], r["document_id"]) for r in data.read_all("positives").to_pylist()}
    assert false[0] in positives
    judged = data.read_all("judged").to_pylist()
    assert {(r["query_id"], r["document_id"], r["grade"], r["source"]) for r in judged} == {
        ("q000", decoys[0], 0.0, "label"),
        ("q000", far, 0.0, "label"),
        (*false[0], 1.0, "label"),
    }
    rejected = data.read_all("rejected").to_pylist()
    assert [(r["origin"], r["line"], r["reason"]) for r in rejected] == [("a.jsonl", 5, rejection.UNKNOWN_QUERY)]


@pytest.mark.parametrize(
    "stack",
    [{"kind": "naive"}, {"kind": "abs", "score": "bm25", "abs": 0.1}, {"kind": "learned", "p_false": 0.9}],
    ids=lambda stack: stack["kind"],
)
def test_a_judged_pair_is_a_negative_though_it_is_almost_a_positive_or_almost_another(tmp_path, stack):
    mill = "the steam mill at the upper end of the river that belonged to the county opened its doors to the public"
    told = [f"{mill} after the long winter of the year {1800 + n}" for n in range(60)]
    asked = [f"is it told anywhere that {mill} in the year {1800 + n}" for n in (17, 29, 43)]
    rows = [
        {"anchor": one, "positive": told[place], "negative": [told[place + 5], told[place + 6], told[place + 6]]}
        for one, place in zip(asked, (17, 29, 43), strict=True)
    ]
    rows[0]["negative"].append(told[29])  # the positive of a query that asks almost the same
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in [*told, *told[:9]]))
    source = {"kind": "pairs", "path": str(tmp_path), "pairs": "x.jsonl", "corpus": "c.jsonl"}
    values = {**REST, "source": source, "sample": {**REST["sample"], "negatives": 5}}
    values["filter"] = stack
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    mine.run(*(str(tmp_path / name) for name in ("params.yaml", "data", "reports")))
    data = Data(str(tmp_path / "data"))
    groups = data.read_all("documents", ["near_group"])["near_group"].to_pylist()
    assert len(set(groups)) == 1, "all are almost the same"
    chosen = data.read_all("triplets").to_pylist()
    for row in rows:
        assert {one["negative"] for one in chosen if one["query"] == row["anchor"]} == set(row["negative"])
    assert len(chosen) == 7
    assert {one.get("p_false", 0.0) for one in chosen} == {0.0}


def test_how_many_judged_negatives_are_not_chosen_is_said(tmp_path, capsys):
    rows = [
        {
            "anchor": f"mend part {i} of the mill",
            "positive": f"part {i} of the mill is mended",
            "neg": ["a far cry", f"{i}"],
        }
        for i in range(20)
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {**REST, "source": {"kind": "pairs", "path": str(tmp_path), "pairs": "x.jsonl"}}
    (tmp_path / "params.yaml").write_text(json.dumps({**values, "sample": {**REST["sample"], "negatives": 4}}))
    mine.run(*(str(tmp_path / name) for name in ("params.yaml", "data", "reports")))
    data = Data(str(tmp_path / "data"))
    told = {(row["query_id"], row["document_id"]) for row in data.read_all("judged").to_pylist()}
    chosen = {(row["query_id"], row["negative_id"]) for row in data.read_all("triplets").to_pylist()}
    assert 0 < len(told - chosen) < len(told)
    said = (
        f"{len(told - chosen)} of the {len(told)} judged negatives are chosen for no positive: no rule drops them, and"
    )
    assert said in capsys.readouterr().err


def test_who_judges_a_positive_to_be_none_contradicts_and_is_rejected_by_name(tmp_path):
    false = sorted(planted.write(tmp_path, topics=8))
    known = [json.loads(line) for line in (tmp_path / "source" / "positives.jsonl").read_text().splitlines()]
    one = (known[0]["query_id"], known[0]["document_id"])
    job = job_of(tmp_path, labels=[(*one, 0), (*false[0], 1), (*false[0], 0)], grades=[(*false[1], 0)])
    rejected = job.data.read_all("rejected").to_pylist()
    assert [(r["line"], r["reason"]) for r in rejected] == [(1, rejection.BOTH), (3, rejection.BOTH)]
    assert not negatives(job) & {one, false[0]}
    assert false[1] in negatives(job)


def test_labels_that_are_no_labels_are_rejected_by_name_and_counted(tmp_path, capfd):
    (tmp_path / "a.csv").write_text("query_id,document_id,label\nq,d,perhaps\nq,,1\nq,d,\nq,e,0\n")
    given = params.Labels(path=str(tmp_path / "a.csv"))
    planted.write(tmp_path, topics=2)
    source = planted.sections(tmp_path)["source"]
    found = read(source, given)
    assert [(r["line"], r["reason"]) for r in found["rejected"]] == [
        (2, "label must be 1 (the document answers the query) or 0, got 'perhaps'"),
        (3, "document_id is empty"),
    ]
    assert "2 of 3 pairs in a.csv have no label, first line 2: label must be 1" in capfd.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"labels\.path: .*none must be a folder or a file that ends in"):
        read(source, params.Labels(path=str(tmp_path / "none")))


@pytest.mark.parametrize("wrong", [0.0, 0.1])
def test_labels_say_how_many_are_false_and_the_promise_follows(tmp_path, wrong):
    """Half of all answers are labelled; who types that nearly all are is put right by 150 labels."""
    false = planted.write(tmp_path, topics=60)
    given = {"labelled": 0.97}
    before = job_of(tmp_path, budget=0.02, **given)
    shares = [np.mean([pair in false for pair in negatives(before)])]
    labelling.draw(before.data, before.p, Data(str(tmp_path)), 150, 1)
    rows = [json.loads(line) for line in (tmp_path / "to_label.jsonl").read_text().splitlines()]
    keys = [(row["query_id"], row["document_id"]) for row in rows]
    draw = np.random.default_rng(0)
    labels = [(*key, int((key in false) ^ (draw.random() < wrong))) for key in keys]
    after = job_of(tmp_path, labels, wrong, budget=0.02, **given)
    note = learn_note.read(after.data)
    assert note["share"]["labels"] == len(labels)
    assert f"by {len(labels)} labels" in note["share"]["words"]
    (told,) = (finding for finding in note["findings"] if "learn.labelled" in finding)
    assert re.search(
        rf"says that 97% of all positives are labelled, {len(labels)} labels say .*these are believed", told
    )
    shares.append(np.mean([pair in false for pair in negatives(after)]))
    assert note["share"]["low"] <= 0.6 <= note["share"]["high"] + 0.2, note["share"]
    assert shares[1] <= 0.02 or after.data.read_note("calibration", "cut.json")["refused"], shares
    if not wrong:
        wrongly = {(q, d) for q, d, label in labels if label == 0} & false
        assert not wrongly
        assert not negatives(after) & {(q, d) for q, d, label in labels if label == 1}


def test_the_interval_by_labels_covers_the_constant_that_made_them():
    draw = np.random.default_rng(3)
    for wrong in (0.0, 0.1):
        inside = []
        for _ in range(200):
            logits = draw.normal(-2.5, 1.5, 120)
            true = 1 / (1 + np.exp(-(logits + 0.8)))
            labels = (draw.random(120) < true) ^ (draw.random(120) < wrong)
            low, middle, high = caution.by_labels(logits, labels, wrong)
            assert low <= middle <= high
            inside.append((low <= 0.8, high >= 0.8))
        assert np.mean(inside, axis=0).min() > 0.92, wrong
    assert caution.by_labels(np.zeros(40), np.zeros(40, int))[0] < -10, "none positive: no lower end"
    assert caution.by_labels(np.zeros(40), np.ones(40, int))[2] > 10
