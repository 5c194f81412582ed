"""Search by postings against the sums that define the scores: exact, whatever the ranges and their lists."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from gangue.transforms import at_hand
from gangue.transforms.datasets.names import shard_names
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import lexical, postings

TOKENS = 9
NUMBER = itertools.count()
WEIGHTS = st.sampled_from([0.25, 0.1, 0.7, 1.0, 3.3])  # few, so that documents tie
DOCUMENTS = st.lists(st.dictionaries(st.integers(0, TOKENS - 1), WEIGHTS), min_size=1, max_size=40)
QUERIES = st.lists(st.dictionaries(st.integers(0, TOKENS - 1), st.integers(1, 3)), min_size=1, max_size=5)


def indexed(root, documents, shards, most):
    """The postings of documents, each a weight for each of its tokens, as a retriever's index has them."""
    data = Data(root)
    cuts = np.linspace(0, len(documents), shards + 1).astype(int)
    tables = []
    for name, (start, stop) in zip(shard_names(shards), itertools.pairwise(cuts), strict=True):
        rows = [sorted(document.items()) for document in documents[start:stop]]
        columns = [[[pair[part] for pair in row] for row in rows] for part in (0, 1)]
        tables.append(pa.table(columns, schema=lexical.WEIGHTS))
        data.write("documents", name, pa.table({"row": np.arange(start, stop)}))
    data.commit("documents")
    edges = postings.ranges(data, most)
    for name, (first, end) in zip(shard_names(len(edges) - 1), itertools.pairwise(edges), strict=True):
        data.write("postings", name, postings.invert(pa.concat_tables(tables[first:end]), TOKENS), suffix=".arrow")
    data.commit("postings")
    return data, edges


def matrix(rows):
    """(n, TOKENS) as a sparse matrix of the values of each row's tokens."""
    dense = np.zeros((len(rows), TOKENS))
    for row, values in enumerate(rows):
        dense[row, list(values)] = list(values.values())
    return scipy.sparse.csr_matrix(dense)


@settings(max_examples=40)
@given(
    documents=DOCUMENTS, queries=QUERIES, depth=st.integers(1, 12), shards=st.integers(1, 5), most=st.integers(1, 50),
    long=st.integers(1, 10), few=st.sampled_from([0, 2, 1000]), left_out=st.sets(st.integers(0, 39)),
)  # fmt: skip
def test_the_best_are_those_of_the_sums_in_any_ranges(documents, queries, depth, shards, most, long, few, left_out):
    allowed = ~np.isin(np.arange(len(documents)), list(left_out))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "_LONG", long)
        patch.setattr(postings, "_FEW", few)
        data, edges = indexed(f"memory://postings-{next(NUMBER)}", documents, shards, most)
        rows, scores = postings.search(data, "postings", edges, matrix(queries), depth, allowed)
    sums = (matrix(queries) @ matrix(documents).T).toarray()
    for query, expected in enumerate(sums):
        found = rows[query][rows[query] >= 0]
        assert len(set(found)) == len(found)
        assert allowed[found].all()
        best = np.sort(expected[allowed & (expected > 0)])[::-1][:depth]
        assert np.allclose(np.sort(expected[found])[::-1], best, rtol=1e-6, atol=0)
        assert np.allclose(scores[query][rows[query] >= 0], expected[found], rtol=1e-6, atol=0)
        assert np.isneginf(scores[query][rows[query] < 0]).all()


def test_ranges_without_an_allowed_document_are_not_read(tmp_path):
    data, edges = indexed(str(tmp_path), [{0: 1.0}] * 4, shards=4, most=1)
    (gone,) = (tmp_path / "postings").glob(f"{shard_names(4)[2]}*")
    gone.unlink()
    asked = matrix([{0: 1}])
    rows, _ = postings.search(data, "postings", edges, asked, 4, np.array([True, True, False, True]))
    assert sorted(rows[0][rows[0] >= 0]) == [0, 1, 3]
    with pytest.raises(FileNotFoundError, match="part-00002-of-00004"):
        postings.search(data, "postings", edges, asked, 4, np.ones(4, bool))


def test_a_range_is_of_whole_shards_and_bounded_in_rows_and_bytes(tmp_path, monkeypatch):
    data, edges = indexed(str(tmp_path), [{0: 1.0}] * 40, shards=8, most=12)
    assert edges.tolist() == [0, 2, 4, 6, 8]
    assert postings.ranges(data, 2).tolist() == list(range(9)), "a shard is never cut"
    assert postings.ranges(data, 1000).tolist() == [0, 8]
    monkeypatch.setattr(postings, "_BYTES", 1)
    at_hand.forget()
    assert postings.ranges(data, 1000).tolist() == list(range(9)), "long documents"
