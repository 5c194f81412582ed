"""What is done of a shard, on disk while the rest is being done: a killed run goes on from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from gangue.transforms.datasets.storage import Data

SECONDS = 10.0  # between two writings
_BATCHES = 8  # done at once: enough to sort by length, seconds of work for a model of usual size
_CHARACTERS = 4  # of a token, about


class Unfinished:
    """The file of a shard that is not whole yet; hidden, so that nobody takes it for the shard.

    The stage removes it when the shard is there (``Data.commit``).
    """

    def __init__(self, data: Data, dataset: str, shard: str) -> None:
        self._data, self._dataset, self.name = data, dataset, name_of(shard)
        self._written = time.monotonic()

    def keep(self, done: Callable[[], pa.Table]) -> None:
        """Write what is done, if that was last written some time ago."""
        if time.monotonic() - self._written >= SECONDS:
            self._data.write(self._dataset, self.name, done(), suffix=".arrow", anew=True)
            self._written = time.monotonic()


def name_of(shard: str) -> str:
    """Name of the file of a shard that is not whole yet.

    >>> name_of("part-00000-of-00002")
    '.part-00000-of-00002.unfinished'
    """
    return f".{shard}.unfinished"


def slices(texts: Sequence[str], tokens: int) -> Iterator[slice]:
    """Consecutive slices of texts, each of about eight batches.

    They follow from the texts alone: whoever goes on after a slice makes the batches of one who was not interrupted.

    Args:
      texts: n.   tokens: of a batch.

    >>> list(slices(["a" * 16, "b" * 16, "c"], 1))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    most, first = _BATCHES * _CHARACTERS * tokens, 0
    while first < len(texts):
        start = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, start + most, side="right")))
        yield slice(first, last)
        first = last
