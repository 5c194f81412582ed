"""The benchmark that proves equal triplets: its variants are what they say, and a difference is found."""

import collections
import json
import shutil
import sysconfig

import corpora
import pytest
import whole_path

from benchmarks import determinism
from gangue.pipeline import export, params, sample, teach
from gangue.transforms import at_hand
from gangue.transforms.datasets.storage import Data


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder as the benchmark leaves it after its first variant, of a job without models."""
    folder = tmp_path_factory.mktemp("work")
    corpora.mixed(5).write(folder / "corpus")
    values = {
        "source": corpora.source(folder / "corpus"),
        "retrievers": {"bm25": {"kind": "bm25", "depth": 12}},
        "filter": {"kind": "perc", "score": "bm25", "perc": 0.99, "positive": "max"},
        "sample": {"kind": "top", "score": "bm25", "negatives": 3},
    }
    (folder / "params.yaml").write_text(json.dumps(values))
    return folder, values, run("plain", folder, values)


def run(name, folder, values):
    data = Data(str(folder / name / "data"))
    whole_path.run(data, params.parse(determinism.changed(name, values, folder)))
    return determinism.outcome(data)


def test_other_shards_and_other_files_are_other_jobs_with_the_same_triplets(work):
    folder, values, plain = work
    found = {"plain": plain} | {name: run(name, folder, values) for name in ("shards", "16 files")}
    assert plain.triplets > 20
    assert determinism.differences(found) == []
    assert found["shards"].bytes != plain.bytes, "the recipe says how many rows a shard has"
    shards = {name: len(Data(str(folder / name / "data")).shards("triplets")) for name in ("plain", "shards")}
    assert shards["shards"] != shards["plain"]
    assert len(list((folder / "source 16 files" / "documents").iterdir())) == 16


def test_a_cross_encoder_learns_from_the_same_examples_in_the_same_order(work):
    folder, values, _ = work
    run("shards", folder, values)
    learned_from = []
    for name in ("plain", "shards"):
        data = Data(str(folder / name / "data"))
        ids = data.read_all("documents", ["document_id"])["document_id"].to_pylist()
        folds = [teach._examples(data, params.Teach(encoder="any"), fold) for fold in (0, 1)]
        learned_from.append([(texts, [ids[row] for row in rows], labels.tolist()) for texts, rows, labels in folds])
        at_hand.forget()
    assert learned_from[0] == learned_from[1]
    assert all(0 < sum(labels) < len(labels) for _, _, labels in learned_from[0])


def test_another_choice_and_another_order_are_differences(work, tmp_path):
    folder, values, plain = work
    shutil.copytree(folder / "plain" / "data", tmp_path / "data")
    data = Data(str(tmp_path / "data"))
    (first, *_) = data.shards("triplets")
    table = data.read("triplets", first)
    data.write("triplets", first, table.take(list(range(len(table)))[::-1]))
    data.commit("triplets")
    found = {"plain": plain, "hash seed 12345": determinism.outcome(data)}
    assert [line.partition(":")[0] for line in determinism.differences(found)] == ["hash seed 12345"] * 2
    shutil.copytree(folder / "plain" / "data", tmp_path / "other")
    other = params.parse(values | {"sample": values["sample"] | {"negatives": 2}})
    sample.run(Data(str(tmp_path / "other")), other)
    export.run(Data(str(tmp_path / "other")), other)
    found = {"plain": plain, "other": determinism.outcome(Data(str(tmp_path / "other")))}
    assert determinism.differences(found) == ["other: the rows of the triplets must be those of plain"]


def test_the_program_says_what_differs_and_fails(work, monkeypatch, capsys):
    folder, _, plain = work
    results = {"plain": plain, "workers 4": plain}
    monkeypatch.setattr(determinism, "mine", lambda name, values, folder: results[name])
    arguments = ["--params", str(folder / "params.yaml"), "--work", str(folder), "--variants", "workers 4"]
    assert determinism.main(arguments) == 0
    assert "Equal where they must be." in capsys.readouterr().out
    results["workers 4"] = plain._replace(bytes="other")
    assert determinism.main(arguments) == 1
    assert "workers 4: the bytes of the triplets must be those of plain" in capsys.readouterr().out


def test_the_texts_are_of_many_languages(work, tmp_path):
    folder, _, _ = work
    queries = Data(str(folder / "plain" / "data")).read_all("triplets", ["query_id"])["query_id"].to_pylist()
    assert {name.split()[0] for name in queries} == {"English", *corpora.LANGUAGES}
    source = {"kind": "python_code", "path": sysconfig.get_path("stdlib")}
    values = determinism.with_languages(source, tmp_path)
    records = list(params.PythonCode(**values).records())
    found = collections.Counter(record[1][0].split("::")[1].split("_")[0] for record in records if is_in(record))
    assert found == dict.fromkeys(("chinese", "japanese", "thai", "german", "arabic"), 6)
    assert sum(record[0] == "queries" for record in records if record[1][-2] == "languages.py") == 30


def is_in(record):
    return record[0] == "documents" and record[1][-2] == "languages.py"


def test_workers_and_hash_seeds_change_what_they_say(work):
    folder, values, _ = work
    for name in ("workers 4", "both"):
        assert determinism.changed(name, values, folder)["beam"]["workers"] == 4
    assert determinism.changed("hash seed 12345", values, folder) == values
