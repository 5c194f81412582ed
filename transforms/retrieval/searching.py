"""Search a retriever: the best documents in the one order that ids decide, and who must search deeper."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gangue.pipeline.quota import Quota
from gangue.transforms import arrays
from gangue.transforms.candidates import relations, rules
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import topk
from gangue.transforms.retrieval.protocol import Opened


class Hits:
    """What a search found: (n,) query number, document row, float64 score; best first in each query."""

    def __init__(self, query: np.ndarray, document: np.ndarray, score: np.ndarray) -> None:
        self.query, self.document, self.score = query, document, score

    def without(self, queries: np.ndarray) -> Hits:
        """Hits of all other queries."""
        keep = ~np.isin(self.query, queries)
        return Hits(self.query[keep], self.document[keep], self.score[keep])

    def extended(self, more: Hits) -> Hits:
        """These and more."""
        return Hits(
            np.concatenate([self.query, more.query]),
            np.concatenate([self.document, more.document]),
            np.concatenate([self.score, more.score]),
        )


def search(
    data: Data,
    retriever: Opened,
    rows: np.ndarray,
    queries: np.ndarray,
    depth: int,
    allowed: np.ndarray | None = None,
) -> Hits:
    """The best ``depth`` documents of these queries: fetched in float32, rescored and ordered in float64.

    One of each text is searched, and of these only the ``allowed``: (documents,) bool.

    Where the last document fetched scores as well as the one at the depth, the search cannot know that it has all of
    its equals, so it fetches more: ties go by id, not by what an index happens to return.
    """
    searched = lookup.representatives(data) if allowed is None else lookup.representatives(data) & allowed
    settled = Hits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    pending, fetch = queries, depth
    while pending.size:
        documents, _ = retriever.search(rows[pending], fetch + topk.MARGIN, searched)
        query, document = np.repeat(pending, documents.shape[1]), documents.reshape(-1)
        query, document = query[document >= 0], document[document >= 0]
        score = retriever.score(rows[query], document)
        order = best_first(data, query, document, score)
        query, document, score = query[order], document[order], score[order]
        place = arrays.rank_within(query, [np.arange(len(query))])
        fetched = np.bincount(query, minlength=len(rows))
        at_depth, last = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        at_depth[query[place == depth - 1]] = score[place == depth - 1]
        last[query] = score  # the worst comes last
        close = last >= at_depth - topk.ROUNDING * np.maximum(1.0, np.abs(at_depth))
        tied = pending[(close & (fetched >= fetch + topk.MARGIN))[pending]]
        keep = place < depth
        settled = settled.extended(Hits(query[keep], document[keep], score[keep]).without(tied))
        pending, fetch = tied, 4 * fetch
    return settled


def best_first(data: Data, query: np.ndarray, document: np.ndarray, score: np.ndarray) -> np.ndarray:
    """(n,) indices that sort hits by (query, score descending, document id); ids are read only where scores tie."""
    order = arrays.order_by(query, -score)
    equal = (np.diff(query[order]) == 0) & (np.diff(score[order]) == 0)
    tied = np.flatnonzero(np.r_[False, equal] | np.r_[equal, False])
    if tied.size:
        hits = order[tied]
        rows, (place,) = arrays.places(document[hits])
        ids = lookup.rows(data, "documents", ("document_id",)).take(rows)["document_id"]
        order[tied] = hits[topk.order(query[hits], score[hits], arrays.ascending(ids)[place])]
    return order


def short_queries(
    data: Data,
    quota: Quota,
    name: str,
    retriever: Opened,
    block: relations.QueryBlock,
    rows: np.ndarray,
    hits: Hits,
    pending: np.ndarray,
    depth: int,
) -> np.ndarray:
    """Queries that reached the depth but not the quota, by the rules that this retriever can judge."""
    place = np.arange(len(hits.query))
    kinds = relations.annotate(block, relations.involved(data, block, hits.document), hits.query, place, place)
    positive_score = retriever.score(rows[block.positive_query], block.positive_row)
    finite = np.isfinite(positive_score)
    if not finite.all():  # those without a vector take no part, so nothing is wanted for them
        block = relations.QueryBlock(block.queries, block.positives.filter(pa.array(finite)))
        positive_score = positive_score[finite]
    rank = arrays.rank_within(hits.query, [place]) + 1.0
    verdicts = rules.judge(
        rules.Candidates(
            query=hits.query,
            tie=place,
            relations=kinds,
            scores={name: hits.score.astype(np.float32)},
            ranks={name: rank},
            random=np.zeros(len(place), bool),
            next_cluster=np.zeros(len(place), bool),
            judged=np.zeros(len(place), bool),
            positive_query=block.positive_query,
            positive_scores={name: positive_score.astype(np.float32)},
        ),
        quota.rules,
        len(rows),
    )
    kept = verdicts.verdict == -1
    query, positive = hits.query[verdicts.pair[kept]], verdicts.positive[kept]
    if (positive >= 0).any():  # a verdict per positive: the scarcest decides
        enough = np.bincount(positive, minlength=len(block.positives)) >= quota.candidates
        satisfied = np.ones(len(rows), bool)
        np.logical_and.at(satisfied, block.positive_query, enough)
    else:
        satisfied = np.bincount(query, minlength=len(rows)) >= quota.candidates
    satisfied |= np.bincount(block.positive_query, minlength=len(rows)) == 0
    full = np.bincount(hits.query, minlength=len(rows)) >= depth
    return pending[~satisfied[pending] & full[pending]]
