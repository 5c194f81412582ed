"""The views of one small table, written out."""

import pyarrow as pa
import pytest

from gangue.transforms import views
from gangue.transforms.views import rows

ROWS = [
    ("q1", "p1", "a", "what", "yes", "no", 0.5, 0.9),
    ("q1", "p1", "b", "what", "yes", "nay", 0.25, 0.9),
    ("q1", "p2", "a", "what", "aye", "no", 0.5, 0.75),
    ("q2", "p2", "c", "why", "aye", "nope", 0.125, None),
    ("q2", "p2", "d", "why", "aye", "never", 0.0, None),
]
NAMES = ("query_id", "positive_id", "negative_id", "query", "positive", "negative", "score_r", "positive_score_r")
TRIPLETS = pa.table(dict(zip(NAMES, map(list, zip(*ROWS, strict=True)), strict=True)))

GOLDEN = {
    "triplet": {
        "anchor": ["what", "what", "what", "why", "why"],
        "positive": ["yes", "yes", "aye", "aye", "aye"],
        "negative": ["no", "nay", "no", "nope", "never"],
    },
    "ntuple": {
        "anchor": ["what", "why"],
        "positive": ["yes", "aye"],
        "negative_1": ["no", "nope"],
        "negative_2": ["nay", "never"],
    },
    "labeled_pair": {
        "anchor": ["what", "what", "what", "what", "what", "why", "why", "why"],
        "passage": ["yes", "no", "nay", "aye", "no", "aye", "nope", "never"],
        "label": [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0],
    },
    "labeled_list": {
        "query": ["what", "what", "why"],
        "documents": [["yes", "no", "nay"], ["aye", "no"], ["aye", "nope", "never"]],
        "labels": [[1.0, 0.0, 0.0], [1.0, 0.0], [1.0, 0.0, 0.0]],
    },
    "scored_pair": {
        "anchor": ["what", "what", "what", "what", "what", "why", "why", "why"],
        "passage": ["yes", "no", "nay", "aye", "no", "aye", "nope", "never"],
        "score": [0.9, 0.5, 0.25, 0.75, 0.5, None, 0.125, 0.0],
    },
    "scored_ntuple": {
        "anchor": ["what", "why"],
        "positive": ["yes", "aye"],
        "negative_1": ["no", "nope"],
        "negative_2": ["nay", "never"],
        "label": [[0.9, 0.5, 0.25], [None, 0.125, 0.0]],
    },
    "scored_list": {
        "query": ["what", "what", "why"],
        "documents": [["yes", "no", "nay"], ["aye", "no"], ["aye", "nope", "never"]],
        "scores": [[0.9, 0.5, 0.25], [0.75, 0.5], [None, 0.125, 0.0]],
    },
}


def test_there_is_a_golden_table_for_every_view():
    assert list(GOLDEN) == list(views.VIEWS)


@pytest.mark.parametrize("view", GOLDEN)
def test_a_view_has_these_columns_in_this_order(view):
    table = views.VIEWS[view].table(TRIPLETS, 2, "r")
    assert table.to_pydict() == GOLDEN[view]
    assert table.column_names == list(GOLDEN[view])


@pytest.mark.parametrize("view", GOLDEN)
def test_a_table_in_several_chunks_gives_the_same_view(view):
    chunked = pa.concat_tables([TRIPLETS.slice(0, 2), TRIPLETS.slice(2, 0), TRIPLETS.slice(2)])
    assert views.VIEWS[view].table(chunked, 2, "r").to_pydict() == GOLDEN[view]


@pytest.mark.parametrize("view", GOLDEN)
def test_no_triplets_give_an_empty_view_of_the_same_columns_and_types(view):
    empty, full = (views.VIEWS[view].table(table, 2, "r") for table in (TRIPLETS.slice(0, 0), TRIPLETS))
    assert len(empty) == 0
    assert empty.schema == full.schema


def test_trainers_see_the_hardest_first_random_ones_last_and_none_of_weight_0():
    more = {
        "negative_kind": ["hard", "hard", "hard", "random", "hard"],
        "weight": [1.0, 0.5, 0.0, 1.0, 1.0],
        "score_r": [0.25, 0.5, 0.5, 0.75, None],
    }
    table = TRIPLETS.drop_columns("score_r")
    for name, values in more.items():
        table = table.append_column(name, pa.array(values))
    seen = rows.for_trainers(table, "r")
    assert seen["negative_id"].to_pylist() == ["b", "a", "d", "c"]
    assert seen.schema == table.schema
    assert len(rows.for_trainers(table.slice(0, 0), "r")) == 0


def test_an_n_tuple_needs_all_its_negatives():
    assert views.ntuple(TRIPLETS, 3, "r").num_rows == 0
    assert views.ntuple(TRIPLETS, 1, "r").to_pydict() == {
        "anchor": ["what"],
        "positive": ["aye"],
        "negative_1": ["no"],
    }
