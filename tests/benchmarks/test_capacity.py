"""The capacity plan follows from what was measured, and the docs show it."""

import json
import pathlib

import jobs
import pytest

from benchmarks import capacity
from gangue.pipeline import mine
from gangue.transforms.datasets.storage import Data

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULT = json.loads((ROOT / "benchmarks" / "results" / "capacity.json").read_text())


def test_the_committed_plans_follow_from_the_measurement():
    assert capacity.planned(RESULT["corpus"], RESULT["measured"]) == RESULT


def test_the_docs_show_them():
    page = (ROOT / "docs" / "dataflow.md").read_text()
    for part in capacity.table(RESULT).split("\n\n"):
        assert part in page


def test_ten_times_the_documents_and_queries_take_ten_times_the_room_and_a_hundred_times_the_search():
    one, ten, _ = RESULT["plans"]
    assert ten["stored"] == pytest.approx(10 * one["stored"], rel=1e-6)
    assert ten["cpu_hours"]["retrieve"] == pytest.approx(100 * one["cpu_hours"]["retrieve"], rel=1e-3)
    assert ten["gpu_hours"]["embed"] == pytest.approx(10 * one["gpu_hours"]["embed"], rel=0.05)


def test_a_job_is_weighed_to_the_byte(tmp_path):
    jobs.write(tmp_path)
    places = [str(tmp_path / name) for name in ("params.yaml", "data", "reports")]
    seconds = capacity.timed(lambda: mine.run(*places))
    assert {"ingest", "embed", "retrieve", "pool", "score", "audit"} <= seconds.keys()
    assert all(value >= 0 for value in seconds.values())
    data, files = Data(places[1]), [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert sum(capacity.stored(places[1]).values()) == sum(path.stat().st_size for path in files)
    weighed = capacity.columns(data, "documents")
    documents = sum(path.stat().st_size for path in (tmp_path / "data" / "documents").iterdir())
    assert 0 < sum(weighed.values()) * sum(data.rows("documents")) < documents, "the rest are the footers"
    assert capacity.crossing(data) == len("part-00000-of-00004") + 5, "a name under a random key"
