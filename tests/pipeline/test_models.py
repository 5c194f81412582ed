"""A model that was trained further in its folder: DVC sees its name alone."""

import json

import pytest
from models import static_encoder

from gangue.pipeline import mine
from gangue.pipeline.command import show
from gangue.transforms import at_hand


@pytest.fixture
def told(tmp_path, capsys):
    """Mine, or only ask, with a model in a folder; returns what the summary notes."""
    asked = [f"question {i} oak" for i in range(12)]
    rows = "".join(json.dumps({"anchor": text, "positive": f"answer {i} elm"}) + "\n" for i, text in enumerate(asked))
    (tmp_path / "pairs.jsonl").write_text(rows)
    values = {
        "source": {"kind": "pairs", "path": str(tmp_path), "pairs": "pairs.jsonl"},
        "encoders": {"tiny": {"model": str(tmp_path / "encoder")}},
        "retrievers": {"dense": {"kind": "dense", "encoder": "tiny"}},
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "dense", "negatives": 2},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    static_encoder(tmp_path / "encoder")
    given = [str(tmp_path / name) for name in ("params.yaml", "data", "reports")]

    def notes(*, mined):
        at_hand.forget()  # what a new process would not know
        if mined:
            mine.run(*given)
        capsys.readouterr()
        show.summary(*given)
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: ")]

    return notes


def test_triplets_of_a_model_that_was_trained_further_since_are_said_to_be(told, tmp_path):
    assert told(mined=True) == []
    static_encoder(tmp_path / "encoder", dimensions=8)
    (note,) = told(mined=False)
    assert f"an earlier content of encoders.tiny.model ({tmp_path / 'encoder'})" in note
    assert note.endswith("Mine again: gangue mine, or dvc repro --force.")
    assert told(mined=True) == []


def test_a_model_that_is_not_here_has_not_changed_here(told, tmp_path):
    assert told(mined=True) == []
    (tmp_path / "encoder").rename(tmp_path / "elsewhere")
    assert told(mined=False) == []
