"""Hide known positives, and mine as if nobody had labelled them: a hidden one is what a false negative is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays, randomness
from gangue.transforms.candidates import otherwise, pooling, query_shard, relations, rules
from gangue.transforms.candidates.relations import QueryBlock
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import checks
from gangue.transforms.relevance import describing, learn_note

if TYPE_CHECKING:
    from gangue.pipeline import params


class Hiding(Protocol):
    """How positives are hidden (``gangue.pipeline.params.Calibrate``)."""

    @property
    def hidden(self) -> float: ...  # noqa: D102
    @property
    def rounds(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


def hidden_positives(
    positive_query: np.ndarray, positive_hashes: np.ndarray, share: float, round_hash: np.ndarray
) -> np.ndarray:
    """(p,) bool: about ``share`` of the positives of each query with two or more, one at least, never all.

    Args:
      positive_query: (p,) query number of each positive, ascending.
      positive_hashes: (p,) uint64 hash of (query id, document id).
      share: in (0, 1).
      round_hash: (1,) uint64 hash of (seed, round).

    >>> hashes = np.arange(5, dtype=np.uint64)
    >>> hidden_positives(np.array([0, 1, 1, 1, 1]), hashes, 0.5, np.uint64([3])).astype(int).tolist()
    [0, 1, 0, 1, 0]
    """
    noise = randomness.uniforms(randomness.mix(round_hash, positive_hashes))
    place = arrays.rank_within(positive_query, [noise])
    size = np.bincount(positive_query)[positive_query] if len(positive_query) else positive_query
    hidden = np.clip(np.round(share * size), 1, np.maximum(size - 1, 1))
    return (size > 1) & (place < hidden)


def testable(data: Data, p: params.Params, shard: query_shard.Shard) -> query_shard.Shard:
    """The shard with the queries that have several positives, of which some are hidden, and those that ask the same."""
    several = np.bincount(shard.block.positive_query, minlength=shard.queries) > 1
    return query_shard.limited(data, p, shard, query_shard.asking_the_same(shard, several))


def rounds(
    data: Data, p: params.Params, shard: query_shard.Shard, hiding: Hiding
) -> Iterator[tuple[np.ndarray, query_shard.Shard, np.ndarray]]:
    """Hide other positives of a testable shard in each round.

    Yields:
      (p,) bool which positives are hidden; the shard as it would be; (n,) bool which of its candidates are hidden ones.
    """
    for number in range(hiding.rounds):
        drawn = randomness.mix(hiding.seed, number)
        hidden = hidden_positives(shard.block.positive_query, shard.positive_hashes, hiding.hidden, drawn)
        if not hidden.any():
            return
        unaware = hide(data, p, shard, hidden)
        yield hidden, unaware, answers(data, shard.block, unaware, hidden)


def hide(data: Data, p: params.Params, shard: query_shard.Shard, hidden: np.ndarray) -> query_shard.Shard:
    """The shard as it would be had some positives never been labelled.

    Args:
      shard: as loaded.   hidden: (p,) bool, which positives nobody knows.

    Returns:
      A shard without them: they are candidates now, where a retriever returned them, and score as candidates do.
    """
    block = relations.QueryBlock(shard.block.queries, shard.block.positives.filter(pa.array(~hidden)))
    found = pooling.best_rank(shard.candidates.ranks) < pooling.NO_RANK
    was_positive = shard.candidates.relations["positive"]
    unknown = arrays.pair_among(
        shard.candidates.query,
        shard.pairs["document_row"].to_numpy(),
        shard.block.positive_query[hidden],
        shard.block.positive_row[hidden],
    )
    keep = ~was_positive | ~unknown | found
    pairs = shard.pairs.filter(pa.array(keep))
    query = shard.candidates.query[keep]
    order = pooling.best_rank({n: r[keep] for n, r in shard.candidates.ranks.items()})
    involved = relations.involved(data, block, pairs["document_row"].to_numpy())
    tie, judged = shard.candidates.tie[keep], shard.candidates.judged[keep]
    kinds = relations.annotate(block, involved, query, order, tie, judged)
    for relation in (otherwise.PARTLY, otherwise.REVERSE):  # as labels say; of what is hidden they say nothing
        kinds[relation] = shard.candidates.relations[relation][keep]
    scores = {name: score[keep].copy() for name, score in shard.candidates.scores.items()}
    named = {relation: pa.array(kinds[relation]) for relation in schema.RELATIONS}
    for relation, column in named.items():
        pairs = pairs.set_column(pairs.column_names.index(relation), relation, column)
    for name in p.scorers:
        scores[name][~pooling.worth_scoring(pairs, p.scorers[name].depth)] = np.nan
    return judged_anew(data, p, shard.name, block, pairs, query, kinds, scores)


def judged_anew(
    data: Data,
    p: params.Params,
    name: str,
    block: QueryBlock,
    pairs: pa.Table,
    query: np.ndarray,
    kinds: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
) -> query_shard.Shard:
    """The shard of these pairs, of which something is known no more: so p_false, where there is one, is another.

    Whoever does not know the hidden positives describes every pair of their queries in another way.
    """
    others = {score: values for score, values in scores.items() if score != rules.P_FALSE}
    learned = rules.P_FALSE in scores
    unaware = query_shard.shard_of(data, p, name, block, pairs, query, kinds, others, compared=not learned)
    if not learned:
        return unaware
    others[rules.P_FALSE] = describing.false_probability(data, p, unaware, learn_note.read(data))
    return query_shard.shard_of(data, p, name, block, pairs, query, kinds, others)


def answers(data: Data, block: QueryBlock, unaware: query_shard.Shard, hidden: np.ndarray) -> np.ndarray:
    """(n,) bool: the candidate is a hidden positive of its query, reads like one or is almost a copy.

    Almost a copy that somebody judged is none.
    """
    documents = lookup.rows(data, "documents", ("text_hash", "near_group"))
    candidate = documents.take(unaware.pairs["document_row"].to_numpy())
    answer = documents.take(block.positive_row[hidden])
    query, asked = pa.array(unaware.candidates.query), pa.array(block.positive_query[hidden])
    alike, near = (
        checks.among([query, candidate[name]], [asked, answer[name]]) for name in ("text_hash", "near_group")
    )
    return alike | (near & ~unaware.candidates.judged)
