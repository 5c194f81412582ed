"""Vectors: never made twice, never taken from another model, never non-finite."""

import importlib.util
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest
from models import WORDS, cross_encoder, static_encoder

from gangue.pipeline import embed, params
from gangue.transforms import arrays, text
from gangue.transforms.datasets import lookup, schema, sharding
from gangue.transforms.datasets.names import shard_names
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import configured, encoder, folders


def settings(**changes):
    values = {
        "source": {"kind": "beir", "path": "x"},
        "encoders": {"tiny": {"model": "set below", **changes}},
        "retrievers": {"dense": {"kind": "dense", "encoder": "tiny"}},
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "dense"},
    }
    return params.parse(values)


def write_texts(data, documents, shards=2):
    """Documents (and one query) as ingest would write them."""
    hashes = text.hashes(documents)
    words = text.hash_numbers(hashes)
    order = np.lexsort((words[:, 1], words[:, 0]))
    ids = [f"d{i}" for i in order]
    table = pa.table(
        [ids, [""] * len(ids), [documents[i] for i in order], hashes.take(pa.array(order)), ids],
        schema=schema.DOCUMENTS,
    )
    number = sharding.shard_numbers(words[order], shards)
    for shard, name in enumerate(shard_names(shards)):
        data.write("documents", name, table.filter(pa.array(number == shard)))
    query = pa.table([["q"], ["ab"], [[]], text.hashes(["ab"]), ["q"]], schema=schema.QUERIES)
    data.write("queries", shard_names(1)[0], query)
    data.commit("documents", data.describe("documents", shard_names(shards)))
    data.commit("queries")


def texts_of(count):
    return [f"{WORDS[i % 16]} {WORDS[i // 16 % 16]} {i}" for i in range(count)]


@pytest.fixture
def data(tmp_path):
    data = Data(str(tmp_path / "data"))
    write_texts(data, texts_of(40))
    return data


@pytest.fixture
def model(tmp_path):
    return static_encoder(tmp_path / "model")


def run(data, **changes):
    return embed.run(data, settings(**changes), "tiny")


def test_texts_that_were_cut_are_said_with_the_key_that_reads_more(data, tmp_path, capfd):
    bert = cross_encoder(tmp_path / "bert")
    run(data, model=bert, max_length=4)
    said = "embed@tiny: 40 of 41 texts were cut at 4 tokens; encoders.tiny.max_length may read more"
    assert capfd.readouterr().err.splitlines().count(said) == 1
    run(data, model=bert, max_length=5)
    assert "were cut" not in capfd.readouterr().err


def test_a_text_is_embedded_once(data, model):
    assert run(data, model=model)["encoded"] == 41
    again = run(data, model=model)
    assert (again["encoded"], again["reused"]) == (0, 41)


def test_no_model_is_loaded_where_no_text_is_new(data, model, monkeypatch):
    run(data, model=model)
    monkeypatch.setattr(encoder, "load", lambda *_: pytest.fail("it takes seconds"))
    assert run(data, model=model)["encoded"] == 0


def test_vectors_are_those_of_the_model_in_the_order_of_the_rows(data, model):
    run(data, model=model)
    vectors = lookup.Vectors(data, "vectors/tiny/documents")
    texts = data.read_all("documents", ["text"])["text"].to_pylist()
    import sentence_transformers

    expected = sentence_transformers.SentenceTransformer(model, device="cpu").encode(texts, normalize_embeddings=True)
    assert np.allclose(vectors.all(), expected, atol=1e-6)


def test_one_per_cent_of_new_documents_costs_one_per_cent(data, model):
    run(data, model=model)
    write_texts(data, [*texts_of(40), "a new one"])
    assert run(data, model=model)["encoded"] == 1


@pytest.mark.parametrize("shards", [1, 4])
def test_other_shards_find_their_vectors_in_the_old_ones(data, model, shards):
    run(data, model=model)
    write_texts(data, texts_of(40), shards)
    assert run(data, model=model)["encoded"] == 0
    assert len(data.files("vectors/tiny/documents")) == shards


def test_a_moved_model_keeps_its_vectors(data, model, tmp_path):
    run(data, model=model)
    shutil.move(model, tmp_path / "elsewhere")
    assert run(data, model=str(tmp_path / "elsewhere"))["encoded"] == 0


def test_a_changed_weight_makes_all_vectors_anew(data, model):
    run(data, model=model)
    path = os.path.join(model, "model.safetensors")
    with open(path, "rb") as file:
        content = bytearray(file.read())
    content[-1] ^= 1
    with open(path, "wb") as file:
        file.write(content)
    before = data.read_all("vectors/tiny/documents")
    assert run(data, model=model)["encoded"] == 41
    assert data.read_all("vectors/tiny/documents")["vector"] != before["vector"], "the same process sees the change"


def test_another_backend_gives_the_same_vectors_or_says_what_it_lacks(tmp_path):
    data, model = Data(str(tmp_path / "data")), cross_encoder(tmp_path / "model")
    write_texts(data, texts_of(9))
    if importlib.util.find_spec("optimum") is None:
        with pytest.raises(ValueError, match=r"backend: openvino must be installed: pip install .*leave backend out"):
            run(data, model=model, backend="openvino")
        return
    run(data, model=model)
    expected = lookup.Vectors(data, "vectors/tiny/documents").all()
    assert run(data, model=model, backend="openvino")["encoded"] == 10
    assert np.abs(lookup.Vectors(data, "vectors/tiny/documents").all() - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backend": "onnx", "dtype": "bfloat16"}, "dtype belongs to backend torch, got bfloat16"),
        ({"model_file": "onnx/model.onnx"}, "model_file belongs to backend onnx or openvino, got onnx/model.onnx"),
    ],
)
def test_what_a_backend_does_not_read_is_an_error(change, message):
    with pytest.raises(ValueError, match=message):
        settings(model="m", **change)


@pytest.mark.parametrize(
    "change", [{"document_prompt": "doc: "}, {"max_length": 7}, {"normalise": False}, {"dtype": "bfloat16"}]
)
def test_a_changed_setting_is_another_fingerprint(model, change):
    one = settings(model=model).encoders["tiny"]
    other = settings(model=model, **change).encoders["tiny"]
    prints = [configured.of_vectors(model, each, each.document_prompt or "") for each in (one, other)]
    assert prints[0] != prints[1]


def test_prose_is_not_part_of_the_fingerprint(model):
    before = folders.fingerprint(model)
    with open(os.path.join(model, "README.md"), "w") as file:
        file.write("new words")
    assert folders.fingerprint(model) == before


def test_a_damaged_shard_of_vectors_is_made_anew(data, model):
    run(data, model=model)
    path = data.path("vectors/tiny/documents", data.files("vectors/tiny/documents")[0])
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    again = run(data, model=model)
    assert 0 < again["encoded"] < 41


def test_a_killed_run_goes_on_where_it_was(data, model, monkeypatch):
    original = embed.embed_shard

    def dies_on_the_second(place, **arguments):
        if place == ("documents", shard_names(2)[1]):
            raise OSError("killed")
        return original(place, **arguments)

    monkeypatch.setattr(embed, "embed_shard", dies_on_the_second)
    with pytest.raises(ValueError, match="killed"):
        run(data, model=model)
    monkeypatch.undo()
    done = len(data.read("documents", shard_names(2)[0]))
    assert run(data, model=model)["reused"] >= done


def test_a_vector_that_is_not_finite_is_counted_and_never_used(data, model, monkeypatch):
    original = encoder.Encoder.encode

    def broken(self, texts, **arguments):
        vectors = original(self, texts, **arguments)
        vectors[[i for i, t in enumerate(texts) if t.endswith(" 7")]] = np.nan
        return vectors

    monkeypatch.setattr(encoder.Encoder, "encode", broken)
    counts = run(data, model=model)
    assert counts["out:rejected"] == 1
    vectors = lookup.Vectors(data, "vectors/tiny/documents")
    assert (~vectors.present).sum() == 1
    row = int(np.flatnonzero(~vectors.present)[0])
    assert np.isnan(vectors.gather(np.array([row]))).all()


@pytest.mark.parametrize(
    ("model", "message"),
    [("package:no_such_package/model", "package no_such_package must be installed"), ("./nowhere", "must be a folder")],
)
def test_a_model_that_is_not_there_is_named_with_a_cure(model, message):
    with pytest.raises(FileNotFoundError, match=message):
        folders.locate(model)


def test_a_matrix_of_a_sliced_column_is_the_slice():
    table = pa.table({"vector": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2))})
    assert arrays.matrix(table.slice(1, 1)).tolist() == [[3.0, 4.0]]
