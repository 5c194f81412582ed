"""What dvc.yaml says that a stage depends on, held against what it reads: directly, or by way of what it depends on."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from gangue.pipeline import params, plan
from gangue.transforms.datasets.manifest import NAME
from gangue.transforms.datasets.storage import Data
from gangue.transforms.views.recipe import of_params

ROOT = pathlib.Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
NOT_CARRIED = "quotas"  # what a quota changed is in the candidates


def folder(name):
    """A dataset, or the folder of those of a matrix, as the library calls it."""
    return re.sub(r"/\$\{.*", "", name).removeprefix("data/")


def datasets(names):
    return {folder(name) for name in names if name.startswith("data/")}


DEPENDS = {stage: datasets(entry["deps"]) for stage, entry in STAGES.items()}
WRITES = {stage: datasets(name for out in entry["outs"] for name in out) for stage, entry in STAGES.items()}


def within(dataset, folders):
    return any(dataset == folder or dataset.startswith(folder + "/") for folder in folders)


def carried(stage):
    """What the manifests of a stage's outputs change with."""
    own = DEPENDS[stage] - {NOT_CARRIED}
    return own.union(*(carried(earlier) for earlier in STAGES for dataset in own if within(dataset, WRITES[earlier])))


def reached(stage):
    """What a stage runs again for."""
    return DEPENDS[stage].union(
        *(carried(earlier) for earlier in STAGES for dataset in DEPENDS[stage] if within(dataset, WRITES[earlier]))
    )


@pytest.fixture(scope="module")
def known(whole_job):
    """Where the datasets are, and all their names."""
    data = whole_job / "alone" / "data"
    return Data(str(data)), {path.parent.relative_to(data).as_posix() for path in data.rglob(NAME)}


def test_a_stage_runs_again_when_anything_changes_that_it_reads(whole_job, known):
    asked = json.loads((whole_job / "reads.json").read_text())
    assert asked.keys() == STAGES.keys()
    for stage, places in asked.items():
        read = {dataset for dataset in known[1] for place in places if within(place, [dataset])}
        assert {dataset for dataset in read if not within(dataset, reached(stage) | WRITES[stage])} == set(), stage
    assert "documents" not in DEPENDS["export"]
    assert "documents" in asked["export"], "what is read by way of something else is seen"


def test_a_dataset_names_the_versions_of_all_that_its_stage_depends_on(known):
    data, names = known
    for dataset in names:
        (stage,) = (stage for stage in STAGES if within(dataset, WRITES[stage]))
        found = data.manifest(dataset).derived_from
        assert found == {origin: data.checksum(origin) for origin in found}
        wanted = DEPENDS[stage] - {NOT_CARRIED}
        assert {next(name for name in wanted if within(origin, [name])) for origin in found} == wanted, dataset


def test_triplets_are_exported_again_when_any_section_of_their_recipe_changes():
    recipe = of_params(params.load(str(ROOT / "params.yaml"))).keys()
    by_dataset = {section for section in plan.SECTIONS if f"sections/{section}" in reached("export")}
    assert recipe - by_dataset == set(STAGES["export"]["params"])


def test_the_picture_of_the_stages_has_the_stages_and_fits_a_screen():
    command = [sys.executable, "-m", "dvc", "dag"]  # which way its lines go differs from run to run
    drawn = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (shown,) = re.findall(r"```\n( +\+-+\+\n.*?)\n```", (ROOT / "docs" / "dvc.md").read_text(), re.DOTALL)
    stages = [sorted(re.findall(r"\| (\S+) \|", picture)) for picture in (drawn, shown)]
    assert stages[0] == stages[1]
    assert {name.partition("@")[0] for name in stages[0]} == STAGES.keys() - {"teach", "score"}
    assert max(len(line.rstrip()) for picture in (drawn, shown) for line in picture.splitlines()) <= 80
