"""Batches put together from token ids are what the models' own ``encode`` and ``predict`` read."""

import collections
import itertools

import models
import numpy as np
import pytest

from gangue.transforms.models import batching, cross_encoder, encoder

TEXTS = ["", "ab", "ab ba cab", "ab " * 30, "oak pad rag sad", "zzz had"]
PAIRS = list(itertools.product(TEXTS, TEXTS))


@pytest.fixture
def folder(tmp_path):
    return models.cross_encoder(tmp_path / "model")


def change(folder, **attributes):
    """The same model with another tokenizer."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder, **attributes).save_pretrained(folder)
    changed = AutoTokenizer.from_pretrained(folder)
    assert {name: getattr(changed, name) for name in attributes} == attributes


def like_roberta(folder):
    """Two marks between the texts of a pair, and no types."""
    from tokenizers import processors
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    marks = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=marks
    )
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)


def without_marks(folder):
    from tokenizers import processors
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1")
    tokenizer.save_pretrained(folder)


KINDS = {
    "as it is": lambda folder: None,
    "padded on the left": lambda folder: change(folder, padding_side="left"),
    "like RoBERTa": like_roberta,
    "without marks": without_marks,
}


def same(read, expected):
    given = {name: value.numpy() for name, value in expected.items() if hasattr(value, "numpy")}
    assert given
    return all(np.array_equal(read[name], value) for name, value in given.items())


@pytest.mark.parametrize("max_length", [5, 6, 7, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_pairs_is_what_the_cross_encoder_makes_of_it(folder, kind, max_length):
    KINDS[kind](folder)
    model = cross_encoder.CrossEncoder(folder, 16, "float32", trust_remote_code=False)
    model.model.max_seq_length = max_length  # also one that a job may not have, since it holds one text only
    read = batching.Pairs(model.model.tokenizer, *zip(*PAIRS, strict=True), max_length)
    rng = np.random.default_rng(3)
    for size in (1, 5, len(PAIRS)):
        batch = rng.permutation(len(PAIRS))[:size]
        expected = model.model.preprocess([PAIRS[i] for i in batch])
        assert same(read.features(batch), expected)
        assert read.lengths[batch].tolist() == expected["attention_mask"].sum(axis=1).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_predict(folder, kind, monkeypatch):
    KINDS[kind](folder)
    model = cross_encoder.CrossEncoder(folder, 16, "float32", trust_remote_code=False)
    expected = np.empty(len(PAIRS), np.float32)
    lengths = np.array(
        [
            len(ids)
            for ids in model.model.tokenizer(*zip(*PAIRS, strict=True), truncation=True, max_length=16)["input_ids"]
        ]
    )
    for batch in batching.batches(lengths, 100):
        expected[batch] = model.model.predict([PAIRS[i] for i in batch], batch_size=len(batch))
    monkeypatch.setattr(model.model, "predict", None)  # not even asked
    assert model.score(*zip(*PAIRS, strict=True), tokens=100).tolist() == expected.tolist()


@pytest.mark.parametrize("prompt", ["", "oak "])
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_encode(folder, kind, prompt, monkeypatch):
    KINDS[kind](folder)
    model = encoder.load(folder, 16)
    expected = np.empty((len(TEXTS), 32), np.float32)
    lengths = np.array(
        [
            len(ids)
            for ids in model.model.tokenizer([prompt + text for text in TEXTS], truncation=True, max_length=16)[
                "input_ids"
            ]
        ]
    )
    for batch in batching.batches(lengths, 30):
        expected[batch] = model.model.encode([TEXTS[i] for i in batch], prompt=prompt, normalize_embeddings=True)
    monkeypatch.setattr(model.model, "encode", None)
    found = model.encode(TEXTS, prompt=prompt, normalise=True, tokens=30)
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("max_length", [5, 8, 16])
def test_what_is_cut_is_counted_and_nothing_else(folder, max_length):
    counts = collections.Counter()
    tokenizer = encoder.load(folder, max_length).model.tokenizer
    encoder.load(folder, max_length).encode(TEXTS, prompt="oak ", normalise=True, counts=counts)
    whole = [len(tokenizer("oak " + text)["input_ids"]) for text in TEXTS]
    assert counts["cut"] == sum(length > max_length for length in whole)
    counts.clear()
    cross_encoder.load(folder, max_length).score(*zip(*PAIRS, strict=True), counts=counts)
    whole = [len(ids) for ids in tokenizer(*map(list, zip(*PAIRS, strict=True)))["input_ids"]]
    assert 0 < counts["cut"] == sum(length > max_length for length in whole)


def test_a_prompt_that_the_mean_leaves_out_is_left_out(folder):
    from sentence_transformers import SentenceTransformer

    model = encoder.load(folder, 16)
    model.model[1].include_prompt = False
    expected = model.model.encode(["ab ba"], prompt="oak ")
    assert isinstance(model.model, SentenceTransformer)
    assert model.encode(["ab ba"], prompt="oak ", normalise=False).tolist() == expected.tolist()
    assert model.encode(["oak ab ba"], prompt="", normalise=False).tolist() != expected.tolist()


def test_a_model_that_reads_something_else_is_left_to_itself(folder):
    """Cut on the left, a long pair keeps other tokens than those put together here."""
    change(folder, truncation_side="left")
    model = cross_encoder.CrossEncoder(folder, 8, "float32", trust_remote_code=False)
    queries, documents = ["ab", "ab ba"], ["oak pad rag sad had jab lab " * 4, "had"]
    expected = model.model.predict(list(zip(queries, documents, strict=True)), batch_size=1)
    assert model.score(queries, documents, tokens=8).tolist() == expected.tolist()
    pairs = batching.Pairs(model.model.tokenizer, queries, documents, 8)
    assert batching.outputs(model.model, list(zip(queries, documents, strict=True)), pairs, 8, model._scores) is None


def test_nothing_gives_nothing(folder):
    assert encoder.load(folder, 16).encode([], prompt="", normalise=True).shape == (0, 32)
    assert cross_encoder.load(folder, 16).score([], []).shape == (0,)


@pytest.mark.parametrize(
    "load", [lambda folder: encoder.load(folder, 16), lambda folder: cross_encoder.load(folder, 16)]
)
def test_weights_stored_in_half_precision_are_computed_with_as_asked(folder, load):
    """transformers would take the type that they are stored in."""
    import torch
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    assert {weight.dtype for weight in load(folder).model.parameters()} == {torch.float32}


def test_a_tokenizer_is_given_few_texts_at_a_time_and_none_twice(folder, monkeypatch):
    """What it returns is two hundred bytes a token: of all pairs of a shard that is a gigabyte."""
    tokenizer = cross_encoder.CrossEncoder(folder, 16, "float32", trust_remote_code=False).model.tokenizer
    given = []
    tokenise = type(tokenizer).__call__

    def watched(self, texts, *more, **how):
        given.append(texts)
        return tokenise(self, texts, *more, **how)

    monkeypatch.setattr(type(tokenizer), "__call__", watched)
    documents = [f"ab {n}" for n in range(600)]
    batching.Pairs(tokenizer, ["ab", "ba"] * 600, [text for text in documents for _ in range(2)], 16)
    batches = [texts for texts in given if isinstance(texts, list)]
    assert max(map(len, batches)) <= 256
    assert sum(map(len, batches)) == 600 + 2


def test_batches_stay_within_their_tokens_and_hold_every_text():
    lengths = np.random.default_rng(1).integers(1, 50, 200)
    seen = []
    for batch in batching.batches(lengths, 100):
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= 100
        seen.extend(batch.tolist())
    assert sorted(seen) == list(range(200))
