"""What is known to answer a query though it has one label, judged as though nobody knew it.

Its positive, positives of queries that ask the same, near copies of its positive.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from gangue.transforms import arrays
from gangue.transforms.candidates import pooling, query_shard, relations, rules
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import held_out
from gangue.transforms.negatives.choosing import choose

if TYPE_CHECKING:
    from gangue.pipeline import params

RELATED = {"alone": "positive", "siblings": "sibling_positive", "near_copies": "near_duplicate"}
"""What is known to answer a query that has one label, by its name in ``audit.json``: the relation that says so."""


def tested(data: Data, p: params.Params, shard: query_shard.Shard) -> dict[str, tuple[int, int]]:
    """Relation -> how many documents with it were tested, and how many would be negatives if nobody knew."""
    return {
        relation: alone(data, p, shard) if relation == "positive" else of_relation(data, p, shard, relation)
        for relation in RELATED.values()
    }


def alone(data: Data, p: params.Params, shard: query_shard.Shard) -> tuple[int, int]:
    """How many positives that are the only one of their query were retrieved, and how many would else be negatives.

    Only the learned filter judges each as if nobody knew it; most rules compare with the positive.
    """
    if not all(rule.learns or isinstance(rule, rules.Naive) for rule in p.filter.rules):
        return 0, 0
    candidates = shard.candidates
    single = np.bincount(candidates.positive_query, minlength=shard.queries)[candidates.query] == 1
    unknown = candidates.relations["positive"] & candidates.retrieved & single
    if not unknown.any():
        return 0, 0
    kinds = {**candidates.relations, "positive": candidates.relations["positive"] & ~unknown}
    unaware = dataclasses.replace(shard, candidates=dataclasses.replace(candidates, relations=kinds))
    return _let_through(data, p, unaware, unknown)


def of_relation(data: Data, p: params.Params, shard: query_shard.Shard, relation: str) -> tuple[int, int]:
    """How many documents were retrieved that only this relation drops, and how many would else be negatives.

    They answer the query, and no label of it says so: what is dropped as such is judged as any candidate. Of those
    that are near copies of each other the best one is tested, for the others are duplicates of a candidate then. What
    a cross-encoder would have read of a candidate, and did not, is not tested.
    """
    asking = np.zeros(shard.queries, bool)
    some = shard.candidates.relations[relation] & shard.candidates.retrieved & ~shard.candidates.judged
    asking[shard.candidates.query[some]] = True
    if not asking.any():
        return 0, 0
    shard = query_shard.limited(data, p, shard, asking)
    candidates, kinds = shard.candidates, dict(shard.candidates.relations)
    best = pooling.best_rank(candidates.ranks)
    other = np.any([values for name, values in kinds.items() if name not in (relation, "duplicate")], axis=0)
    for name, scorer in p.scorers.items():
        other |= np.isnan(candidates.scores[name]) & (best <= scorer.depth)
    tested = np.flatnonzero(kinds[relation] & candidates.retrieved & ~other & ~candidates.judged)
    documents = lookup.rows(data, "documents", ("near_group",)).take(shard.pairs["document_row"].to_numpy()[tested])
    (groups,) = arrays.codes(documents["near_group"])
    again = relations.duplicates(candidates.query[tested], groups, best[tested], candidates.tie[tested])
    unknown = np.zeros(len(best), bool)
    unknown[tested[~again]] = True
    for name in (relation, "duplicate"):
        kinds[name] = kinds[name] & ~unknown
    given = (shard.name, shard.block, shard.pairs, candidates.query, kinds, dict(candidates.scores))
    unaware = held_out.judged_anew(data, p, *given)
    return _let_through(data, p, unaware, unknown)


def _let_through(data: Data, p: params.Params, unaware: query_shard.Shard, unknown: np.ndarray) -> tuple[int, int]:
    """How many candidates are answers that nobody knows, (n,) bool, and how many of these would be negatives."""
    chosen = choose(data, unaware, rules.judge(unaware.candidates, p.filter.rules, unaware.queries), p.sample)
    return int(unknown.sum()), int(np.count_nonzero(unknown[arrays.distinct(chosen.pair)]))
