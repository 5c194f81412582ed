"""What a taught cross-encoder depends on: its pairs and its settings, not the machine it was taught on."""

import itertools

import huggingface_hub.constants
import models
import numpy as np
import pytest

from transforms import cross_encoder, encoder


@pytest.fixture
def start(tmp_path):
    return models.cross_encoder(tmp_path / "start")


def taught(start, output):
    cross_encoder.teach(
        start, ["ab", "ba"] * 4, ["cab", "dab"] * 4, np.array([1, 0] * 4), layers=1, max_length=16, epochs=1,
        batch_size=4, learning_rate=1e-3, seed=1, output=str(output),
    )  # fmt: skip
    return encoder.fingerprint(str(output))


def test_whether_the_hub_can_be_reached_leaves_no_trace_in_a_taught_model(start, tmp_path, monkeypatch):
    prints = set()
    for offline in (False, True):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
        prints.add(taught(start, tmp_path / str(offline)))
    assert len(prints) == 1


@pytest.mark.parametrize("max_length", [5, 16])
def test_a_pair_is_as_long_as_the_model_reads_it(start, max_length):
    model = cross_encoder.load(start, max_length)
    texts = ["", "ab", "ab ba cab", "ab " * 30]
    queries, documents = zip(*itertools.product(texts, texts), strict=True)
    read = model.model.tokenizer(list(queries), list(documents), truncation=True, max_length=max_length)["input_ids"]
    assert model.lengths(queries, documents).tolist() == [len(ids) for ids in read]


def test_a_tokenizer_is_given_few_texts_at_a_time_and_none_twice(start, monkeypatch):
    """What it returns is two hundred bytes a token: of all pairs of a shard that is a gigabyte."""
    model = cross_encoder.CrossEncoder(start, 16, trust_remote_code=False)
    given = []
    kind = type(model.model.tokenizer)
    tokenise = kind.__call__

    def watched(self, texts, *more, **how):
        given.append(texts)
        return tokenise(self, texts, *more, **how)

    monkeypatch.setattr(kind, "__call__", watched)
    documents = [f"ab {n}" for n in range(600)]
    model.lengths(["ab", "ba"] * 600, [text for text in documents for _ in range(2)])
    assert max(map(len, given)) <= 256
    assert sum(map(len, given)) == 600 + 2
