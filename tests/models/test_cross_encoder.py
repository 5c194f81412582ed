"""What a taught cross-encoder depends on: its pairs and its settings, not the machine it was taught on."""

import huggingface_hub.constants
import models
import numpy as np
import pytest

from gangue.transforms.models import cross_encoder, folders


@pytest.fixture
def start(tmp_path):
    return models.cross_encoder(tmp_path / "start")


def taught(start, output):
    cross_encoder.teach(
        start, ["ab", "ba"] * 4, ["cab", "dab"] * 4, np.array([1, 0] * 4), layers=1, max_length=16, epochs=1,
        batch_size=4, learning_rate=1e-3, seed=1, output=str(output), checkpoint=f"{output}.unfinished",
    )  # fmt: skip
    return folders.fingerprint(str(output))


def test_whether_the_hub_can_be_reached_leaves_no_trace_in_a_taught_model(start, tmp_path, monkeypatch):
    prints = set()
    for offline in (False, True):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
        prints.add(taught(start, tmp_path / str(offline)))
    assert len(prints) == 1
