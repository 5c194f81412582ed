"""Documents that labels call relevant to a query though they are none of its positives.

With a lower grade than a positive must have; or as a pair the other way round, where texts are queries and documents:
who says that b answers a has said something of a and b, whichever asks.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays, at_hand
from gangue.transforms.candidates import relations
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data

PARTLY, REVERSE = "partly_relevant", "reverse_positive"


def annotate(
    data: Data, shard: str, block: relations.QueryBlock, found: relations.Involved, query: np.ndarray
) -> dict[str, np.ndarray]:
    """The relations of each (query, document) pair that labels of other grades and of other queries tell.

    Args:
      data, shard: where.   block: the queries.   found: the documents.   query: (n,) query number of each pair.

    Returns:
      ``PARTLY``, (n,) bool: the document has a grade below that of a positive, or is a near-duplicate of one that has.
      ``REVERSE``, (n,) bool: it reads like a query of which a positive reads like this query.
    """
    return {PARTLY: _partly(data, shard, block, found, query), REVERSE: _reverse(data, block, found, query)}


def _partly(
    data: Data, shard: str, block: relations.QueryBlock, found: relations.Involved, query: np.ndarray
) -> np.ndarray:
    graded = data.read("judged", shard)
    lower = graded.filter(pc.and_(pc.equal(graded["source"], "grade"), pc.greater(graded["grade"], 0.0)))
    if not len(lower):
        return np.zeros(len(query), bool)
    named = lookup.rows(data, "documents", ("near_group",)).take(lower["document_row"].to_numpy())["near_group"]
    groups, of_lower = arrays.codes(found.documents["near_group"], named)
    return relations.among(query, found.at, groups, block.numbers(lower["query_id"]), of_lower)


def _reverse(data: Data, block: relations.QueryBlock, found: relations.Involved, query: np.ndarray) -> np.ndarray:
    result = np.zeros(len(query), bool)
    if not pc.any(pc.is_in(found.documents["text_hash"], value_set=_asked(data))).as_py():
        return result  # as nearly everywhere: no document here reads like a query
    asked, every = block.queries["text_hash"], _readable_both_ways(data)
    labelled = every.filter(pc.is_in(every["positive"], value_set=arrays.one_array(asked)))  # of all shards, a few
    able = pc.is_in(asked, value_set=arrays.one_array(labelled["positive"])).to_numpy(zero_copy_only=False)
    some = np.flatnonzero(able[query])
    if some.size:
        reading = found.documents["text_hash"].take(pa.array(found.at[some]))
        pair = [reading, asked.take(pa.array(query[some]))]
        one, other = arrays.pair_codes(pair, [labelled["query"], labelled["positive"]])
        result[some] = np.isin(one, other)
    return result


@at_hand.keep
def _asked(data: Data) -> pa.Array:
    """Hashes of the texts of all queries, each once."""
    return arrays.one_array(data.read_all("queries", ["text_hash"])["text_hash"]).unique()


@at_hand.keep
def _readable_both_ways(data: Data) -> pa.Table:
    """``query``, ``positive``: hashes of the texts of every positive that reads like some query."""
    every = _asked(data)
    rows, hashes, start = [np.empty(0, np.int64)], [every.slice(0, 0)], 0
    for shard in data.shards("documents"):
        column = arrays.one_array(data.read("documents", shard, ["text_hash"])["text_hash"])
        alike = np.flatnonzero(pc.is_in(column, value_set=every).to_numpy(zero_copy_only=False))
        rows.append(start + alike)
        hashes.append(column.take(pa.array(alike)))
        start += len(column)
    row, reading = np.concatenate(rows), pa.chunked_array(hashes)
    tables = [pa.table({"query": every.slice(0, 0), "positive": every.slice(0, 0)})]
    for shard in data.shards("positives") if row.size else ():
        positives = data.read("positives", shard, ["query_id", "document_row"])
        place = np.searchsorted(row, positives["document_row"].to_numpy())
        alike = np.flatnonzero(np.append(row, -1)[place] == positives["document_row"].to_numpy())
        if alike.size:
            queries = data.read("queries", shard, ["query_id", "text_hash"])
            asking = arrays.place_among(positives["query_id"].take(pa.array(alike)), queries["query_id"])
            columns = [queries["text_hash"].take(pa.array(asking)), reading.take(pa.array(place[alike]))]
            tables.append(pa.table(columns, names=["query", "positive"]))
    return pa.concat_tables(tables).combine_chunks()
