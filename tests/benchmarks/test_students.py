"""Students: what an exam measures, how systems are compared, and that every training set is of one size."""

import json

import jobs
import numpy as np
import pytest

from benchmarks import beir, student, students, training_sets
from gangue.transforms.datasets.storage import Data


class Words:
    """Embeds a text as the counts of three words."""

    def encode(self, texts, normalize_embeddings, **_):
        vectors = np.array([[text.split().count(word) for word in "abc"] for text in texts], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if normalize_embeddings else vectors


def test_an_exam_ranks_all_documents_by_cosine():
    documents = {"one": "a a a", "two": "a b", "three": "b", "four": "c"}
    queries = {"q": "a", "r": "b c"}
    values = student.evaluate(Words(), queries, documents, {"r": {"two"}, "q": {"two", "three"}})
    # q finds one, two, three (then four, equal to three, in the order of the documents); r finds three, four, two.
    gain = 1 / np.log2(np.arange(2, 6))
    assert values["ndcg@10"] == pytest.approx([gain[2] / gain[0], (gain[1] + gain[2]) / (gain[0] + gain[1])])
    assert values["mrr@10"] == pytest.approx([1 / 3, 1 / 2])
    assert values["recall@100"] == pytest.approx([1, 1])


def test_only_ten_ranks_count_for_ndcg_and_mrr_and_a_hundred_for_recall():
    hits = np.zeros(120, bool)
    hits[[10, 99, 100]] = True
    assert student.metrics(hits, 4) == (0.0, 0.0, 0.5)
    assert student.metrics(np.ones(100, bool), 200) == (1.0, 1.0, 0.5)


def test_a_difference_has_the_interval_of_the_normal_law():
    gap = np.random.default_rng(1).normal(0.1, 1.0, 2_000)
    found = student.difference(np.zeros(2_000), gap)
    assert found["difference"] == pytest.approx(gap.mean())
    half = 1.96 * gap.std() / np.sqrt(2_000)
    assert [found["low"], found["high"]] == pytest.approx([gap.mean() - half, gap.mean() + half], abs=half / 20)
    assert student.verdict(found) == "held"


def test_a_comparison_is_paired_and_takes_the_mean_of_the_seeds():
    noise = np.random.default_rng(1).random(50)
    runs = {
        "naive": [{"ndcg@10": noise}],
        "perc": [{"ndcg@10": noise + 0.1}, {"ndcg@10": noise + 0.3}],
    }
    found = students.compared(runs, "ndcg@10", "naive", "perc")
    assert [found[key] for key in ("difference", "low", "high")] == pytest.approx([0.2, 0.2, 0.2])


def test_a_claim_holds_where_every_part_does():
    names = {name for _, ordered, alike in students.CLAIMS.values() for pair in (*ordered, *alike) for name in pair}
    level = {name: 0.5 for name in names} | {"random": 0.3, "naive": 0.4, "in-batch": 0.2, "simans": 0.35}
    runs = {name: [dict.fromkeys(student.METRICS, np.full(20, value))] for name, value in level.items()}
    assert [claim["verdict"] for claim in students.judged(runs).values()] == ["held", "reversed", "held"]
    assert student.verdict({"low": 0.0, "high": 0.1}) == "not resolved"


@pytest.mark.parametrize("seed", range(5))
def test_batches_hold_every_pair_once_and_no_query_or_positive_twice_while_that_can_be(seed):
    rng = np.random.default_rng(seed)
    pairs = sorted({(f"q{rng.integers(40)}", f"d{rng.integers(60)}") for _ in range(150)})
    batches = student.DistinctBatches(pairs, 8, seed)
    drawn = list(batches)
    assert len(drawn) == len(batches)
    assert sorted(i for batch in drawn for i in batch) == list(range(len(pairs)))
    for batch in drawn[: len(drawn) // 2]:
        assert len({pairs[i][0] for i in batch}) == len({pairs[i][1] for i in batch}) == 8
    batches.set_epoch(1)
    assert list(batches) != drawn


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    folder = tmp_path_factory.mktemp("students")
    jobs.write(folder, queries=40, documents=120)
    beir_folder = folder / "beir"
    (beir_folder / "qrels").mkdir(parents=True)
    for name, key, file in (("documents", "document_id", "corpus"), ("queries", "query_id", "queries")):
        rows = [json.loads(line) for line in (folder / "source" / f"{name}.jsonl").read_text().splitlines()]
        lines = [json.dumps({"_id": row[key], "text": row["text"]}) for row in rows]
        (beir_folder / f"{file}.jsonl").write_text("\n".join(lines) + "\n")
    rows = [json.loads(line) for line in (folder / "source" / "positives.jsonl").read_text().splitlines()]
    for split, part in (("train", rows[:-10]), ("test", rows[-10:])):
        lines = [f"{row['query_id']}\t{row['document_id']}\t1" for row in part]
        (beir_folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query\tdocument\tgrade", *lines]) + "\n")
    sets, without = students.sets_of(beir_folder, folder / "work", 2, {"model": str(folder / "encoder")})
    return beir_folder, Data(str(folder / "work" / "data")), sets, without


def test_every_set_has_the_same_pairs_and_as_many_negatives_none_of_them_a_known_positive(mined):
    folder, _, sets, without = mined
    pairs = set(beir.read(folder, "train").pairs)
    assert {*sets, *without} == {*training_sets.SYSTEMS, training_sets.THEIRS, training_sets.IN_BATCH}
    assert {"random", "naive", "star", "perc", "sentence-transformers"} <= {*sets}
    for system, several in sets.items():
        assert len(several) == 2
        for one in several:
            assert set(one.negatives) == pairs
            wanted = 0 if system == training_sets.IN_BATCH else training_sets.NEGATIVES
            assert all(len(set(names)) == len(names) == wanted for names in one.negatives.values())
            assert not any((query, name) in pairs for (query, _), names in one.negatives.items() for name in names)


def test_systems_that_draw_draw_anew_for_each_seed_and_the_others_do_not(mined):
    _, _, sets, _ = mined
    assert all(sets[name][0] != sets[name][1] for name in ("random", "star", "simans"))
    assert sets["naive"][0] == sets["naive"][1]
    assert sets["naive"][0].filled == 0.0


def test_what_a_system_lacks_is_drawn_and_counted(mined):
    _, data, sets, _ = mined
    pairs = training_sets.pairs_of(data)
    chosen = {pair: list(sets["naive"][0].negatives[pair][:1]) for pair in pairs}
    one = training_sets.filled(data, chosen, 0)
    assert one.filled == pytest.approx(0.75)
    assert all(one.negatives[pair][0] == chosen[pair][0] for pair in pairs)


def test_a_student_starts_from_the_packages_embedding_and_learns(mined):
    folder, _, sets, _ = mined
    lessons = beir.read(folder, "train")
    primer = student.Primer([*lessons.documents.values(), *lessons.queries.values()])
    one, other = primer.student(), primer.student()
    texts = list(lessons.queries.values())[:5]
    before = one.encode(texts)
    assert before.shape == (5, 256)
    assert np.array_equal(before, other.encode(texts))
    how = student.Schooling(epochs=1, batch_size=8)
    for model in (one, other):
        student.teach(model, sets["naive"][0], lessons.queries, lessons.documents, how, seed=1)
    assert not np.allclose(before, one.encode(texts))
    assert np.array_equal(one.encode(texts), other.encode(texts)), "the seed decides"


def test_half_of_the_train_positives_can_be_hidden_and_some_queries_taken(mined, tmp_path):
    folder, _, _, _ = mined
    whole = beir.read(folder, "train")
    some = beir.read(students.abridged(folder, tmp_path, 10, hide=True), "train")
    assert len(some.queries) == 10
    assert set(some.pairs) < set(whole.pairs)
    for query in some.queries:
        known, all_of_it = (sum(q == query for q, _ in corpus.pairs) for corpus in (some, whole))
        assert known == all_of_it - (max(1, round(all_of_it / 2)) if all_of_it > 1 else 0)
    assert beir.read(tmp_path, "test").pairs == beir.read(folder, "test").pairs
