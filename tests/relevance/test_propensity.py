"""The estimate that is corrected for who was judged."""

import json

import numpy as np
import planted
import pytest
import whole_path

from gangue.pipeline import audit, params
from gangue.transforms.candidates import query_shard
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import frontier
from gangue.transforms.relevance import propensity


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A mined job whose unlabelled answers the pool ranks below the labelled ones: (data, params, planted)."""
    folder = tmp_path_factory.mktemp("pooled")
    unlabelled = planted.write(folder, topics=80, shy=True)
    p = params.parse(planted.sections(folder, filter={"kind": "naive"}, calibrate={"pool": "bm25", "rounds": 4}))
    data = Data(str(folder / "data"))
    whole_path.run(data, p)
    return data, p, unlabelled, propensity.read(data, p, "bm25")


def test_a_positive_stands_for_more_the_later_the_pool_finds_it(job):
    data, p, _, seen = job
    shard = query_shard.load(data, p, data.shards("queries")[0])
    ranks = shard.candidates.ranks["bm25"]
    weights = seen.stands_for(shard.candidates)
    absent = np.isnan(ranks)
    assert absent.any()
    assert np.mean(weights[absent]) > 2 * np.mean(weights[ranks <= 3])
    assert weights.min() >= propensity.UNITS / 10
    assert weights.max() <= propensity.UNITS * 10


def test_positives_stand_for_one_on_average(job):
    data, p, _, seen = job
    weights = []
    for name in data.shards("queries"):
        candidates = query_shard.load(data, p, name).candidates
        weights += seen.stands_for(candidates)[candidates.relations["positive"]].tolist()
    assert np.mean(weights) == pytest.approx(propensity.UNITS, rel=0.05)  # but for the clip


@pytest.mark.parametrize("shift", [0, 3])
def test_the_corrected_estimate_is_nearer_to_the_truth_where_only_a_pool_was_judged(job, shift):
    data, p, unlabelled, seen = job
    stack = params.Filter(kind="shifted", score="dense", shift=shift)
    parts, wrong, chosen = [], 0, 0
    for name in data.shards("queries"):
        shard = query_shard.load(data, p, name)
        parts.append(frontier.measure(data, p, shard, [stack], p.calibrate, seen=seen))
        pair = frontier.chosen_by(data, p, shard, stack)
        ids = zip(*(shard.pairs[key].take(pair).to_pylist() for key in ("query_id", "document_id")), strict=True)
        wrong, chosen = wrong + sum(pair in unlabelled for pair in ids), chosen + len(pair)
    (point,) = frontier.points(parts)
    truth = wrong / chosen
    assert abs(point["corrected"] - truth) < abs(point["loss"] - truth)


def test_the_audit_reports_it(job, tmp_path):
    data, p, *_ = job
    audit.run(data, p, str(tmp_path))
    leak = json.loads((tmp_path / "audit.json").read_text())["leak"]
    for name in ("rules", "naive"):
        corrected = leak[name]["corrected"]
        assert 0 <= corrected["low"] <= corrected["share"] <= corrected["high"]
    assert "<th>corrected</th>" in (tmp_path / "report.html").read_text()
    assert data.read_note("calibration", "propensity-bm25.json")["mean"] > 0, "without a budget too"
    before = leak
    whole = p.model_copy(update={"ingest": p.ingest.model_copy(update={"queries_per_shard": 1000})})
    other = Data(str(tmp_path / "data"))
    whole_path.run(other, whole)
    audit.run(other, whole, str(tmp_path / "other"))
    assert json.loads((tmp_path / "other" / "audit.json").read_text())["leak"] == before
