import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gangue.transforms import text
from gangue.transforms.records import duplicates

WORDS = st.sampled_from(["the", "a", "law", "of", "lift", "drag", "wing", "flow"])
TEXTS = st.lists(st.lists(WORDS, max_size=12).map(" ".join), min_size=1, max_size=20)


def trigrams(sentence):
    words = sentence.split()
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)} or ({tuple(words)} if words else set())


def jaccard(one, other):
    one, other = trigrams(one), trigrams(other)
    return len(one & other) / len(one | other) if one and other else 0.0


def groups(sentences, threshold, ids=None):
    """Id -> smallest id of its group; ids are made of the texts' places where none are given."""
    ids = ids if ids is not None else [f"{i:03d}" for i in range(len(sentences))]
    column = pa.chunked_array([sentences], pa.string())
    hashes = text.hash_numbers(text.hashes(column))
    ordered = sorted(ids)
    ranks = np.array([ordered.index(name) for name in ids])
    texts = duplicates.numbered(hashes)
    signatures = np.empty((texts.max(initial=-1) + 1, duplicates.PERMUTATIONS), np.uint32)
    signatures[texts] = duplicates.signatures(column)
    found = duplicates.near_groups(ranks, texts, duplicates.Sketches.of(signatures), threshold)
    return {name: ordered[rank] for name, rank in zip(ids, found, strict=True)}


def long_text(seed, words=60):
    return " ".join(np.random.default_rng(seed).choice(2000, words).astype(str))


def test_signatures_estimate_the_jaccard_similarity_of_trigrams():
    base = [str(number) for number in range(200)]
    for changed in (0, 5, 20, 60):
        other = [f"x{word}" if place < changed else word for place, word in enumerate(base)]
        pair = [" ".join(base), " ".join(other)]
        one, two = duplicates.signatures(pa.chunked_array([pair]))
        assert (one == two).mean() == pytest.approx(jaccard(*pair), abs=0.13)


def test_the_estimate_has_no_bias():
    errors = []
    for seed in range(200):
        one = long_text(seed).split()
        other = [*one[:45], *long_text(seed + 1000, 15).split()]
        left, right = duplicates.signatures(pa.chunked_array([[" ".join(one), " ".join(other)]]))
        errors.append((left == right).mean() - jaccard(" ".join(one), " ".join(other)))
    assert abs(np.mean(errors)) < 0.015


def test_a_signature_is_the_same_on_every_machine_and_release():
    found = duplicates.signatures(pa.chunked_array([["the first law of thermodynamics", "lift", ""]]))
    digest = hashlib.blake2b(found.astype("<u4").tobytes(), digest_size=8).hexdigest()
    assert digest == "fc20d79144653a0c"


@given(TEXTS)
@settings(max_examples=60, deadline=None)
def test_a_signature_depends_on_its_own_text_only(sentences):
    together = duplicates.signatures(pa.chunked_array([sentences], pa.string()))
    alone = [duplicates.signatures(pa.chunked_array([[s]], pa.string()))[0] for s in sentences]
    chunked = duplicates.signatures(pa.chunked_array([[s] for s in sentences], pa.string()))
    np.testing.assert_array_equal(together, np.stack(alone))
    np.testing.assert_array_equal(together, chunked)


@given(TEXTS)
@settings(max_examples=60, deadline=None)
def test_signatures_are_equal_where_the_trigrams_are(sentences):
    found = duplicates.signatures(pa.chunked_array([sentences], pa.string()))
    for one, left in zip(sentences, found, strict=True):
        for other, right in zip(sentences, found, strict=True):
            assert (left == right).all() == (trigrams(one) == trigrams(other))


def test_word_order_counts():
    one, other = duplicates.signatures(pa.chunked_array([["a law of lift", "lift of law a"]]))
    assert (one == other).mean() < 0.1


def test_more_rows_than_one_part_of_the_matrix():
    sentences = [long_text(seed, 5) for seed in range(1030)]
    found = duplicates.signatures(pa.chunked_array([sentences]))
    np.testing.assert_array_equal(found[1025:], duplicates.signatures(pa.chunked_array([sentences[1025:]])))


def test_no_texts_have_no_signatures_and_no_groups():
    assert duplicates.signatures(pa.chunked_array([], pa.string())).shape == (0, 128)
    assert groups([], 0.85) == {}


def test_equal_texts_are_one_group_with_and_without_signatures():
    assert groups(["a b c d", "x y z", "a b c d"], 0.85) == {"000": "000", "001": "001", "002": "000"}
    assert duplicates.near_groups(np.arange(3), np.array([0, 1, 0]), None, None).tolist() == [0, 1, 0]


def test_equal_short_texts_are_one_group():
    assert set(groups(["lift", "lift", "drag", "lift drag"], 0.5).values()) == {"000", "002", "003"}


def test_an_empty_text_is_near_to_nothing():
    column = pa.chunked_array([["", ""]])
    # As if two empty texts had different hashes: nothing in their signatures joins them.
    sketches = duplicates.Sketches.of(duplicates.signatures(column))
    found = duplicates.near_groups(np.arange(2), np.arange(2), sketches, 0.01)
    assert found.tolist() == [0, 1]


def test_one_changed_word_in_a_long_text_is_a_near_duplicate():
    text_ = long_text(1).split()
    changed = " ".join([*text_[:-1], "other"])
    assert jaccard(" ".join(text_), changed) > 0.95
    assert groups([" ".join(text_), long_text(2), changed], 0.85) == {
        "000": "000",
        "001": "001",
        "002": "000",
    }


def test_a_threshold_of_one_joins_equal_trigrams_only():
    text_ = long_text(1)
    assert set(groups([text_, text_ + " more"], 1.0).values()) == {"000", "001"}


def test_nearly_all_pairs_above_the_threshold_are_found_and_few_below():
    sentences, pairs = [], []
    for seed in range(150):
        words = long_text(seed, 100).split()
        share = 1 + seed % 12
        sentences += [" ".join(words), " ".join([*words[:-share], *long_text(seed + 5000, share).split()])]
        pairs.append(jaccard(*sentences[-2:]))
    found = groups(sentences, 0.85)
    joined = np.array([found[f"{2 * i:03d}"] == found[f"{2 * i + 1:03d}"] for i in range(150)])
    pairs = np.array(pairs)
    assert joined[pairs > 0.93].mean() == 1
    assert joined[pairs < 0.75].mean() == 0 if (pairs < 0.75).any() else True
    assert (joined == (pairs >= 0.85)).mean() > 0.85


def test_a_chain_of_near_duplicates_is_one_group():
    words = long_text(3, 100).split()
    chain = [" ".join([*[f"x{i}" for i in range(step)], *words[step:]]) for step in range(0, 30, 3)]
    assert jaccard(chain[0], chain[-1]) < 0.7
    assert set(groups(chain, 0.85).values()) == {"000"}


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_texts_does_not_matter(random):
    sentences = []
    for seed in range(12):
        words = long_text(seed, 40).split()
        sentences += [" ".join(words), " ".join([*words[:-2], "a", "b"]), " ".join([*words[:-5], *"vwxyz"])]
    sentences += sentences[:5]
    ids = [f"{i:03d}" for i in range(len(sentences))]
    expected = groups(sentences, 0.8, ids)
    order = list(range(len(ids)))
    random.shuffle(order)
    assert groups([sentences[i] for i in order], 0.8, [ids[i] for i in order]) == expected


def test_a_bucket_with_strays_between_still_joins_its_pairs():
    words = long_text(9, 80).split()
    sentences = [" ".join([*words[:-1], f"end{i}"]) for i in range(300)]
    assert set(groups(sentences, 0.85).values()) == {"000"}


def test_sketches_may_be_memory_mapped(tmp_path):
    sentences = [long_text(1), long_text(1) + " more", long_text(2)]
    column = pa.chunked_array([sentences])
    sketches = duplicates.Sketches.of(duplicates.signatures(column))
    mapped = [np.memmap(tmp_path / str(part.dtype), part.dtype, "w+", shape=part.shape) for part in sketches]
    for target, part in zip(mapped, sketches, strict=True):
        target[:] = part
    found = duplicates.near_groups(np.arange(3), np.arange(3), duplicates.Sketches(*mapped), 0.85)
    assert found.tolist() == [0, 0, 2]
