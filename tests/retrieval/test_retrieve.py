"""Retrieval against brute force: the right documents, the right scores, one order."""

import os
import tempfile

import bm25s
import faiss
import numpy as np
import pyarrow as pa
import pytest

from gangue.pipeline import cluster, params, plan, pool, retrieve
from gangue.pipeline.command import preflight
from gangue.transforms import at_hand, randomness, text
from gangue.transforms.candidates import query_shard, quota
from gangue.transforms.datasets import lookup, schema, sharding
from gangue.transforms.datasets.names import shard_names, staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import clustering, drawing, faiss_index, index_parts, lexical, recall, topk
from gangue.transforms.retrieval.bm25 import Bm25
from gangue.transforms.retrieval.passes import Passes

RNG = np.random.default_rng(5)
WORDS = [f"w{i}" for i in range(60)]


def settings(index="Flat", nprobe=None, depth=10, max_depth=None, rule=None, negatives=3, refine=None, **sample):
    return params.parse(
        {
            "source": {"kind": "beir", "path": "x"},
            "encoders": {"e": {"model": "unused"}},
            "retrievers": {
                "dense": {
                    "kind": "dense", "encoder": "e", "depth": depth, "index": index,
                    "nprobe": nprobe, "max_depth": max_depth, "refine": refine,
                },
                "bm25": {"kind": "bm25", "depth": depth},
            },
            "filter": rule or {"kind": "naive"},
            "sample": {"kind": "top", "score": "dense", "negatives": negatives, **sample},
        }
    )  # fmt: skip


def make(tmp_path, documents=200, queries=12, shards=4, dimensions=16, copies=0, positives=1):
    """A corpus of random words and random vectors, as ingest and embed would leave it."""
    data = Data(str(tmp_path))
    rng = np.random.default_rng(5)
    texts = [" ".join(rng.choice(WORDS, 8)) + f" id{i}" for i in range(documents - copies)]
    texts += texts[:copies]
    hashes = text.hashes(texts)
    words = text.hash_numbers(hashes)
    ids = np.array([f"d{i:04d}" for i in range(documents)])
    order = np.lexsort((ids, words[:, 1], words[:, 0]))
    vectors = rng.normal(size=(documents, dimensions)).astype(np.float32)
    vectors[documents - copies :] = vectors[:copies]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    number = sharding.shard_numbers(words[order], shards)
    for shard, name in enumerate(shard_names(shards)):
        here = order[number == shard]
        columns = [ids[here].tolist(), [""] * len(here), [texts[i] for i in here], hashes.take(pa.array(here))]
        data.write("documents", name, pa.table([*columns, ids[here].tolist()], schema=schema.DOCUMENTS))
        write_vectors(data, "documents", name, vectors[here])
    query_ids = [f"q{i:02d}" for i in range(queries)]
    query_texts = [" ".join(rng.choice(WORDS, 3)) for _ in range(queries)]
    asked = rng.normal(size=(queries, dimensions)).astype(np.float32)
    data.write(
        "queries", shard_names(1)[0],
        pa.table(
            [query_ids, query_texts, [[]] * len(query_ids), text.hashes(query_texts), query_ids], schema=schema.QUERIES
        ),
    )  # fmt: skip
    write_vectors(data, "queries", shard_names(1)[0], asked)
    row = np.empty(documents, np.int64)
    row[order] = np.arange(documents)
    pairs = [(q, (q * positives + i) % documents) for q in range(queries) for i in range(positives)]
    table = pa.table(
        [[query_ids[q] for q, _ in pairs], ids[[d for _, d in pairs]].tolist(), [1.0] * len(pairs),
         row[[d for _, d in pairs]]],
        schema=schema.POSITIVES,
    ).sort_by([("query_id", "ascending"), ("document_id", "ascending")])  # fmt: skip
    data.write("positives", shard_names(1)[0], table)
    data.write("judged", shard_names(1)[0], schema.JUDGED.empty_table())
    for dataset in ("documents", "queries", "positives", "judged", "vectors/e/documents", "vectors/e/queries"):
        data.commit(dataset)
    at_hand.forget()
    return data, texts, ids, vectors, query_texts, asked


def write_vectors(data, dataset, shard, vectors, absent=()):
    mask = pa.array(np.isin(np.arange(len(vectors)), absent))
    flat = pa.array(vectors.reshape(-1), pa.float32())
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1], mask=mask)
    hashes = text.hashes([str(i) for i in range(len(vectors))])
    table = pa.table([hashes, column], schema=schema.vectors(vectors.shape[1]))
    data.write(f"vectors/e/{dataset}", shard, table, suffix=".arrow")


def searched(data, p, name):
    plan.run(data, p)
    retrieve.run(data, p, name)


def candidates(data, name):
    table = data.read_all(f"candidates/{name}").to_pylist()
    result = {}
    for row in table:
        result.setdefault(row["query_id"], []).append((row["document_id"], row["rank"], row["score"]))
    return result


@pytest.mark.parametrize("shards", [1, 8])
def test_exact_search_finds_what_brute_force_finds(tmp_path, shards):
    data, _, ids, vectors, _, asked = make(tmp_path, shards=shards)
    searched(data, settings(), "dense")
    scores = asked.astype(np.float64) @ vectors.astype(np.float64).T
    for q, hits in candidates(data, "dense").items():
        expected = sorted(range(len(ids)), key=lambda i: (-scores[int(q[1:]), i], ids[i]))[:10]
        assert [d for d, _, _ in hits] == ids[expected].tolist()
        assert [r for _, r, _ in hits] == list(range(1, 11))
        assert np.allclose([s for *_, s in hits], scores[int(q[1:])][expected], atol=1e-6)


@pytest.mark.parametrize("shards", [1, 8])
def test_bm25_over_shards_equals_bm25s_over_the_whole(tmp_path, shards):
    data, texts, _, _, query_texts, _ = make(tmp_path, shards=shards)
    searched(data, settings(), "bm25")
    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    for q, hits in candidates(data, "bm25").items():
        (terms,) = lexical.terms([query_texts[int(q[1:])]]).lists()
        scores = index.get_scores([t for t in terms if t in index.vocab_dict])
        best = np.sort(scores)[::-1][: len(hits)]
        assert np.allclose([s for *_, s in hits], best, atol=1e-4)
        assert np.allclose(scores[[int(d[1:]) for d, _, _ in hits]], [s for *_, s in hits], atol=1e-4)


def test_another_corpus_in_the_same_process_is_weighed_by_its_own_statistics(tmp_path):
    make(tmp_path, documents=90)
    searched(Data(str(tmp_path)), settings(), "bm25")
    data, *_ = make(tmp_path, documents=200)
    searched(data, settings(), "bm25")
    alone, *_ = make(tmp_path / "alone", documents=200)
    searched(alone, settings(), "bm25")
    assert candidates(data, "bm25") == candidates(alone, "bm25")


def test_a_corpus_smaller_than_the_depth_is_returned_whole_and_nothing_twice(tmp_path):
    data, _, ids, *_ = make(tmp_path, documents=7, queries=2, shards=4)
    searched(data, settings(depth=50), "dense")
    for hits in candidates(data, "dense").values():
        assert sorted(d for d, _, _ in hits) == sorted(ids)


def test_copies_of_a_text_do_not_fill_the_pool(tmp_path):
    data, *_ = make(tmp_path, documents=60, copies=30)
    searched(data, settings(depth=60), "dense")
    for hits in candidates(data, "dense").values():
        assert len(hits) == 30
        assert max(d for d, _, _ in hits) < "d0030", "the smallest id stands for its copies"


def test_ties_are_ordered_by_id(tmp_path):
    data, *_ = make(tmp_path, documents=40)
    for shard in data.shards("documents"):
        rows = len(data.read("documents", shard))
        write_vectors(data, "documents", shard, np.ones((rows, 16), np.float32))
    data.commit("vectors/e/documents")
    at_hand.forget()
    searched(data, settings(depth=40), "dense")
    for hits in candidates(data, "dense").values():
        assert [d for d, _, _ in hits] == sorted(d for d, _, _ in hits)


def test_positives_do_not_eat_the_quota(tmp_path):
    data, *_ = make(tmp_path, positives=8)
    for shard in data.shards("documents"):  # every positive is nearer than any other document
        block = data.read("documents", shard)
        near = np.isin(block["document_id"].to_pylist(), data.read_all("positives")["document_id"].to_pylist())
        vectors = RNG.normal(size=(len(block), 16)).astype(np.float32) * 0.01
        vectors[near] += 1.0
        write_vectors(data, "documents", shard, vectors)
    write_vectors(data, "queries", shard_names(1)[0], np.ones((12, 16), np.float32))
    data.commit("vectors/e/documents")
    data.commit("vectors/e/queries")
    at_hand.forget()
    short, deep = settings(depth=4), settings(depth=4, max_depth=200)
    positives = data.read_all("positives").to_pylist()
    known = {}
    for row in positives:
        known.setdefault(row["query_id"], set()).add(row["document_id"])
    searched(data, short, "dense")
    assert all(len(hits) == 4 for hits in candidates(data, "dense").values())
    searched(data, deep, "dense")
    for query, hits in candidates(data, "dense").items():
        assert len([d for d, *_ in hits if d not in known[query]]) >= 3


def test_a_ceiling_deepens_the_search_for_those_it_starves(tmp_path):
    data, *_ = make(tmp_path)
    rule = {"kind": "margin", "score": "dense", "margin": 0.0}
    searched(data, settings(depth=5, max_depth=200, rule=rule), "dense")
    lengths = {len(hits) for hits in candidates(data, "dense").values()}
    assert max(lengths) > 5, "a random positive ranks low, so its better candidates fall"
    assert min(lengths) >= 5


@pytest.mark.parametrize(("index", "dense"), [("Flat", (1, 3, 16)), ("IVF4,Flat", (1, 2, 10)), ("IVF4,SQ8", (1, 1, 1))])
def test_ranges_of_documents_change_no_byte(tmp_path, monkeypatch, index, dense):
    monkeypatch.setattr(index_parts, "_ROWS", 30)
    data, *_ = make(tmp_path, documents=300, shards=16, copies=20)
    for shard in data.shards("documents")[3:5]:  # all their vectors are the same, and some are missing
        rows = len(data.read("documents", shard))
        write_vectors(data, "documents", shard, np.ones((rows, 16), np.float32), absent=[0, rows - 1])
    data.commit("vectors/e/documents")
    write_clusters(data, 4)
    rule = {"kind": "margin", "score": "dense", "margin": 0.0}  # deepens the search for some
    found, counts = [], []
    for most in (None, 150, 40, 1):
        probed = {} if index == "Flat" else {"nprobe": 4}
        p = settings(index=index, **probed, depth=5, max_depth=100, rule=rule)
        p = p.model_copy(update={"beam": p.beam.model_copy(update={"documents_per_range": most})})
        counts.append(tuple(len(passes(data, p, name).ranges) for name in ("dense", "bm25")))
        for name in ("dense", "bm25"):
            searched(data, p, name)
            assert not data.listed(f"indexes/{name}/hits")
        found.append([data.checksum(f"candidates/{name}") for name in ("dense", "bm25")])
    assert found == [found[0]] * 4
    for of_dense, of_lexical, wanted in zip(dense, (1, 3, 16), (counts[0], counts[1], counts[3]), strict=True):
        assert wanted == (of_dense, of_lexical)


def passes(data, p, name):
    return Passes(data, name, p.retrievers[name], documents=p.beam.documents_per_range)


def write_clusters(data, centroids):
    """Clusters around these centroids, as the stage that makes them writes them; at random around so many."""
    if isinstance(centroids, int):
        centroids = RNG.normal(size=(centroids, 16)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(centroids.reshape(-1)), 16)
    names = ("clusters/e/centroids", "clusters/e/documents")
    for name in names:
        data.begin(name)
    data.write(staged(names[0]), shard_names(1)[0], pa.table({"vector": column}), suffix=".arrow")
    at_hand.forget()
    for shard in data.shards("documents"):
        cluster.assign_shard(shard, data, "e")
    for name in names:
        data.publish(name)


def test_vectors_of_a_remote_store_are_mapped_from_copies_that_nobody_else_sees(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    local, *_ = make(tmp_path / "local", shards=4)
    remote = Data(f"memory://vectors-{tmp_path.name}")
    for shard in local.shards("vectors/e/documents"):
        remote.write("vectors/e/documents", shard, local.read("vectors/e/documents", shard), suffix=".arrow")
    remote.commit("vectors/e/documents")
    here, there = (lookup.vectors(data, "vectors/e/documents") for data in (local, remote))
    before = pa.total_allocated_bytes()
    rows = RNG.permutation(len(here))
    assert (there.gather(rows) == here.gather(rows)).all()
    assert pa.total_allocated_bytes() == before, "no shard is in memory"
    copies = [name for folder, _, names in os.walk(tmp_path / "temporary") for name in names]
    assert copies == []
    at_hand.forget()
    assert os.listdir(tmp_path / "temporary") == []


def test_an_approximate_index_reports_its_recall(tmp_path, capsys):
    data, *_ = make(tmp_path, documents=600)
    write_clusters(data, 16)
    found, said = [], []
    for nprobe in (1, 16):
        searched(data, settings(index="IVF16,Flat", nprobe=nprobe), "dense")
        found.append(recall.measured(data, "dense"))
        said.append(capsys.readouterr().err)
    assert found[0].share < found[1].share == 1.0
    assert f"recall {found[0].share:.1%} " in said[0]
    assert "a higher nprobe" in said[0]
    assert "recall 100.0%" in said[1]
    assert "nprobe" not in said[1]
    searched(data, settings(), "dense")
    assert "recall" not in capsys.readouterr().err
    assert recall.measured(data, "dense") is None


@pytest.mark.parametrize("factory", ["PQ4x4fs", "IVF8,PQ4x4fs", "IVF8,PQ4x4", "SQ4", "OPQ4_16,IVF8,PQ4x4"])
def test_of_what_codes_find_the_vectors_choose(tmp_path, factory):
    data, *_ = make(tmp_path, documents=600, copies=40)
    write_clusters(data, 8)
    searched(data, settings(), "dense")
    exact = candidates(data, "dense")
    shares, probes = [], 8 if "IVF" in factory else None
    for refine in (None, 4, 50):
        searched(data, settings(index=factory, nprobe=probes, refine=refine), "dense")
        shares.append(recall.measured(data, "dense").share)
    assert shares[0] < shares[1] <= shares[2] == 1.0
    assert candidates(data, "dense") == exact, "all were fetched"


@pytest.mark.parametrize("factory", ["PQ4x4fs", "IVF16,PQ4x4fs", "IVF16,PQ4x4"])
def test_what_codes_find_does_not_depend_on_the_company_or_the_threads(tmp_path, factory):
    data, *_ = make(tmp_path, documents=3000, queries=60)
    write_clusters(data, 8)
    p = settings(index=factory, nprobe=5 if "IVF" in factory else None, refine=3)
    searched(data, p, "dense")
    opened, everything = p.retrievers["dense"].open(data, "dense"), np.ones(3000, bool)
    found, before = [], faiss.omp_get_max_threads()
    for size, threads in ((60, 1), (60, 2), (7, 2), (1, 1)):
        faiss.omp_set_num_threads(threads)
        parts = [opened.search(part, 20, everything)[0] for part in np.split(np.arange(60), range(size, 60, size))]
        found.append(np.sort(np.concatenate(parts), axis=1).tolist())
    faiss.omp_set_num_threads(before)
    assert found == [found[0]] * 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"index": "IVF8,Flat", "refine": 2}, r"refine belongs to an index of codes \(PQ, SQ\), got IVF8,Flat\. Rem"),
        ({"refine": 2}, r"refine belongs to an index of codes \(PQ, SQ\), got Flat\. Remove it"),
        ({"index": "HNSW8", "nprobe": 2}, r"nprobe belongs to an index with lists \(IVF\), got HNSW8\. Remove it"),
    ],
)
def test_what_an_index_cannot_use_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        settings(**given)


def test_an_index_of_another_kind_leaves_nothing_behind(tmp_path):
    data, *_ = make(tmp_path)
    write_clusters(data, 4)
    killed = tmp_path / "indexes" / "dense" / ".faiss.staged"
    for index, parts in (("IVF4,Flat", {"faiss", "recall"}), ("Flat", {"recall"})):
        searched(data, settings(index=index), "dense")
        assert {path.name for path in (tmp_path / "indexes" / "dense").iterdir()} == parts
        killed.mkdir()
        (killed / "factory.txt").write_text(index)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "OPQ4_16,IVF8,PQ4x4", "IVF8,SQ8"])
def test_an_index_in_parts_finds_what_it_finds_as_one(tmp_path, monkeypatch, factory):
    data, *_ = make(tmp_path, documents=700)
    vectors, centroids = lookup.vectors(data, "vectors/e/documents"), np.ones((1, 16), np.float32)
    asked, found = RNG.normal(size=(20, 16)).astype(np.float32), []
    for rows in (1000, 150):
        monkeypatch.setattr(index_parts, "_ROWS", rows)
        files = index_parts.parts(factory, len(vectors))
        assert len(files) == -(-700 // rows)
        paths = write_index(data, faiss_index.trained(factory, vectors, centroids), vectors, files)
        found.append(faiss_index.read(paths).search(asked, 30))
    (scores, documents), (scores_of_parts, documents_of_parts) = found
    assert (scores == scores_of_parts).all()
    assert (np.sort(documents) == np.sort(documents_of_parts)).all()
    os.remove(paths[1])
    at_hand.forget()
    with pytest.raises(FileNotFoundError, match="00001-of-"):
        lookup.fetched(data, "index", data.shards("index")[1])


@pytest.mark.parametrize(("sample", "read"), [(1000, 400), (400, 400), (399, 200), (201, 200), (200, 200), (100, 100)])
def test_clusters_are_trained_on_no_more_documents_than_the_params_say(tmp_path, sample, read):
    data, *_ = make(tmp_path, documents=400)
    cluster.train("", data, "e", params.Cluster(clusters=4, sample=sample))
    centroids = data.read(staged("clusters/e/centroids"), shard_names(1)[0])
    assert sum(centroids["size"].to_pylist()) == read


def test_lists_are_clusters_where_nothing_else_was_trained(tmp_path):
    data, *_ = make(tmp_path, documents=400)
    vectors, centroids = lookup.vectors(data, "vectors/e/documents"), RNG.normal(size=(8, 16)).astype(np.float32)
    found = {
        factory: [faiss_index.lists_are(faiss_index.trained(factory, vectors, centroids), count) for count in (8, 9)]
        for factory in ("IVF8,Flat", "IVF8_HNSW4,Flat", "IVF8,PQ4x4", "IVF8,SQ8", "OPQ4_16,IVF8,Flat", "HNSW8")
    }
    assert found == {factory: [factory.startswith("IVF"), False] for factory in found}


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF8_HNSW4,Flat", "IVF8,PQ4x4", "IVF8,SQ8"])
def test_lists_that_are_clusters_are_filled_as_the_documents_were_clustered(tmp_path, monkeypatch, factory):
    monkeypatch.setattr(index_parts, "_ROWS", 150)
    data, *_ = make(tmp_path, documents=400)
    vectors = lookup.vectors(data, "vectors/e/documents")
    centroids = clustering.train(vectors.all(), 8, 5, 1)
    clusters, _ = clustering.assign(vectors.all(), centroids)
    index, files = faiss_index.trained(factory, vectors, centroids), index_parts.parts(factory, len(vectors))
    asked, found = RNG.normal(size=(20, 16)).astype(np.float32), []
    for lists in (None, clusters):
        filled = faiss_index.read(write_index(data, index, vectors, files, lists))
        found.append(filled.search(asked, 30))
    (scores, documents), (other_scores, other_documents) = found
    assert (scores == other_scores).all()
    assert (documents == other_documents).all()


def write_index(data, index, vectors, parts, lists=None):
    """Publish the parts of an index; returns their paths."""
    for name, rows in parts.items():
        with data.adding(staged("index"), name) as path:
            faiss_index.write_part(index, vectors, rows, path, lists)
        index.reset()
    data.publish("index")
    at_hand.forget()
    return [lookup.fetched(data, "index", shard) for shard in data.shards("index")]


@pytest.mark.parametrize("factory", ["HNSW8", "IVF8_HNSW4,Flat,RFlat", "IVF8,PQ4x4fs"])
def test_an_index_that_cannot_be_cut_is_one_part(tmp_path, factory):
    data, *_ = make(tmp_path, documents=400)
    vectors = lookup.vectors(data, "vectors/e/documents")
    index = faiss_index.trained(factory, vectors, RNG.normal(size=(8, 16)).astype(np.float32))
    assert list(index_parts.parts(factory, 1 << 20).values()) == [range(1 << 20)]
    paths = write_index(data, index, vectors, index_parts.parts(factory, len(vectors)))
    assert faiss_index.read(paths).ntotal == 400


@pytest.mark.parametrize(
    "factory",
    [
        *("IVF8,Flat", "IVF8_HNSW4,Flat", "IVF8,PQ4x4", "IVF8,PQ4np", "IVF8,SQ8", "IVF8,SQfp16", "OPQ4_16,IVF8,PQ4x4"),
        *("PCA8,IVF8,Flat", "HNSW8", "IVF8,PQ4x4fs", "IVF8,Flat,RFlat", "PQ4x4", "SQ8", "IDMap,Flat"),
    ],
)
def test_an_index_is_cut_where_lists_hold_all_of_it(factory):
    index = faiss.index_factory(16, factory, faiss.METRIC_INNER_PRODUCT)
    assert index_parts.cut(factory) == (faiss_index._lists(index) is not None)


def test_an_index_never_returns_a_document_without_a_vector(tmp_path):
    data, *_ = make(tmp_path, documents=60)
    shard = data.shards("documents")[0]
    table = data.read("vectors/e/documents", shard)
    flat, missing = table["vector"].combine_chunks().flatten(), pa.array(np.arange(len(table)) == 0)
    column = pa.FixedSizeListArray.from_arrays(flat, 16, mask=missing)
    data.write("vectors/e/documents", shard, table.set_column(1, table.schema.field("vector"), column), suffix=".arrow")
    data.commit("vectors/e/documents")
    write_clusters(data, 4)
    at_hand.forget()
    without = data.read("documents", shard)["document_id"][0].as_py()
    for index in ("Flat", "IVF4,Flat"):
        searched(data, settings(index=index, nprobe=4 if index != "Flat" else None, depth=60), "dense")
        assert {len(hits) for hits in candidates(data, "dense").values()} == {59}
        assert all(without not in [d for d, *_ in hits] for hits in candidates(data, "dense").values())


def test_a_factory_string_that_faiss_does_not_know_is_refused(tmp_path):
    data, *_ = make(tmp_path, documents=20)
    write_clusters(data, 1)
    with pytest.raises(ValueError, match="must be a FAISS factory string, got Quantum9"):
        searched(data, settings(index="Quantum9"), "dense")
    with pytest.raises(
        ValueError, match=r"got PQ7: The dimension of the vector \(d\) should be a multiple of .*\. Corr"
    ):
        searched(data, settings(index="PQ7"), "dense")


@pytest.mark.parametrize("factory", ["Quantum9", "IVFx,Flat", "Flat,Flat"])
def test_an_unreadable_factory_string_is_named_before_anything_runs(factory):
    said = rf"^retrievers\.dense\.index: must be a FAISS .* got {factory}: could not parse .*string {factory}\. Corr"
    with pytest.raises(ValueError, match=said):
        preflight.check_retrievers(settings(index=factory))
    preflight.check_retrievers(settings(index="IVF9,PQ7"))  # may fit the model's dimensions


@pytest.mark.parametrize("factory", ["IVF32,Flat", "PQ4x8", "OPQ4_16,PQ4x8", "IVF2,PQ4x8,RFlat"])
def test_an_index_that_wants_more_documents_to_be_trained_on_is_refused(tmp_path, factory):
    data, *_ = make(tmp_path, documents=20)
    write_clusters(data, 1)
    said = rf"retrievers.*index: {factory} must have as many documents .*got 20 \(.*\)\. Name one for so few: Flat"
    with pytest.raises(ValueError, match=said):
        searched(data, settings(index=factory), "dense")


@pytest.mark.parametrize("factory", ["PQ4x4", "OPQ4_16,IVF8,PQ4x4fs", "IVF8,PQ4x4,RFlat", "RQ2x4", "IVF8,Flat"])
def test_faiss_says_nothing_of_few_documents_of_which_the_recall_tells(tmp_path, capfd, factory):
    data, *_ = make(tmp_path, documents=300)
    write_clusters(data, 1)
    searched(data, settings(index=factory), "dense")
    said = capfd.readouterr()
    assert "centroids" not in said.out + said.err
    assert "recall" in said.err


def test_the_pool_has_every_rank_every_score_and_the_positives(tmp_path):
    data, _, _, vectors, _, asked = make(tmp_path, positives=2)
    p = settings()
    for name in p.retrievers:
        searched(data, p, name)
    pool.run(data, p)
    pairs = data.read_all("pairs").to_pylist()
    found = {
        name: {(q, d): r for q, hits in candidates(data, name).items() for d, r, _ in hits} for name in p.retrievers
    }
    positives = {(r["query_id"], r["document_id"]) for r in data.read_all("positives").to_pylist()}
    assert {(r["query_id"], r["document_id"]) for r in pairs} == positives.union(*found.values())
    scorer = p.retrievers["bm25"].open(data, "bm25")
    for row in pairs:
        key = (row["query_id"], row["document_id"])
        assert row["positive"] == (key in positives)
        assert {n: row[f"rank_{n}"] for n in found} == {n: hits.get(key) for n, hits in found.items()}
        dense = float(asked[int(key[0][1:])].astype(float) @ vectors[int(key[1][1:])].astype(float))
        assert row["score_dense"] == pytest.approx(dense, abs=1e-6)
        exact = scorer.score(np.array([int(key[0][1:])]), np.array([row["document_row"]]))[0]
        assert row["score_bm25"] == pytest.approx(exact, abs=1e-5)


def test_a_sampler_that_compares_documents_knows_the_cosine_to_the_nearest_other_positive(tmp_path):
    data, _, _, vectors, *_ = make(tmp_path, positives=2)
    p = settings(kind="simans", simans={"against": "document"})
    for name in p.retrievers:
        searched(data, p, name)
    pool.run(data, p)
    loaded = query_shard.load(data, p, shard_names(1)[0])
    positives = [(r["query_id"], r["document_id"]) for r in data.read_all("positives").to_pylist()]
    for row, found in zip(loaded.pairs.to_pylist(), loaded.candidates.similarity.tolist(), strict=True):
        others = [int(d[1:]) for q, d in positives if q == row["query_id"] and d != row["document_id"]]
        expected = max(float(vectors[int(row["document_id"][1:])] @ vectors[o]) for o in others)
        assert found == pytest.approx(expected, abs=1e-5)


def drawn_of(count, corpus, queries=20_000, seed=1):
    words = randomness.mix(np.arange(queries, dtype=np.uint64))
    of_documents = randomness.mix(99, np.arange(corpus, dtype=np.uint64))
    by_hash = np.argsort(of_documents)
    rows = drawing.draw(words, count, laid_out(np.repeat(of_documents[by_hash], 2)), seed)  # every second is a copy
    assert ((rows % 2 == 0) | (rows == -1)).all()
    return np.where(rows < 0, -1, by_hash[rows // 2])


def laid_out(words):
    parts = np.split(np.stack([words, words], axis=1), [0, len(words) // 4 * 2, len(words) // 4 * 2])
    return drawing.lay_out(parts, len(words))


@pytest.mark.parametrize(("corpus", "count"), [(49, 3), (5, 2), (1000, 40)])
def test_random_documents_come_uniformly_from_the_whole_corpus(corpus, count):
    drawn = drawn_of(count, corpus)
    counts = np.bincount(drawn.reshape(-1), minlength=corpus)
    expected = drawn.size / corpus
    freedom = corpus - 1
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 5 * np.sqrt(2 * freedom)
    assert all(len(set(row)) == count for row in drawn[:500].tolist())


@pytest.mark.parametrize(("corpus", "count"), [(2, 4), (1, 1), (60, 60), (300, 299)])
def test_a_corpus_no_larger_than_the_draw_is_drawn_whole(corpus, count):
    for row in drawn_of(count, corpus, queries=20).tolist():
        found = set(row) - {-1}
        assert len(found) == min(corpus, count) == sum(r >= 0 for r in row)


def test_of_documents_with_the_same_text_only_the_first_is_drawn(tmp_path):
    data = Data(str(tmp_path))
    for shard, texts in zip(shard_names(2), (["a", "b", "b"], ["c", "c", "d"]), strict=True):
        data.write("documents", shard, pa.table({"text_hash": pa.array([16 * t.encode() for t in texts], text.HASH)}))
    data.commit("documents")
    drawn = drawing.draw(np.arange(50, dtype=np.uint64), 4, drawing.cells_of(data), 1)
    assert {tuple(sorted(row)) for row in drawn.tolist()} == {(0, 1, 3, 5)}


def test_documents_that_are_not_in_the_order_of_their_hashes_are_refused():
    with pytest.raises(ValueError, match=r"in the order of their text_hash\. Rebuild"):
        laid_out(np.array([1, 1, 3, 3, 2, 2], np.uint64))


def test_nothing_is_drawn_where_nothing_is_asked_for():
    assert drawn_of(0, 10, queries=3).shape == (3, 0)
    assert drawn_of(2, 10, queries=0).shape == (0, 2)


def test_a_hundredth_more_documents_change_a_few_hundredths_of_the_draws():
    few, more = drawn_of(4, 1000, queries=5000), drawn_of(4, 1010, queries=5000)
    same = np.mean([len(set(one) & set(other)) for one, other in zip(few.tolist(), more.tolist(), strict=True)]) / 4
    new = (few[..., None] != more[:, None]).all(axis=1) & (more >= 1000)
    assert 0.95 < same < 1
    assert new.sum() > 0


def test_a_cell_may_be_as_full_as_it_likes():
    words = np.sort(randomness.mix(np.arange(64, dtype=np.uint64)) >> np.uint64(40))  # all in the first cell
    drawn = drawing.draw(np.arange(2000, dtype=np.uint64), 2, laid_out(words), 1)
    assert np.bincount(drawn.reshape(-1), minlength=64).min() > 30


def test_merging_keeps_the_best_of_both():
    one, other = RNG.normal(size=(3, 20)), RNG.normal(size=(3, 30))
    rows = np.arange(50)[None, :].repeat(3, axis=0)
    scores, kept = topk.merge(one, rows[:, :20], other, rows[:, 20:], 10)
    both = np.concatenate([one, other], axis=1)
    for q in range(3):
        assert sorted(kept[q].tolist()) == sorted(np.argsort(-both[q])[:10].tolist())
        assert np.allclose(np.sort(scores[q]), np.sort(both[q])[-10:])


@pytest.mark.parametrize("workers", [1, 2])
def test_shards_of_queries_are_grouped_whole_and_in_order(tmp_path, workers):
    data = Data(str(tmp_path))
    sizes = [0, 1500, 1500, 1500, 5000, 0, 3]
    for shard, size in zip(shard_names(len(sizes)), sizes, strict=True):
        data.write("queries", shard, pa.table({"query_id": pa.array([""] * size, pa.string())}))
    data.commit("queries")
    groups = Passes(data, "bm25", Bm25(kind="bm25"), workers).groups.values()
    assert [shard for group in groups for shard in group] == shard_names(len(sizes))
    rows = dict(zip(shard_names(len(sizes)), sizes, strict=True))
    together = [sum(rows[shard] for shard in group) for group in groups]
    assert together == ([3000, 1500, 5000, 3] if workers == 1 else [0, 1500, 1500, 1500, 5000, 3])


def test_a_filter_changes_what_is_searched_only_where_a_search_may_go_deeper():
    rule = {"kind": "margin", "score": "dense", "margin": 0.1}
    other = {"kind": "margin", "score": "dense", "margin": 0.2}
    assert plan.quota(settings(rule=rule), "dense") == plan.quota(settings(rule=other, negatives=9), "dense")
    deep = [plan.quota(settings(rule=r, max_depth=50), "dense") for r in (rule, other)]
    assert deep[0].rules[0].margin == 0.1
    assert deep[0] != deep[1]
    assert deep[0].candidates == 3
    assert plan.quota(settings(rule=rule, max_depth=50), "bm25") == quota.Quota()


def test_a_quota_that_is_missing_or_is_none_is_an_error_with_a_cure(tmp_path):
    data = Data(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"quotas/dense.*: .*[Bb]uild it"):
        quota.read(data, "dense")
    for content in ('{"candidates": "many"}', '{"candidate": 3}', "[]", "{"):
        data.write_note("quotas/dense", "quota.json", content)
        data.commit("quotas/dense")
        with pytest.raises(
            ValueError, match=r"quotas/dense/quota.*json: must be .*Rebuild it: gangue mine, or dvc repro --force"
        ):
            quota.read(data, "dense")
