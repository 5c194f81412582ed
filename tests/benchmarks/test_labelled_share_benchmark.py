"""The benchmark of the labelled share on a corpus made in memory, whose truth is known by construction."""

import json

import numpy as np
import pytest
import scipy.sparse

from benchmarks import labelled_share, simulated


def corpus(topics=40, each=6, others=20, seed=0):
    """Queries of topics whose documents lie near them, in vectors and in words."""
    generator = np.random.default_rng(seed)
    documents = topics * (each + others)
    topic = np.repeat(np.arange(topics), each + others)
    answers = np.tile(np.arange(each + others) < each, topics)
    vectors = {}
    for encoder in simulated.ENCODERS:
        centres = generator.normal(size=(topics, 16))
        noise = generator.normal(size=(documents, 16)) * np.where(answers, 0.3, 1.2)[:, None]
        pair = (centres, centres[topic] + noise)
        vectors[encoder] = tuple((v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in pair)
    words = np.zeros((documents, topics + 50), np.float32)
    words[np.arange(documents), topic] = 1 + answers
    words[np.arange(documents), topics + generator.integers(0, 50, documents)] = 1
    asked = np.zeros((topics, topics + 50), np.float32)
    asked[np.arange(topics), np.arange(topics)] = 1
    matrices = (scipy.sparse.csr_matrix(asked), scipy.sparse.csr_matrix(words))
    positives = [np.flatnonzero((topic == number) & answers) for number in range(topics)]
    return simulated.Corpus("made", positives, vectors, matrices)


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(simulated, "prepare", lambda folder, work: corpus())


def test_it_prints_truth_and_interval_of_every_regime_and_sums_them_up(made, tmp_path, capsys):
    arguments = ["--data", str(tmp_path / "made"), "--work", str(tmp_path), "--seeds", "1"]
    assert labelled_share.main(arguments) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    single = [line for line in lines if "data" in line]
    assert {(line["labelled"], line["chosen_by"]) for line in single} == {
        (labelled, how) for labelled in labelled_share.LABELLED for how in labelled_share.CHOSEN_BY
    }
    for line in single:
        assert 0 < line["low"] <= line["middle"] <= line["high"] <= 1
        wanted = 1 / 6 if line["labelled"] == 1 else max(1, round(6 * line["labelled"])) / 6
        assert line["true"] == pytest.approx(wanted, abs=0.1)
    every = {line["chosen_by"]: line for line in lines if "data" not in line}
    at_random = [line for line in single if line["chosen_by"] == "random"]
    assert every["random"]["promised"] == pytest.approx(np.mean([line["promised"] for line in at_random]))
    assert every["random"]["promised"] == 1.0
