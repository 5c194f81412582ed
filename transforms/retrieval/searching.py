"""Search a retriever: the best documents, in the one order that ids decide."""

from __future__ import annotations

import numpy as np

from gangue.transforms import arrays
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
