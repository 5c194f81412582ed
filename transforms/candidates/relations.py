"""What a document is to a query besides a candidate: its positive, a copy of one, a sibling's positive…"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data


@dataclasses.dataclass(frozen=True)
class QueryBlock:
    """The queries of one shard and their positives, as arrays (q queries, p positives).

    Near-duplicate queries are in the same shard, so a query's siblings are all here.
    """

    queries: pa.Table  # schema.QUERIES, sorted by query_id
    positives: pa.Table  # schema.POSITIVES, sorted by (query_id, document_id)

    @property
    def query_ids(self) -> pa.ChunkedArray:
        """(q,) ids."""
        return self.queries["query_id"]

    def numbers(self, ids: pa.ChunkedArray) -> np.ndarray:
        """(n,) int64 number of the query that each id is of."""
        return arrays.place_among(ids, self.query_ids)

    @property
    def positive_query(self) -> np.ndarray:
        """(p,) number of each positive's query, ascending."""
        return self.numbers(self.positives["query_id"])

    @property
    def positive_row(self) -> np.ndarray:
        """(p,) document row of each positive."""
        return self.positives["document_row"].to_numpy()

    def unlabelled(self, query: np.ndarray, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs, (n,) query number and (n,) document row, that are no positives."""
        known = arrays.pair_among(query, document, self.positive_query, self.positive_row)
        return query[~known], document[~known]


def query_block(data: Data, *shards: str) -> tuple[QueryBlock, np.ndarray]:
    """The queries and positives of some shards, one after the other, and the (q,) row numbers of these queries."""
    tables = [[data.read(dataset, shard) for shard in shards] for dataset in ("queries", "positives")]
    block = QueryBlock(*(pa.concat_tables(parts).combine_chunks() for parts in tables))
    return block, np.concatenate([lookup.query_rows(data).of(shard) for shard in shards])


@dataclasses.dataclass(frozen=True)
class Involved:
    """The documents that decide what pairs are: theirs, and every positive.

    Attributes:
      rows: (u,) document rows, ascending.   documents: their id, ``text_hash`` and ``near_group``.
      at: (n,) place of each pair's document among them.
      positive: (p,) place of each positive.
    """

    rows: np.ndarray
    documents: pa.Table
    at: np.ndarray
    positive: np.ndarray


def involved(data: Data, block: QueryBlock, document_row: np.ndarray) -> Involved:
    """Look up the documents that ``annotate`` needs for pairs with these (n,) documents."""
    rows, (at, positive) = arrays.places(document_row, block.positive_row)
    documents = lookup.rows(data, "documents", ("document_id", "text_hash", "near_group")).take(rows)
    return Involved(rows, documents, at, positive)


def annotate(
    block: QueryBlock, found: Involved, query: np.ndarray, order: np.ndarray, tie: np.ndarray, judged: np.ndarray
) -> dict[str, np.ndarray]:
    """The relations of each (query, document) pair.

    Args:
      block: the queries.   found: the documents.   query: (n,) query number of each pair.
      order: (n,) of copies the lowest one stays, and of a positive's copies the positive.   tie: (n,) breaks ties.
      judged: (n,) bool, somebody said that it is no positive: of those only what reads alike is a copy.

    Returns:
      Relation -> (n,) bool: of ``schema.RELATIONS`` those that labels and texts tell.
    """
    documents, pair, positive = found.documents, found.at, found.positive
    groups = near_groups(documents["document_id"], documents["near_group"])
    positive_query = block.positive_query
    answers, asked = documents["text_hash"].take(pa.array(positive)), block.queries["text_hash"]
    texts, own = arrays.places_among([documents["text_hash"], asked], [answers, asked])
    relations = {
        "positive": among(query, pair, np.arange(len(documents)), positive_query, positive),
        "same_text": among(query, pair, texts, positive_query, texts[positive]),
        "near_duplicate": among(query, pair, groups, positive_query, groups[positive]),
        "own_text": among(query, pair, texts, np.arange(len(own)), own),
        "sibling_positive": of_siblings(block, query, groups[pair], groups[positive]),
    }
    # A positive goes first, so that none is called a copy of a candidate, and then what was judged.
    order = np.where(relations["positive"], -2, np.where(judged, -1, order))
    shared = np.flatnonzero((np.bincount(groups) > 1)[groups][pair])  # most documents are alone in their group
    relations["duplicate"] = np.zeros(len(pair), bool)
    relations["duplicate"][shared] = duplicates(query[shared], groups[pair[shared]], order[shared], tie[shared])
    for relation in relations.keys() - {"positive"}:
        relations[relation] &= ~relations["positive"]
    told = np.flatnonzero(judged & ~relations["positive"])
    (reading,) = arrays.codes(documents["text_hash"].take(pa.array(pair[told])))
    relations["duplicate"][told] = duplicates(query[told], reading, order[told], tie[told])
    return relations


def of_siblings(block: QueryBlock, query: np.ndarray, group: np.ndarray, positive_group: np.ndarray) -> np.ndarray:
    """(n,) bool: whether another query that asks the same has a positive that is nearly the document.

    However many queries ask the same, the work is that of the pairs and the positives.

    Args:
      block: the queries.   query, group: (n,) query number and near-duplicates' code of the document of each pair.
      positive_group: (p,) that code of each positive.
    """
    (asking,) = arrays.codes(block.queries["near_group"])
    several = (np.bincount(asking, minlength=1) > 1)[asking]  # most queries ask alone
    owner = block.positive_query
    some, owned = np.flatnonzero(several[query]), np.flatnonzero(several[owner])
    owner = owner[owned]
    wanted, known = arrays.pair_numbers((asking[query[some]], group[some]), (asking[owner], positive_group[owned]))
    order = np.lexsort((owner, known))
    owners = np.append(owner[order], -1)
    first, last = (np.searchsorted(known[order], wanted, side) for side in ("left", "right"))
    result = np.zeros(len(query), bool)
    # Of all who have such a positive the first or the last is another than the query itself.
    result[some] = (last > first) & ((owners[first] != query[some]) | (owners[last - 1] != query[some]))
    return result


def near_groups(ids: pa.ChunkedArray, named: pa.ChunkedArray) -> np.ndarray:
    """(n,) int64 code of the near-duplicates of each document, from its id and the name of its group.

    Most documents name themselves: only the others are looked up.

    >>> near_groups(pa.chunked_array([["a", "b", "c", "d"]]), pa.chunked_array([["a", "a", "c", "0"]])).tolist()
    [4, 4, 2, 5]
    """
    result = np.arange(len(ids))
    others = np.flatnonzero(pc.not_equal(ids, named).to_numpy())
    if others.size:
        groups = named.take(pa.array(others))
        names = groups.unique()
        result[others] = len(ids) + pc.index_in(groups, names).to_numpy()
        first = pc.index_in(ids, names)  # of a group that others name
        at = np.flatnonzero(first.is_valid().to_numpy())
        result[at] = len(ids) + first.drop_null().to_numpy()
    return result


def duplicates(query: np.ndarray, group: np.ndarray, order: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """(n,) bool: a better pair of the same query has a near-duplicate of this document.

    Args:
      query: (n,) query number.   group: (n,) code of the document's near-duplicates.
      order: (n,) smaller is better.   tie: (n,) breaks ties.

    >>> duplicates(np.array([0, 0, 0]), np.array([5, 5, 6]), np.array([2, 1, 3]), np.array([0, 1, 2])).tolist()
    [True, False, False]
    """
    both = query * (int(group.max(initial=0)) + 1) + group
    return arrays.rank_within(both, [order, tie]) > 0


def among(
    query: np.ndarray, pair: np.ndarray, code: np.ndarray, of_query: np.ndarray, of_code: np.ndarray
) -> np.ndarray:
    """(n,) bool: whether (query, code of the document) is one of the pairs (of_query, of_code).

    Args:
      query, pair: (n,) query number and document.   code: (u,) small code of each document, most are none of theirs.
      of_query, of_code: (m,).
    """
    known = np.zeros(max(code.max(initial=0), of_code.max(initial=0)) + 1, bool)
    known[of_code] = True
    some = np.flatnonzero(known[code][pair])
    result = np.zeros(len(pair), bool)
    result[some] = arrays.pair_among(query[some], code[pair[some]], of_query, of_code)
    return result
