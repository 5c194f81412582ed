"""Numbers that are not finite: their text takes no part in anything, is named, and nothing of it is published."""

import json
import pathlib

import numpy as np
import pyarrow.compute as pc
import pytest
from models import WORDS, cross_encoder, static_encoder
from safetensors.torch import load_file, save_file

from gangue.pipeline import embed, mine, params, sample
from gangue.pipeline.command import show
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import vector_store
from gangue.transforms.views.recipe import RECIPE

BROKEN = {"nan": np.nan, "infinite": np.inf, "zero": 0.0, "longer than float32 can square": 3e38}


def spoil(folder, word, value):
    """Let a static encoder make this number of every text with the word."""
    path = pathlib.Path(folder) / "model.safetensors"
    tensors = load_file(path)
    (weights,) = tensors.values()
    if value == 0.0:
        weights[:] = weights - weights[1 + WORDS.index(word)]  # the mean of this word alone is zero
    weights[1 + WORDS.index(word)] = value
    save_file(tensors, path)


def job(folder, rows, documents=(), **changes):
    source = folder / "source"
    source.mkdir(exist_ok=True)
    (source / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (source / "more.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    values = {
        "source": {"kind": "pairs", "path": str(source), "pairs": "pairs.jsonl", "corpus": "more.jsonl"},
        "ingest": {"near_duplicate": None, "queries_per_shard": 8},
        "encoders": {"tiny": {"model": str(folder / "encoder"), "normalise": False}},
        "cluster": {"clusters": 2},
        "retrievers": {"dense": {"kind": "dense", "encoder": "tiny", "max_depth": 200}, "bm25": {"kind": "bm25"}},
        "pool": {"random": 8},
        "filter": {"kind": "perc", "score": "dense", "perc": 5.0, "positive": "min"},
        "sample": {"kind": "top", "score": "dense", "negatives": 3, "random": 1},
        "export": {"views": ["triplet", "ntuple", "labeled_pair", "labeled_list"]},
        **changes,
    }
    (folder / "params.yaml").write_text(json.dumps(values))
    mine.run(str(folder / "params.yaml"), str(folder / "data"), str(folder / "reports"))
    return Data(str(folder / "data"))


def pairs(count=20):
    rng = np.random.default_rng(3)
    words = [word for word in WORDS if word != "oak"]
    rows = [
        {"anchor": " ".join(rng.choice(words, 3, replace=False)) + f" q{i}",
         "positive": " ".join(rng.choice(words, 5, replace=False)) + f" d{i}"}
        for i in range(count)
    ]  # fmt: skip
    rows.append({"anchor": rows[0]["anchor"], "positive": "oak"})  # one of two positives
    rows.append({"anchor": "ab cab dab", "positive": "oak oak"})  # the only one
    rows.append({"anchor": "oak oak oak", "positive": rows[1]["positive"]})  # a query
    return rows


def column(data, dataset, name):
    return data.read_all(dataset, [name])[name].to_pylist()


@pytest.mark.parametrize("value", BROKEN)
def test_a_text_whose_vector_is_no_number_takes_no_part(value, tmp_path, capsys):
    spoil(static_encoder(tmp_path / "encoder"), "oak", BROKEN[value])
    data = job(tmp_path, pairs(), ["oak oak oak oak", "lab mad nab"])
    rejected = data.read_all(vector_store.rejected("tiny")).to_pylist()
    assert sorted(row["text"] for row in rejected) == ["oak", "oak oak", "oak oak oak", "oak oak oak oak"]
    assert {row["reason"] for row in rejected} == {"vector is zero" if value == "zero" else "vector is not finite"}
    assert all(row["cure"].startswith("name another encoders.tiny.model, or correct") for row in rejected)
    gone = {row["id"] for row in rejected}
    triplets = data.read_all("triplets")
    for role in ("query_id", "positive_id", "negative_id"):
        assert not gone & set(triplets[role].to_pylist())
        if role != "positive_id":
            assert not gone & {*column(data, "pairs", "query_id"), *column(data, "pairs", "document_id")}
    for name in triplets.column_names:
        if "score" in name or name == "weight":
            assert pc.all(pc.is_finite(triplets[name])).as_py(), name
            assert not triplets[name].null_count
    short = [row for row in data.read_all("shortfalls").to_pylist() if row["reason"] == sample.NOT_FINITE]
    assert len(short) == 3
    assert all(gone & {row["query_id"], row["positive_id"]} and row["found"] == 0 for row in short)
    texts = dict(zip(column(data, "queries", "text"), column(data, "queries", "query_id"), strict=True))
    first = pairs()[0]["anchor"]
    assert triplets.filter(pc.field("query_id") == texts[first]).num_rows == 3, "its other positive has its negatives"
    metrics = json.loads((tmp_path / "reports" / "audit.json").read_text())
    assert metrics["positives"] == 23
    assert metrics["shortfalls"][sample.NOT_FINITE] == 3
    recipe = json.loads(data.read("triplets", data.shards("triplets")[0]).schema.metadata[RECIPE])
    assert recipe["without_vector"] == {"tiny": 4}
    said = capsys.readouterr().err
    assert "embed@tiny: 4 texts have no usable vector and take no part, first d-" in said
    assert "without_vector" in next(line for line in said.splitlines() if line.startswith("pool: "))
    page = (tmp_path / "reports" / "report.html").read_text()
    assert "4 texts have no usable vector of tiny and take no part" in page
    show.summary(str(tmp_path / "params.yaml"), str(tmp_path / "data"), str(tmp_path / "reports"))
    (told,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Rejected by the encoder tiny"))
    assert told.endswith(f" or correct or remove the text. All are in {data.path(vector_store.rejected('tiny'))}")
    for row in rejected:
        assert f"{row['id']} ({row['reason']})" in told
        assert f"<code>{row['id']}</code></td><td>{row['reason']}</td><td>Name another encoders.tiny.model" in page
    lost = {texts["ab cab dab"], "oak oak oak", *(row["query_id"] for row in short if row["query_id"] in gone)}
    for query in lost:  # by the id of a query whose only positive is rejected, or of one that is; by its words
        with pytest.raises(
            ValueError, match=rf"none of {query}, for \S+ of \w+ has no usable .* tiny: vector is .*Name"
        ):
            show.triplets(str(tmp_path / "data"), None, query)


def test_where_all_vectors_are_numbers_nothing_is_named(tmp_path):
    static_encoder(tmp_path / "encoder")
    data = job(tmp_path, pairs())
    assert data.rows(vector_store.rejected("tiny")) == [0]
    assert sample.NOT_FINITE not in column(data, "shortfalls", "reason")


def test_a_mended_text_takes_part_again(tmp_path):
    spoil(static_encoder(tmp_path / "encoder"), "oak", np.nan)
    job(tmp_path, pairs())
    static_encoder(tmp_path / "encoder")
    data = job(tmp_path, pairs())
    assert data.rows(vector_store.rejected("tiny")) == [0]
    assert sample.NOT_FINITE not in column(data, "shortfalls", "reason")
    assert {"oak", "oak oak"} <= set(column(data, "triplets", "positive"))


def test_no_vector_at_all_is_an_error_with_the_cure_of_its_type(tmp_path):
    static_encoder(tmp_path / "encoder")
    rows = [{"anchor": "oak", "positive": f"ab n{i}"} for i in range(4)]
    spoil(tmp_path / "encoder", "oak", np.nan)
    with pytest.raises(
        ValueError, match=r"vectors/tiny/queries: a vector must be finite and not zero, but none of 1 is"
    ):
        job(tmp_path, rows)
    half = params.Encoder(model="m", dtype="float16")
    data = Data(str(tmp_path / "data"))
    with pytest.raises(ValueError, match=r"Set encoders\.tiny\.dtype: float32"):
        embed.write_rejected(data, "tiny", half, some=True)


def test_an_audit_finds_a_text_that_nobody_named(tmp_path):
    spoil(static_encoder(tmp_path / "encoder"), "oak", np.nan)
    data = job(tmp_path, pairs())
    from gangue.pipeline import audit

    table = data.read_all(vector_store.rejected("tiny"))
    data.write(vector_store.rejected("tiny"), "part-00000-of-00001", table.slice(1))
    data.commit(vector_store.rejected("tiny"))
    with pytest.raises(ValueError, match=r"vectors/tiny/rejected: must name the 3 texts .*, got 2"):
        audit.run(data, params.load(str(tmp_path / "params.yaml")), str(tmp_path / "reports"))


@pytest.mark.parametrize("rule", [{"kind": "denoise", "max": 0.9}, {"kind": "perc", "perc": 5.0}])
def test_a_pair_whose_score_is_no_number_is_neither_judged_nor_chosen(rule, tmp_path, monkeypatch, capsys):
    from gangue.transforms.models import cross_encoder as cross_encoders

    static_encoder(tmp_path / "encoder")
    model = cross_encoder(tmp_path / "reranker")
    original = cross_encoders.CrossEncoder.score

    def spoiled(self, queries, documents, **arguments):
        found = original(self, queries, documents, **arguments)
        found[[" d3" in text or " d4" in text for text in documents]] = np.nan
        return found

    monkeypatch.setattr(cross_encoders.CrossEncoder, "score", spoiled)
    data = job(
        tmp_path,
        pairs(),
        scorers={"read": {"model": model, "max_length": 32, "depth": 50}},
        filter={**rule, "score": "read"},
    )
    triplets = data.read_all("triplets")
    for role in ("positive", "negative"):
        assert not [text for text in triplets[role].to_pylist() if text.endswith((" d3", " d4"))]
    assert pc.all(pc.is_finite(triplets["positive_score_read"])).as_py()
    short = [row for row in data.read_all("shortfalls").to_pylist() if row["reason"] == sample.NOT_FINITE]
    assert len(short) == 2
    scores = data.read_all("scores/read")
    assert 0 < scores["score"].null_count < len(scores)
    assert not pc.any(pc.is_nan(scores["score"])).as_py()
    said = capsys.readouterr().err
    assert f"score@read: {scores['score'].null_count} pairs have no finite score and take no part" in said


@pytest.mark.parametrize(
    ("dtype", "cure"), [("float16", "Set scorers.read.dtype: float32"), ("float32", "Name another")]
)
def test_no_score_at_all_is_an_error_with_the_cure_of_its_type(dtype, cure, tmp_path, monkeypatch):
    from gangue.transforms.models import cross_encoder as cross_encoders

    static_encoder(tmp_path / "encoder")

    def nothing(self, queries, documents, **arguments):
        return np.full(len(queries), np.nan, np.float32)

    monkeypatch.setattr(cross_encoders.CrossEncoder, "score", nothing)
    scorer = {"model": cross_encoder(tmp_path / "reranker"), "max_length": 32, "dtype": dtype}
    with pytest.raises(ValueError, match=rf"scores/read: a score must be finite, but none of \d+ is\. {cure}"):
        job(tmp_path, pairs(), scorers={"read": scorer}, filter={"kind": "denoise", "max": 0.9, "score": "read"})
