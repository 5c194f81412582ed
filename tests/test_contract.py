"""What the files of the project promise each other: dvc.yaml, params, the import rules."""

import ast
import pathlib
import re
import subprocess
import sys
import typing

import pytest
import yaml

from gangue.pipeline import params
from gangue.transforms import negatives, retrieval
from gangue.transforms.candidates import rules

ROOT = pathlib.Path(__file__).resolve().parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def module_file(name):
    path = ROOT / name.replace(".", "/")
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def imported(path):
    """Modules of the project that a file imports; imports for type checking only do not run."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def closure(stage):
    todo, seen = [f"pipeline.{stage}"], set()
    while todo:
        name = todo.pop()
        path = module_file(name) if name.split(".")[0] in ("pipeline", "transforms") else None
        if path is None or path in seen:
            continue
        seen.add(path)
        todo += [".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)]
        todo += imported(path)
    return {str(path.relative_to(ROOT)) for path in seen}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_it_runs(stage):
    listed = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    assert listed == closure(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_tracks_only_params_that_exist(stage):
    sections = set(params.Params.model_fields)
    for name in STAGES[stage]["params"]:
        assert name.split(".")[0] in sections


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_keeps_its_outputs_when_it_fails(stage):
    for out in STAGES[stage]["outs"]:
        (settings,) = out.values()
        assert settings.get("persist") or settings.get("cache") is False


def test_every_dataset_that_is_read_is_written_by_an_earlier_stage():
    written = set()
    for stage in STAGES.values():
        for dep in stage["deps"]:
            if dep.startswith("data/"):
                plain = re.sub(r"/\$\{.*", "", dep)
                assert any(plain == w or w.startswith(plain + "/") or plain.startswith(w) for w in written), dep
        written |= {re.sub(r"/\$\{.*", "", name) for out in stage["outs"] for name in out}


def test_what_a_job_may_not_write_is_there_from_the_start():
    of_matrix = {
        re.sub(r"/\$\{.*", "", name)
        for stage in STAGES.values()
        if "matrix" in stage
        for out in stage["outs"]
        for name in out
    }
    deps = {dep for stage in STAGES.values() for dep in stage["deps"]}
    without = {name for name in of_matrix & deps if name not in ("data/candidates", "data/indexes")}  # one at least
    assert {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("data/*/.gitkeep")} == without


def beam_modules():
    return {path for path in (ROOT / "transforms").rglob("*.py") if "import apache_beam" in path.read_text()}


def test_pure_modules_do_not_import_beam_and_nothing_below_imports_the_pipeline():
    assert {path.name for path in beam_modules()} == {"shards.py"}
    for path in (ROOT / "transforms").rglob("*.py"):
        assert not [name for name in imported(path) if name.split(".")[0] == "pipeline"], path


def test_no_stage_asks_which_kind_a_retriever_is():
    known = {kind.__name__ for kind in kinds(retrieval.Settings)}
    for path in (ROOT / "pipeline").glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not known & (names | attributes), path


def test_params_are_read_without_the_libraries_that_only_some_stages_use():
    heavy = ("apache_beam", "bm25s", "faiss", "scipy", "sklearn", "torch")
    code = f"import sys, pipeline.params; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_section_of_the_params_is_explained():
    text = (ROOT / "docs" / "params.md").read_text()
    for section, field in params.Params.model_fields.items():
        assert f"## {section}" in text
        assert field is not None


def kinds(union):
    return typing.get_args(typing.get_args(union)[0])


def test_every_key_of_the_params_is_explained():
    text = (ROOT / "docs" / "params.md").read_text()
    models = [
        params.PythonCode, params.Beir, params.Pairs, params.Tables, params.Ingest, params.Encoder, params.Cluster,
        *kinds(retrieval.Settings), params.Pool, params.Teach, params.Scorer, *rules.KINDS, params.Filter,
        *negatives.SAMPLERS.values(), *kinds(negatives.Weight), *kinds(negatives.Diverse), params.Ensemble,
        params.NextCluster,
        params.Sample, params.Learn, params.Calibrate, params.Export, params.Audit, params.Beam,
    ]  # fmt: skip
    missing = {
        f"{model.__name__}.{key}"
        for model in models
        for key in model.model_fields
        if key not in model.unwritten and f"`{key}`" not in text
    }
    assert not missing
