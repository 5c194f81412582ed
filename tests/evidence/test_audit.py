"""The audit of a small product, sound or with one breach planted."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gangue.pipeline import audit, export, params, sample
from gangue.pipeline import filter as filtering
from gangue.transforms import arrays, at_hand, randomness, text
from gangue.transforms.candidates import otherwise, pooling, query_shard, relations
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.names import shard_names
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import held_out, leak, lineage, tallies
from gangue.transforms.retrieval import Bm25, lexical
from gangue.transforms.views.recipe import RECIPE

HOSTILE = "<script>alert('x')</script>&\"<b>"
SHARDS = 2
PARAMS = {
    "source": {"kind": "beir", "path": "somewhere"},
    "retrievers": {"one": {"kind": "bm25", "depth": 12}, "two": {"kind": "bm25", "depth": 8}},
    "scorers": {"judge": {"model": "none", "depth": 12}},
    "filter": {
        "kind": "perc",
        "score": "one",
        "perc": 0.95,
        "also": [{"kind": "denoise", "score": "judge", "max": 0.9}],
    },
    "sample": {"kind": "top", "score": "one", "negatives": 3},
    "export": {
        "views": ["triplet", "ntuple", "labeled_pair", "labeled_list", "scored_pair", "scored_ntuple", "scored_list"]
    },
    "audit": {"rounds": 2, "examples": 4},
}


def parameters(**sections):
    return params.parse(PARAMS | sections)


def make_corpus(data, rng, positives_each=3, queries=14, documents=80):
    texts = [f"document {i} about {rng.integers(1000)}" for i in range(documents)]
    texts[3] = HOSTILE
    ids = [f"d{i:02d}" for i in range(documents)]
    groups = list(ids)
    groups[11] = groups[10]  # near-duplicates
    table = pa.table([ids, [""] * documents, texts, text.hashes(texts), groups], schema=schema.DOCUMENTS)
    data.write("documents", shard_names(1)[0], table)
    numbers = np.sort(rng.permutation(queries))
    for shard, mine in zip(shard_names(SHARDS), np.array_split(numbers, SHARDS), strict=True):
        names = [f"q{i:02d}" for i in mine]
        asked = [f"question {i} {HOSTILE if i % 2 else ''}" for i in mine]
        queries_table = pa.table([names, asked, [[]] * len(names), text.hashes(asked), names], schema=schema.QUERIES)
        data.write("queries", shard, queries_table)
        chosen = [np.sort(rng.choice(documents, positives_each, replace=False)) for _ in mine]
        rows = [(n, ids[d], 1.0, int(d)) for n, own in zip(names, chosen, strict=True) for d in own]
        data.write("positives", shard, records(rows, schema.POSITIVES))
        data.write("judged", shard, schema.JUDGED.empty_table())
        data.write("rejected", shard, schema.REJECTED.empty_table())
    for dataset in ("documents", "queries", "positives", "judged", "rejected"):
        data.commit(dataset)


def records(rows, of):
    return pa.Table.from_pylist([dict(zip(of.names, row, strict=True)) for row in rows], of)


def make_pairs(data, p, rng, shard):
    """Candidates with made-up ranks and scores; positives score a little higher."""
    block = relations.QueryBlock(data.read("queries", shard), data.read("positives", shard))
    count = len(lookup.rows(data, "documents", ("document_id",)))
    known = set(zip(block.positive_query.tolist(), block.positive_row.tolist(), strict=True))
    found = {(q, d) for q in range(len(block.queries)) for d in rng.choice(count, 20, replace=False).tolist()}
    query, document = np.array(sorted(known | found), np.int64).reshape(-1, 2).T
    bonus = np.array([pair in known for pair in zip(query, document, strict=True)]) * 3.0
    scores = {name: rng.gamma(4, 1, len(query)) + bonus for name in p.retrievers}
    ranks = {name: arrays.rank_within(query, [-score]) + 1.0 for name, score in scores.items()}
    for name, rank in ranks.items():
        rank[rank > p.retrievers[name].depth] = np.nan
    ids = lookup.rows(data, "documents", ("document_id",)).take(document)["document_id"]
    involved = relations.involved(data, block, document)
    judged = np.zeros(len(query), bool)
    kinds = relations.annotate(block, involved, query, np.nan_to_num(ranks["one"], nan=99), document, judged)
    kinds |= otherwise.annotate(data, shard, block, involved, query)
    table = pa.table(
        [
            block.query_ids.take(pa.array(query)),
            ids,
            pa.array(document),
            *(pa.array(kinds[relation]) for relation in schema.RELATIONS),
            *[pa.array(np.zeros(len(query), bool))] * 3,
            *(arrays.nullable(np.nan_to_num(r), ~np.isnan(r), pa.int32()) for r in ranks.values()),
            *(pa.array(score, pa.float32()) for score in scores.values()),
        ],
        schema=schema.pairs(p.retrievers),
    )
    data.write("pairs", shard, table)
    worth = table.filter(pa.array(pooling.worth_scoring(table, 12)))
    noise = pa.array(rng.random(len(worth)), pa.float32())
    blank = text.hashes([""] * len(worth))
    scored = pa.table([worth["query_id"], worth["document_id"], blank, blank, noise], schema=schema.SCORES)
    data.write("scores/judge", shard, scored)
    recall = pa.table({"query_id": ["q"], "wanted": [10], "found": [9]})
    data.write("indexes/one/recall", shard, recall)


def build(root, p, seed=5, **corpus):
    """Every dataset up to the views; what the stages do is done by the stages."""
    data, rng = Data(str(root)), np.random.default_rng(seed)
    at_hand.forget()
    make_corpus(data, rng, **corpus)
    for name, retriever in p.retrievers.items():
        if isinstance(retriever, Bm25):  # the recipe says of which language it lacks the stop words
            data.write(f"indexes/{name}/vocabulary", shard_names(1)[0], lexical.VOCABULARY.empty_table())
            data.commit(f"indexes/{name}/vocabulary")
    for shard in shard_names(SHARDS):
        make_pairs(data, p, rng, shard)
    for dataset in ("pairs", "scores/judge", "indexes/one/recall"):
        data.commit(dataset)
    mine(data, p)
    return data


def mine(data, p):
    """From pairs to views."""
    for shard in shard_names(SHARDS):
        filtering.filter_shard(shard, data, p)
    data.publish("verdicts")
    for shard in shard_names(SHARDS):
        sample.sample_shard(shard, data, p)
    for dataset in ("negatives", "shortfalls"):
        data.publish(dataset)
    recipe = json.dumps(export.describe(data, p), sort_keys=True)
    for shard in shard_names(SHARDS):
        export.export_shards(shard, {shard: [shard]}, data, p, recipe)
    for dataset in ("triplets", *(f"views/{view}" for view in p.export.views)):
        data.publish(dataset)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "data"
    build(folder, parameters())
    return folder


@pytest.fixture
def data(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "data")
    at_hand.forget()
    return Data(str(tmp_path / "data"))


SHARD = shard_names(SHARDS)[1]


def check(data, p=None):
    """All invariants of one shard, without Beam."""
    p = p or parameters()
    at_hand.forget()
    names = ("documents", "queries", "positives", "judged", "rejected", "pairs", "verdicts", "negatives")
    rows = {name: sum(data.rows(name)) for name in names}
    audit.audit_shards(SHARD, {SHARD: [SHARD]}, data, p, rows, lineage.check_shards(data, p))


def alter(data, dataset, change):
    """Replace a shard by what ``change`` makes of its rows."""
    table = data.read(dataset, SHARD)
    rows = change(table.to_pylist())
    replace(data, dataset, pa.Table.from_pylist(rows, table.schema))


def replace(data, dataset, table):
    """Write a shard anew, in the format that it has."""
    suffix = pathlib.Path(data.files(dataset)[0]).suffix
    data.write(dataset, SHARD, table, suffix=suffix)
    data.commit(dataset)


def put(row, **values):
    """A change of one row."""

    def change(rows):
        rows[row] |= values
        return rows

    return change


def plant(data, document, row=0):
    """Make the document the negative of a row, in negatives and in triplets alike."""
    chosen = data.read("documents", "part-00000-of-00001").slice(document, 1).to_pylist()[0]
    table = data.read("triplets", SHARD)

    def ordered(rows):
        return sorted(rows, key=lambda r: (r["query_id"], r["positive_id"], r["negative_id"]))

    values = {"negative_id": chosen["document_id"]}
    alter(data, "negatives", lambda rows: ordered(put(row, negative_row=document, **values)(rows)))
    alter(data, "triplets", lambda rows: ordered(put(row, negative=chosen["text"], **values)(rows)))
    return table.slice(row, 1).to_pylist()[0]


def test_a_sound_product_passes(data):
    check(data)


NAN = float("nan")
ONE_ROW = {
    "an id of no document": ({"negative_id": "zz"}, "negative_id must be as chosen in negatives"),
    "an id of no query": (
        {"query_id": "zz"},
        r"query_id must be a query of the same shard, .* row 0 \(query_id 'zz'",
    ),
    "another score": ({"score_one": 0.125}, "score_one must be as chosen"),
    "another text": ({"negative": "another"}, "negative must be the text of its document"),
    "another positive's text": ({"positive": "another"}, "positive must be the text of its document"),
    "another query's text": ({"query": "another"}, "query must be the text of query_id"),
}
BOTH = {
    "an unknown kind": ({"negative_kind": "soft"}, "negative_kind must be one of hard, random, next_cluster"),
    "an infinite weight": ({"weight": float("inf")}, "weight must be finite"),
    "a negative weight": ({"weight": -1.0}, "weight must be >= 0"),
    "a rank of zero": ({"rank_two": 0}, "rank_two must be >= 1"),
    "an infinite score": ({"score_one": float("inf")}, "score_one must be a finite number"),
    "no score of a retriever": ({"positive_score_two": None}, "positive_score_two must be a finite number"),
}


@pytest.mark.parametrize("breach", ONE_ROW)
def test_a_triplet_that_is_not_what_was_chosen_is_named(data, breach):
    values, message = ONE_ROW[breach]
    row = -1 if breach == "an id of no document" else 0
    alter(data, "triplets", put(row, **values))
    if breach == "an id of no query":
        alter(data, "triplets", lambda rows: [*rows[1:], rows[0]])
        message = "query_id must be a query of the same shard, .*query_id 'zz'"
    with pytest.raises(ValueError, match=f"triplets: {message}"):
        check(data)


@pytest.mark.parametrize("breach", BOTH)
def test_a_bad_value_that_was_chosen_is_named(data, breach):
    values, message = BOTH[breach]
    for dataset in ("negatives", "triplets"):
        alter(data, dataset, put(0, **values))
    with pytest.raises(ValueError, match=rf"triplets: {message}, but 1 of .* breaks it: row 0"):
        check(data)


def test_a_nan_that_was_chosen_is_no_number(data):
    for dataset in ("negatives", "triplets"):
        alter(data, dataset, put(0, score_one=NAN))
    with pytest.raises(ValueError, match=r"score_one must be a finite number, .* row 0"):
        check(data)


def test_a_scorer_need_not_cover_a_negative(data):
    for dataset in ("negatives", "triplets"):
        alter(data, dataset, put(0, score_judge=None, rank_one=None, rank_two=None))
    check(data)


def test_a_row_that_is_there_twice_is_named(data):
    for dataset in ("negatives", "triplets"):
        alter(data, dataset, lambda rows: [rows[0], rows[0], *rows[2:]])
    with pytest.raises(ValueError, match=r"\(query_id, positive_id, negative_id\) must be unique, .* row 1 "):
        check(data)


def test_rows_out_of_order_are_named(data):
    for dataset in ("negatives", "triplets"):
        alter(data, dataset, lambda rows: rows[::-1])
    with pytest.raises(ValueError, match="rows must be sorted by their ids"):
        check(data)


def test_a_row_that_points_nowhere_is_named(data):
    alter(data, "negatives", put(0, negative_row=10**6))
    with pytest.raises(ValueError, match=r"negative_row must be a row of documents, .* row 0"):
        check(data)


def test_a_row_that_points_at_another_document_is_named(data):
    def shift(rows):
        rows[0]["negative_row"] = (rows[0]["negative_row"] + 1) % 80
        return rows

    alter(data, "negatives", shift)
    with pytest.raises(ValueError, match=r"negative_id must be the id of its document, .* row 0"):
        check(data)


def first(data, dataset):
    return data.read(dataset, SHARD).to_pylist()[0]


def test_a_positive_among_the_negatives_is_named(data):
    query = first(data, "triplets")["query_id"]
    own = [row for row in data.read("positives", SHARD).to_pylist() if row["query_id"] == query]
    plant(data, own[-1]["document_row"])
    with pytest.raises(ValueError, match=rf"no negative may be a known positive, .*query_id '{query}'"):
        check(data)


def retext(data, changes):
    """Give documents another hash or group: what makes two texts the same or nearly so."""
    table = data.read("documents", "part-00000-of-00001")
    rows = table.to_pylist()
    for number, values in changes.items():
        rows[number] |= values
    data.write("documents", "part-00000-of-00001", pa.Table.from_pylist(rows, table.schema))
    data.commit("documents")


@pytest.mark.parametrize("kind", ["text_hash", "near_group"])
def test_a_copy_of_a_positive_among_the_negatives_is_named(data, kind):
    row, positive = first(data, "negatives"), first(data, "positives")
    assert row["query_id"] == positive["query_id"]
    documents = data.read("documents", "part-00000-of-00001").to_pylist()
    retext(data, {row["negative_row"]: {kind: documents[positive["document_row"]][kind]}})
    relation = {"text_hash": "a text equal to a positive", "near_group": "a near-duplicate of a positive"}[kind]
    with pytest.raises(ValueError, match=rf"no negative may be {relation}, .*{row['negative_id']}"):
        check(data)


def test_the_querys_own_text_among_the_negatives_is_named(data):
    row, query = first(data, "negatives"), first(data, "queries")
    assert row["query_id"] == query["query_id"]
    retext(data, {row["negative_row"]: {"text_hash": query["text_hash"]}})
    with pytest.raises(ValueError, match="no negative may be the query's own text"):
        check(data)


def test_a_positive_of_a_sibling_query_among_the_negatives_is_named(data):
    row = first(data, "negatives")
    queries = data.read("queries", SHARD).to_pylist()
    taken = {r["document_row"] for r in data.read("positives", SHARD).to_pylist() if r["query_id"] == row["query_id"]}
    sibling = next(
        r
        for r in data.read("positives", SHARD).to_pylist()
        if r["query_id"] != row["query_id"] and r["document_row"] not in taken
    )
    number = next(i for i, query in enumerate(queries) if query["query_id"] == sibling["query_id"])
    alter(data, "queries", put(number, near_group=row["query_id"]))
    documents = data.read("documents", "part-00000-of-00001").to_pylist()
    retext(data, {row["negative_row"]: {"near_group": documents[sibling["document_row"]]["near_group"]}})
    with pytest.raises(ValueError, match="no negative may be a positive of a query that asks the same"):
        check(data)


@pytest.mark.parametrize("kind", ["text_hash", "near_group"])
def test_two_negatives_of_one_positive_that_are_copies_are_named(data, kind):
    one, two = data.read("negatives", SHARD).to_pylist()[:2]
    assert one["positive_id"] == two["positive_id"]
    documents = data.read("documents", "part-00000-of-00001").to_pylist()
    retext(data, {one["negative_row"]: {kind: documents[two["negative_row"]][kind]}})
    word = {"text_hash": "copy", "near_group": "near-duplicate"}[kind]
    with pytest.raises(ValueError, match=rf"no negative may be a {word} of another negative .* row 1"):
        check(data)


def drop_first(rows):
    return rows[1:]


def test_a_missing_negative_without_a_shortfall_is_named(data):
    row = first(data, "triplets")
    for dataset in ("negatives", "triplets"):
        alter(data, dataset, drop_first)
    p = parameters()
    message = f"positives: a pair must have 3 triplets or one shortfall .*'{row['positive_id']}'"
    with pytest.raises(ValueError, match=message):
        invariants_without_lineage(data, p)


def invariants_without_lineage(data, p):
    """What follows the recipe, whose row counts a smaller dataset breaks first."""
    for shard in data.shards("triplets"):
        table = data.read("triplets", shard)
        recipe = json.loads(table.schema.metadata[RECIPE])
        footer(data, shard, {RECIPE: json.dumps(recipe | {"rows": {}})})
    check(data, p)


def shortfall(data, **values):
    row = first(data, "positives")
    note = {
        "query_id": row["query_id"],
        "positive_id": row["document_id"],
        "wanted": 3,
        "found": 2,
        "candidates": 9,
        "reason": "perc",
    } | values
    for dataset in ("negatives", "triplets"):
        alter(data, dataset, drop_first)
    alter(data, "shortfalls", lambda rows: [r for r in rows if r["positive_id"] != note["positive_id"]] + [note])


@pytest.mark.parametrize("values", [{"found": 1}, {"wanted": 2}, {"reason": ""}])
def test_a_shortfall_that_explains_nothing_is_named(data, values):
    shortfall(data, **values)
    with pytest.raises(ValueError, match="positives: a pair must have 3 triplets or one shortfall"):
        invariants_without_lineage(data, parameters())


def test_a_shortfall_of_no_pair_is_named(data):
    shortfall(data, positive_id="zz")
    with pytest.raises(ValueError, match=r"shortfalls: .* must be a labelled pair of positives.*'zz'"):
        invariants_without_lineage(data, parameters())


def test_a_negative_that_the_filter_dropped_is_named(data):
    row = first(data, "triplets")
    fallen = [r for r in data.read("verdicts", SHARD).to_pylist() if r["query_id"] == row["query_id"]]
    fallen = next(r for r in fallen if r["verdict"] == "perc")
    plant(data, int(fallen["document_id"][1:]))
    with pytest.raises(ValueError, match=rf"each negative must be kept .*'{fallen['document_id']}'"):
        check(data)


def test_a_missing_verdict_is_noticed(data):
    alter(data, "verdicts", drop_first)
    with pytest.raises(ValueError, match=r"verdicts: must add up to the .* candidates, got"):
        invariants_without_lineage(data, parameters())


def test_a_verdict_of_no_candidate_is_named(data):
    alter(data, "verdicts", put(0, document_id="zz"))
    with pytest.raises(ValueError, match=r"verdicts: each must be of a candidate, .*document_id 'zz'"):
        check(data)


def test_a_verdict_that_is_there_twice_is_named(data):
    alter(data, "verdicts", lambda rows: [rows[0], rows[0], *rows[2:]])
    with pytest.raises(ValueError, match=r"verdicts: each must be there once, .* row 1"):
        check(data)


def test_a_verdict_that_is_not_the_first_is_named(data):
    alter(data, "verdicts", put(0, fired=1 << 9, verdict="duplicate"))
    with pytest.raises(ValueError, match=r"verdicts: each must be the first rule that fired, .* row 0"):
        check(data)


def test_verdicts_of_other_rules_are_noticed(data):
    table = data.read("verdicts", SHARD)
    replace(data, "verdicts", table.replace_schema_metadata({schema.RULES: '["abs"]'}))
    with pytest.raises(ValueError, match=r"verdicts: rules must be positive, .*denoise, unscored, got \['abs'\]"):
        check(data)


def footer(data, shard, recipe):
    table = data.read("triplets", shard)
    data.write("triplets", shard, table.replace_schema_metadata(recipe))
    data.commit("triplets")


def test_a_missing_recipe_is_noticed(data):
    footer(data, SHARD, None)
    with pytest.raises(ValueError, match=r"triplets: footer gangue\.recipe must be there, got none"):
        check(data)


@pytest.mark.parametrize("recipe", ["nonsense", "{}", "[]"])
def test_a_recipe_that_cannot_be_read_is_noticed(data, recipe):
    for shard in data.shards("triplets"):
        footer(data, shard, {RECIPE: recipe})
    with pytest.raises(ValueError, match="must be JSON with params and rows"):
        check(data)


def test_recipes_that_differ_are_noticed(data):
    footer(data, SHARD, {RECIPE: "{}"})
    with pytest.raises(ValueError, match="must be equal in all shards"):
        check(data)


def test_a_product_of_other_params_is_noticed(data):
    changed = parameters(sample={"kind": "top", "score": "one", "negatives": 2})
    with pytest.raises(ValueError, match=r'but sample is .*"negatives": 2.* and was .*"negatives": 3'):
        check(data, changed)


def test_how_it_is_audited_does_not_make_a_product_stale(data):
    check(data, parameters(audit={"rounds": 1, "examples": 2, "seed": 3}))


def test_a_product_of_other_data_is_noticed(data):
    alter(data, "verdicts", drop_first)
    with pytest.raises(ValueError, match=r"must be of the current data, but verdicts had \d+ rows, has \d+"):
        check(data)


def test_a_view_that_lost_a_row_is_noticed(data):
    alter(data, "views/labeled_list", drop_first)
    with pytest.raises(ValueError, match=r"views/labeled_list: must have the \d+ rows .* got \d+"):
        check(data)


@pytest.mark.parametrize(
    ("view", "values"), [("scored_pair", {"score": None}), ("scored_list", {"scores": [0.5, None, 0.25, 0.125]})]
)
def test_a_view_of_scores_that_lacks_one_is_noticed(data, view, values):
    alter(data, f"views/{view}", put(1, **values))
    with pytest.raises(ValueError, match=rf"views/{view}: scores? must be finite numbers, but 1 of \d+ .*: row 1 "):
        check(data)


def test_a_missing_shard_is_noticed(data):
    shutil.rmtree(data.path("shortfalls"))
    data.write("shortfalls", shard_names(1)[0], schema.SHORTFALLS.empty_table())
    data.commit("shortfalls")
    with pytest.raises(ValueError, match="shortfalls: must have the 2 shards of queries, got 1"):
        check(data)


def test_a_row_too_few_is_noticed(data):
    alter(data, "triplets", drop_first)
    with pytest.raises(ValueError, match=r"triplets: must have the \d+ rows of negatives, got \d+"):
        check(data)


def read(folder, name):
    return (folder / name).read_text(encoding="utf-8")


def test_the_stage_fails_on_a_breach_and_writes_no_report(data, tmp_path):
    alter(data, "triplets", put(0, negative="another"))
    with pytest.raises(ValueError, match="audit: triplets: negative must be the text of its document"):
        audit.run(data, parameters(), str(tmp_path / "reports"))
    assert not (tmp_path / "reports").exists()


def test_the_report_of_equal_data_has_equal_bytes_and_no_hostile_text(data, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        audit.run(data, parameters(), str(folder))
    names = ["metrics.json", "audit.json", "plots/verdicts.svg", "plots/score_one.svg", "report.html"]
    for name in names:
        assert read(folders[0], name) == read(folders[1], name)
        assert str(tmp_path) not in read(folders[0], name)
    page = read(folders[0], "report.html")
    assert "&lt;script&gt;alert(" in page
    assert "<script" not in page
    assert 'src="http' not in page
    assert "href=" not in page.replace("xlink:href=", "").replace('href="#', "")
    assert "90.00 %" in page  # recall of the index

    numbers = json.loads(read(folders[0], "audit.json"))
    assert numbers["triplets"] == sum(data.rows("triplets"))
    assert sum(numbers["verdicts"].values()) == sum(data.rows("verdicts"))
    assert numbers["positives"] == sum(data.rows("positives"))
    few = json.loads(read(folders[0], "metrics.json"))
    assert len(few) <= 10
    assert not any(isinstance(value, dict | list) for value in few.values())
    assert few["triplets"] == numbers["triplets"]
    assert few["leak"] == numbers["leak"]["rules"]["share"]
    assert few["hardness"] == numbers["means"]["one"]["negative"]
    drawing = read(folders[0], "plots/score_one.svg")
    assert drawing.startswith("<svg")
    assert "var(" not in drawing, "it is read without the page"


def test_without_two_positives_of_a_query_the_leak_is_unknown_and_nothing_fails(tmp_path):
    p = parameters()
    data = build(tmp_path / "data", p, positives_each=1)
    audit.run(data, p, str(tmp_path / "reports"))
    numbers = json.loads(read(tmp_path / "reports", "audit.json"))
    assert numbers["leak"]["hidden"] == 0
    assert numbers["leak"]["rules"]["share"] is None
    assert "no query has two positives" in read(tmp_path / "reports", "report.html")


def test_a_shard_without_queries_is_no_breach(tmp_path):
    p = parameters()
    data = build(tmp_path / "data", p, queries=1)
    assert sorted(data.rows("queries")) == [0, 1]
    audit.run(data, p, str(tmp_path / "reports"))
    assert json.loads(read(tmp_path / "reports", "audit.json"))["queries"] == 1


def test_order_compares_positives_with_candidates_that_are_nothing_else_to_the_query(data, tmp_path):
    p = parameters()
    pairs = data.read_all("pairs").to_pylist()
    judged = {(r["query_id"], r["document_id"]): r["score"] for r in data.read_all("scores/judge").to_pylist()}
    audit.run(data, p, str(tmp_path / "reports"))
    order = json.loads(read(tmp_path / "reports", "audit.json"))["order"]
    assert set(order) == {"one", "two", "judge"}
    for name, share in order.items():
        sides = {"positive": {}, "candidate": {}}
        for row in pairs:
            score = judged.get((row["query_id"], row["document_id"])) if name == "judge" else row[f"score_{name}"]
            others = any(row[relation] for relation in schema.RELATIONS if relation != "positive")
            if score is not None and (row["positive"] or not others):
                side = sides["positive" if row["positive"] else "candidate"]
                side.setdefault(row["query_id"], []).append(score)
        won = [
            (high > low) + (high == low) / 2
            for query, positives in sides["positive"].items()
            for high in positives
            for low in sides["candidate"].get(query, [])
        ]
        assert share == pytest.approx(sum(won) / len(won), rel=1e-5)
    assert order["one"] > 0.7 > order["judge"], "positives got a bonus from the retrievers, noise from the judge"
    assert "above candidates" in read(tmp_path / "reports", "report.html")


def test_examples_show_a_negative_of_a_query_once(data):
    loaded = query_shard.load(data, parameters(), SHARD)
    tables = [data.read(name, SHARD) for name in ("triplets", "verdicts", "shortfalls")]
    found = tallies.collect(parameters(audit={"examples": 99}), loaded, *tables, leak.Leak())
    for rows in (found.hardest, found.suspicious):
        shown = [(row["query_id"], row["negative_id"]) for row in rows]
        everything = {(row["query_id"], row["negative_id"]) for row in tables[0].to_pylist()}
        assert len(shown) == len(set(shown))
        assert set(shown) <= everything
        assert [row["order"] for row in rows] == sorted(row["order"] for row in rows)
    assert len(found.hardest) == len(everything)


def test_a_product_without_a_single_triplet_is_reported_not_refused(tmp_path):
    p = parameters(filter={"kind": "abs", "score": "one", "abs": -1.0}, scorers={})
    data = build(tmp_path / "data", p)
    audit.run(data, p, str(tmp_path / "reports"))
    numbers = json.loads(read(tmp_path / "reports", "audit.json"))
    assert numbers["triplets"] == 0
    assert numbers["full_quota"]["share"] == 0
    assert numbers["means"]["one"]["positive"] is None
    assert numbers["shortfalls"] == {"abs": numbers["positives"]}


def leaked(data, p, shard, number, *, naive):
    """Chosen negatives and hidden positives among them, of one round, in plain Python."""
    positives = data.read("positives", shard).to_pylist()
    pairs = data.read("pairs", shard).to_pylist()
    groups = {r["document_id"]: r["near_group"] for r in data.read_all("documents").to_pylist()}
    loaded = query_shard.load(data, p, shard)
    words = randomness.mix(
        randomness.id_hashes(loaded.block.query_ids)[loaded.block.positive_query],
        randomness.id_hashes(loaded.block.positives["document_id"]),
    )
    rounds = randomness.mix(p.audit.seed, number)
    hides = held_out.hidden_positives(loaded.block.positive_query, words, p.audit.hidden, rounds)
    chosen = found = 0
    for query in {row["query_id"] for row in positives}:
        own = [(r["document_id"], hide) for r, hide in zip(positives, hides, strict=True) if r["query_id"] == query]
        hidden, seen = ({d for d, hide in own if hide is wanted} for wanted in (np.True_, np.False_))
        scores = {r["document_id"]: r["score_one"] for r in pairs if r["query_id"] == query}
        known = {groups[d] for d in seen}
        ranks = {
            r["document_id"]: min(r["rank_one"] or 99, r["rank_two"] or 99) for r in pairs if r["query_id"] == query
        }
        best = {}  # of each group of near-duplicates
        for document in sorted(ranks, key=lambda d: (ranks[d], d)):
            if ranks[document] < 99 and groups[document] not in known:
                best.setdefault(groups[document], document)
        for positive in seen:
            level = scores[positive] if p.filter.rule.positive == "own" else min(scores[d] for d in seen)
            kept = [d for d in best.values() if naive or scores[d] < 0.95 * level]
            top = sorted(kept, key=lambda d: (-scores[d], d))[: p.sample.negatives]
            chosen += len(top)
            found += sum(groups[d] in {groups[h] for h in hidden} for d in top)
    return chosen, found


@pytest.mark.parametrize("reference", ["own", "min"])
def test_the_leak_is_that_of_a_plain_count(tmp_path, reference):
    rule = {"kind": "perc", "score": "one", "perc": 0.95, "positive": reference}
    p = parameters(filter=rule, scorers={})
    data = build(tmp_path / "data", p)
    for shard in data.shards("queries"):
        measured = leak.measure(data, p, query_shard.load(data, p, shard))
        assert measured.hidden == 2 * measured.queries  # half of three, rounded to even
        for naive, stack in ((False, measured.rules), (True, measured.naive)):
            rounds = [leaked(data, p, shard, number, naive=naive) for number in range(p.audit.rounds)]
            assert (stack.chosen, stack.leaked) == tuple(map(sum, zip(*rounds, strict=True)))
            assert (sum(stack.supplied.values()), sum(stack.supplied_leaked.values())) == (
                stack.hard,
                stack.hard_leaked,
            )
            shares = [r["share"] for r in leak.figures(stack, measured.queries, 2)["by_retriever"].values()]
            assert min(shares) <= stack.hard_leaked / stack.hard + 1e-6, "all together are as noisy as some mean"
            assert max(shares) >= stack.hard_leaked / stack.hard - 1e-6


def test_a_judged_negative_that_no_retriever_found_is_booked_to_none(data):
    p = parameters()
    shard = data.shards("queries")[0]
    pairs = data.read("pairs", shard)
    best = pc.and_(pc.fill_null(pc.less_equal(pairs["rank_one"], 6), False), pc.invert(pairs["positive"]))
    others = pc.if_else(best, pa.scalar(None, pa.int32()), pairs["rank_one"])
    for name, values in (("rank_one", others), ("rank_two", pa.nulls(len(pairs), pa.int32())), ("judged", best)):
        pairs = pairs.set_column(pairs.column_names.index(name), name, values)
    data.write("pairs", shard, pairs, anew=True)
    data.commit("pairs")
    found = leak.measure(data, p, query_shard.load(data, p, shard)).naive
    assert found.supplied["two"] == 0
    assert 0 < found.supplied["one"] < found.hard


def test_the_leak_adds_up_over_shards_and_one_round_adds_wilsons_interval(data):
    p = parameters(audit={"rounds": 1})
    parts = [leak.measure(data, p, query_shard.load(data, p, shard)) for shard in data.shards("queries")]
    both = parts[0] + parts[1]
    assert both.queries == sum(part.queries for part in parts) == 14
    assert both.naive.chosen == sum(part.naive.chosen for part in parts)
    numbers = leak.figures(both.naive, both.queries, 1)
    assert numbers["low"] <= numbers["share"] <= numbers["high"]
    assert numbers["wilson_low"] <= numbers["share"] <= numbers["wilson_high"]


def test_hidden_positives_do_not_depend_on_order():
    words = np.random.default_rng(1).integers(0, 2**63, 9).astype(np.uint64)
    query = np.array([0, 1, 1, 2, 2, 2, 2, 2, 2])
    hidden = held_out.hidden_positives(query, words, 0.5, np.uint64([1]))
    assert np.bincount(query, hidden).tolist() == [0, 1, 3]
    turned = np.r_[0:3, 8:2:-1]
    np.testing.assert_array_equal(held_out.hidden_positives(query, words[turned], 0.5, np.uint64([1])), hidden[turned])


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_positive_always_stays_visible_and_one_is_always_hidden(share):
    words = np.arange(6, dtype=np.uint64)
    hidden = held_out.hidden_positives(np.array([0, 0, 1, 1, 1, 2]), words, share, np.uint64([1]))
    assert set(np.bincount([0, 0, 1, 1, 1, 2], hidden)[:2]) <= {1.0, 2.0}
    assert not hidden[5]


def test_no_figure_of_nothing_is_a_number():
    figures = leak.figures(leak.Stack(), 0, 5)
    assert {name: figures[name] for name in ("share", "low", "high")} == {
        "share": None,
        "low": None,
        "high": None,
    }
