"""Random documents of a corpus: as likely as each other, and the same ones when it changes a little."""

from __future__ import annotations

import dataclasses

import numpy as np

from gangue.transforms import arrays, randomness, text
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data

_SLOTS = 32  # of a cell, and more only where one has more documents: with 8 on average, once in 10^10 cells


@dataclasses.dataclass(frozen=True)
class Cells:
    """Documents laid out by their hashes, in equal cells: ``rows[offsets[c] : offsets[c + 1]]`` are those of cell c."""

    rows: np.ndarray
    offsets: np.ndarray
    slots: int  # of each cell, both powers of two; most are empty

    def __len__(self) -> int:
        return len(self.offsets) - 1


def cells_of(data: Data) -> Cells:
    """The first document of each text, laid out to be drawn from; ten bytes a document."""
    return lookup.derived(data, _laid_out)


def _laid_out(data: Data) -> Cells:
    first = lookup.representatives(data)
    shards = (data.read("documents", shard, ["text_hash"])["text_hash"] for shard in data.shards("documents"))
    # Copied: a view of the first hashes would hold the whole hashes of all documents.
    return lay_out(
        np.concatenate([text.hash_numbers(shard)[:, 0].copy() for shard in shards])[first], np.flatnonzero(first)
    )


def lay_out(hashes: np.ndarray, rows: np.ndarray) -> Cells:
    """Lay documents out for ``draw``.

    Args:
      hashes: (n,) uint64 hash of each document, alike only by chance.   rows: (n,) their rows.

    Returns:
      Four to eight documents a cell on average, in the order of their hashes; as many slots as the fullest needs.
    """
    count = 1 << max(1, (len(hashes) // 4).bit_length() - 1)
    sizes = np.bincount(_cell(hashes, count), minlength=count)
    slots = 1 << (int(sizes.max()) - 1).bit_length()
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return Cells(rows[np.argsort(hashes, kind="stable")], offsets, max(_SLOTS, slots))


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
    wanted = min(count, len(cells.rows))
    tries = 2 * cells.slots + 5 * wanted * len(cells) * cells.slots // (4 * len(cells.rows))
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
    first = np.sort(np.unique(query * len(cells.rows) + drawn, return_index=True)[1])
    place = arrays.rank_within(query[first], [turn[first]])
    result = np.full((len(query_hashes), count), -1, np.int64)
    keep = place < count
    result[query[first][keep], place[keep]] = cells.rows[drawn[first][keep]]
    return result
