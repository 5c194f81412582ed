"""Rounds in which queries propose negatives and documents refuse those beyond ``sample.reuse``.

A round is a barrier: every shard of queries writes what it would choose, then one task refuses. What is refused is
known by the numbers of its query and document, and who is refused by a hash of their ids, so neither shards nor
their order matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays, randomness
from gangue.transforms.candidates import query_shard
from gangue.transforms.datasets.names import shard_names, staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.negatives import reuse
from gangue.transforms.running.counts import Counts

if TYPE_CHECKING:
    from gangue.pipeline import params

PROPOSALS, DENIALS = "proposals", "denials"  # there while the stage runs
_PROPOSALS = pa.schema([("query_row", pa.int64()), ("document_row", pa.int64()), ("noise", pa.uint64())])
_DENIALS = pa.schema([("query_row", pa.int64()), ("document_row", pa.int64()), ("round", pa.int32())])


def write_proposals(
    data: Data, p: params.Params, shard: str, loaded: query_shard.Shard, rows: np.ndarray, pair: np.ndarray
) -> None:
    """Write the (query, document) pairs that a shard chooses, each once.

    Args:
      data, p, shard, loaded: as everywhere.   rows: (q,) row numbers of the queries.   pair: (m,) chosen candidates.
    """
    pair = arrays.distinct(pair)
    query = loaded.candidates.query[pair]
    noise = randomness.mix(p.sample.seed, loaded.hashes.query[query], loaded.hashes.document[pair])
    table = pa.table([rows[query], loaded.pairs["document_row"].to_numpy()[pair], noise], schema=_PROPOSALS)
    data.write(staged(PROPOSALS), shard, table, suffix=".arrow", anew=True)


def refuse(_: str, data: Data, p: params.Params, number: int) -> Counts:
    """Refuse what a round proposes beyond the cap; what was refused before stays so."""
    assert p.sample.reuse is not None
    earlier = _denials(data) if number else _DENIALS.empty_table()
    if number and not (earlier["round"].to_numpy() == number - 1).any():
        return Counts()
    proposals = pa.concat_tables([data.read(staged(PROPOSALS), shard) for shard in data.shards("queries")])
    query, document, noise = (proposals[name].to_numpy() for name in _PROPOSALS.names)
    over = reuse.denied(document, noise, query, p.sample.reuse)
    more = pa.table([query[over], document[over], np.full(int(over.sum()), number)], schema=_DENIALS)
    data.write(staged(DENIALS), shard_names(1)[0], pa.concat_tables([earlier, more]), suffix=".arrow", anew=True)
    return Counts({"refused": len(more)})


def denied(data: Data, loaded: query_shard.Shard, rows: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) bool which candidates were refused before the round ``number - 1``, and (n,) bool which in it."""
    if number == 0:
        nothing = np.zeros(len(loaded.pairs), bool)
        return nothing, nothing
    table = _denials(data)
    key, refused = arrays.pair_numbers(
        (rows[loaded.candidates.query], loaded.pairs["document_row"].to_numpy()),
        (table["query_row"].to_numpy(), table["document_row"].to_numpy()),
    )
    late = table["round"].to_numpy() == number - 1
    return np.isin(key, refused[~late]), np.isin(key, refused[late])


def _denials(data: Data) -> pa.Table:
    return data.read(staged(DENIALS), shard_names(1)[0])
