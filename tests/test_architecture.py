"""docs/architecture.md says where everything lies, and what a change touches."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import jobs
from test_contract import ROOMS

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
TOY = '''"""longest: documents -> longest.   Usage: gangue longest [--data data]"""

from collections.abc import Sequence

from gangue.pipeline import params
from gangue.transforms.datasets.storage import Data


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> None:
    """Write how many characters the longest document has."""
    texts = data.read_all("documents", ["text"])["text"].to_pylist()
    data.write_text("longest.json", str(max(map(len, texts))))
'''


def test_the_rooms_are_those_of_the_page_in_its_order():
    shown = re.findall(r"^\| `transforms/(\{?[a-z,_]+\}?)` \|", PAGE, re.M)
    assert [name for each in shown for name in each.strip("{}").split(",")] == [
        *ROOMS[: ROOMS.index("text")], "arrays", "at_hand", "text", "randomness", "log",
    ]  # fmt: skip


def test_every_file_that_the_page_names_is_there():
    for name in re.findall(r"`((?:pipeline|transforms|tests)/[\w/]+\.py)`", PAGE):
        assert "NAME" in name or (ROOT / name).is_file(), name


def test_a_new_stage_is_one_file_and_one_line_and_is_run_alone_and_with_all_others(tmp_path):
    code, job = tmp_path / "code", tmp_path / "job"
    for name in ("gangue", "pipeline", "transforms"):
        shutil.copytree(ROOT / name, code / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (code / "pipeline" / "longest.py").write_text(TOY)
    names = code / "pipeline" / "__init__.py"
    names.write_text(names.read_text().replace('    "audit": "",\n', '    "audit": "",\n    "longest": "",\n'))
    values = jobs.write(job)
    values |= {"scorers": {}, "filter": {"kind": "naive"}}
    values["sample"] = {"kind": "top", "score": "bm25", "negatives": 2, "random": 1}
    (job / "params.yaml").write_text(json.dumps(values))
    for command in ("mine", "longest"):
        program = f"import sys; sys.argv[1:] = ['{command}']; from gangue.pipeline.command import cli; cli.main()"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=job,
            env={"PYTHONPATH": str(code), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert int((job / "data" / "longest.json").read_text()) > 10
        (job / "data" / "longest.json").unlink()
