"""What other cuts would mine: its labels say how loose a cut may be, where labels of the negatives cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import scipy.special

from gangue.transforms import arrays, randomness
from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import checks, frontier

if TYPE_CHECKING:
    from gangue.pipeline import params

_EACH = 4  # of the cuts of a line one in so many
_BINS = 20
_ENOUGH = 200  # pairs to choose one from
_LEAST = 1e-6  # probability below which, and above one less it, all are alike


def filters(data: Data, p: params.Params) -> list[params.Filter]:
    """The filter with other cuts of its main rule, from loose to strict; none where that has no cut."""
    rule = p.filter.rule
    return [] if rule.cut_key is None else [p.filter.with_cut(cut) for cut in frontier.cuts(data, p, rule)[::-_EACH]]


def pairs(data: Data, p: params.Params, shard: query_shard.Shard, stacks: Sequence[params.Filter]) -> np.ndarray:
    """(m,) numbers of the pairs of a shard that some of these filters would make negatives, judged ones apart."""
    if not stacks or rules.P_FALSE not in shard.candidates.scores:
        return np.empty(0, np.int64)
    found = arrays.distinct(np.concatenate([frontier.chosen_by(data, p, shard, stack) for stack in stacks]))
    return found[~shard.candidates.judged[found]]


def drawn(data: Data, p: params.Params, mined: pa.Table, count: int, seed: int) -> pa.Table:
    """About ``count`` pairs of these that are not mined: ``query_id``, ``document_id``, ``document_row``, ``p_false``.

    Args:
      data, p: a job that was mined.   mined: its negatives, of which columns are ``query_id`` and ``negative_id``.
      count: of pairs, at most.   seed: of the draw.
    """
    found: list[pa.Table] = []
    stacks = filters(data, p)
    for name in data.shards("pairs"):  # each a random sample of the queries
        shard = frontier.load(data, p, name)
        number = pairs(data, p, shard, stacks)
        columns = {key: shard.pairs[key].take(pa.array(number)) for key in ("query_id", "document_id", "document_row")}
        ids = {key: columns[key].cast(pa.string()) for key in ("query_id", "document_id")}
        again = checks.among(list(ids.values()), [mined["query_id"], mined["negative_id"]])
        p_false = shard.candidates.scores[rules.P_FALSE][number] if len(number) else np.empty(0, np.float32)
        table = pa.table({**columns, **ids, "p_false": pa.array(p_false, pa.float32())})
        found.append(table.filter(pa.array(~again)))
        if sum(map(len, found)) >= _ENOUGH * count:
            break
    every = pa.concat_tables(found)
    hashes = (randomness.id_hashes(every[key]) for key in ("query_id", "document_id"))
    chance = spread(every["p_false"].to_numpy().astype(np.float64), count)
    return every.filter(pa.array(randomness.uniforms(randomness.mix(seed, *hashes)) < chance))


def spread(p_false: np.ndarray, count: float) -> np.ndarray:
    """(n,) probabilities of being labelled, of about ``count`` pairs that lie evenly from surely right to surely false.

    Evenly in log odds, since a cut may lie anywhere there, and few pairs lie at the ends.

    >>> spread(np.array([0.5] * 8 + [0.01] * 2), 4).tolist()
    [0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 1.0, 1.0]
    """
    if not len(p_false):
        return np.empty(0)
    odds = scipy.special.logit(np.clip(p_false, _LEAST, 1 - _LEAST))
    edges = np.linspace(odds.min(), odds.max(), _BINS + 1)[1:-1]
    place = np.searchsorted(edges, odds, side="right")
    size = np.bincount(place, minlength=_BINS)
    # As many of each bin, all of a bin that has fewer: the first level that all bins together fill.
    ascending = np.sort(size)
    before = np.cumsum(ascending) - ascending
    level = (count - before) / (_BINS - np.arange(_BINS))
    enough = level <= ascending
    filled = level[np.argmax(enough)] if enough.any() else ascending[-1]
    return np.asarray(np.minimum(1.0, filled / np.maximum(size, 1))[place])
