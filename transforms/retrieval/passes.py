"""Passes over the documents: which queries share one, which documents it reads, and what all of them found together.

Queries of several shards are searched in one pass, for it reads every document. Documents may be cut into ranges, which
other processes search at the same time; what they find is merged, and then thrown away.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.names import shard_name, staged, together
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import protocol
from gangue.transforms.retrieval.searching import Hits, best_first, search
from gangue.transforms.running import progress
from gangue.transforms.running.counts import Counts

_QUERIES = 4096  # searched at once at most: their hits take some MiB


@dataclasses.dataclass(frozen=True)
class Passes:
    """How a retriever searches all queries.

    Attributes:
      name: of the retriever.   retriever: its section of the params.
      workers: processes that share the work.
      documents: of a range at most, whole shards or parts of an index; None: all.
    """

    data: Data
    name: str
    retriever: protocol.Retriever
    workers: int = 1
    documents: int | None = None

    @functools.cached_property
    def groups(self) -> dict[str, list[str]]:
        """First shard -> shards of queries that share a pass; some per worker."""
        queries = lookup.query_rows(self.data)
        rows = np.diff(queries.offsets).tolist()
        most = min(_QUERIES, sum(rows) // (4 * self.workers) if self.workers > 1 else _QUERIES)
        return together(queries.shards, rows, most)

    @property
    def largest(self) -> int:
        """Queries of a pass, at most."""
        return min(_QUERIES, sum(self.data.rows("queries")))

    @functools.cached_property
    def ranges(self) -> list[range]:
        """Rows of the documents of each pass."""
        edges = protocol.edges(self.retriever, self.data)
        if self.documents is None:
            return [range(edges[-1])]
        result, start = [], 0
        for before, end in itertools.pairwise(edges):
            if end - start > self.documents and before > start:
                result.append(range(start, before))
                start = before
        return [*result, range(start, edges[-1])]

    @property
    def hits(self) -> str:
        """The dataset of what each range holds for the queries of each group."""
        return f"indexes/{self.name}/hits"

    @property
    def elements(self) -> list[tuple[str, int]]:
        """First shard of a group and number of a range: what ``search_range`` is called with, and may be anywhere."""
        return list(itertools.product(self.groups, range(len(self.ranges))))

    def search_range(self, element: tuple[str, int]) -> Counts:
        """Search a range for the queries of a group, and write what is found."""
        first, number = element
        rows = np.concatenate([lookup.query_rows(self.data).of(shard) for shard in self.groups[first]])
        ranges = self.ranges
        allowed = np.zeros(ranges[-1].stop, bool)
        allowed[ranges[number].start : ranges[number].stop] = True
        opened = self.retriever.open(self.data, self.name, unpublished=True)
        found = search(self.data, opened, rows, np.arange(len(rows)), self.retriever.depth, allowed)
        table = pa.table([found.query, found.document, found.score], names=["query", "document_row", "score"])
        self.data.write(staged(self.hits), self._shard(element), table, intermediate=True)
        progress.advance(len(rows))
        return Counts()

    def merged(self, first: str) -> Hits:
        """The best of what was found in all ranges for the queries of the group whose first shard is named."""
        shards = [self._shard((first, number)) for number in range(len(self.ranges))]
        table = pa.concat_tables(self.data.read(staged(self.hits), shard) for shard in shards)
        query, document, score = (column.to_numpy() for column in table.columns)
        order = best_first(self.data, query, document, score)
        best = order[arrays.rank_within(query[order], [np.arange(len(order))]) < self.retriever.depth]
        return Hits(query[best], document[best], score[best])

    def _shard(self, element: tuple[str, int]) -> str:
        first, number = element
        ranges = len(self.ranges)
        return shard_name(list(self.groups).index(first) * ranges + number, len(self.groups) * ranges)
