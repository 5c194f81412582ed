"""A toy of each kind, added from outside as ``docs/extending.md`` shows: one file, one line and its import."""

import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

import models
import pyarrow.parquet as pq
import pytest

from gangue.transforms.datasets import schema
from gangue.transforms.datasets.storage import Data

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
KINDS = ("A rule", "A sampler", "A weight", "A source", "A view")


def section(kind):
    """(path, content) of the new file, and (path, lines) of the change."""
    (text,) = re.findall(rf"(?ms)^## {kind}$(.*?)(?=^## |\Z)", PAGE)
    file, change = (re.search(rf"```{kind}\n# (\S+)\n(.*?)```", text, re.S).groups() for kind in ("python", "diff"))
    return file, (change[0], change[1].splitlines())


def changed(text, change):
    """A file with the lines of a change: those with a blank and those that go must be there, in this order."""
    lines, at = text.split("\n"), 0
    for line in change:
        if line[0] == "+":
            lines.insert(at, line[1:])
            at += 1
        else:
            at = lines.index(line[1:], at)
            if line[0] == "-":
                del lines[at]
            else:
                at += 1
    return "\n".join(lines)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The code with all toys."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("gangue", "pipeline", "transforms"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for kind in KINDS:
        (new, content), (old, change) = section(kind)
        assert not (folder / new).exists()
        (folder / new).write_text(content)
        (folder / old).write_text(changed((folder / old).read_text(), change))
    return folder


@pytest.fixture(scope="module")
def mined(tree, tmp_path_factory):
    """A job that uses all of them."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "source").mkdir()
    rng = random.Random(5)
    lines = [" ".join(rng.choices(models.WORDS, k=4)) + f" n{number}" for number in range(81)]
    (folder / "source" / "faq.txt").write_text("\n".join(lines) + "\n")
    values = {
        "source": {"kind": "turns", "path": str(folder / "source"), "name": "faq.txt"},
        "encoders": {"tiny": {"model": models.static_encoder(folder / "encoder")}},
        "retrievers": {"dense": {"kind": "dense", "encoder": "tiny", "depth": 20}},
        "filter": {"kind": "odd_rank", "score": "dense"},
        "sample": {
            "kind": "easiest",
            "score": "dense",
            "negatives": 3,
            "easiest": {"least": 0.1},
            "weight": {"kind": "by_rank", "retriever": "dense"},
        },
        "export": {"views": ["triplet", "text_only"]},
    }
    (folder / "params.yaml").write_text(json.dumps(values))  # JSON is YAML
    run(tree, folder, "import sys; sys.argv[1:] = ['mine']; cli.main()")
    return folder


def run(tree, folder, code):
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    result = subprocess.run(
        [sys.executable, "-c", f"from gangue.pipeline.command import cli; {code}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert not result.returncode, result.stderr
    return result.stdout


def rows(mined, dataset):
    return Data(str(mined / "data")).read_all(dataset).to_pylist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_toy_is_one_file_and_one_line_beside_its_import(kind):
    (new, content), (old, change) = section(kind)
    assert pathlib.Path(old) == pathlib.Path(new).parent / "__init__.py"
    added, removed = ([line[1:] for line in change if line[0] == mark] for mark in "+-")
    imports = [line for line in added if line.startswith("from ")]
    assert (len(added), len(imports)) == (2, 1)
    assert len(removed) <= 1
    assert imports[0].startswith(f"from gangue.{new.removesuffix('.py').replace('/', '.')} import ")
    assert len(content.splitlines()) < 40


def test_the_toys_are_as_the_rest_of_the_code(tree):
    new = [str(tree / section(kind)[0][0]) for kind in KINDS] + [str(tree / section(kind)[1][0]) for kind in KINDS]
    for tool in (["check"], ["format", "--check"]):
        told = subprocess.run([sys.executable, "-m", "ruff", *tool, *new], cwd=tree, capture_output=True, text=True)
        assert not told.returncode, told.stdout


def test_the_source_read_its_file_and_told_of_what_it_could_not_use(mined):
    assert len(rows(mined, "queries")) == len(rows(mined, "documents")) == len(rows(mined, "positives")) == 40
    assert [(row["line"], row["reason"]) for row in rows(mined, "rejected")] == [(81, "no answer")]


def judged(mined):
    """Pairs against which no relation speaks."""
    return [row for row in rows(mined, "pairs") if not any(row[relation] for relation in schema.RELATIONS)]


def test_the_rule_dropped_odd_ranks_and_no_other(mined):
    counted = json.loads((mined / "reports" / "audit.json").read_text())["verdicts"]
    odd = sum(row["rank_dense"] % 2 for row in judged(mined))
    assert (counted["odd_rank"], counted["kept"]) == (odd, len(judged(mined)) - odd)
    assert odd > 300
    assert all(row["rank_dense"] % 2 == 0 for row in rows(mined, "triplets"))


def test_the_sampler_took_the_lowest_scores_that_reach_its_bound(mined):
    chosen, may = {}, {}
    for row in rows(mined, "triplets"):
        chosen.setdefault(row["query_id"], []).append(row["score_dense"])
    for row in judged(mined):
        if row["rank_dense"] % 2 == 0 and row["score_dense"] >= 0.1:
            may.setdefault(row["query_id"], []).append(row["score_dense"])
    assert len(chosen) > 30
    assert any(len(scores) > 3 for scores in may.values())
    assert {query: sorted(scores) for query, scores in chosen.items()} == {
        query: sorted(scores)[:3] for query, scores in may.items()
    }


def test_the_weight_is_one_over_the_rank(mined):
    assert all(row["weight"] == pytest.approx(1 / row["rank_dense"]) for row in rows(mined, "triplets"))


def test_the_view_has_every_triplet_as_one_text(mined):
    texts = [row["text"] for row in rows(mined, "views/text_only")]
    every = sorted(  # of each positive the hardest first
        rows(mined, "triplets"),
        key=lambda row: (
            row["query_id"],
            row["positive_id"],
            row["negative_kind"] != "hard",
            -row["score_dense"],
            row["negative_id"],
        ),
    )
    assert texts == ["|".join(row[key] for key in ("query", "positive", "negative")) for row in every]


def test_the_recipe_names_all_of_them(mined):
    path = next((mined / "data" / "triplets").glob("*.parquet"))
    found = json.loads(pq.read_schema(path).metadata[b"gangue.recipe"])["params"]
    assert found["source"] == {"kind": "turns", "name": "faq.txt"}
    assert found["filter"] == {"kind": "odd_rank", "score": "dense", "also": []}
    assert (found["sample"]["kind"], found["sample"]["easiest"]) == ("easiest", {"least": 0.1})
    assert found["sample"]["weight"] == {"kind": "by_rank", "retriever": "dense"}
    assert found["export"] == {"views": ["triplet", "text_only"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("v['filter']['score'] = 'desne'", "filter.score must be one of dense, got desne. Did you mean dense?"),
        ("v['filter']['scores'] = 1", "filter.scores: unknown key. Did you mean score?"),
        ("v['filter']['max_false_negatives'] = 0.1", "filter: max_false_negatives chooses "),
        ("v['sample']['easiest'] = {'leest': 1}", "sample.easiest.leest: unknown key. Did you mean least?"),
        ("v['sample']['weight']['retriever'] = 'x'", "sample.weight.retriever must be one of dense, got x"),
        ("v['source']['kind'] = 'turn'", "source.kind must be one of .*, turns, got 'turn'. Did you mean turns?"),
        ("v['export']['views'] = ['text_onl']", "export.views.0 must be one of .*Did you mean text_only?"),
    ],
)
def test_mistakes_in_their_keys_are_told_as_those_of_all_others(tree, mined, change, message):
    code = (
        "import json; from gangue.pipeline import params; v = json.load(open('params.yaml')); "
        f"{change}\ntry: params.parse(v)\nexcept ValueError as error: print(error)"
    )
    assert re.search(message.replace("?", r"\?"), run(tree, mined, code))
