"""Random documents of a corpus: as likely as each other, and the same ones when it changes a little."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from gangue.transforms import arrays, randomness, text
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data

_SLOTS = 32  # of a cell, and more only where one has more documents: with 8 on average, once in 10^10 cells


@dataclasses.dataclass(frozen=True)
class Cells:
    """The first documents of each text, laid out by their hashes in equal cells; rows are in that order too.

    Attributes:
      offsets: (c + 1,) of the documents, numbered in the order of their rows, cell ``i`` has those from ``offsets[i]``
        to before ``offsets[i + 1]``.
      copies: (m,) rows of all other documents, ascending.
      slots: of each cell, both powers of two; most are empty.
    """

    offsets: np.ndarray
    copies: np.ndarray
    slots: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def documents(self) -> int:
        """How many there are to be drawn."""
        return int(self.offsets[-1])

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """(n,) rows of the documents of these numbers.

        >>> Cells(np.array([0, 3]), np.array([1, 2]), 4).rows(np.array([0, 1, 2])).tolist()
        [0, 3, 4]
        """
        return numbers + np.searchsorted(self.copies - np.arange(len(self.copies)), numbers, side="right")


def cells_of(data: Data) -> Cells:
    """All documents laid out to be drawn from; one to two bytes each, and eight each copy of a text."""
    return lookup.derived(data, _laid_out)


def _laid_out(data: Data) -> Cells:
    shards = (data.read("documents", shard, ["text_hash"])["text_hash"] for shard in data.shards("documents"))
    return lay_out(map(text.hash_numbers, shards), sum(data.rows("documents")))


def lay_out(hashes: Iterable[np.ndarray], documents: int) -> Cells:
    """Lay documents out for ``draw``.

    Args:
      hashes: parts, each (n, 2) uint64 hashes of the documents' texts, ascending, copies in one part.
      documents: how many there are in all parts.

    Returns:
      Four to eight documents a cell on average; as many slots as the fullest needs.

    Raises:
      ValueError: the hashes are not in ascending order.
    """
    sizes, copies, row, last = np.zeros(_cells(documents), np.int64), [], 0, 0
    for part in hashes:
        words = part[:, 0]
        if len(words) and (words[0] < last or (words[1:] < words[:-1]).any()):
            raise ValueError(
                "documents: rows must be in the order of their text_hash. Rebuild them: gangue mine, or dvc repro"
                " --force"
            )
        first = text.first_of_text(part)
        found = _cell(words[first], len(sizes))
        if len(found):
            sizes[found[0] : found[-1] + 1] += np.bincount(found - found[0])
            last = words[-1]
        copies.append(row + np.flatnonzero(~first))
        row += len(part)
    # Where many are copies there are fewer cells, of several of these each.
    sizes = sizes.reshape(_cells(int(sizes.sum())), -1).sum(axis=1)
    slots = 1 << (int(sizes.max()) - 1).bit_length()
    return Cells(np.concatenate([[0], np.cumsum(sizes)]), np.concatenate(copies), max(_SLOTS, slots))


def _cells(documents: int) -> int:
    return 1 << max(1, (documents // 4).bit_length() - 1)


def _cell(hashes: np.ndarray, count: int) -> np.ndarray:
    """The cell of each hash, of a power of two of equal ones."""
    return (hashes >> np.uint64(65 - count.bit_length())).astype(np.int64)


def draw(query_hashes: np.ndarray, count: int, cells: Cells, seed: int) -> np.ndarray:
    """(q, count) distinct document rows drawn uniformly from a corpus; -1 where it is too small.

    A draw is a cell and a slot of it, and counts where a document is: all documents are as likely. A document more
    or less changes what is drawn from its own cell and nothing else, so that nearly every pair of a query with a
    random document, and its scores, outlive a change of the corpus.

    Args:
      query_hashes: (q,) uint64 hash of each query's id.
    """
    result = np.full((len(query_hashes), count), -1, np.int64)
    wanted = min(count, cells.documents)
    tries = 2 * cells.slots + 5 * wanted * len(cells) * cells.slots // (4 * cells.documents)
    short = np.arange(len(query_hashes) if wanted else 0)
    while len(short):
        result[short] = found = _first_drawn(query_hashes[short], count, tries, cells, seed)
        short, tries = short[found[:, wanted - 1] < 0], 2 * tries
    return result


def _first_drawn(query_hashes: np.ndarray, count: int, tries: int, cells: Cells, seed: int) -> np.ndarray:
    """(q, count) the first distinct rows among so many tries for each query, -1 where they are fewer."""
    hashes = randomness.mix(seed, query_hashes[:, None], np.arange(tries, dtype=np.uint64)[None, :])
    cell = _cell(hashes, len(cells))
    at = cells.offsets[cell] + (hashes & np.uint64(cells.slots - 1)).astype(np.int64)
    query, turn = np.nonzero(at < cells.offsets[cell + 1])
    drawn = at[query, turn]
    first = np.sort(np.unique(query * cells.documents + drawn, return_index=True)[1])
    place = arrays.rank_within(query[first], [turn[first]])
    result = np.full((len(query_hashes), count), -1, np.int64)
    keep = place < count
    result[query[first][keep], place[keep]] = cells.rows(drawn[first][keep])
    return result
