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
from gangue.transforms import retrieval
from gangue.transforms.candidates import rules
from gangue.transforms.negatives import diverse, samplers, weights

ROOT = pathlib.Path(__file__).resolve().parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


ROOMS = (
    "evidence", "views", "negatives", "relevance", "candidates", "retrieval", "models", "records", "sources", "running",
    "datasets", "settings", "text", "arrays", "at_hand", "randomness", "log",
)  # fmt: skip
"""What lies in ``transforms``, from top to bottom: imports go down this list."""
NOT_OF_A_STAGE = ("pipeline/params.py", "pipeline/command")
"""They read what is typed and print; what they read shapes a stage's rows through params, which DVC tracks."""
THROUGH_A_DATASET = {"retrieve": {"transforms/candidates"}}
"""A rule changes what is retrieved through ``data/quotas``, which hold the code of those that they name."""


def module_file(name):
    if not name.startswith("gangue."):
        return None
    path = ROOT / name.removeprefix("gangue.").replace(".", "/")
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def shown(path):
    return path.relative_to(ROOT).as_posix()


def room(name):
    """The room of a file, as ``dvc.yaml`` lists it: a folder, or the file itself."""
    parts = name.split("/")
    return "/".join(parts[:2]) if len(parts) > 2 else name


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


def closure(module, without=()):
    """Files of the project that run when a module is imported, the packages around each included."""
    todo, seen = [module], set()
    while todo:
        name = todo.pop()
        path = module_file(name)
        if path is None or path in seen or shown(path).startswith(without):
            continue
        seen.add(path)
        todo += [".".join(name.split(".")[:i]) for i in range(2, name.count(".") + 1)]
        todo += imported(path)
    return {shown(path) for path in seen}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_rooms_whose_code_it_runs(stage):
    listed = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("pipeline/", "transforms/"))]
    rooms = {room(name) for name in closure(f"gangue.pipeline.{stage}", NOT_OF_A_STAGE)}
    rooms -= {"pipeline/__init__.py", "transforms/__init__.py", *THROUGH_A_DATASET.get(stage, ())}
    assert len(listed) == len(set(STAGES[stage]["deps"]) & set(listed)), "each once"
    assert set(listed) == rooms


def test_dvc_yaml_can_be_read_by_a_person():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 260


def test_a_change_of_rules_or_samplers_embeds_and_searches_nothing_again():
    for stage in ("ingest", "embed", "cluster", "retrieve"):
        assert not {"transforms/candidates", "transforms/negatives", "transforms/relevance"} & set(
            STAGES[stage]["deps"]
        )


def modules():
    for path in sorted((ROOT / "transforms").rglob("*.py")):
        name = shown(path.with_suffix("")).replace("/", ".").removesuffix(".__init__")
        yield f"gangue.{name}", shown(path)


@pytest.mark.parametrize(("module", "path"), modules())
def test_imports_go_down_the_rooms_only_and_beam_stays_in_one(module, path):
    if path == "transforms/__init__.py":
        return
    own = path.removesuffix(".py").split("/")[1]
    files = closure(module) - {"transforms/__init__.py"}
    assert not [name for name in files if name.startswith("pipeline/")]
    above = set(ROOMS[: ROOMS.index(own)])
    assert not [name for name in files if name.removesuffix(".py").split("/")[1] in above]
    if own != "running":
        assert not [name for name in files if "apache_beam" in set(imported(ROOT / name))]


def test_every_room_says_what_lives_in_it():
    rooms = [path for path in (ROOT / "transforms").iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert {path.name for path in rooms} <= set(ROOMS)
    for folder in [*rooms, ROOT / "pipeline" / "command", ROOT / "pipeline" / "report"]:
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert len(text.splitlines()) >= 3, folder
        assert re.search(r"[Ii]mports? ", text), folder


def test_a_module_has_one_name():
    for name in ("pipeline", "transforms"):
        command = [sys.executable, "-c", f"import {name}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert f"ImportError: {name} is gangue.{name}" in done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_tracks_only_params_that_exist(stage):
    sections = set(params.Params.model_fields)
    for name in STAGES[stage].get("params", ()):
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


def test_no_stage_asks_which_kind_a_retriever_is():
    known = {kind.__name__ for kind in kinds(retrieval.Settings)}
    for path in (ROOT / "pipeline").glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not known & (names | attributes), path


def test_faiss_is_set_up_alike_wherever_it_is_used():
    files = [path for package in ("pipeline", "transforms") for path in (ROOT / package).rglob("*.py")]
    users = [path.name for path in files if re.search(r"^\s*import faiss\b", path.read_text(), re.M)]
    assert users == ["faiss_setup.py"]


def test_params_are_read_without_the_libraries_that_only_some_stages_use():
    heavy = ("apache_beam", "bm25s", "faiss", "pandas", "scipy", "sklearn", "torch")
    code = f"import sys, gangue.pipeline.params; print([name for name in {heavy} if name in sys.modules])"
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
        *samplers.SAMPLERS.values(), *kinds(weights.Weight), *kinds(diverse.Diverse), params.Ensemble,
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
