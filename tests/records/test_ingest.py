import json
import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gangue.pipeline import ingest, params
from gangue.transforms import text
from gangue.transforms.datasets import schema, sharding
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.records import admission, duplicates, planning, portions, reading, rejection, runs, tasks
from gangue.transforms.records import corpus as corpus_
from gangue.transforms.records.gathering import gather
from gangue.transforms.running.shards import Counts
from gangue.transforms.sources import blocks

DATASETS = ingest.WRITES
FILTER = {"kind": "perc", "score": "bm25", "perc": 0.9}


def settings_of(source, **keys):
    return params.parse(
        {
            "source": source,
            "ingest": {"documents_per_shard": 4, "queries_per_shard": 2, **keys.pop("ingest", {})},
            "retrievers": {"bm25": {"kind": "bm25"}},
            "filter": FILTER,
            "sample": {"kind": "top", "score": "bm25"},
            **keys,
        }
    )


def without_beam(root, p):
    """The stage's steps one after the other: the same datasets, in a tenth of the time."""
    data = Data(str(root))
    found = reading.read(data, p.source)
    cut = planning.Cut(p.ingest.documents_per_shard, p.ingest.queries_per_shard, p.ingest.near_duplicate)
    counts = Counts()
    for name in found.names:
        counts += runs.describe(name, data, sketches=cut.near_duplicate is not None)
    counts += planning.plan("plan", found, cut, p.source.without_positive)
    for name in tasks.names(data):
        counts += gather(name, found)
    data.begin("ingest")
    for dataset in DATASETS:
        data.publish(dataset)
    return counts


def tables(root):
    return {name: Data(str(root)).read_all(name) for name in DATASETS}


def contents(root, datasets=DATASETS):
    """Every file of the datasets, with its bytes."""
    return {
        f"{dataset}/{name}": pathlib.Path(root, dataset, name).read_bytes()
        for dataset in datasets
        for name in sorted(os.listdir(pathlib.Path(root, dataset)))
    }


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def corpus(documents, queries, positives):
    return {"documents": documents, "queries": queries, "positives": positives}


def tables_source(path, records):
    """A source of kind tables made of (id, text), (id, text) and (query, document, grade) tuples."""
    columns = {
        "documents": ("document_id", "text"),
        "queries": ("query_id", "text"),
        "positives": ("query_id", "document_id", "grade"),
    }
    for name, rows in records.items():
        write(path / f"{name}.jsonl", [dict(zip(columns[name], row, strict=True)) for row in rows])
    return {"kind": "tables", "path": str(path), "grade": "grade"} | {n: f"{n}.jsonl" for n in columns}


def ingested(tmp_path, records, **keys):
    counts = without_beam(tmp_path / "data", settings_of(tables_source(tmp_path / "source", records), **keys))
    return counts, tables(tmp_path / "data")


def reasons(found):
    return [(row["origin"], row["line"], row["reason"]) for row in found["rejected"].to_pylist()]


SMALL = corpus(
    [(f"d{i}", f"document number {i} about {'lift' if i % 2 else 'drag'}") for i in range(30)],
    [(f"q{i}", f"query number {i}") for i in range(9)],
    [(f"q{i}", f"d{3 * i + j}", 1 + j) for i in range(9) for j in range(3)],
)


@pytest.fixture
def small(tmp_path):
    return settings_of(tables_source(tmp_path / "source", SMALL))


# ---- the datasets


def test_the_datasets_have_the_schemas_shards_and_order_of_the_contract(tmp_path, small):
    counts = ingest.run(Data(str(tmp_path / "data")), small)
    found = tables(tmp_path / "data")
    for name in DATASETS:
        assert found[name].schema == getattr(schema, name.upper())
        assert counts[f"out:{name}"] == counts[f"rows:{staged(name)}"] == len(found[name])
    assert counts["in"] == 30 + 9 + 27 == sum(n for key, n in counts.items() if key.startswith("out:"))

    data = Data(str(tmp_path / "data"))
    assert len(data.shards("documents")) == 8
    assert len(data.shards("queries")) == len(data.shards("positives")) == 8
    for number, shard in enumerate(data.shards("documents")):
        table = data.read("documents", shard)
        assert table.to_pylist() == sorted(table.to_pylist(), key=lambda row: (row["text_hash"], row["document_id"]))
        expected = text.hashes(text.normalise(text.full_text(table["title"], table["text"])))
        assert table["text_hash"].to_pylist() == expected.to_pylist()
        assert set(sharding.shard_numbers(text.hash_numbers(expected), 8)) <= {number}
    for number, shard in enumerate(data.shards("queries")):
        table, positives = data.read("queries", shard), data.read("positives", shard)
        assert table["query_id"].to_pylist() == sorted(table["query_id"].to_pylist())
        words = text.hash_numbers(text.hashes(table["near_group"].to_pylist()))
        assert set(sharding.shard_numbers(words, 8)) <= {number}
        keys = list(zip(positives["query_id"].to_pylist(), positives["document_id"].to_pylist(), strict=True))
        assert keys == sorted(keys)
        assert set(positives["query_id"].to_pylist()) == set(table["query_id"].to_pylist())
    documents = found["documents"]["document_id"].to_pylist()
    for row in found["positives"].to_pylist():
        assert documents[row["document_row"]] == row["document_id"]


def test_nothing_is_left_beside_the_datasets(tmp_path, small):
    ingest.run(Data(str(tmp_path / "data")), small)
    assert sorted(os.listdir(tmp_path / "data")) == sorted(DATASETS)


def test_with_and_without_beam_the_bytes_are_the_same(tmp_path, small):
    ingest.run(Data(str(tmp_path / "beam")), small)
    without_beam(tmp_path / "plain", small)
    assert contents(tmp_path / "beam") == contents(tmp_path / "plain")


def test_several_workers_write_the_same_bytes(tmp_path, small, monkeypatch):
    monkeypatch.setattr(blocks, "ROWS", 7)  # several runs
    ingest.run(Data(str(tmp_path / "many")), small.model_copy(update={"beam": params.Beam(workers=2)}))
    monkeypatch.undo()
    without_beam(tmp_path / "plain", small)
    assert contents(tmp_path / "many") == contents(tmp_path / "plain")


def test_the_stage_runs_as_a_command_whatever_the_hash_seed(tmp_path, small):
    document = small.model_dump(mode="json")
    (tmp_path / "params.yaml").write_text(json.dumps(document))
    for seed in ("1", "2"):
        command = [str(pathlib.Path(sys.executable).with_name("gangue")), "ingest", "--data", str(tmp_path / seed)]
        subprocess.run(
            [*command, "--params", str(tmp_path / "params.yaml")],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=pathlib.Path(__file__).parents[2],
        )
    without_beam(tmp_path / "plain", small)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "plain")


def test_a_root_that_is_no_folder_will_do(tmp_path, small):
    data = Data("memory://ingest-test")
    ingest.run(data, small)
    without_beam(tmp_path / "plain", small)
    for name in DATASETS:
        assert data.read_all(name) == tables(tmp_path / "plain")[name]


def test_an_empty_rejected_dataset_still_has_a_shard(tmp_path, small):
    without_beam(tmp_path, small)
    assert Data(str(tmp_path)).shards("rejected") == ["part-00000-of-00001"]
    assert Data(str(tmp_path)).rows("rejected") == [0]


# ---- who is kept


def test_equal_records_are_merged_and_the_highest_grade_is_kept(tmp_path):
    records = corpus(
        [("d1", "lift"), ("d1", "lift"), ("d1", "LIFT "), ("d2", "drag")],
        [("q1", "why"), ("q1", "why")],
        [("q1", "d1", 1), ("q1", "d1", 3), ("q1", "d1", 2), ("q1", "d2", 1), ("q1", "d2", 1)],
    )
    counts, found = ingested(tmp_path, records)
    assert found["positives"].select(["query_id", "document_id", "grade"]).to_pylist() == [
        {"query_id": "q1", "document_id": "d1", "grade": 3.0},
        {"query_id": "q1", "document_id": "d2", "grade": 1.0},
    ]
    assert (counts["out:merged"], counts["out:rejected"]) == (2 + 1 + 3, 0)


def test_every_version_of_a_contradictory_id_is_rejected_and_what_refers_to_it(tmp_path):
    records = corpus(
        [("d1", "lift"), ("d1", "drag"), ("d1", "lift"), ("d2", "flow")],
        [("q1", "why"), ("q2", "how"), ("q2", "when")],
        [("q1", "d1", 1), ("q1", "d2", 1), ("q2", "d2", 1), ("q3", "d2", 1), ("q1", "d9", 1)],
    )
    counts, found = ingested(tmp_path, records)
    same = "duplicate id with different text"
    assert reasons(found) == [
        ("documents.jsonl", 1, same),
        ("documents.jsonl", 2, same),
        ("documents.jsonl", 3, same),
        ("positives.jsonl", 1, "document is unknown or rejected"),
        ("positives.jsonl", 3, "query is unknown or rejected"),
        ("positives.jsonl", 4, "query is unknown or rejected"),
        ("positives.jsonl", 5, "document is unknown or rejected"),
        ("queries.jsonl", 2, same),
        ("queries.jsonl", 3, same),
    ]
    assert found["rejected"]["record"][0].as_py() == '{"document_id": "d1", "title": "", "text": "lift"}'
    assert found["documents"]["document_id"].to_pylist() == ["d2"]
    assert (counts["in"], counts["out:rejected"], counts["out:merged"]) == (12, 9, 0)


def test_a_query_without_a_valid_positive_is_rejected(tmp_path):
    records = corpus(
        [("d1", "lift")],
        [("q1", "why"), ("q2", "how"), ("q3", "when"), ("q3", "when")],
        [("q1", "d1", 1), ("q2", "d7", 1)],
    )
    counts, found = ingested(tmp_path, records)
    assert reasons(found) == [
        ("positives.jsonl", 2, "document is unknown or rejected"),
        ("queries.jsonl", 2, "no positive"),
        ("queries.jsonl", 3, "no positive"),
    ]
    assert counts["out:merged"] == 1


def test_a_beir_query_of_another_split_is_told_from_one_that_lost_its_positives(tmp_path):
    write(tmp_path / "corpus.jsonl", [{"_id": "d1", "text": "lift"}])
    write(tmp_path / "queries.jsonl", [{"_id": f"q{i}", "text": f"why {i}"} for i in (1, 2, 3)])
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    without_beam(tmp_path / "data", settings_of({"kind": "beir", "path": str(tmp_path)}))
    assert reasons(tables(tmp_path / "data")) == [
        ("qrels/train.tsv", 3, "document is unknown or rejected"),
        ("queries.jsonl", 2, "no positive"),
        ("queries.jsonl", 3, "no positive in splits"),
    ]


def test_rejected_records_of_all_kinds_keep_their_place_and_share_the_shards(tmp_path):
    documents = [("d1", "lift"), *[(f"e{i}", "") for i in range(9)]]
    counts, found = ingested(tmp_path, corpus(documents, [("q1", "why")], [("q1", "d1", 1)]))
    assert [line for _, line, _ in reasons(found)] == list(range(2, 11))
    assert Data(str(tmp_path / "data")).rows("rejected") == [3, 2, 2, 2]
    assert counts["out:rejected"] == 9


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            corpus([("d1", "")], [("q1", "a")], [("q1", "d1", 1)]),
            "no documents: 3 records were rejected, 1 of them for",
        ),
        (
            corpus([("d1", "a")], [("q1", "")], [("q1", "d1", 1)]),
            "no queries: 2 records were rejected, 1 of them for",
        ),
        (
            corpus([("d1", "a")], [("q1", "a")], [("q1", "d1", 0)]),
            r"no positives: 2 records were rejected, 1 of them for 'judged, and its query has no positive', first"
            r" positives.jsonl line 1. Give positives a grade above 0",
        ),
        (
            corpus([("d1", "a")], [("q1", "a")], [("q1", "d1", 0), ("q1", "d1", -1), ("q1", "d2", 1)]),
            r"1 of them for 'document is unknown or rejected', first positives.jsonl line 3. Correct source",
        ),
        (
            corpus([], [], []),
            "no documents: the source must have some, found none. Correct source in the params",
        ),
    ],
)
def test_an_empty_dataset_is_an_error_that_says_what_fell(tmp_path, records, message):
    with pytest.raises(ValueError, match=message):
        ingested(tmp_path, records)


# ---- near-duplicates


def near(tmp_path, threshold):
    long = [" ".join(str(number) for number in range(start, start + 60)) for start in (0, 100)]
    documents = [("b", long[0]), ("a", long[0] + " more"), ("c", long[1]), ("e", "X y"), ("d", "x  Y")]
    queries = [("z", long[0]), ("y", long[0] + " again"), ("x", long[1])]
    positives = [(query, "c", 1) for query, _ in queries]
    _, found = ingested(tmp_path, corpus(documents, queries, positives), ingest={"near_duplicate": threshold})
    groups = {}
    for name in ("documents", "queries"):
        groups[name] = dict(zip(*found[name].select([0, found[name].column_names.index("near_group")]), strict=True))
        groups[name] = {key.as_py(): value.as_py() for key, value in groups[name].items()}
    return groups


def test_near_duplicates_share_the_smallest_id_of_their_group(tmp_path):
    groups = near(tmp_path, 0.85)
    assert groups["documents"] == {"a": "a", "b": "a", "c": "c", "d": "d", "e": "d"}
    assert groups["queries"] == {"x": "x", "y": "y", "z": "y"}


def test_without_near_duplicates_only_equal_texts_share_a_group(tmp_path):
    groups = near(tmp_path, None)
    assert groups["documents"] == {"a": "a", "b": "b", "c": "c", "d": "d", "e": "d"}
    assert groups["queries"] == {"x": "x", "y": "y", "z": "z"}


# ---- whatever the order and the cut


RECORDS = st.builds(
    corpus,
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["lift", "LIFT", "drag", ""])), max_size=12),
    st.lists(st.tuples(st.sampled_from("qrs"), st.sampled_from(["why", "Why ", "how"])), max_size=6),
    st.lists(st.tuples(st.sampled_from("qrst"), st.sampled_from("abcdefg"), st.integers(0, 3)), max_size=15),
)


def oracle(records):
    """Kept documents, queries, positives and judged pairs, slow and obvious."""

    def kept(rows):
        versions = {}
        for name, words in rows:
            if words.strip():
                versions.setdefault(name, set()).add(" ".join(words.lower().split()))
        return {name: min(words) for name, words in versions.items() if len(words) == 1}

    documents, queries, positives = kept(records["documents"]), kept(records["queries"]), {}
    for query, document, grade in records["positives"]:
        if query in queries and document in documents and grade > 0:
            positives[query, document] = max(grade, positives.get((query, document), 0))
    queries = {name: words for name, words in queries.items() if any(query == name for query, _ in positives)}
    judged = {
        (query, document)
        for query, document, grade in records["positives"]
        if query in queries and document in documents and grade <= 0 and (query, document) not in positives
    }
    return documents, queries, positives, judged


@given(RECORDS, st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_every_record_lands_where_the_oracle_says(tmp_path_factory, records, rows):
    documents, queries, positives, judged = oracle(records)
    path = tmp_path_factory.mktemp("oracle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "ROWS", rows)
        if not positives:
            with pytest.raises(ValueError, match=r"^no (documents|queries|positives): |must be there"):
                ingested(path, records)
            return
        counts, found = ingested(path, records)
    rows_of = found["documents"].to_pylist()
    assert {row["document_id"]: row["text"].strip().lower() for row in rows_of} == documents
    assert {row["query_id"]: row["text"].strip().lower() for row in found["queries"].to_pylist()} == queries
    grades = {(row["query_id"], row["document_id"]): row["grade"] for row in found["positives"].to_pylist()}
    assert grades == positives
    assert {(row["query_id"], row["document_id"]) for row in found["judged"].to_pylist()} == judged
    both = sum(row["reason"] == rejection.BOTH for row in found["rejected"].to_pylist())
    assert both == sum((query, document) in positives for query, document, grade in records["positives"] if grade <= 0)
    assert counts["in"] == sum(map(len, records.values())) == sum(v for k, v in counts.items() if k[:4] == "out:")
    groups = {row["document_id"]: row["near_group"] for row in rows_of}
    assert groups == {name: min(d for d in documents if documents[d] == words) for name, words in documents.items()}


@given(RECORDS, st.randoms(use_true_random=False), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_order_and_cut_of_the_input_do_not_change_a_byte(tmp_path_factory, records, shuffler, rows):
    if not oracle(records)[2]:
        return
    path = tmp_path_factory.mktemp("order")
    ingested(path / "one", records)
    shuffled = {name: shuffler.sample(values, len(values)) for name, values in records.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "ROWS", rows)
        ingested(path / "other", shuffled)
    kept = DATASETS[:3]
    assert contents(path / "one" / "data", kept) == contents(path / "other" / "data", kept)


def test_records_in_several_files_give_the_same_bytes(tmp_path):
    source = tables_source(tmp_path / "source", SMALL)
    without_beam(tmp_path / "one", settings_of(source))
    order = random.Random(1)
    for name, rows in SMALL.items():
        lines = (tmp_path / "source" / f"{name}.jsonl").read_text().splitlines(keepends=True)
        order.shuffle(lines)
        for part in range(3):
            path = tmp_path / "source" / name / f"{part}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(lines[part::3]))
        assert len(lines) == len(rows)
    split = {name: f"{name}/*.jsonl" for name in SMALL}
    without_beam(tmp_path / "many", settings_of(source | split))
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_the_format_of_the_files_does_not_change_a_byte(tmp_path):
    source = tables_source(tmp_path / "source", SMALL)
    without_beam(tmp_path / "json", settings_of(source))
    for name, rows in SMALL.items():
        columns = list(json.loads((tmp_path / "source" / f"{name}.jsonl").read_text().splitlines()[0]))
        table = pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
        pq.write_table(table, tmp_path / "source" / f"{name}.parquet", row_group_size=4)
        lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
        (tmp_path / "source" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    for suffix in ("parquet", "csv"):
        without_beam(tmp_path / suffix, settings_of(source | {name: f"{name}.{suffix}" for name in SMALL}))
        assert contents(tmp_path / suffix) == contents(tmp_path / "json")


def test_the_cut_into_tasks_does_not_change_a_byte(tmp_path, small, monkeypatch):
    without_beam(tmp_path / "one", small)
    monkeypatch.setattr(tasks, "_TASKS_AT_LEAST", 1)
    without_beam(tmp_path / "few", small)
    monkeypatch.setattr(tasks, "_ROWS_AT_ONCE", 1)
    without_beam(tmp_path / "many", small)
    assert contents(tmp_path / "one") == contents(tmp_path / "few") == contents(tmp_path / "many")


def test_how_many_records_are_looked_at_at_once_does_not_change_a_byte(tmp_path, monkeypatch):
    bodies = [" ".join(f"w{topic}-{place}" for place in range(40)) for topic in range(8)]
    texts = [f"{body} end{tail}" for tail in (0, 1, 1) for body in bodies]
    documents = [{"_id": f"d{number % 20}", "text": body} for number, body in enumerate(texts)]
    write(tmp_path / "source" / "corpus.jsonl", documents)
    write(tmp_path / "source" / "queries.jsonl", [{"_id": "q", "text": "what"}])
    (tmp_path / "source" / "qrels").mkdir()
    (tmp_path / "source" / "qrels" / "train.tsv").write_text("q\td9\t1\nq\td21\t1\n")
    p = settings_of({"kind": "beir", "path": str(tmp_path / "source")})
    without_beam(tmp_path / "whole", p)
    assert len(set(tables(tmp_path / "whole")["documents"]["near_group"].to_pylist())) == 8
    monkeypatch.setattr(blocks, "ROWS", 5)
    monkeypatch.setattr(corpus_, "_RECORDS_AT_ONCE", 3)
    monkeypatch.setattr(duplicates, "_KEYS_AT_ONCE", 2)
    without_beam(tmp_path / "parts", p)
    monkeypatch.setattr(portions, "_FEW", 1)  # the more there are, the more at once
    monkeypatch.setattr(runs, "ROWS", 2)
    without_beam(tmp_path / "growing", p)
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts") == contents(tmp_path / "growing")


# ---- errors


def test_an_error_leaves_the_earlier_datasets_and_no_leftovers(tmp_path, small):
    root = tmp_path / "data"
    ingest.run(Data(str(root)), small)
    before = contents(root)
    damaged = tmp_path / "source" / "positives.jsonl"
    for content, message in (
        ("", "no positives: 9 records were rejected"),
        ("no json\n", "must have one JSON object per line"),
        ('{"query": "q1"}\n', "field document_id, grade, query_id must be there"),
    ):
        damaged.write_text(content)
        with pytest.raises(ValueError, match=message):
            ingest.run(Data(str(root)), small)
        assert contents(root) == before
        assert not (root / runs.AREA).exists()
    damaged.unlink()
    with pytest.raises(FileNotFoundError, match=r"source.positives: .* must exist, found none"):
        ingest.run(Data(str(root)), small)
    assert contents(root) == before


def test_an_error_of_the_plan_reaches_the_user_as_one_line(tmp_path):
    p = settings_of(tables_source(tmp_path / "source", corpus([("d1", "a")], [("q1", "a")], [("q1", "d2", 1)])))
    with pytest.raises(ValueError, match=r"^ingest: no positives: .* 'document is unknown") as error:
        ingest.run(Data(str(tmp_path / "data")), p)
    assert "\n" not in str(error.value)


def test_leftovers_of_a_killed_run_are_thrown_away(tmp_path, small):
    stale = tmp_path / "data" / runs.AREA / "documents" / "00000099.arrow"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"stale")
    ingest.run(Data(str(tmp_path / "data")), small)
    assert not (tmp_path / "data" / runs.AREA).exists()


# ---- parts


def test_runs_find_their_records_again(tmp_path):
    columns = {"document_id": list("abcde"), "title": [""] * 5, "text": list("ABCDE"), "origin": ["o"] * 5}
    table = pa.table(columns | {"line": list(range(5))}).cast(blocks.RECORDS["documents"])
    parts = [
        blocks.Block("documents", table[:2]),
        blocks.Block("rejected", blocks.RECORDS["rejected"].empty_table()),
    ]
    found = runs.spill(Data(str(tmp_path)), [*parts, blocks.Block("documents", table[2:])])
    assert found.names == ("documents/000000-000000", "documents/000000-000001", "rejected/000000-000000")
    assert found.column("documents", "document_id").to_pylist() == list("abcde")
    numbers, rows = found.located("documents", np.array([4, 0, 2, 1]))
    assert (numbers.tolist(), rows.tolist()) == ([1, 0, 1, 0], [2, 0, 0, 1])
    texts = [None] * 4
    for positions, part in found.taken(numbers, rows):
        for position, value in zip(positions, part["text"].to_pylist(), strict=True):
            texts[position] = value
    assert texts == ["E", "A", "C", "B"]


def test_a_title_does_not_grow_into_the_text_unnoticed(tmp_path):
    table = pa.table({"document_id": ["a", "b"], "title": ["x", "x y"], "text": ["y z", "z"]})
    table = table.append_column("origin", pa.array(["o", "o"])).append_column("line", pa.array([1, 2]))
    found = runs.spill(Data(str(tmp_path)), [blocks.Block("documents", table.cast(blocks.RECORDS["documents"]))])
    assert runs.describe(found.names[0], Data(str(tmp_path)), sketches=True) == {"in": 2}
    words = found.hashes("documents", "content_hash")
    assert (words[0] != words[1]).any()
    words = found.hashes("documents", "text_hash")
    assert (words[0] == words[1]).all()
    expected = duplicates.signatures(pa.chunked_array([["x y z"] * 2]))
    with runs.sketches(found.data, 2) as room:
        found.copy_sketches(np.zeros(2, int), np.arange(2), room, np.array([1, 0]))
        for part, wanted in zip(room, duplicates.Sketches.of(expected), strict=True):
            np.testing.assert_array_equal(part, wanted)


def test_nothing_is_admitted_of_nothing():
    empty = pa.chunked_array([], pa.string())
    found = admission.named(empty, np.empty((0, 2), np.uint64), np.empty((0, 2), np.uint64))
    assert (len(found.ids), len(found.record), found.merged, len(found.contradictory)) == (0, 0, 0, 0)
    assert admission.places(pa.chunked_array([["a"]]), found).tolist() == [-1]
    assert admission.places(empty, found).tolist() == []


# ---- real data


def test_cranfield_loses_its_two_empty_documents_and_what_is_not_judged(tmp_path, shared_data):
    source = {"kind": "beir", "path": str(shared_data("cranfield"))}
    counts = without_beam(tmp_path, settings_of(source, ingest={"documents_per_shard": 512}))
    assert (counts["out:documents"], counts["out:queries"], counts["out:positives"]) == (1398, 98, 676)
    found = tables(tmp_path)["rejected"].to_pylist()
    fell = [reason for row in found if (reason := row["reason"]) != "no positive in splits"]
    assert sorted(fell) == ["document is unknown or rejected", "text is empty", "text is empty"]
    assert len(found) == counts["out:rejected"] == 3 + 225 - 98


def test_coco_captions_keep_equal_texts_under_their_own_ids(tmp_path, shared_data):
    source = {"kind": "beir", "path": str(shared_data("coco_captions"))}
    cut = {"documents_per_shard": 4096, "queries_per_shard": 1024}
    counts = without_beam(tmp_path, settings_of(source, ingest=cut))
    documents = tables(tmp_path)["documents"]
    assert (len(documents), len(documents["text_hash"].unique())) == (20014, 20014 - 129)
    assert counts["out:merged"] == 0
    leader = {}
    for row in documents.to_pylist():
        assert leader.setdefault(row["text_hash"], row["near_group"]) == row["near_group"]


def test_a_real_corpus_in_another_order_gives_the_same_bytes(tmp_path, shared_data, monkeypatch):
    folder = shared_data("cranfield")
    source = {"kind": "beir", "path": str(folder)}
    without_beam(tmp_path / "one", settings_of(source, ingest={"documents_per_shard": 256}))
    (tmp_path / "source" / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv"):
        header, *lines = (folder / name).read_text().splitlines(keepends=True)
        lines = lines if name.endswith(".tsv") else [header, *lines]
        random.Random(2).shuffle(lines)
        (tmp_path / "source" / name).write_text("".join([header, *lines] if name.endswith(".tsv") else lines))
    monkeypatch.setattr(blocks, "ROWS", 100)
    source["path"] = str(tmp_path / "source")
    without_beam(tmp_path / "other", settings_of(source, ingest={"documents_per_shard": 256}))
    assert contents(tmp_path / "one", DATASETS[:3]) == contents(tmp_path / "other", DATASETS[:3])


def test_one_positive_a_query_is_told_of_before_anything_else_runs(small, tmp_path):
    few = corpus(SMALL["documents"], SMALL["queries"], SMALL["positives"][::3])
    one = settings_of(tables_source(tmp_path / "one", few))
    for p, counts, lines in ((small, 27, 0), (one, 9, 0)):
        assert len(ingest.foreseen(p, Counts({"out:positives": counts, "out:queries": 9}))) == lines, "no budget"
        budget = p.filter.model_copy(update={"kind": "learned", "max_false_negatives": 0.02})
        asked = p.model_copy(update={"filter": budget})
        said = ingest.foreseen(asked, Counts({"out:positives": counts, "out:queries": 9}))
        assert [("leak test will not be measured" in line) for line in said] == [True] * (counts == 9)


def test_only_what_a_column_judged_is_said_to_be_negative_by_it(tmp_path, capfd):
    rows = [{"anchor_id": f"q{i}", "anchor": f"why {i}", "positive": f"so {i}", "id": f"d{i}"} for i in range(4)]
    write(tmp_path / "source" / "x.jsonl", [{**row, "neg": [f"not {i}"] * (i < 3)} for i, row in enumerate(rows)])
    labels = [{"query_id": "q0", "document_id": f"d{i}", "label": i % 2} for i in (1, 2)]
    labels.append({"query_id": "q3", "document_id": "d0", "label": 0})
    write(tmp_path / "labels.jsonl", labels)
    source = {"kind": "pairs", "path": str(tmp_path / "source"), "pairs": "x.jsonl"}
    ids = {"anchor_id": "anchor_id", "positive_id": "id"}
    for wrong in (0.0, 0.2):
        told = {"path": str(tmp_path / "labels.jsonl"), "wrong": wrong}
        ingest.run(Data(str(tmp_path / "data")), settings_of({**source, **ids}, labels=told))
        assert "ingest: 3 pairs are negatives by a column of the source, whatever" in capfd.readouterr().err
    ingest.run(Data(str(tmp_path / "data")), settings_of({**source, **ids, "negatives": []}, labels=told))
    assert "negatives by" not in capfd.readouterr().err


def test_labels_of_other_ids_are_said_to_be_of_no_use(tmp_path, small, capfd):
    for query, said in (("q0", False), ("other", True)):
        write(tmp_path / "labels.jsonl", [{"query_id": query, "document_id": "d9", "label": i} for i in (0, 0)])
        told = params.Labels(path=str(tmp_path / "labels.jsonl"))
        ingest.run(Data(str(tmp_path / "data")), small.model_copy(update={"labels": told}))
        assert ("none of the 2 labels in labels.path can be used" in capfd.readouterr().err) is said
