"""Exact search by blocks of products: the best of all, in whatever blocks they come."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gangue.transforms.retrieval import block_search


def cut(rows, vectors, size):
    return [
        block_search.Block(rows[start : start + size], vectors[start : start + size])
        for start in range(0, len(rows), size)
    ]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 40),
    documents=st.integers(1, 300),
    depth=st.integers(1, 60),
    size=st.integers(1, 300),
    product=st.sampled_from([1, 50, 1 << 22]),
    pending=st.sampled_from([0, 3, 16]),
    threads=st.integers(1, 3),
    grid=st.booleans(),
    some=st.booleans(),
)
def test_it_finds_what_looking_at_every_score_finds(
    seed, queries, documents, depth, size, product, pending, threads, grid, some
):
    draw = np.random.default_rng(seed)
    asked, vectors = (draw.normal(size=(count, 4)).astype(np.float32) for count in (queries, documents))
    if grid:  # many scores are equal
        asked, vectors = np.round(asked), np.round(vectors)
    rows = draw.permutation(1000)[:documents].astype(np.int64)
    blocks, compared = cut(rows, vectors, size), np.ones((queries, documents), bool)
    if some:  # as queries probe the lists of an index
        asking = draw.random((len(blocks), queries)) < 0.4
        blocks = [block._replace(asking=np.flatnonzero(own)) for block, own in zip(blocks, asking, strict=True)]
        compared = np.repeat(asking, [len(block.rows) for block in blocks], axis=0).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_search, "_PRODUCT", product)
        patch.setattr(block_search, "_PENDING", pending)
        scores, found = block_search.search(asked, blocks, depth, threads)
    assert scores.shape == found.shape == (queries, depth)
    every = np.where(compared, asked.astype(np.float64) @ vectors.T.astype(np.float64), -np.inf)
    for query in range(queries):
        there = found[query] >= 0
        assert there.sum() == min(depth, compared[query].sum())
        assert len(set(found[query][there])) == there.sum()
        assert np.isneginf(scores[query][~there]).all()
        place = np.argsort(rows)[np.searchsorted(np.sort(rows), found[query][there])]
        assert np.allclose(scores[query][there], every[query][place], atol=1e-5)
        assert np.allclose(np.sort(scores[query][there]), np.sort(every[query])[documents - there.sum() :], atol=1e-5)


def test_a_query_that_is_not_finite_harms_no_other():
    vectors = np.random.default_rng(1).normal(size=(500, 8)).astype(np.float32)
    asked = vectors[:3].copy()
    asked[1, 2] = np.nan
    alone, _ = block_search.search(asked[[0, 2]], cut(np.arange(500), vectors, 100), 10, 1)
    scores, _ = block_search.search(asked, cut(np.arange(500), vectors, 100), 10, 1)
    assert np.allclose(np.sort(scores[[0, 2]]), np.sort(alone))


def test_no_documents_are_no_hits():
    scores, rows = block_search.search(np.ones((2, 4), np.float32), [], 3, 1)
    assert np.isneginf(scores).all()
    assert (rows == -1).all()
