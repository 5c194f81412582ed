"""The whole path, from files to triplets, against the miner in plain Python, and against itself cut anew."""

import collections
import functools
import hashlib
import json
import math
import os
import pathlib
import subprocess
import sys
import zlib

import corpora
import models
import numpy as np
import oracle
import pyarrow as pa
import pytest
import Stemmer
import whole_path
from bm25s.stopwords import STOPWORDS_GERMAN

from gangue.pipeline import params
from gangue.transforms import arrays, randomness
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import invariants

DENSE = {"kind": "dense", "encoder": "static", "depth": 8}
BM25 = {"kind": "bm25", "depth": 8, "stopwords": None}
DEEP = {**DENSE, "max_depth": 30}
TOP = {"kind": "top", "score": "dense", "negatives": 3}
MIXED = {"kind": "top", "score": "dense", "negatives": 5, "random": 2}

RECIPES = {
    "naive": {
        "filter": {"kind": "naive"},
        "sample": {**TOP, "skip_kept": 1},
    },
    "shifted": {
        "filter": {"kind": "shifted", "score": "dense", "shift": 2},
        "sample": TOP,
    },
    "abs": {
        "filter": {"kind": "abs", "score": "dense", "abs": 0.3},
        "sample": {"kind": "random", "score": "bm25", "negatives": 3, "first": 6},
    },
    "margin of each own positive": {
        "retrievers": {"dense": DEEP, "bm25": {**BM25, "max_depth": 32}},
        "filter": {"kind": "margin", "score": "dense", "margin": 0.1, "positive": "own"},
        "sample": {"kind": "random", "score": "dense", "negatives": 3},
    },
    "margin of the weakest positive": {
        "retrievers": {"dense": DEEP},
        "filter": {"kind": "margin", "score": "dense", "margin": 0.0, "positive": "min"},
        "sample": {
            "kind": "simans",
            "score": "dense",
            "negatives": 3,
            "simans": {"law": "laplace", "scale": "raw", "a": 3},
        },
    },
    "perc of the weakest positive": {
        "retrievers": {"dense": DEEP, "bm25": BM25},
        "filter": {"kind": "perc", "score": "dense", "perc": 0.95},
        "sample": {"kind": "simans", "score": "dense", "negatives": 3, "simans": {"b": 0.2}},
    },
    "perc of the mean positive": {
        "pool": {"random": 4},
        "filter": {"kind": "perc", "score": "dense", "perc": 0.9, "positive": "mean"},
        "sample": MIXED,
    },
    "perc of the strongest positive, no near-duplicates": {
        "ingest": {"near_duplicate": None},
        "filter": {"kind": "perc", "score": "bm25", "perc": 1.0, "positive": "max"},
        "sample": {**TOP, "first": 4, "seed": 5},
    },
    "rank window": {
        "filter": {"kind": "rank_window", "score": "dense", "first": 3, "last": 7},
        "sample": TOP,
    },
    "rank window beside random draws": {
        "pool": {"random": 6, "seed": 4},
        "filter": {"kind": "rank_window", "score": "bm25", "first": 2, "last": 6},
        "sample": MIXED,
    },
    "nv-retriever, the best and others by their scores": {
        "filter": {"kind": "naive"},
        "sample": {
            "kind": "softmax",
            "score": "dense",
            "negatives": 3,
            "first": 10,
            "keep_first": 1,
            "softmax": {"temperature": 0.1},
        },
    },
    "star": {
        "pool": {"random": 3},
        "filter": {"kind": "naive"},
        "sample": {"kind": "random", "score": "bm25", "negatives": 2, "first": 200, "random": 1},
    },
    "simans on documents": {
        "filter": {"kind": "naive"},
        "sample": {"kind": "simans", "score": "dense", "negatives": 3, "simans": {"against": "document", "a": 2}},
    },
    "the nearest to the positive": {
        "pool": {"random": 2},
        "filter": {"kind": "perc", "score": "dense", "perc": 1.0},
        "sample": {
            "kind": "nearest",
            "score": "dense",
            "negatives": 4,
            "random": 1,
            "keep_first": 1,
            "nearest": {"b": -0.2},
        },
    },
    "a band": {
        "filter": {"kind": "naive"},
        "sample": {
            "kind": "band",
            "score": "dense",
            "negatives": 3,
            "band": {"low": 0.2, "high": 0.5, "step": 0.1, "patience": 3, "least": 4},
        },
    },
    "an ensemble, each positive by one score": {
        "filter": {"kind": "perc", "score": "dense", "perc": 0.95},
        "sample": {
            "kind": "softmax",
            "score": "dense",
            "negatives": 3,
            "first": 6,
            "keep_first": 1,
            "softmax": {"temperature": 0.1},
            "ensemble": {"kind": "cross", "scores": ["bm25", "dense"]},
        },
    },
    "an ensemble, the best of each score": {
        "pool": {"random": 1},
        "filter": {"kind": "naive"},
        "sample": {
            **TOP,
            "negatives": 4,
            "random": 1,
            "skip_kept": 1,
            "ensemble": {"kind": "intra", "scores": ["bm25", "dense"]},
        },
    },
    "an ensemble with repeats": {
        "filter": {"kind": "naive"},
        "sample": {**TOP, "first": 5, "ensemble": {"kind": "intra", "scores": ["dense", "bm25"], "deduplicate": False}},
    },
    "several retrievers, their union": {
        "pool": {"random": 2},
        "filter": {"kind": "naive"},
        "sample": {
            **TOP,
            "kind": "joint",
            "random": 1,
            "joint": {"mode": "union", "depth": 5, "quotas": {"bm25": 1}},
        },
    },
    "several retrievers, a mixture": {
        "filter": {"kind": "perc", "score": "dense", "perc": 0.95, "positive": "own"},
        "sample": {
            **TOP,
            "kind": "joint",
            "joint": {"mode": "mixture", "weights": {"bm25": 3}, "max_share": 0.7},
        },
    },
    "several retrievers in turn": {
        "filter": {"kind": "naive"},
        "sample": {**TOP, "kind": "joint", "negatives": 5, "joint": {"mode": "round_robin", "quotas": {"dense": 3}}},
    },
    "several retrievers, their ranks fused": {
        "filter": {"kind": "naive"},
        "sample": {**TOP, "kind": "joint", "joint": {"mode": "rrf", "k": 3, "depth": 6}},
    },
    "clusters: none of the positive's, some of the next": {
        "pool": {"next_cluster": {"encoder": "static", "documents": 4}, "random": 2},
        "filter": {
            "kind": "same_cluster",
            "encoder": "static",
            "also": [{"kind": "rank_window", "score": "bm25", "first": 1, "last": 6}],
        },
        "sample": {**TOP, "negatives": 5, "next_cluster": 2, "random": 1},
    },
    "no document with an answer": {
        "pool": {"random": 3},
        "filter": {"kind": "answer", "also": [{"kind": "abs", "score": "dense", "abs": 0.6}]},
        "sample": MIXED,
    },
    "one of each cluster": {
        "filter": {"kind": "naive"},
        "sample": {
            "kind": "simans",
            "score": "dense",
            "negatives": 3,
            "diverse": {"kind": "cluster", "encoder": "static"},
        },
    },
    "hard and unlike each other": {
        "filter": {"kind": "perc", "score": "dense", "perc": 0.95},
        "sample": {**TOP, "first": 12, "diverse": {"kind": "mmr", "encoder": "static", "weight": 0.4}},
    },
    "no document for more than two queries": {
        "pool": {"random": 2},
        "filter": {"kind": "naive"},
        "sample": {**TOP, "random": 1, "reuse": 2},
    },
    "several rules": {
        "retrievers": {"dense": DEEP, "bm25": {**BM25, "max_depth": 16}},
        "pool": {"random": 4},
        "filter": {
            "kind": "perc",
            "score": "dense",
            "perc": 0.9,
            "positive": "own",
            "also": [
                {"kind": "perc", "score": "bm25", "perc": 0.9, "positive": "max"},
                {"kind": "abs", "score": "dense", "abs": 0.7},
            ],
        },
        "sample": MIXED,
    },
}
CUTS = ("perc of the weakest positive", "several rules")
CAPPED = "no document for more than two queries"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return models.static_encoder(tmp_path_factory.mktemp("static"))


def sections(model, folder, recipe, **changes):
    return {
        "source": corpora.source(folder),
        "encoders": {"static": {"model": model}},
        "cluster": {"clusters": 5},
        "retrievers": {"dense": DENSE, "bm25": BM25},
        **RECIPES[recipe],
        **changes,
    }


def mined(data):
    columns = ["query_id", "positive_id", "negative_id", "negative_kind", "weight"]
    return sorted(tuple(row.values()) for row in data.read_all("triplets", columns).to_pylist())


def judged(data):
    rows = data.read_all("verdicts", ["query_id", "positive_id", "document_id", "verdict"]).to_pylist()
    verdicts = {(row["query_id"], row["positive_id"], row["document_id"]): row["verdict"] for row in rows}
    assert len(verdicts) == len(rows)
    return verdicts


def world_of(corpus, data, p, left_out=(), stem=str):
    """What the oracle starts from: the texts as written, and the vectors, groups and draws of the run."""
    documents = {name: f"{title} {text}".strip() for name, title, text in corpus.documents}
    queries = dict(corpus.queries)
    positives = collections.defaultdict(list)
    for query, document in sorted(set(corpus.positives)):
        positives[query].append(document)
    scores, returns = {}, {}
    if "dense" in p.retrievers:
        of_query, of_document = (vectors(data, kind) for kind in ("queries", "documents"))
        scores["dense"] = lambda q, d: float(of_query[q] @ of_document[d])
        returns["dense"] = lambda q, d: True
    if "bm25" in p.retrievers:
        scores["bm25"] = bm25(documents, queries, left_out, stem)
        returns["bm25"] = lambda q, d: scores["bm25"](q, d) > 0
    drawn = collections.defaultdict(list)
    for row in data.read_all("pairs", ["query_id", "document_id", "random"]).to_pylist():
        if row["random"]:
            drawn[row["query_id"]].append(row["document_id"])

    def uniform(*ids):
        words = (randomness.id_hashes(pa.array([name])) for name in ids)
        return float(randomness.uniforms(randomness.mix(p.sample.seed, *words))[0])

    near, near_queries = (
        dict(
            zip(
                *(data.read_all(name, [key, "near_group"])[c].to_pylist() for c in (key, "near_group")),
                strict=True,
            )
        )
        for name, key in (("documents", "document_id"), ("queries", "query_id"))
    )
    return oracle.World(
        documents,
        queries,
        dict(positives),
        near,
        near_queries,
        scores,
        returns,
        lambda x: float(np.float32(x)),
        drawn,
        uniform,
        similarity(data) if p.encoders else None,
        {query: corpus.answers(query) for query in queries},
        *(clusters(data) if p.encoders else ({}, {})),
    )


def clusters(data):
    """Cluster of each document, and the second nearest one of each query."""
    ids = data.read_all("documents", ["document_id"])["document_id"].to_pylist()
    of_document = dict(zip(ids, data.read_all("clusters/static/documents")["cluster"].to_pylist(), strict=True))
    centroids = arrays.matrix(data.read_all("clusters/static/centroids").combine_chunks()).astype(np.float64)
    near = {query: np.argsort(-(centroids @ vector)) for query, vector in vectors(data, "queries").items()}
    return of_document, {query: int(order[1]) for query, order in near.items()}


def similarity(data):
    """Cosine of two documents."""
    of_document = vectors(data, "documents")
    return lambda one, other: float(
        of_document[one] @ of_document[other] / np.linalg.norm(of_document[one]) / np.linalg.norm(of_document[other])
    )


def vectors(data, kind):
    key = {"queries": "query_id", "documents": "document_id"}[kind]
    matrix = arrays.matrix(data.read_all(f"vectors/static/{kind}").combine_chunks())
    return dict(zip(data.read_all(kind, [key])[key].to_pylist(), matrix.astype(np.float64), strict=True))


def bm25(documents, queries, left_out=(), stem=str, k1=1.5, b=0.75):
    """Lucene's BM25; copies of a text count once in its statistics."""

    @functools.cache
    def words(text):
        return [stem(term) for term in oracle.terms(text) if term not in left_out]

    texts = {oracle.normal(text): words(text) for text in documents.values()}
    mean = sum(map(len, texts.values())) / len(texts)
    frequency = collections.Counter(word for of_text in texts.values() for word in set(of_text))

    def weight(word, of_text):
        idf = np.float32(math.log(1 + (len(texts) - frequency[word] + 0.5) / (frequency[word] + 0.5)))
        count = of_text.count(word)
        return float(np.float32(idf * (count / (k1 * (1 - b + b * len(of_text) / mean) + count))))

    def score(query, document):
        asked, given = collections.Counter(words(queries[query])), words(documents[document])
        return sum(asked[word] * weight(word, given) for word in sorted(asked) if word in given)

    return score


def check_against_the_oracle(corpus, data, p, left_out=(), stem=str):
    world = world_of(corpus, data, p, left_out, stem)
    triplets, verdicts = oracle.mine(world, p)
    assert judged(data) == verdicts
    assert mined(data) == triplets
    found = collections.Counter((query, positive) for query, positive, *_ in triplets)
    short = {pair: p.sample.negatives - found[pair] for pair in set(corpus.positives)}
    rows = data.read_all("shortfalls").to_pylist()
    assert {(row["query_id"], row["positive_id"]): row["wanted"] - row["found"] for row in rows} == {
        pair: missing for pair, missing in short.items() if missing
    }
    for query, documents in world.drawn.items():
        assert len(documents) <= p.pool.random, query


@pytest.mark.parametrize("number", range(int(os.environ.get("GANGUE_CORPORA", "1"))))
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_whole_path_mines_what_the_oracle_mines(recipe, number, model, tmp_path_factory):
    seed = zlib.crc32(f"{recipe} {number}".encode())  # another corpus for each
    folder, corpus = tmp_path_factory.mktemp("corpus"), corpora.corpus(seed)
    corpus.write(folder, suffix=".parquet" if seed % 2 else ".jsonl")
    shards = {"documents_per_shard": 9, "queries_per_shard": 3} if seed % 3 else {}
    ingest = {**RECIPES[recipe].get("ingest", {}), **shards}
    data, p = Data(str(folder / "data")), params.parse(sections(model, folder, recipe, ingest=ingest))
    whole_path.run(data, p)
    check_against_the_oracle(corpus, data, p)


def of_language(folder, **changes):
    """A job of BM25 and answers: no tiny model reads these languages."""
    return params.parse(
        {
            "source": corpora.source(folder),
            "retrievers": {"bm25": {"kind": "bm25", "depth": 8, "max_depth": 32}},
            "pool": {"random": 3},
            "filter": {"kind": "answer", "also": [{"kind": "perc", "score": "bm25", "perc": 0.98, "positive": "max"}]},
            "sample": {"kind": "top", "score": "bm25", "negatives": 4, "random": 1},
            **changes,
        }
    )


@pytest.mark.parametrize("number", range(int(os.environ.get("GANGUE_CORPORA", "1"))))
@pytest.mark.parametrize("language", corpora.LANGUAGES)
def test_other_languages_are_mined_as_the_oracle_mines_them(language, number, tmp_path):
    seed = zlib.crc32(f"{language} {number}".encode())
    corpus = corpora.corpus(seed, language=language)
    corpus.write(tmp_path, suffix=".parquet" if seed % 2 else ".jsonl")
    data, p = Data(str(tmp_path / "data")), of_language(tmp_path)
    whole_path.run(data, p)
    check_against_the_oracle(corpus, data, p, STOPWORDS_GERMAN if language == "German" else ())
    verdicts = collections.Counter(judged(data).values())
    if number == 0:
        assert min(verdicts[name] for name in ("answer", "perc", "kept")) > 0, "each rule judges something"
    groups = data.read_all("documents")["near_group"].to_pylist()
    assert len(set(groups)) < len(groups)


@pytest.mark.parametrize("number", range(3))
def test_stemmed_german_is_mined_as_the_oracle_mines_it(number, tmp_path, monkeypatch):
    inflected = "der die und in den von zu das mit nicht Zug Züge Zügen Haus Häuser Wille will Brücke Brücken"
    monkeypatch.setitem(corpora.LANGUAGES, "inflected", (inflected, " "))
    corpus = corpora.corpus(number, language="inflected")
    corpus.write(tmp_path)
    retrievers = {"bm25": {"kind": "bm25", "depth": 8, "max_depth": 32, "stem": "auto"}}
    shards = {"documents_per_shard": 9, "queries_per_shard": 3} if number else {}
    data, p = Data(str(tmp_path / "data")), of_language(tmp_path, retrievers=retrievers, ingest=shards)
    whole_path.run(data, p)
    check_against_the_oracle(corpus, data, p, STOPWORDS_GERMAN, Stemmer.Stemmer("de").stemWord)


@pytest.mark.parametrize(
    "language",
    [pytest.param(name, marks=() if name in ("German", "Thai") else pytest.mark.soak) for name in corpora.LANGUAGES],
)
def test_other_languages_give_the_same_whatever_the_shards_and_the_order(language, tmp_path):
    corpus = corpora.corpus(8, language=language)
    digests, rows = [], []
    for name, changed, ingest in (
        ("one", corpus, {}),
        ("other", corpus.shuffled(3), {}),
        ("cut", corpus, {"documents_per_shard": 5, "queries_per_shard": 2}),
    ):
        changed.write(tmp_path, suffix=".parquet" if name == "other" else ".jsonl", files=len(name) - 2)
        data = Data(str(tmp_path / name))
        whole_path.run(data, of_language(tmp_path, ingest=ingest))
        digests.append(digest(data))
        rows.append((mined(data), judged(data)))
    assert digests[0] == digests[1]
    assert rows[0] == rows[2]
    assert len(rows[0][0]) > 20


def test_a_cap_on_reuse_holds_whatever_the_shards_and_leaves_nothing_behind(model, tmp_path):
    corpora.corpus(20).write(tmp_path)
    cut = {"documents_per_shard": 5, "queries_per_shard": 2}
    runs = []
    for name, ingest in (("one", {}), ("many", cut)):
        data = Data(str(tmp_path / name))
        whole_path.run(data, params.parse(sections(model, tmp_path, CAPPED, ingest=ingest)))
        runs.append(mined(data))
        assert not [path.name for path in (tmp_path / name).iterdir() if path.name.startswith((".", "pro", "den"))]
        reasons = set(data.read_all("shortfalls")["reason"].to_pylist())
        assert "left_to_others" in reasons
    assert runs[0] == runs[1]
    asked = collections.Counter(document for _, document in {(row[0], row[2]) for row in runs[0]})
    assert max(asked.values()) == 2
    invariants.check_reuse(data, 2)
    with pytest.raises(ValueError, match=r"a document may serve 1 queries \(sample.reuse\), but .* serves 2"):
        invariants.check_reuse(data, 1)


def digest(data):
    """Hashes of the files of the product."""
    return {
        name: hashlib.sha256(pathlib.Path(data.path("triplets", name)).read_bytes()).hexdigest()
        for name in data.files("triplets")
    }


@pytest.fixture(scope="module", params=CUTS)
def first(request, model, tmp_path_factory):
    """A finished run, and a way to run the same recipe again over a source that may have changed."""
    folder, corpus = tmp_path_factory.mktemp("first"), corpora.corpus(20)
    corpus.write(folder)
    data = Data(str(folder / "data"))
    whole_path.run(data, params.parse(sections(model, folder, request.param)))

    def again(**changes):
        other = Data(str(tmp_path_factory.mktemp("again")))
        whole_path.run(other, params.parse(sections(model, folder, request.param, **changes)))
        return other

    return folder, corpus, data, again, sections(model, folder, request.param)


@pytest.mark.parametrize(("documents", "queries"), [(5, 2), (1, 1000)])
def test_the_size_of_the_shards_changes_no_triplet(first, documents, queries):
    _, _, data, again, _ = first
    other = again(ingest={"documents_per_shard": documents, "queries_per_shard": queries})
    assert mined(other) == mined(data)
    assert judged(other) == judged(data)


@pytest.mark.parametrize(("suffix", "files"), [(".jsonl", 1), (".parquet", 3)])
def test_the_order_format_and_number_of_the_source_files_change_no_byte(first, suffix, files):
    folder, corpus, data, again, _ = first
    try:
        corpus.shuffled(files).write(folder, suffix=suffix, files=files)
        assert digest(again()) == digest(data)
    finally:
        corpus.write(folder)


@pytest.mark.soak
@pytest.mark.parametrize("first", CUTS[1:], indirect=True)
def test_worker_processes_change_no_byte(first):
    _, _, data, again, _ = first
    assert digest(again(beam={"workers": 2})) == digest(data)


@pytest.mark.soak
@pytest.mark.parametrize("first", CUTS[1:], indirect=True)
def test_the_seed_of_pythons_hashes_changes_no_byte(first, tmp_path):
    _, _, data, _, values = first
    (tmp_path / "params.json").write_text(json.dumps(values))
    here = pathlib.Path(__file__).parent
    seed = str(1 + int(os.environ.get("PYTHONHASHSEED", "0").replace("random", "0")))
    subprocess.run(
        [sys.executable, str(here / "whole_path.py"), str(tmp_path / "params.json"), str(tmp_path / "data")],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(here.parent)},
        check=True,
        capture_output=True,
    )
    assert digest(Data(str(tmp_path / "data"))) == digest(data)


@pytest.mark.parametrize("size", [1000, 4])
@pytest.mark.parametrize("name", ["dense", "bm25"])
def test_ties_at_the_depth_go_by_id_however_many_they_are(name, size, tmp_path, model, monkeypatch):
    monkeypatch.setattr(f"gangue.transforms.retrieval.{name}._BLOCK_ROWS", 4)
    # Every document has the query's word and one that is as rare as any and that the model does not know.
    documents = [(f"d{number:02}", "", f"ab x{number}") for number in range(30)]
    corpora.Corpus(documents, [("q", "ab")], [("q", "d29")]).write(tmp_path)
    values = {
        "source": corpora.source(tmp_path),
        "ingest": {"documents_per_shard": size, "near_duplicate": None},
        "encoders": {"static": {"model": model}},
        "retrievers": {"dense": DENSE, "bm25": BM25},
        "filter": {"kind": "naive"},
        "sample": {**TOP, "score": name, "negatives": 4},
    }
    values["retrievers"] = {name: {**values["retrievers"][name], "depth": 5}}
    data = Data(str(tmp_path / "data"))
    whole_path.run(data, params.parse(values))
    assert [row[2] for row in mined(data)] == ["d00", "d01", "d02", "d03"]
