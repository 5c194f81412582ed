"""What a taught cross-encoder depends on: its pairs and its settings, not the machine it was taught on."""

import json
import pathlib

import huggingface_hub.constants
import models
import numpy as np
import pytest

from gangue.transforms.models import configured, cross_encoder, folders
from gangue.transforms.settings import sections


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


def with_prompt(folder):
    """A model with a default prompt."""
    path = pathlib.Path(folder) / "config_sentence_transformers.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(config | {"prompts": {"ask": "oak "}, "default_prompt_name": "ask"}))
    return folder


@pytest.mark.parametrize("prompt", [None, "", "pad "])
@pytest.mark.parametrize("activation", [None, "sigmoid", "identity"])
def test_scores_are_those_of_predict_with_the_activation_and_prompt_of_the_params(start, activation, prompt):
    import sentence_transformers
    import torch

    queries, documents = ["ab", "ba", "oak pad"], ["cab dab", "dab", "rag"]
    theirs = sentence_transformers.CrossEncoder(with_prompt(start), max_length=16, device="cpu")
    function = {"sigmoid": torch.nn.Sigmoid(), "identity": torch.nn.Identity()}.get(activation)
    expected = theirs.predict(list(zip(queries, documents, strict=True)), activation_fn=function, prompt=prompt)
    model = cross_encoder.load(start, 16, activation=activation, prompt=prompt)
    np.testing.assert_allclose(model.score(queries, documents), expected, atol=1e-6)
    assert model.probable == (activation != "identity")


def test_what_a_text_goes_through_is_part_of_what_scores_depend_on(start):
    given = [{}, {"activation": "identity"}, {"activation": "sigmoid"}, {"prompt": ""}, {"prompt": "oak "}]
    prints = {configured.fingerprint(sections.Scorer(model=start, **some)) for some in given}
    assert len(prints) == len(given)


def test_an_activation_of_a_model_with_several_labels_is_refused(tmp_path):
    folder = models.cross_encoder(tmp_path / "two", labels=2)
    with pytest.raises(ValueError, match=r"activation: is of models of one label, but a score of .*two, which has 2"):
        cross_encoder.load(folder, 16, label=1, activation="identity")
