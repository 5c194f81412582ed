"""Negatives that differ from each other, and documents that are not used too often."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gangue.transforms.negatives import reuse
from gangue.transforms.negatives.diverse import mmr, one_per_cluster
from gangue.transforms.retrieval import clustering

ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 3), st.integers(0, 9)), min_size=1, max_size=25)


def cosine_of(vectors):
    return lambda one, other: np.einsum("nd,nd->n", vectors[one], vectors[other])


def unit(count, seed=1):
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def marginal(scores, vectors, quota, weight):
    """The definition, row by row."""
    low, width = min(scores), (max(scores) - min(scores)) or 1.0
    chosen = []
    while len(chosen) < min(quota, len(scores)):
        left = [i for i in range(len(scores)) if i not in chosen]

        def value(i):
            near = max((float(vectors[i] @ vectors[j]) for j in chosen), default=-1.0)
            return round(weight * (scores[i] - low) / width - (1 - weight) * near, 6)

        chosen.append(min(left, key=lambda i: (-value(i), i)))
    return sorted(chosen)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.integers(0, 9), st.sampled_from([0, 0.3, 0.5, 0.9, 1]))
def test_marginal_relevance_is_what_its_definition_says(scores, quota, weight):
    vectors, group = unit(len(scores)), np.zeros(len(scores), int)
    every = np.arange(len(scores))
    chosen = mmr.marginal_relevance(group, np.array(scores, float), every, quota, weight, cosine_of(vectors))
    assert np.flatnonzero(chosen).tolist() == marginal(scores, vectors, quota, weight)


@given(ROWS, st.integers(1, 4), st.randoms(use_true_random=False))
def test_groups_and_the_order_of_rows_do_not_matter_to_marginal_relevance(rows, quota, shuffle):
    group = np.unique([g for g, *_ in rows], return_inverse=True)[1]
    scores, tie, vectors = np.array([s for *_, s in rows], float), np.arange(len(rows)), unit(len(rows))
    chosen = mmr.marginal_relevance(group, scores, tie, quota, 0.5, cosine_of(vectors))
    order = np.array(shuffle.sample(range(len(rows)), len(rows)))
    again = mmr.marginal_relevance(group[order], scores[order], tie[order], quota, 0.5, cosine_of(vectors[order]))
    assert (again == chosen[order]).all()
    assert np.bincount(group[chosen]).tolist() == np.minimum(np.bincount(group), quota).tolist()


@given(ROWS)
def test_one_of_each_cluster_stays_and_it_is_the_best(rows):
    group, cluster, keys = (np.array(column) for column in zip(*rows, strict=True))
    kept = one_per_cluster.first_of_cluster(group, cluster, keys, np.arange(len(rows)))
    for pair in {(g, c) for g, c, _ in rows}:
        members = np.flatnonzero((group == pair[0]) & (cluster == pair[1]))
        best = min(members, key=lambda i: (-keys[i], i))
        expected = members if pair[1] < 0 else [best]
        assert np.flatnonzero(kept[members]).tolist() == [members.tolist().index(i) for i in expected]


PROPOSALS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=40, unique=True)


@given(PROPOSALS, st.integers(1, 5), st.integers(1, 5), st.randoms(use_true_random=False))
def test_a_cap_is_exact_monotone_and_blind_to_the_order(proposals, one, other, shuffle):
    low, high = sorted([one, other])
    document, query = (np.array(column) for column in zip(*proposals, strict=True))
    noise = np.random.default_rng(4).permutation(len(proposals)).astype(np.uint64)
    strict, loose = (reuse.denied(document, noise, query, cap) for cap in (low, high))
    assert (np.bincount(document[~strict]) == np.minimum(np.bincount(document), low)).all()
    assert (loose <= strict).all()
    order = np.array(shuffle.sample(range(len(proposals)), len(proposals)))
    assert (reuse.denied(document[order], noise[order], query[order], low) == strict[order]).all()


def test_the_next_cluster_is_not_the_own_one_and_is_no_nearer():
    vectors = unit(50, seed=2).astype(np.float32)
    centroids = clustering.train(vectors, 6, 10, 1)
    own, similarity = clustering.assign(vectors, centroids)
    following = clustering.second_nearest(vectors, centroids)
    assert (following != own).all()
    assert ((vectors * centroids[following]).sum(axis=1) <= similarity + 1e-6).all()


def test_of_two_separate_blobs_the_next_cluster_is_always_the_other():
    rng = np.random.default_rng(3)
    blobs = np.concatenate([rng.normal([5, 0], 0.1, (30, 2)), rng.normal([0, 5], 0.1, (30, 2))]).astype(np.float32)
    blobs /= np.linalg.norm(blobs, axis=1, keepdims=True)
    centroids = clustering.train(blobs, 2, 10, 1)
    own, _ = clustering.assign(blobs, centroids)
    assert (clustering.second_nearest(blobs, centroids) == 1 - own).all()
    assert len(set(own[:30])) == len(set(own[30:])) == 1


def test_one_cluster_has_no_next_one():
    with pytest.raises(ValueError, match=r"cluster.clusters must be >= 2 for a second nearest cluster, got 1"):
        clustering.second_nearest(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
