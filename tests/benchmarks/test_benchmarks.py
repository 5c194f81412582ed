"""Every benchmark runs, on next to nothing: its figures mean nothing here, but its program must not be broken."""

import collections
import itertools
import json
import pathlib
import sys

import planted
import pytest

from benchmarks import (
    against_sentence_transformers,
    approximate,
    beir,
    budget,
    candidates,
    frontier,
    gpu,
    growth,
    languages,
    largest,
    learned_cost,
    lexical,
    stages,
    two_kinds,
)
from benchmarks import workers as several
from benchmarks.frontier import RESULTS
from benchmarks.synthetic import PER_QUERY
from gangue.transforms.datasets.storage import Data


@pytest.fixture
def printed(monkeypatch, capsys):
    """Runs a program and returns the JSON that it prints."""

    def run(program, *arguments):
        monkeypatch.setattr(sys, "argv", [program.__name__, *map(str, arguments)])
        assert not program.main()
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("beir")
    planted.beir(found, topics=24, labelled=6, unlabelled=0)
    return found


@pytest.mark.soak
def test_candidates_go_through_the_stages_and_workers_leave_the_same_bytes(printed, tmp_path):
    asked = ("--queries", 300, "--queries-per-shard", 64, "--workers", 1, "--runs", 1)
    found = printed(candidates, *asked, "--work", tmp_path)
    assert found["candidates"] == 300 * PER_QUERY
    assert list(found["stages"]) == list(candidates.STAGES)
    before = several.digest(tmp_path / "data")
    candidates.run_stages(tmp_path, Data(str(tmp_path / "data")), 64, 2)
    assert several.digest(tmp_path / "data") == before


def test_search_on_a_device_is_held_against_its_bare_product_and_against_faiss(tmp_path):
    found = gpu.retrieval(3000, 100, 1, tmp_path)
    assert found["equal"]
    assert set(found["seconds"]) == {"search", "device", "bare", "first"}


@pytest.mark.soak
def test_an_approximate_index_is_held_against_exact_search(printed):
    found = printed(approximate, "--documents", 2000, "--queries", 50)
    assert 0.5 < found["recall"] <= 1


def test_postings_find_what_products_of_blocks_find(printed):
    found = printed(lexical, "--documents", 300, "--queries", 6, "--before", 4)["documents"]["300"]
    assert min(found[kind][rate] for kind in ("short", "long") for rate in ("queries_per_second", "before")) > 0


@pytest.mark.soak
def test_growth_measures_time_and_memory_of_every_stage(printed, monkeypatch):
    monkeypatch.setattr(growth, "STAGES", growth.STAGES[:6])
    found = printed(growth, "--documents", 500, "--queries", 20)
    assert all(size["500"]["anonymous_mib"] > 20 for size in found["stages"].values())
    assert list(found["stages"]) == list(growth.STAGES)
    assert 0.5 < found["recall"]["500"] <= 1


@pytest.mark.soak
def test_the_largest_job_grows_by_a_hundredth(printed, monkeypatch, tmp_path):
    monkeypatch.setattr(largest, "STAGES", ("ingest",))
    found = printed(largest, "--documents", 300, "--queries", 20, "--work", tmp_path)
    assert found["rows"] == {"documents": 300, "queries": 20, "pairs": 0, "triplets": 0}
    assert sum(Data(str(tmp_path / "data")).rows("documents")) == 303
    for stages_of in (found["stages"], found["a_hundredth_more"]):
        assert 0 < stages_of["ingest"]["largest_process_mib"] <= stages_of["ingest"]["all_processes_mib"]
    assert all(rate > 1e6 for rate in found["machine"].values())


def test_stages_are_held_against_bare_loops(tmp_path, folder):
    assert set(stages.searching(2000, 400, 1, tmp_path / "search")["seconds"]) == {"stage", "faiss"}
    found = stages.embedding(folder, 20, 1, tmp_path / "embed")
    assert found["texts"] == 21
    assert found["bfloat16"]["top_10_shared"] > 0.5


def test_the_learned_filter_has_a_price(printed, folder):
    assert printed(learned_cost, "--data", folder, "--repeats", 1)["microseconds"]["describe_and_judge"] > 0


def test_languages_without_blanks_are_found_and_others_as_before(printed, folder):
    made_up = printed(languages)
    assert set(made_up) == {"Chinese", "Japanese", "Thai", "German", "Arabic"}
    for language, found in made_up.items():
        assert found["product"]["found"] == 1
        if language in ("German", "Arabic"):
            assert found["product"] == found["words"]
        else:
            assert found["product"]["ndcg@10"] > found["characters"]["ndcg@10"] > found["before"]["ndcg@10"]
        assert (found["stemmed"] is None) == (language != "German")
    german = "Die Katzen sehen zu, und das ist in der Nacht von dem Haus nicht mit den Hunden zu sagen."
    assert languages.compare(beir.Corpus({"d": german}, {"q": "eine Katze"}, [("q", "d")]))["stemmed"]["found"] == 1
    (found,) = printed(languages, "--data", folder, "--splits", "test").values()
    assert found["product"] == found["words"]


def test_a_budget_is_held_against_hidden_positives(monkeypatch, capsys, folder):
    asked = ["--splits", "2", "--queries", "24", "--known", "one", "half", "--labelled", "random", "bm25"]
    monkeypatch.setattr(sys, "argv", ["budget", "--data", str(folder), *asked])
    assert budget.main() == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(line["known"], line["labelled"], line["budget"], line["confidence"]) for line in found} == set(
        itertools.product(("one", "half"), ("random", "bm25"), budget.BUDGETS, budget.CONFIDENCES)
    )
    assert all(0 < line["share"]["true"] <= 1 and line["share"]["low"] <= line["share"]["high"] for line in found)


def test_two_kinds_of_queries_are_joined_with_all_their_positives(folder, tmp_path):
    two_kinds.write([folder, folder], tmp_path, queries=7, documents=70, seed=1)
    documents, queries = ({row["_id"] for row in beir.records(tmp_path / f"{n}.jsonl")} for n in ("corpus", "queries"))
    asked = collections.defaultdict(set)
    for query, document in beir.read(tmp_path, "test").pairs:
        asked[query].add(document)
    assert asked.keys() == queries
    assert len(queries) == 14
    assert len(documents) >= 140
    whole = frontier.positives_of(folder)
    for query, found in asked.items():
        number, name = query.split("-", 1)
        assert found == {f"{number}-{one}" for one in whole[name]} <= documents


def test_every_difference_from_sentence_transformers_has_a_reason(printed, folder):
    found = printed(against_sentence_transformers, "--data", folder, "--split", "test", "--repeats", 1)
    assert all(mode["unexplained"] == 0 and mode["same"] > 0 for mode in found["negatives"].values())


@pytest.mark.soak
def test_the_first_hour_is_as_the_docs_tell_it(tmp_path):
    from benchmarks import first_hour

    told = {one["rows"]: one for one in json.loads((RESULTS / "first_hour.json").read_text())}
    page = (RESULTS.parents[1] / "docs" / "first-hour.md").read_text()
    for one in told.values():
        assert f"| {one['rows']} | {one['seconds']:.0f} | {one['triplets']:,} |" in page
        assert one["exit"] == 0
    found = first_hour.mined(tmp_path, 3, str(pathlib.Path(sys.executable).with_name("gangue")))
    assert (found["exit"], found["triplets"]) == (0, told[3]["triplets"])
    assert [line.split(":")[0] for line in found["said"]] == [line.split(":")[0] for line in told[3]["said"]]
    assert first_hour.TYPED in page
