import ast
import json
import textwrap

import oracle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from gangue.pipeline import params
from gangue.transforms import sources, text
from gangue.transforms.sources import blocks, files, lines, python_code, values

# ---- reading a source whole


def read(source):
    """Records by dataset, each a list of dictionaries."""
    found = {dataset: [] for dataset in blocks.RECORDS}
    for dataset, table in sources.read(source):
        assert table.schema == blocks.RECORDS[dataset]
        assert 0 < table.num_rows <= blocks.ROWS
        found[dataset] += table.to_pylist()
    return found


def bare(records):
    """Records without their place."""
    return [tuple(v for k, v in record.items() if k not in ("origin", "line")) for record in records]


def faults(found):
    return [(record["origin"], record["line"], record["reason"]) for record in found["rejected"]]


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line if isinstance(line, bytes) else line.encode() + b"\n" for line in lines))


def json_lines(path, records):
    write_lines(path, [record if isinstance(record, str | bytes) else json.dumps(record) for record in records])


def beir(tmp_path, corpus=None, queries=None, qrels=None, **keys):
    json_lines(tmp_path / "corpus.jsonl", corpus or [{"_id": "d1", "title": "Lift", "text": "of a wing"}])
    json_lines(tmp_path / "queries.jsonl", queries or [{"_id": "q1", "text": "what lifts"}])
    write_lines(tmp_path / "qrels" / "train.tsv", qrels or ["query-id\tcorpus-id\tscore", "q1\td1\t1"])
    return params.Beir(kind="beir", path=str(tmp_path), **keys)


def pairs(tmp_path, records, name="pairs.jsonl", **keys):
    json_lines(tmp_path / name, records)
    return params.Pairs(kind="pairs", path=str(tmp_path), pairs=name, **keys)


def tables(tmp_path, positives, suffix=".csv", **keys):
    write_lines(tmp_path / "documents.csv", ["document_id,text", "d1,lift", "d2,drag"])
    write_lines(tmp_path / "queries.csv", ["query_id,text", "q1,why"])
    write_lines(tmp_path / f"positives{suffix}", positives)
    return params.Tables(
        kind="tables",
        path=str(tmp_path),
        documents="documents.csv",
        queries="queries.csv",
        positives=f"positives{suffix}",
        **keys,
    )


# ---- values


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "_id is missing"),
        ("", "_id is empty"),
        ("  ", "_id is empty"),
        ("a\0b", "_id has control characters"),
        ("a\nb", "_id has control characters"),
        ([1], "_id is neither a string nor a whole number"),
        ({"a": 1}, "_id is neither a string nor a whole number"),
        (1.5, "_id is neither a string nor a whole number"),
        (2.0**53, "_id is neither a string nor a whole number"),
        (float("inf"), "_id is neither a string nor a whole number"),
        (float("nan"), "_id is missing"),
        (True, "_id is neither a string nor a whole number"),
        (b"\xff", "_id is not UTF-8"),
        ("\ud800", "_id is not Unicode: it has a lone surrogate"),
    ],
)
def test_a_bad_id_says_why(value, reason):
    with pytest.raises(values.Fault, match=f"^{reason}$"):
        values.as_id(value, "_id")


@pytest.mark.parametrize("value", [None, "1", True, [1], float("nan"), float("inf"), 1e39, 10**400])
def test_a_grade_must_be_a_finite_number(value):
    with pytest.raises(values.Fault, match=r"^grade is (missing|not a finite number)$"):
        values.as_grade(value, "grade")


@pytest.mark.parametrize("value", ["x", "", "nan", "-inf", "1e99"])
def test_a_written_grade_must_be_a_finite_number(value):
    with pytest.raises(values.Fault, match=r"^grade is not a finite number$"):
        values.as_grade(value, "grade", written=True)


@given(st.text())
def test_a_text_is_itself_or_at_fault(value):
    try:
        assert values.as_text(value, "text") == value
    except values.Fault:
        assert not oracle.normal(value) or any("\ud800" <= c <= "\udfff" for c in value)


# ---- blocks


def test_blocks_are_bounded_in_rows_and_characters():
    records = [blocks.Record("queries", (f"q{i}", "x", [], "o", i)) for i in range(blocks.ROWS + 1)]
    assert [b.table.num_rows for b in blocks.in_blocks(records)] == [blocks.ROWS, 1]
    long = "x" * (blocks.CHARACTERS // 2)
    records = [blocks.Record("documents", (f"d{i}", "", long, "o", i)) for i in range(3)]
    assert [b.table.num_rows for b in blocks.in_blocks(records)] == [2, 1]


def test_ids_of_texts_follow_the_project_hash():
    [digest] = text.hashes(["the law"]).to_pylist()
    assert blocks.content_ids("d-", ["The\tLAW "]) == [f"d-{digest.hex()[:16]}"]


def test_an_excerpt_is_short_and_unicode():
    record = blocks.rejected("o", 1, "why", "\udcff" + "x" * 600)
    assert record.values[3] == "?" + "x" * 499


# ---- files


def test_a_name_is_a_file_a_folder_or_a_pattern(tmp_path):
    for name in ("b.csv", "a.csv", "notes.txt", "more/c.jsonl"):
        write_lines(tmp_path / name, [""])
    assert [f.origin for f in files.find(tmp_path, "a.csv", "pairs")] == ["a.csv"]
    assert [f.origin for f in files.find(tmp_path, "*.csv", "pairs")] == ["a.csv", "b.csv"]
    assert [f.origin for f in files.find(tmp_path, "more", "pairs")] == ["more/c.jsonl"]


def test_the_name_of_a_source_in_a_store_is_no_pattern(tmp_path):
    for name in ("src[1]", "src1"):
        folder = UPath(f"memory:/{tmp_path}/{name}")
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "some.csv").write_text("of " + name)
        (folder / "sub" / "some.py").write_text("of " + name)
    found = files.find(files.at(f"memory:/{tmp_path}/src[1]"), "s*/*.csv", "pairs")
    found += python_code._files(files.at(f"memory:/{tmp_path}/src[1]"), ())
    assert [(file.origin, file.path.read_text()) for file in found] == [
        ("sub/some.csv", "of src[1]"),
        ("sub/some.py", "of src[1]"),
    ]


def test_a_wrong_name_says_what_to_do(tmp_path):
    write_lines(tmp_path / "notes.txt", [""])
    with pytest.raises(FileNotFoundError, match=r"source.pairs: .*none.csv must exist, found none. Correct the name"):
        files.find(tmp_path, "none.csv", "pairs")
    with pytest.raises(ValueError, match=r"source.pairs: .*notes.txt must end in .parquet, .*got .txt. Convert it"):
        files.find(tmp_path, "notes.txt", "pairs")
    with pytest.raises(ValueError, match=r"source.pairs: ../x.csv must be below"):
        files.find(tmp_path, "../x.csv", "pairs")
    with pytest.raises(FileNotFoundError, match=r"source.path: .*gone must be a folder, found none. Set source.path"):
        files.folder(str(tmp_path / "gone"))


# ---- rows


def test_lines_are_numbered_and_long_ones_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LINE_BYTES", 10)
    write_lines(tmp_path / "x.csv", ["a" * 10, "b" * 9, "c" * 35, "", "end"])
    found = list(lines.numbered(files.File(tmp_path / "x.csv", "x.csv")))
    assert [(number, whole) for number, _, whole in found] == [
        (1, False),
        (2, True),
        (3, False),
        (4, True),
        (5, True),
    ]


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=20), st.integers(2, 12))
@settings(max_examples=100, deadline=None)
def test_no_line_is_lost_whatever_the_limit(tmp_path_factory, content, limit):
    path = tmp_path_factory.mktemp("lines") / "x.csv"
    path.write_bytes(b"first\n" + b"".join(line + b"\n" for line in content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "LINE_BYTES", limit)
        found = lines.numbered(files.File(path, "x.csv"))
        assert [number for number, _, _ in found] == list(range(1, len(content) + 2))


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    source = beir(tmp_path, corpus=[b'\xef\xbb\xbf{"_id": "d1", "text": "lift"}\n'])
    assert bare(read(source)["documents"]) == [("d1", "", "lift")]
    write_lines(tmp_path / "x.csv", [b"\xef\xbb\xbfanchor,positive\r\n", b"why,lift\r\n"])
    found = read(params.Pairs(kind="pairs", path=str(tmp_path), pairs="x.csv"))
    assert [record["text"] for record in found["documents"]] == ["lift"]


# ---- answers


def test_every_source_reads_answers_as_a_list_a_string_or_nothing(tmp_path):
    asked = [
        {"_id": "q1", "text": "who", "answers": ["Paul", "", "John"]},
        {"_id": "q2", "text": "when", "answers": "1968"},
        {"_id": "q3", "text": "why"},
    ]
    found = read(beir(tmp_path / "beir", queries=asked, answers="answers"))
    assert [row["answers"] for row in found["queries"]] == [["Paul", "John"], ["1968"], []]
    rows = [
        {"anchor": "who", "positive": "Paul sang", "said": ["Paul"]},
        {"anchor": "why", "positive": "x", "said": None},
    ]
    assert [row["answers"] for row in read(pairs(tmp_path, rows, answers="said"))["queries"]] == [["Paul"], []]
    source = tables(tmp_path, ["query_id,document_id", "q1,d1"], answers="said")
    write_lines(tmp_path / "queries.csv", ["query_id,text,said", "q1,why,because"])
    assert [row["answers"] for row in read(source)["queries"]] == [["because"]]


def test_answers_that_are_no_strings_reject_their_query(tmp_path):
    found = read(beir(tmp_path, queries=[{"_id": "q1", "text": "who", "answers": [True]}], answers="answers"))
    assert faults(found) == [("queries.jsonl", 1, "answers is not a string")]


def test_answers_that_are_whole_numbers_are_answers(tmp_path):
    found = read(beir(tmp_path, queries=[{"_id": "q1", "text": "when", "answers": [1968, "68"]}], answers="answers"))
    assert [row["answers"] for row in found["queries"]] == [["1968", "68"]]


# ---- beir


def test_beir_yields_documents_queries_and_positives_of_the_chosen_splits(tmp_path):
    source = beir(tmp_path)
    write_lines(tmp_path / "qrels" / "test.tsv", ["q2\td1\t2"])
    found = read(source)
    assert bare(found["documents"]) == [("d1", "Lift", "of a wing")]
    assert bare(found["queries"]) == [("q1", "what lifts", [])]
    assert found["positives"] == [
        {"query_id": "q1", "document_id": "d1", "grade": 1.0, "origin": "qrels/train.tsv", "line": 2}
    ]
    both = read(source.model_copy(update={"splits": ("train", "test", "train")}))
    assert bare(both["positives"]) == [("q1", "d1", 1.0), ("q2", "d1", 2.0)]


BAD_LINES = [
    ("{", "invalid JSON"),
    ('{"_id": "x", "text": "y"', "invalid JSON"),
    ("[" * 100_000, "invalid JSON"),
    ("[1]", "not a JSON object"),
    (b'{"_id": "x", "text": "\xff"}\n', lines.NOT_UTF8),
    ('{"_id": "x", "text": "y"},', "invalid JSON: it ends in a comma"),
    ('{"_id": "x", "text": "y", "text": "z"}', "a JSON object has a key twice"),
    ('{"_id": NaN, "text": "y"}', "_id is missing"),
    ('{"_id": "x", "text": Infinity}', "text is not a string"),
    ('{"_id": "x", "text": ""}', "text is empty"),
    ('{"_id": "x", "text": " \\n\\u00a0"}', "text is empty"),
    ('{"_id": "x"}', "text is missing"),
    ('{"_id": "x", "text": null}', "text is missing"),
    ('{"_id": "x", "text": 3}', "text is not a string"),
    ('{"_id": "x", "text": ["a"]}', "text is not a string"),
    ('{"_id": "x", "text": "\\ud800"}', "text is not Unicode: it has a lone surrogate"),
    ('{"text": "y"}', "_id is missing"),
    ('{"_id": "", "text": "y"}', "_id is empty"),
    ('{"_id": "a\\u0000b", "text": "y"}', "_id has control characters"),
    ('{"_id": ["x"], "text": "y"}', "_id is neither a string nor a whole number"),
    ('{"_id": {"x": 1}, "text": "y"}', "_id is neither a string nor a whole number"),
    ('{"_id": "x", "text": "y", "title": 3}', "title is not a string"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_a_bad_line_is_rejected_with_its_number_and_the_rest_goes_on(tmp_path, line, reason):
    good = {"_id": 1, "text": "lift"}
    found = read(beir(tmp_path, corpus=[good, "", line, {"_id": "2", "text": "drag"}]))
    assert bare(found["documents"]) == [("1", "", "lift"), ("2", "", "drag")]
    assert faults(found) == [("corpus.jsonl", 3, reason)]
    shown = line.decode(errors="replace").strip() if isinstance(line, bytes) else line
    assert found["rejected"][0]["record"].strip() == shown[:500]


def test_a_line_that_is_too_long_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LINE_BYTES", 100)
    corpus = [{"_id": "1", "text": "x" * 200}, {"_id": "2", "text": "drag"}]
    found = read(beir(tmp_path, corpus=corpus))
    assert faults(found) == [("corpus.jsonl", 1, "longer than 100 bytes")]
    assert bare(found["documents"]) == [("2", "", "drag")]


def test_a_document_with_a_title_and_no_text_is_kept(tmp_path):
    found = read(beir(tmp_path, corpus=[{"_id": "1", "title": "Lift", "text": ""}]))
    assert bare(found["documents"]) == [("1", "Lift", "")]


def test_judgements_may_lack_the_header_and_bad_ones_are_rejected(tmp_path):
    lines = ["q1\td1\t2", "q1\td1", "q1\td2\tx", "q1\t\t1", "q1\td3\t0", "q1\td4\tnan", b"q1\t\xff\t1\n"]
    found = read(beir(tmp_path, qrels=lines))
    assert bare(found["positives"]) == [("q1", "d1", 2.0)]
    assert [(line, reason) for _, line, reason in faults(found)] == [
        (2, "not three fields: query, document, grade"),
        (3, "score is not a finite number"),
        (4, "corpus-id is empty"),
        (6, "score is not a finite number"),
        (7, "corpus-id is not Unicode: it has a lone surrogate"),
    ]
    assert bare(found["judged"]) == [("q1", "d3", 0.0, "grade")]


def test_min_grade_decides_what_is_a_positive(tmp_path):
    found = read(beir(tmp_path, qrels=["q1\td1\t1", "q1\td2\t2"], min_grade=2))
    assert bare(found["positives"]) == [("q1", "d2", 2.0)]
    assert bare(found["judged"]) == [("q1", "d1", 1.0, "grade")]


@pytest.mark.parametrize("split", ["test", "train.judged_zero", "source_docs"])
def test_a_split_must_be_one(tmp_path, split):
    source = beir(tmp_path, splits=[split])
    for name in ("train.judged_zero", "source_docs", "dev"):
        write_lines(tmp_path / "qrels" / f"{name}.tsv", ["q1\td1\t0"])
    with pytest.raises(
        FileNotFoundError, match=rf"source.splits: {split} must be a split of .*found dev, train\. Choose"
    ):
        read(source)


def test_a_missing_file_of_a_beir_folder_is_named(tmp_path):
    source = beir(tmp_path)
    (tmp_path / "queries.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"queries.jsonl: a BEIR folder must have this file, found none"):
        read(source)


def test_a_field_that_no_line_has_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"corpus.jsonl: field text must be there, found _id, body. Name the fields"):
        read(beir(tmp_path, corpus=[{"_id": "1", "body": "x"}] * 3))


@pytest.mark.parametrize(
    "content", [["["], ["[", '{"_id":', "}", "]"], ['[{"_id": 1, "text": "x"}]'], ["_id,text", "1,x"]]
)
def test_a_file_without_any_json_object_is_an_error(tmp_path, content):
    source = beir(tmp_path, corpus=content)
    with pytest.raises(ValueError, match=r"corpus.jsonl: must have one JSON object per line, but no line has"):
        read(source)


def test_judgements_of_another_format_are_an_error(tmp_path):
    with pytest.raises(
        ValueError, match=r"train.tsv: must have lines of query, document and grade .*line 1: not three"
    ):
        read(beir(tmp_path, qrels=["q1 0 d1 1", "q1 0 d2 1"]))


# ---- pairs


def ids(prefix, *texts):
    return blocks.content_ids(prefix, list(texts))


def test_an_anchor_on_several_lines_is_one_query_with_several_positives(tmp_path):
    records = [{"anchor": "Why?", "positive": "lift"}, {"anchor": "why? ", "positive": "drag"}]
    found = read(pairs(tmp_path, records))
    [query] = ids("q-", "why?")
    assert {record["query_id"] for record in found["queries"]} == {query}
    assert bare(found["positives"]) == [(query, document, 1.0) for document in ids("d-", "lift", "drag")]


def test_a_plain_string_is_one_positive_and_a_list_is_several(tmp_path):
    found = read(pairs(tmp_path, [{"anchor": "a", "positive": "lift"}, {"anchor": "b", "positive": ["x", "y"]}]))
    assert [record["text"] for record in found["documents"]] == ["lift", "x", "y"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"anchor": "a", "positive": {"x": 1}}, "positive.text is missing"),
        ({"anchor": "a", "positive": 3}, "positive is neither a string nor a list of strings"),
        ({"anchor": "a", "positive": []}, "positive is an empty list"),
        ({"anchor": "a", "positive": None}, "positive is missing"),
        ({"anchor": "a", "positive": ""}, "positive is empty"),
        ({"anchor": "a", "positive": [["x"]]}, "positive is not a string"),
        ({"anchor": "", "positive": "x"}, "anchor is empty"),
        ({"anchor": ["a"], "positive": "x"}, "anchor is not a string"),
        ({"positive": "x"}, "anchor is missing"),
    ],
)
def test_a_bad_pair_is_one_rejected_row(tmp_path, record, reason):
    found = read(pairs(tmp_path, [{"anchor": "b", "positive": "y"}, record]))
    assert faults(found) == [("pairs.jsonl", 2, reason)]
    assert [len(found[dataset]) for dataset in ("documents", "queries", "positives")] == [1, 1, 1]


def test_a_bad_positive_in_a_list_leaves_the_others(tmp_path):
    found = read(pairs(tmp_path, [{"anchor": "a", "positive": ["x", "", "y"]}]))
    assert [record["text"] for record in found["documents"]] == ["x", "y"]
    assert faults(found) == [("pairs.jsonl", 1, "positive is empty")]


def test_ids_may_come_from_columns(tmp_path):
    records = [
        {"anchor": "a", "positive": ["x", "y"], "qid": 7, "pid": ["d1", 2]},
        {"anchor": "b", "positive": "z", "qid": "8", "pid": "d3"},
        {"anchor": "c", "positive": ["z", "w"], "qid": "9", "pid": ["d3"]},
        {"anchor": "d", "positive": "z", "qid": "10", "pid": ["d3"]},
    ]
    found = read(pairs(tmp_path, records, anchor_id="qid", positive_id="pid"))
    assert bare(found["positives"]) == [("7", "d1", 1.0), ("7", "2", 1.0), ("8", "d3", 1.0)]
    assert [reason for *_, reason in faults(found)] == [
        "pid is not a list as long as positive",
        "pid is neither a string nor a whole number",
    ]


def test_a_corpus_file_adds_documents(tmp_path):
    json_lines(tmp_path / "corpus.jsonl", [{"text": "lift"}, {"text": "drag"}, {"text": ""}])
    found = read(pairs(tmp_path, [{"anchor": "why", "positive": "Lift"}], corpus="corpus.jsonl"))
    assert [record["document_id"] for record in found["documents"]] == ids("d-", "lift", "drag", "lift")
    assert faults(found) == [("corpus.jsonl", 3, "text is empty")]
    json_lines(tmp_path / "corpus.jsonl", [{"text": "lift", "key": "k"}])
    found = read(pairs(tmp_path, [{"anchor": "why", "positive": "x"}], corpus="corpus.jsonl", document_id="key"))
    assert found["documents"][0]["document_id"] == "k"


def parquet_pairs(tmp_path, **columns):
    pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")
    return params.Pairs(kind="pairs", path=str(tmp_path), pairs="pairs.parquet")


@pytest.mark.parametrize(
    "positive",
    [
        pa.array(["x", "y"]),
        pa.array(["x", "y"], pa.large_string()),
        pa.array(["x", "y"]).dictionary_encode(),
        pa.array([["x"], ["y"]]),
        pa.array([["x"], ["y"]], pa.large_list(pa.string())),
        pa.array([["x"], ["y"]], pa.list_(pa.string(), 1)),
        pa.array([b"x", b"y"]),
    ],
    ids=lambda array: str(array.type),
)
def test_parquet_strings_of_any_kind_are_read(tmp_path, positive):
    found = read(parquet_pairs(tmp_path, anchor=["a", "b"], positive=positive))
    assert [record["text"] for record in found["documents"]] == ["x", "y"]
    assert [record["line"] for record in found["documents"]] == [1, 2]


@pytest.mark.parametrize("positive", [pa.array([1, 2]), pa.array([{"x": 1}, {"x": 2}]), pa.array([[1], [2]])])
def test_a_parquet_column_of_another_type_is_an_error(tmp_path, positive):
    with pytest.raises(
        ValueError, match=r"positive must hold strings, lists of strings or .* passages .*, got .* Cast"
    ):
        read(parquet_pairs(tmp_path, anchor=["a", "b"], positive=positive))


def test_parquet_rows_that_are_not_utf8_fail_alone(tmp_path):
    bad = pa.array([b"x", b"\xff", None]).cast(pa.binary()).view(pa.string())
    found = read(parquet_pairs(tmp_path, anchor=["a", "b", "c"], positive=bad))
    assert [record["text"] for record in found["documents"]] == ["x"]
    assert faults(found) == [
        ("pairs.parquet", 2, "positive is not UTF-8"),
        ("pairs.parquet", 3, "positive is missing"),
    ]
    lists = pa.ListArray.from_arrays([0, 1, 2, 3], pa.array([b"x", b"\xff", b"y"]).view(pa.string()))
    found = read(parquet_pairs(tmp_path, anchor=["a", "b", "c"], positive=lists))
    assert [record["text"] for record in found["documents"]] == ["x", "y"]
    assert faults(found) == [("pairs.parquet", 2, "positive is not UTF-8")]


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "middle"])
def test_a_damaged_parquet_file_is_an_error(tmp_path, damage):
    source = parquet_pairs(tmp_path, anchor=[f"a{i}" for i in range(5000)], positive=[f"p{i}" for i in range(5000)])
    path = tmp_path / "pairs.parquet"
    whole = path.read_bytes()
    content = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"anchor,positive\n",
        "middle": whole[:100] + b"\xff" * 2000 + whole[2100:],
    }[damage]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"pairs.parquet: must be a whole Parquet file: .* Copy or write it again"):
        read(source)


def test_a_parquet_file_without_the_column_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"pairs.parquet: column positive must be there, found anchor, answer"):
        read(parquet_pairs(tmp_path, anchor=["a"], answer=["b"]))


# ---- CSV and tables


def test_tables_are_read_by_the_names_of_their_columns(tmp_path):
    found = read(tables(tmp_path, ["g,document_id,query_id", "2,d1,q1"], grade="g"))
    assert bare(found["documents"]) == [("d1", "", "lift"), ("d2", "", "drag")]
    assert bare(found["positives"]) == [("q1", "d1", 2.0)]
    assert bare(read(tables(tmp_path, ["query_id,document_id", "q1,d1"]))["positives"]) == [("q1", "d1", 1.0)]


def test_tables_may_have_titles(tmp_path):
    source = tables(tmp_path, ["query_id,document_id", "q1,d1"], document_title="head")
    write_lines(tmp_path / "documents.csv", ["document_id,head,text", "d1,Lift,", "d2,,drag", "d3,,"])
    found = read(source)
    assert bare(found["documents"]) == [("d1", "Lift", ""), ("d2", "", "drag")]
    assert faults(found) == [("documents.csv", 4, "text is empty")]


def test_bad_csv_rows_are_rejected_with_their_first_line(tmp_path):
    rows_ = [
        "query_id,document_id,grade",
        'q1,"d\n1",1',  # lines 2 and 3
        "q1,d1",
        "",
        "q1,d1,1,1",
        b"q1,\xff,1\n",
        "q1,d1,x",
        "q1,d1,0",
        'q1,"d1"x,1',
        "q1,d1,3",
    ]
    found = read(tables(tmp_path, rows_, grade="grade"))
    assert bare(found["positives"]) == [("q1", "d1", 3.0)]
    assert [(line, reason) for _, line, reason in faults(found)] == [
        (2, "document_id has control characters"),
        (4, "number of fields differs from the header's"),
        (6, "number of fields differs from the header's"),
        (7, lines.NOT_UTF8),
        (8, "grade is not a finite number"),
        (10, "invalid CSV: ',' expected after '\"'"),
    ]
    assert bare(found["judged"]) == [("q1", "d1", 0.0, "grade")]


def test_a_quoted_field_may_run_over_lines(tmp_path):
    write_lines(tmp_path / "x.tsv", ["anchor\tpositive", 'why\t"lift\nof ""wings"""', "how\tdrag"])
    found = read(params.Pairs(kind="pairs", path=str(tmp_path), pairs="x.tsv"))
    assert [(record["text"], record["line"]) for record in found["documents"]] == [
        ('lift\nof "wings"', 2),
        ("drag", 4),
    ]


def test_a_quote_that_is_never_closed_costs_its_line_only(tmp_path):
    found = read(tables(tmp_path, ["query_id,document_id", 'q1,"d1', "q1,d2"]))
    assert bare(found["positives"]) == [("q1", "d2", 1.0)]
    assert [(line, reason.split(":")[0]) for _, line, reason in faults(found)] == [
        (2, "a quote is opened in this line and never closed")
    ]


def test_a_csv_line_that_is_too_long_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LINE_BYTES", 100)
    found = read(tables(tmp_path, ["query_id,document_id", "q1," + "d" * 200, "q1,d2"]))
    assert faults(found) == [("positives.csv", 2, "longer than 100 bytes")]
    assert bare(found["positives"]) == [("q1", "d2", 1.0)]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("query,document_id", "column query_id must be there, found query, document_id"),
        ("query_id,document_id,query_id", "column names must differ, but query_id comes twice"),
        ("query_id;documentid", "column document_id must be there, found query_id, documentid in its first line"),
    ],
)
def test_a_csv_header_must_name_the_columns_once(tmp_path, header, message):
    with pytest.raises(ValueError, match=f"positives.csv: {message}"):
        read(tables(tmp_path, [header, "q1,d1,q1"]))


def test_an_empty_csv_file_lacks_its_columns(tmp_path):
    with pytest.raises(ValueError, match=r"positives.csv: column document_id, query_id must be there, found nothing"):
        read(tables(tmp_path, []))


def test_every_file_must_be_there_before_any_is_read(tmp_path):
    source = tables(tmp_path, ["query_id,document_id"])
    (tmp_path / "documents.csv").write_bytes(b"")
    (tmp_path / "positives.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"source.positives: .*positives.csv must exist, found none"):
        read(source)


@given(st.lists(st.tuples(st.text(), st.text() | st.lists(st.text(), max_size=3)), min_size=1, max_size=10))
@settings(max_examples=100, deadline=None)
def test_every_pair_goes_somewhere(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("pairs")
    found = read(pairs(path, [{"anchor": a, "positive": p} for a, p in records]))
    for line, (_, positive) in enumerate(records, 1):
        here = {name: sum(r["line"] == line for r in found[name]) for name in found}
        assert here["documents"] == here["positives"]
        wanted = len(positive) if isinstance(positive, list) else 1
        assert here["positives"] + here["rejected"] == wanted or (here["rejected"] == 1 and not here["positives"])
        assert here["queries"] == bool(here["positives"])


# ---- Python code


def code(tmp_path, content, name="m.py", **keys):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
    return params.PythonCode(kind="python_code", path=str(tmp_path), **{"min_characters": 0, **keys})


def test_a_docstring_asks_for_its_function(tmp_path):
    found = read(
        code(
            tmp_path,
            '''
            class Wing:
                @property
                # why
                def lift(self) -> float:
                    """Lift of the wing
                    in newtons.

                    More."""

                    return self.area * 2  # about
            ''',
        )
    )
    expected = "@property\n# why\ndef lift(self) -> float:\n\n    return self.area * 2  # about"
    assert bare(found["documents"]) == [("m.py::Wing.lift", "", expected)]
    [query] = ids("q-", "Lift of the wing in newtons.")
    assert bare(found["queries"]) == [(query, "Lift of the wing in newtons.", [])]
    assert found["positives"] == [
        {"query_id": query, "document_id": "m.py::Wing.lift", "grade": 1.0, "origin": "m.py", "line": 5}
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def f():\n    """Doc."""\n    return 1', "def f():\n    return 1"),
        ('def f(): "Doc."; return 1', "def f(): return 1"),
        ('def f():\n    "Doc."; return 1', "def f():\n    return 1"),
        ('def f():\n    "Doc."  # why\n    return 1', "def f():\n    # why\n    return 1"),
        ('def f():\n    # first\n    "Doc."\n    return 1', "def f():\n    # first\n    return 1"),
        ('def f():\n    ("Doc."\n     " more")\n    return 1', "def f():\n    return 1"),
        ('def f():\n    "Ä" "ö"; return 1', "def f():\n    return 1"),
        ('def f(a="ä"): "Döc"; return "ü"', 'def f(a="ä"): return "ü"'),
        ('def f():\n    x = """\nkept\n"""\n    return x', 'def f():\n    x = """\nkept\n"""\n    return x'),
        ('def f():\r\n    "Doc."\r\n    return 1\r\n', "def f():\n    return 1"),
        ('def f():\n    "Doc."\n    "second"\n    return 1', 'def f():\n    "second"\n    return 1'),
        ('async def f():\n    r"""Doc\\d."""\n    return "\x0c"', 'async def f():\n    return "\x0c"'),
        ("class A:\n\tdef f(self):\n\t\t'''Doc\n\t\t'''\n\t\treturn 1", "def f(self):\n\treturn 1"),
        ('@a(\n  1)\n@b\ndef f():\n    "Doc."\n    return 1', "@a(\n  1)\n@b\ndef f():\n    return 1"),
    ],
)
def test_a_docstring_is_cut_out_exactly(tmp_path, source, expected):
    assert [record["text"] for record in read(code(tmp_path, source.encode()))["documents"]] == [expected]


def test_the_cut_functions_are_the_functions_without_docstring():
    path = ast.__file__
    with open(path, encoding="utf-8") as file:
        source = file.read()
    count = 0
    for _, node in python_code.functions(ast.parse(source)):
        documented = ast.get_docstring(node, clean=False) is not None
        body = node.body[1:] if documented else node.body
        if not body:
            continue
        [again] = ast.parse(python_code.without_docstring(source.split("\n"), node)).body
        node.body = body
        assert ast.dump(again) == ast.dump(node)
        count += documented
    assert count > 20


def test_names_are_qualified_and_repeated_ones_numbered(tmp_path):
    found = read(
        code(
            tmp_path,
            """
            if 1:
                def f(): return 1
            else:
                def f(): return 2
            class A:
                class B:
                    def f(self): return 3
                try:
                    def g(self): return 4
                except E:
                    def g(self): return 5
            def outer():
                def inner(): return 6
                return inner
            """,
            name="p/m.py",
        )
    )
    names = [record["document_id"] for record in found["documents"]]
    assert names == [f"p/m.py::{name}" for name in ("f", "f#2", "A.B.f", "A.g", "A.g#2", "outer")]


def test_functions_without_a_telling_docstring_are_documents_only(tmp_path):
    found = read(
        code(
            tmp_path,
            '''
            def f(): return 1
            def g():
                """Short."""
                return 2
            def h():
                """Just long enough"""
                return 3
            def i():
                "\\ud800 is half of a character"
                return 4
            ''',
        )
    )
    assert len(found["documents"]) == 4
    assert [record["text"] for record in found["queries"]] == ["Just long enough"]


def test_equal_questions_are_one_query(tmp_path):
    one = 'def f():\n    """Close the file now."""\n    return 1\n'
    other = 'def g():\n    """close  the file NOW."""\n    return 2\n'
    found = read(code(tmp_path, one + other))
    assert len({record["query_id"] for record in found["queries"]}) == 1
    assert len({record["document_id"] for record in found["positives"]}) == 2


def test_functions_without_a_body_or_too_short_are_rejected(tmp_path):
    found = read(
        code(
            tmp_path,
            '''
            def f():
                """Only a docstring."""
            def g():
                """And nothing else."""
                pass
            def h(): ...
            def i(): return 1
            ''',
            min_characters=20,
        )
    )
    assert faults(found) == [
        ("m.py", 2, "no body"),
        ("m.py", 4, "no body"),
        ("m.py", 7, "no body"),
        ("m.py", 8, "shorter than min_characters"),
    ]
    assert found["rejected"][3]["record"] == "def i(): return 1"


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"x = 1\nx = '\xff'\n", 2, "not UTF-8"),
        (b"x = 1\ndef f(:\n", 2, "not Python"),
        (b"x = '\0'\n", 1, "not Python"),
        (b"x = " + b"(" * 5000 + b"\n", 1, "not Python"),
        (b"x = " + b"-" * 100_000 + b"1\n", 1, "not Python"),
    ],
)
def test_a_file_that_is_not_python_is_one_rejected_record(tmp_path, content, line, reason):
    source = code(tmp_path, content, "bad.py")
    found = read(code(tmp_path, "def f(): return 1", "good.py"))
    assert len(found["documents"]) == 1
    assert faults(found) == [("bad.py", line, reason)]
    assert source.path == str(tmp_path)


def test_packages_are_files_and_folders_and_tests_are_left_out(tmp_path):
    for name in ("a.py", "b.py", "p/__init__.py", "p/q/c.py", "p/test/d.py", "p/tests/e.py", "lib2to3/f.py"):
        code(tmp_path, "def f(): return 1", name)
    (tmp_path / "p" / "notes.txt").write_text("x")
    source = code(tmp_path, "def f(): return 1", "a.py")

    def origins(packages):
        found = read(source.model_copy(update={"packages": packages}))
        return [record["origin"] for record in found["documents"]]

    assert origins(()) == ["a.py", "b.py", "p/__init__.py", "p/q/c.py"]
    assert origins(("p", "a.py", "p/q")) == ["a.py", "p/__init__.py", "p/q/c.py"]
    with pytest.raises(FileNotFoundError, match=r"source.packages: z must be a .py file or a folder of .* Remove it"):
        origins(("z",))
    with pytest.raises(ValueError, match=r"source.packages: ../p must be below"):
        origins(("../p",))


def test_the_folder_may_be_a_link(tmp_path):
    source = code(tmp_path / "real", "def f(): return 1")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    linked = source.model_copy(update={"path": str(tmp_path / "link")})
    assert read(linked) == read(source)
    with pytest.raises(FileNotFoundError, match=r"source.path: .*gone must be a folder, found none. Make the link"):
        read(source.model_copy(update={"path": str(tmp_path / "gone")}))
