"""Several lists of one query's candidates: turns, mixtures, fusion, and what must hold of any of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gangue.transforms import randomness
from gangue.transforms.negatives import picking
from gangue.transforms.negatives.samplers import joint

NONE = np.nan


def ranks_of(lists, documents):
    """(r, n) ranks of documents 0 … n - 1, from lists of documents."""
    ranks = np.full((len(lists), documents), np.nan)
    for rank, found in zip(ranks, lists, strict=True):
        rank[found] = np.arange(1, len(found) + 1)
    return ranks


LISTS = st.lists(st.permutations(range(9)).flatmap(lambda p: st.integers(0, 9).map(lambda n: p[:n])), min_size=1)


def places(lists):
    return np.nan_to_num(ranks_of(lists, 9), nan=np.inf)


def test_two_disjoint_retrievers_of_equal_weight_give_half_of_the_draws_each():
    rounds, each = 4000, 10
    ranks = np.full((2, 2 * each), np.nan)
    ranks[0, :each] = ranks[1, each:] = np.arange(each) + 1
    group = np.repeat(np.arange(rounds), 2 * each)
    logits = joint.mixture_logits(np.tile(ranks, rounds), group, np.array([0.5, 0.5]))
    words = randomness.mix(3, group.astype(np.uint64), np.tile(np.arange(2 * each, dtype=np.uint64), rounds))
    tie = np.tile(np.arange(2 * each), rounds)
    chosen = picking.highest(group, logits + randomness.gumbels(words), tie, np.full(len(group), 1))
    share = chosen.reshape(rounds, 2, each)[:, 0].sum() / rounds
    assert abs(share - 0.5) < 3 * np.sqrt(0.25 / rounds)


def test_a_document_of_both_retrievers_has_twice_the_mass():
    ranks = np.array([[1, 2, NONE], [NONE, 2, 1]])
    mass = np.exp(joint.mixture_logits(ranks, np.zeros(3, int), np.array([1.0, 1.0])))
    assert mass.tolist() == pytest.approx([0.25, 0.5, 0.25])


def test_weights_of_a_mixture_are_shares():
    ranks = np.array([[1, 2, NONE], [NONE, NONE, 1]])
    mass = np.exp(joint.mixture_logits(ranks, np.zeros(3, int), np.array([1.0, 3.0])))
    assert mass.tolist() == pytest.approx([0.125, 0.125, 0.75])


def test_ranks_are_fused_as_reciprocals():
    fused = joint.reciprocal_ranks(np.array([[1, 3, NONE], [2, NONE, 1]]), 60)
    assert fused.tolist() == pytest.approx([1 / 61 + 1 / 62, 1 / 63, 1 / 61])


def test_turns_without_repeats_reach_further_down_than_turns_with_them():
    both = np.array([[0, 1, 2, 3.0], [0, 2, 1, 3.0]])
    group = np.zeros(4, int)
    assert joint.take_turns(group, both, 3).sum(axis=0).tolist() == [1, 1, 1, 0]
    assert joint.take_turns(group, both, 4, repeat=True).sum(axis=0).tolist() == [2, 1, 1, 0]


@given(LISTS, st.integers(0, 10), st.booleans())
def test_turns_fill_the_quota_from_the_top_of_each_list(lists, quota, repeat):
    taken = joint.take_turns(np.zeros(9, int), places(lists), quota, repeat=repeat)
    available = sum(map(len, lists)) if repeat else len(set().union(*lists))
    assert taken.sum() == min(quota, available)
    if not repeat:
        assert (taken.sum(axis=0) <= 1).all()
    for of_list, found in zip(taken, lists, strict=True):
        assert set(np.flatnonzero(of_list)) <= set(found)
        if repeat:
            assert set(np.flatnonzero(of_list)) == set(found[: of_list.sum()])


@given(LISTS, st.integers(0, 9), st.data())
def test_no_list_takes_more_than_its_limit_and_a_higher_one_never_takes_less_in_all(lists, quota, data):
    limits = np.array(data.draw(st.lists(st.integers(0, 9), min_size=len(lists), max_size=len(lists))))
    taken = joint.take_turns(np.zeros(9, int), places(lists), quota, limits)
    assert (taken.sum(axis=1) <= limits).all()
    assert taken.sum() <= joint.take_turns(np.zeros(9, int), places(lists), quota).sum()


@given(st.lists(LISTS.filter(lambda lists: len(lists) >= 2).map(lambda lists: lists[:2]), min_size=1, max_size=4))
def test_groups_and_the_order_of_rows_do_not_matter_to_turns(groups):
    alone = [joint.take_turns(np.zeros(9, int), places(lists), 4) for lists in groups]
    group = np.repeat(np.arange(len(groups)), 9)
    together = np.concatenate([places(lists) for lists in groups], axis=1)
    assert (joint.take_turns(group, together, 4) == np.concatenate(alone, axis=1)).all()
    order = np.random.default_rng(1).permutation(len(group))
    mixed = joint.take_turns(group[order], together[:, order], 4)
    assert (mixed == np.concatenate(alone, axis=1)[:, order]).all()


@given(LISTS)
def test_the_union_is_of_all_retrievers_and_each_document_has_one_supplier(lists):
    supplier = joint.suppliers(ranks_of(lists, 9))
    assert set(np.flatnonzero(supplier >= 0)) == set().union(*lists)
    for document in np.flatnonzero(supplier >= 0):
        best = min(found.index(document) for found in lists if document in found)
        assert lists[supplier[document]].index(document) == best


@given(LISTS.filter(lambda lists: len(lists) >= 2), st.integers(1, 9))
def test_taking_a_retriever_away_takes_only_what_it_alone_supplied(lists, quota):
    keys = randomness.uniforms(randomness.mix(5, np.arange(9, dtype=np.uint64)))

    def union(lists):
        has = joint.suppliers(ranks_of(lists, 9)) >= 0
        keyed = np.where(has, keys, -np.inf)
        return set(np.flatnonzero(picking.highest(np.zeros(9, int), keyed, np.arange(9), np.full(9, quota)) & has))

    assert union(lists) - union(lists[:-1]) <= set(lists[-1])


@given(st.integers(1, 20), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_larger_share_never_lowers_a_limit(hard, one, other):
    low, high = sorted([one, other])

    def limit(share):
        return joint.Joint(max_share=share).limits(hard, ["a"])[0]

    assert limit(low) <= limit(high) <= hard
