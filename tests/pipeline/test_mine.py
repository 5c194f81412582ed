"""The whole job: one command, the same bytes every time, and every stage on its own gives them too."""

import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import weakref

import jobs
import pandas
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gangue.pipeline import params, score, teach
from gangue.pipeline.command import cli
from gangue.transforms import randomness
from gangue.transforms.datasets import manifest, occupancy
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import cross_encoder


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A finished job: folder with params.yaml, data and reports."""
    folder = tmp_path_factory.mktemp("job")
    jobs.write(folder)
    done = mine(folder)
    assert done.exit_code == 0, done.output
    return folder


def mine(folder, data="data", reports="reports", parameters="params.yaml"):
    arguments = ["--params", str(folder / parameters), "--data", str(folder / data), "--reports", str(folder / reports)]
    return CliRunner().invoke(cli.app, ["mine", *arguments])


def content(folder):
    root = pathlib.Path(folder)
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != occupancy.NAME)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_a_job_leaves_triplets_views_and_a_report_and_nothing_temporary(job):
    assert set(os.listdir(job / "data" / "views")) == {
        "triplet", "ntuple", "labeled_pair", "labeled_list", "scored_pair", "scored_ntuple", "scored_list"
    }  # fmt: skip
    assert "<html" in (job / "reports" / "report.html").read_text()
    assert json.loads((job / "reports" / "audit.json").read_text())
    hidden = {path.name for path in (job / "data").rglob(".*")}
    assert hidden == {occupancy.NAME, manifest.NAME}
    assert not (job / "data" / occupancy.NAME).read_bytes()


@pytest.mark.parametrize("dataset", ["triplets", "documents", "views/triplet", "views/scored_list"])
def test_a_dataset_is_read_by_its_folder(job, tmp_path, monkeypatch, dataset):
    """As pandas, pyarrow and Hugging Face read one: what is no Parquet file must not be seen."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    folder, cache = str(job / "data" / dataset), str(tmp_path)
    rows = sum(Data(str(job / "data")).rows(dataset))
    assert rows
    assert pq.ParquetDataset(folder).read().num_rows == rows
    assert len(pandas.read_parquet(folder)) == rows
    assert len(datasets.load_dataset(folder, split="train", cache_dir=cache)) == rows
    assert len(datasets.load_dataset("parquet", data_dir=folder, split="train", cache_dir=cache)) == rows


def test_no_dataset_is_listed_once_a_shard(tmp_path, monkeypatch):
    """That, or reading all of it, would take time with the square of the shards."""
    listed = collections.Counter()
    files = Data.files

    def watched(self, dataset):
        listed[folder] += 1
        return files(self, dataset)

    monkeypatch.setattr(Data, "files", watched)
    values = jobs.write(tmp_path, model=str(tmp_path / "cross_encoder"))
    for folder, documents, queries in (("few shards", 32, 8), ("many shards", 8, 2)):
        values["ingest"] = {"documents_per_shard": documents, "queries_per_shard": queries}
        (tmp_path / "params.yaml").write_text(json.dumps(values))
        assert mine(tmp_path, data=folder).exit_code == 0
    assert listed["few shards"] == listed["many shards"]


def test_a_second_run_embeds_and_scores_nothing_and_writes_the_same_bytes(job):
    before = content(job / "data") | content(job / "reports")
    done = mine(job)
    assert done.exit_code == 0
    log = done.stderr
    assert "embedded" in log
    assert "encoded" not in log, "counts of zero are not shown"
    assert "predicted" not in log
    assert content(job / "data") | content(job / "reports") == before


CHOICES = {
    "clusters and all that makes negatives differ": {
        "pool": {"random": 3, "next_cluster": {"encoder": "tiny", "documents": 3}},
        "filter": {
            "kind": "same_cluster",
            "encoder": "tiny",
            "also": [{"kind": "denoise", "score": "taught", "max": 0.99}],
        },
        "sample": {
            "kind": "top",
            "score": "dense",
            "negatives": 4,
            "random": 1,
            "next_cluster": 1,
            "diverse": {"kind": "mmr", "encoder": "tiny"},
            "reuse": 4,
            "weight": {"kind": "cet", "pool": "bm25"},
        },
    },
    "documents compared": {
        "pool": {"random": 0},
        "filter": {"kind": "denoise", "score": "taught", "max": 0.99},
        "sample": {
            "kind": "simans",
            "score": "dense",
            "simans": {"against": "document"},
            "diverse": {"kind": "cluster", "encoder": "tiny"},
            "weight": {"kind": "phi", "score": "bm25", "phi": 1},
        },
    },
    "an ensemble with repeats": {
        "pool": {"random": 0},
        "sample": {
            "kind": "top",
            "score": "taught",
            "negatives": 4,
            "ensemble": {"kind": "intra", "scores": ["dense", "bm25", "taught"], "deduplicate": False},
        },
    },
    "from several retrievers, weighed by a probability": {
        "pool": {"random": 0},
        "sample": {
            "kind": "joint",
            "score": "taught",
            "joint": {"mode": "mixture", "max_share": 0.6},
            "weight": {"kind": "asl", "score": "taught", "form": "gradient"},
        },
    },
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_other_methods_choose_stands_the_audit_and_the_leak_test(name, job, tmp_path):
    shutil.copytree(job / "data", tmp_path / "data", symlinks=True)
    values = json.loads((job / "params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(json.dumps(values | CHOICES[name]))
    done = mine(tmp_path)
    assert done.exit_code == 0, done.output
    triplets = Data(str(tmp_path / "data")).read_all("triplets")
    assert len(triplets)
    weights = set(triplets["weight"].to_pylist())
    assert len(weights) > 1, "each of them weighs"
    numbers = json.loads((tmp_path / "reports" / "audit.json").read_text())
    assert numbers["hard"] + numbers["random"] + numbers["next_cluster"] == len(triplets)


def test_what_an_ensemble_chose_without_the_samplers_score_is_in_no_view_of_scores(job, tmp_path):
    """A cross-encoder reads some candidates only; ``MarginMSELoss`` ended in an error at the first null."""
    shutil.copytree(job / "data", tmp_path / "data", symlinks=True)
    values = json.loads((job / "params.yaml").read_text())
    values["scorers"]["taught"]["depth"] = 3
    values["sample"] = {
        "kind": "top",
        "score": "taught",
        "negatives": 2,
        "ensemble": {"kind": "cross", "scores": ["dense", "taught"]},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(values | {"pool": {"random": 0}}))
    done = mine(tmp_path)
    assert done.exit_code == 0, done.output
    data = Data(str(tmp_path / "data"))
    triplets = data.read_all("triplets")
    unscored = triplets["score_taught"].null_count
    assert 0 < unscored < len(triplets)
    assert f"{unscored} negatives have no score of taught (sample.score) and are in no view of scores" in done.stderr
    assert "Raise scorers.taught.depth" in done.stderr
    assert sum(data.rows("views/triplet")) == len(triplets)
    labels = data.read_all("views/scored_ntuple")["label"].to_pylist()
    assert labels
    lists = data.read_all("views/scored_list")["scores"].to_pylist()
    assert sum(len(scores) - 1 for scores in lists) == len(triplets) - unscored
    assert all(len(scores) > 1 and None not in scores for scores in lists + labels)
    assert not data.read_all("views/scored_pair")["score"].null_count
    reasons = collections.Counter(data.read_all("shortfalls")["reason"].to_pylist())
    assert reasons.keys() <= {"unscored", "perc", "denoise"}, "none of them was passed over"
    assert reasons["unscored"], "kept, and not read by the scorer that chooses"
    places = ["--params", "params.yaml", "--data", "data", "--reports", "reports"]
    places = [str(tmp_path / place) if "-" not in place else place for place in places]
    summary = CliRunner().invoke(cli.app, ["summary", *places])
    assert f"unscored {reasons['unscored']} (raise scorers.taught.depth)" in summary.output


def test_views_hold_the_scores_that_export_names_in_the_order_of_the_samplers(job, tmp_path):
    shutil.copytree(job / "data", tmp_path / "data", symlinks=True)
    values = json.loads((job / "params.yaml").read_text())
    values["export"] = {"views": ["labeled_list", "scored_list", "scored_pair"], "score": "taught"}
    values["filter"] = {"kind": "perc", "score": "dense", "perc": 0.99}  # export alone reads the cross-encoder
    values["scorers"]["taught"]["depth"] = 3
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    done = mine(tmp_path)
    assert done.exit_code == 0, done.output
    data = Data(str(tmp_path / "data"))
    triplets = data.read_all("triplets").to_pylist()
    unscored = sum(row["score_taught"] is None for row in triplets)
    assert 0 < unscored < len(triplets)
    assert f"{unscored} negatives have no score of taught (export.score) and are in no view of scores" in done.stderr
    assert sum(map(len, data.read_all("views/labeled_list")["labels"].to_pylist())) > len(triplets)
    expected = collections.Counter(
        (row["query"], row[text], row[score])
        for text, score in (("negative", "score_taught"), ("positive", "positive_score_taught"))
        for row in triplets
        if row["score_taught"] is not None
    )
    lists = data.read_all("views/scored_list").to_pylist()
    shown = [(row["query"], *each) for row in lists for each in zip(row["documents"], row["scores"], strict=True)]
    assert set(shown) == set(expected)
    dense = {(row["query"], row["negative"]): row["score_dense"] for row in triplets if row["negative_kind"] == "hard"}
    for row in lists:
        hard = [dense[key] for body in row["documents"][1:] if (key := (row["query"], body)) in dense]
        assert hard == sorted(hard, reverse=True), "the hardest come first, whoever's scores are shown"


def test_triplets_have_the_promised_columns_and_carry_their_recipe(job):
    files = sorted((job / "data" / "triplets").glob("*.parquet"))
    table = pq.read_table(files[0])
    assert table.column_names == [
        "query_id", "positive_id", "negative_id", "query", "positive", "negative", "negative_kind", "weight",
        "rank_dense", "rank_bm25", "score_dense", "score_bm25", "score_taught",
        "positive_score_dense", "positive_score_bm25", "positive_score_taught",
    ]  # fmt: skip
    recipe = json.loads(pq.read_schema(files[0]).metadata[b"gangue.recipe"])
    assert recipe["params"]["filter"]["perc"] == 0.99
    assert set(recipe["fingerprints"]) == {"tiny", "start", "taught"}
    assert str(job) not in json.dumps(recipe["params"]["source"])
    rows = table.to_pylist()
    assert rows == sorted(rows, key=lambda r: (r["query_id"], r["positive_id"], r["negative_id"]))
    assert {row["negative_kind"] for row in rows} == {"hard", "random"}


def test_no_query_is_scored_by_a_model_that_was_taught_on_it(job):
    data, p = Data(str(job / "data")), params.load(str(job / "params.yaml"))
    queries = data.read_all("queries").to_pylist()
    folds = dict(
        zip(
            (q["text"] for q in queries),
            randomness.fold_of([q["near_group"] for q in queries], cross_encoder.FOLDS).tolist(),
            strict=True,
        )
    )
    for fold in range(cross_encoder.FOLDS):
        texts, _, labels = teach._examples(data, p.scorers["taught"].teach, fold)
        assert {folds[text] for text in texts} == {1 - fold}
        assert 0 < labels.sum() < len(labels)
    scores = data.read_all("scores/taught").to_pylist()
    models = [
        cross_encoder.load(data.fetched("models/taught", f"fold-{fold}"), 32) for fold in range(cross_encoder.FOLDS)
    ]
    documents = {d["document_id"]: d["text"] for d in data.read_all("documents").to_pylist()}
    asked = {q["query_id"]: q["text"] for q in queries}
    for row in scores[::17]:
        text = asked[row["query_id"]]
        expected = models[folds[text]].score([text], [documents[row["document_id"]]], tokens=512)[0]
        assert row["score"] == pytest.approx(float(expected), abs=1e-5)


def test_a_deeper_scorer_scores_only_what_is_new(job):
    data, p = Data(str(job / "data")), params.load(str(job / "params.yaml"))
    before = sum(data.rows("scores/taught"))
    scorers = {"taught": p.scorers["taught"].model_copy(update={"depth": 11})}
    deeper = p.model_copy(update={"scorers": scorers})
    counts = score.run(data, deeper, "taught")
    assert counts["reused"] == before
    assert 0 < counts["predicted"] == sum(data.rows("scores/taught")) - before
    score.run(data, p, "taught")


def test_a_score_of_another_type_is_another_score(job):
    data, p = Data(str(job / "data")), params.load(str(job / "params.yaml"))
    exact = {(r["query_id"], r["document_id"]): r["score"] for r in data.read_all("scores/taught").to_pylist()}
    coarse = {"taught": p.scorers["taught"].model_copy(update={"dtype": "bfloat16"})}
    counts = score.run(data, p.model_copy(update={"scorers": coarse}), "taught")
    assert counts["predicted"] == len(exact)
    rows = data.read_all("scores/taught").to_pylist()
    assert 0 < max(abs(row["score"] - exact[row["query_id"], row["document_id"]]) for row in rows) < 0.05
    score.run(data, p, "taught")


def test_pairs_that_were_cut_are_said_with_the_key_that_reads_more(job, capfd):
    data, p = Data(str(job / "data")), params.load(str(job / "params.yaml"))
    short = {"taught": p.scorers["taught"].model_copy(update={"max_length": 8})}
    counts = score.run(data, p.model_copy(update={"scorers": short}), "taught")
    said = f"{counts['cut']} of {counts['predicted']} pairs were cut at 8 tokens; scorers.taught.max_length reads more"
    assert counts["cut"] > 0
    assert f"score@taught: {said}" in capfd.readouterr().err.splitlines()
    score.run(data, p, "taught")


def test_a_given_cross_encoder_is_used_without_teaching_and_no_model_stays_in_memory(tmp_path, monkeypatch):
    loaded, load = [], cross_encoder.CrossEncoder.__init__

    def remember(model, *arguments):
        load(model, *arguments)
        loaded.append(weakref.ref(model))

    monkeypatch.setattr(cross_encoder.CrossEncoder, "__init__", remember)
    jobs.write(tmp_path)
    jobs.write(tmp_path, model=str(tmp_path / "cross_encoder"))
    done = mine(tmp_path)
    assert done.exit_code == 0, done.output
    assert "embed@start: no retriever, rule or sampler reads encoders.start" in done.stderr
    left = [name.split("-")[0] for name in sorted(os.listdir(tmp_path / "data" / "models" / "taught"))]
    assert left == [".manifest.json", "origin"]
    assert loaded
    assert not any(model() for model in loaded)


def test_no_finite_score_at_all_fails_the_stage(job, monkeypatch):
    data, p = Data(str(job / "data")), params.load(str(job / "params.yaml"))
    monkeypatch.setattr(cross_encoder.CrossEncoder, "score", lambda self, q, d, **_: [float("nan")] * len(q))
    scorers = {"taught": p.scorers["taught"].model_copy(update={"depth": 12, "max_length": 31})}
    with pytest.raises(
        ValueError,
        match=r"scores/taught: a score must be finite, but none of \d+ is. Name another scorers.taught.model",
    ):
        score.run(data, p.model_copy(update={"scorers": scorers}), "taught")
    monkeypatch.undo()
    score.run(data, p, "taught")  # other tests read them, in whatever order


def test_bad_input_ends_in_one_line_and_leaves_the_earlier_output(job):
    before = content(job / "data")
    values = json.loads((job / "params.yaml").read_text())
    values["source"]["queries"] = "nowhere.jsonl"
    (job / "bad.yaml").write_text(json.dumps(values))
    done = mine(job, parameters="bad.yaml")
    assert done.exit_code == 1
    error = done.stderr.strip()
    assert "nowhere.jsonl" in error
    assert "Traceback" not in error
    assert content(job / "data") == before


def test_a_scorer_taught_anew_in_the_same_process_scores_as_in_a_new_one(job, tmp_path):
    p, places = params.load(str(job / "params.yaml")), (tmp_path / "one", tmp_path / "two")
    shutil.copytree(job / "data", places[0])
    shutil.rmtree(places[0] / "scores")
    counts = score.run(Data(str(places[0])), p, "taught")
    scorer = p.scorers["taught"]
    other = scorer.model_copy(update={"teach": scorer.teach.model_copy(update={"seed": 5})})
    teach.run(Data(str(places[0])), p.model_copy(update={"scorers": {"taught": other}}), "taught")
    shutil.copytree(*places)
    for place in places:
        assert score.run(Data(str(place)), p, "taught")["predicted"] == counts["predicted"]
    assert content(places[0] / "scores") == content(places[1] / "scores")
    assert content(places[0] / "scores") != content(job / "data" / "scores")


def test_show_prints_triplets_and_summary_says_where_to_look(job):
    shown = CliRunner().invoke(cli.app, ["show", "--data", str(job / "data"), "--rows", "2"])
    assert shown.exit_code == 0
    assert shown.output.count("negative ") == 2
    arguments = ["--params", str(job / "params.yaml"), "--data", str(job / "data"), "--reports", str(job / "reports")]
    summary = CliRunner().invoke(cli.app, ["summary", *arguments])
    assert summary.exit_code == 0
    assert "triplets from 24 queries" in summary.output
    assert "report.html" in summary.output


def test_where_nothing_is_chosen_show_and_summary_count_the_reasons_and_a_rejected_record_is_found(tmp_path):
    values = jobs.write(tmp_path, model=str(tmp_path / "cross_encoder"))
    values["sample"] = {
        "kind": "band",
        "score": "dense",
        "negatives": 2,
        "band": {"low": 90.0, "high": 91.0, "least": 0},
    }
    values |= {"scorers": {}, "pool": {}, "filter": {"kind": "naive"}}
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    with (tmp_path / "source" / "queries.jsonl").open("a") as file:
        file.write('{"query_id": "twice", "text": "one lone text"}\n{"query_id": "twice", "text": "and another"}\n')
    assert mine(tmp_path).exit_code == 0
    places = ["--data", str(tmp_path / "data")]
    short = sum(Data(str(tmp_path / "data")).rows("shortfalls"))
    shown = CliRunner().invoke(cli.app, ["show", *places])
    assert f"no rows. What positives lack negatives for: passed_over {short}" in shown.output
    more = ["--params", str(tmp_path / "params.yaml"), "--reports", str(tmp_path / "reports")]
    summary = CliRunner().invoke(cli.app, ["summary", *places, *more])
    assert f"0 of {short} positives have all 2 negatives. What the others lack them for: passed_over {short}." in (
        summary.output
    )
    assert "Leak test: not measured, since no negative could be chosen for the queries whose positives were hidden" in (
        summary.output
    )
    for asked in ("twice", "lone text"):
        found = CliRunner().invoke(cli.app, ["show", asked, *places])
        assert found.exit_code == 1
        assert re.search(r"a record with it was rejected, queries.jsonl line \d+: ", found.output)


def test_summary_loads_neither_beam_nor_torch(job):
    places = ["--params", str(job / "params.yaml"), "--data", str(job / "data"), "--reports", str(job / "reports")]
    code = (
        f"import sys; sys.argv[1:] = {['summary', *places]}\n"
        "from gangue.pipeline.command import cli\n"
        "try: cli.main()\n"
        "finally: print([name for name in ('apache_beam', 'torch') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "triplets from 24 queries" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", ["", "mine", "summary", "frontier", "show", "pool"])
def test_help_comes_without_importing_what_takes_long(command):
    heavy = ("apache_beam", "torch", "transformers", "pyarrow", "pandas", "numpy", "faiss", "matplotlib", "scipy")
    code = (
        f"import sys; sys.argv[1:] = {[*command.split(), '--help']}\n"
        "from gangue.pipeline.command import cli\n"
        "try: cli.main()\n"
        f"finally: print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "--help" in done.stdout
