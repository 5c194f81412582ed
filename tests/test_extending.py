"""A further kind is one new file and its name: those of docs/extending.md, in a copy of the code, mine."""

import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jobs
import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer

from gangue.transforms.datasets.storage import Data

ROOT = pathlib.Path(__file__).resolve().parents[1]
CHARACTERS = 2
ALONE = "from gangue.pipeline.command import cli; cli.main()"


def block(page, after):
    """The block of code that follows some words of a page."""
    return re.search(r"```python\n(.*?)```", page[page.index(after) :], re.S)[1]


def extended(folder):
    """A copy of the code with the kinds of the page."""
    for package in ("gangue", "pipeline", "transforms"):
        shutil.copytree(ROOT / package, folder / package, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "extending.md").read_text()
    retrieval = folder / "transforms" / "retrieval"
    (retrieval / "spelling.py").write_text(block(page, "`transforms/retrieval/spelling.py`"))
    names = block(page, "Its name, in `transforms/retrieval/__init__.py`")
    old = (retrieval / "__init__.py").read_text()
    new, replaced = re.subn(r"^Settings = .*\n", names.replace("\\", r"\\"), old, flags=re.M)
    assert replaced == 1
    (retrieval / "__init__.py").write_text(new)
    return folder


def python(code, *arguments):
    """Run Python in a folder of code, and nowhere else."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Folder of a job that mines with the toy: found, judged, chosen and measured by it."""
    folder = tmp_path_factory.mktemp("extended")
    values = jobs.write(folder, model=str(folder / "cross_encoder"))
    values["retrievers"]["spelling"] = {
        "kind": "spelling",
        "depth": 8,
        "max_depth": 32,
        "characters": CHARACTERS,
    }
    values["filter"] = {
        "kind": "learned",
        "max_false_negatives": 0.6,
        "also": [{"kind": "perc", "score": "spelling", "perc": 0.9, "positive": "max"}],
    }
    values["calibrate"]["pool"] = "spelling"
    values["sample"] = {"kind": "top", "score": "spelling", "negatives": 3, "random": 1}
    (folder / "params.yaml").write_text(json.dumps(values))
    code = extended(folder / "code")
    call = "mine.run('../params.yaml', '../data', '../reports')"
    done = python(code, "-c", f"from gangue.pipeline import mine; print(mine.__file__); {call}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(code / "gangue" / "pipeline" / "mine.py")
    return folder


def cosines(queries, documents):
    """(q, d) of their counts of n-grams, hashed as the page says."""
    several = (CHARACTERS, CHARACTERS)
    hashing = HashingVectorizer(analyzer="char", ngram_range=several, n_features=512, alternate_sign=False)
    return (hashing.transform(queries) @ hashing.transform(documents).T).toarray()


def test_a_new_retriever_finds_what_is_best_by_its_score(job):
    data = Data(str(job / "data"))
    documents, queries = data.read_all("documents").to_pydict(), data.read_all("queries").to_pydict()
    expected = cosines(queries["text"], documents["text"])
    found = collections.defaultdict(list)
    for row in data.read_all("candidates/spelling").to_pylist():
        found[row["query_id"]].append((row["rank"], row["score"]))
    assert set(found) == set(queries["query_id"])
    for query, scores in zip(queries["query_id"], expected, strict=True):
        ranks, given = zip(*sorted(found[query]), strict=True)
        assert ranks == tuple(range(1, len(ranks) + 1))
        best = -np.sort(-scores)[: len(ranks)]
        assert given == pytest.approx(best.tolist(), abs=1e-6)
    depths = {len(rows) for rows in found.values()}
    assert depths <= {8, 16, 32}
    assert max(depths) > 8, "a query that misses its quota by the toy's scores is searched deeper"


def test_every_pair_is_scored_judged_and_chosen_by_it(job):
    data = Data(str(job / "data"))
    documents, queries = data.read_all("documents").to_pydict(), data.read_all("queries").to_pydict()
    expected = cosines(queries["text"], documents["text"])
    place = {name: number for number, name in enumerate(queries["query_id"])}
    pairs = data.read_all("pairs").to_pylist()
    assert {row["rank_spelling"] for row in pairs} >= {None, 1}
    for row in pairs:
        assert row["score_spelling"] == pytest.approx(expected[place[row["query_id"]], row["document_row"]], abs=1e-6)
    scores = {(row["query_id"], row["document_id"]): row["score_spelling"] for row in pairs}
    known = collections.defaultdict(list)
    for row in pairs:
        if row["positive"]:
            known[row["query_id"]].append(row["score_spelling"])
    fell = kept = 0
    hardest = collections.defaultdict(list)
    ranks = ("rank_dense", "rank_bm25", "rank_spelling")
    retrieved = {(row["query_id"], row["document_id"]) for row in pairs if any(row[rank] for rank in ranks)}
    for row in data.read_all("verdicts").to_pylist():
        pair = row["query_id"], row["document_id"]
        if row["verdict"] in ("perc", "kept"):
            below = scores[pair] < 0.9 * max(known[row["query_id"]])
            assert below == (row["verdict"] == "kept")
            fell, kept = fell + (not below), kept + below
        if row["verdict"] == "kept" and pair in retrieved:
            hardest[row["query_id"]].append(scores[pair])
    assert fell
    assert kept
    chosen = collections.defaultdict(list)
    for row in data.read_all("triplets").to_pylist():
        assert row["score_spelling"] == scores[row["query_id"], row["negative_id"]]
        assert row["positive_score_spelling"] == scores[row["query_id"], row["positive_id"]]
        if row["negative_kind"] == "hard":
            chosen[row["query_id"], row["positive_id"]].append(row["score_spelling"])
    assert chosen
    for (query, _), some in chosen.items():
        assert sorted(some) == sorted(hardest[query])[-2:]


def test_filter_leak_test_recipe_and_report_know_it(job):
    data, reports = Data(str(job / "data")), job / "reports"
    learned = data.read_note("relevance", "model.json")
    assert {"spelling", "spelling_standardised", "spelling_gap", "spelling_found"} <= set(learned["features"])
    numbers = json.loads((reports / "audit.json").read_text())
    assert "spelling" in numbers["leak"]["naive"]["by_retriever"]
    assert numbers["leak"]["hidden"] > 0
    assert "corrected" in numbers["leak"]["rules"]
    assert {"spelling"} <= set(numbers["means"]) & set(numbers["order"])
    assert numbers["overlap"]["dense_spelling"]
    assert json.loads((reports / "metrics.json").read_text())["hardness"] == numbers["means"]["spelling"]["negative"]
    assert "spelling" in (reports / "report.html").read_text()
    recipe = json.loads(data.read_all("triplets").schema.metadata[b"gangue.recipe"])
    assert recipe["params"]["retrievers"]["spelling"]["characters"] == CHARACTERS
    assert set(recipe["stopwords"]) == {"bm25"}


def test_its_stage_alone_writes_the_same(job):
    data = Data(str(job / "data"))
    before = {name: data.checksum(name) for name in ("candidates/spelling", "indexes/spelling/counts")}
    done = python(job / "code", "-c", ALONE, "retrieve", "spelling", "--data", "../data", "--params", "../params.yaml")
    assert done.returncode == 0, done.stderr
    assert {name: data.checksum(name) for name in before} == before


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("retrievers", {"spelling": {"kind": "speling"}}, "kind must be one of dense, bm25, spelling, got 'speling'."),
        ("retrievers", {"spelling": {"kind": "spelling", "characters": 0}}, "spelling.characters must be >= 1, got 0."),
        ("sample", {"kind": "simans", "simans": {"against": "document"}}, "must be a dense retriever, got spelling:"),
    ],
)
def test_its_mistakes_are_named(job, section, values, said):
    params = json.loads((job / "params.yaml").read_text())
    params[section] |= values
    code = f"from gangue.pipeline import params; params.parse({params!r})"
    assert said in python(job / "code", "-c", code).stderr
