"""Models on a GPU; skipped where there is none."""

import models
import numpy as np
import pytest
import torch

from gangue.transforms.models import cross_encoder, encoder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

TEXTS = [" ".join(models.WORDS[(i + j) % 16] for j in range(i % 12)) for i in range(200)]


@pytest.fixture
def folder(tmp_path):
    return models.cross_encoder(tmp_path / "model")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_vectors_and_scores_are_those_of_the_processor(folder, dtype):
    tolerance = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 3e-3}[dtype]
    here, there = (encoder.Encoder(folder, 16, kind, False, "torch", None) for kind in (dtype, "float32"))
    assert here.model.device.type == "cuda"
    there.model.to("cpu")
    found = [model.encode(TEXTS, prompt="oak ", normalise=True) for model in (here, there)]
    assert np.abs(found[0] - found[1]).max() < tolerance
    one, other = (cross_encoder.CrossEncoder(folder, 16, kind, False) for kind in (dtype, "float32"))
    other.model.to("cpu")
    scores = [model.score(TEXTS, TEXTS[::-1]) for model in (one, other)]
    assert np.abs(scores[0] - scores[1]).max() < tolerance


def test_the_same_texts_have_the_same_bits_each_time(folder):
    model = encoder.load(folder, 16)
    first, second = (model.encode(TEXTS, prompt="", normalise=True, tokens=500) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_a_batch_that_does_not_fit_is_an_error_with_a_cure(folder):
    model = cross_encoder.load(folder, 64)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(max(64 << 20, torch.cuda.memory_reserved()) / total)
    try:
        with pytest.raises(
            ValueError, match=r"a batch must fit the GPU's memory, 9000000 tokens do not. Set a smaller"
        ):
            model.score(["oak " * 60] * 30_000, ["pad"] * 30_000, tokens=9_000_000)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
