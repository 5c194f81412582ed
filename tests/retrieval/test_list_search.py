"""Lists that are read once for all queries find what FAISS finds query by query."""

import faiss
import numpy as np
import pytest
from test_retrieve import make, write_index

from gangue.transforms.datasets import lookup
from gangue.transforms.retrieval import faiss_index, index_parts, list_search

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("factory", "rows"), [("IVF8,Flat", 1000), ("IVF8,Flat", 90), ("IVF8_HNSW4,Flat", 150)])
def test_finds_what_faiss_finds(tmp_path, monkeypatch, factory, rows, threads):
    monkeypatch.setattr(index_parts, "_ROWS", rows)
    data, *_ = make(tmp_path, documents=500)
    vectors = lookup.vectors(data, "vectors/e/documents")
    centroids = np.nan_to_num(vectors.all())[:8]
    files = index_parts.parts(factory, len(vectors))
    index = faiss_index.read(write_index(data, faiss_index.trained(factory, vectors, centroids), vectors, files))
    asked = RNG.normal(size=(70, 16)).astype(np.float32)
    asked[-1] = 0.0  # as a query without a vector
    everything = np.ones(500, bool)
    for nprobe, depth in ((1, 5), (3, 40), (8, 600), (20, 7)):
        faiss.extract_index_ivf(index).nprobe = nprobe
        scores, found = list_search.search(index, asked, everything, depth, threads)
        wanted_scores, wanted = index.search(asked, depth)
        wanted_scores[wanted < 0] = -np.inf
        assert scores.shape == found.shape == (70, depth)
        assert np.allclose(-np.sort(-scores), -np.sort(-wanted_scores), atol=1e-5)
        assert all(set(one) == set(other) for one, other in zip(found[:-1].tolist(), wanted[:-1].tolist(), strict=True))


def test_what_may_not_be_found_makes_room(tmp_path):
    data, *_ = make(tmp_path, documents=300)
    vectors = lookup.vectors(data, "vectors/e/documents")
    files = index_parts.parts("IVF4,Flat", len(vectors))
    centroids = np.nan_to_num(vectors.all())[:4]
    index = faiss_index.read(write_index(data, faiss_index.trained("IVF4,Flat", vectors, centroids), vectors, files))
    faiss.extract_index_ivf(index).nprobe = 4
    asked, searched = RNG.normal(size=(9, 16)).astype(np.float32), RNG.random(300) < 0.1
    scores, rows = list_search.search(index, asked, searched, 12, 1)
    exact = np.where(searched, asked @ np.nan_to_num(vectors.all()).T, -np.inf)
    assert np.allclose(np.sort(scores), np.sort(exact)[:, -12:], atol=1e-5)
    assert searched[rows].all()
    none, nothing = list_search.search(index, asked, np.zeros(300, bool), 12, 1)
    assert np.isneginf(none).all()
    assert (nothing == -1).all()
