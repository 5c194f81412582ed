"""Parts of files of rows, about equally large, for workers to read side by side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gangue.transforms.sources.files import CODECS, File
from gangue.transforms.sources.rows import Reading

BYTES = 1 << 25  # of a part, at least
_MOST = 1 << 10  # parts, about


class Part(NamedTuple):
    """A part of a file: of the reading of this number; bytes of JSON Lines, row groups of Parquet; None: all of it."""

    reading: int
    start: int
    stop: int | None


def cut(readings: Sequence[Reading], least: int) -> list[tuple[Part, ...]]:
    """What to read at a time: a part of a large file, or several small files, of ``least`` bytes and more.

    The order is that of the readings. A file that can only be read from its beginning, CSV or an archive, is not cut.
    """
    sizes = [reading.file.path.stat().st_size for reading in readings]
    size = max(least, sum(sizes) // _MOST)
    found: list[tuple[Part, ...]] = []
    small: list[Part] = []
    held = 0
    for number, (reading, count) in enumerate(zip(readings, sizes, strict=True)):
        edges = _edges(reading.file, count, size)
        if small and (len(edges) > 2 or held + count > size):
            found.append(tuple(small))
            small, held = [], 0
        if len(edges) > 2:
            found += [(Part(number, *ends),) for ends in itertools.pairwise(edges)]
        else:
            small.append(Part(number, 0, None))
            held += count
    return [*found, tuple(small)] if small else found


def _edges(file: File, count: int, size: int) -> list[int]:
    """Where the parts of a file begin, and its end; two where it is not cut."""
    if file.format == ".parquet":
        try:
            with file.path.open("rb") as stream, pq.ParquetFile(stream) as parquet:
                groups = [parquet.metadata.row_group(group).total_byte_size for group in range(parquet.num_row_groups)]
        except (pa.ArrowException, OSError):  # whoever reads it says what is wrong
            return [0, 1]
        before = np.cumsum([0, *groups])[:-1] // size
        return [0, *(1 + np.flatnonzero(np.diff(before))).tolist(), len(groups)]
    if file.format in (".jsonl", ".json") and file.path.suffix.lower() not in CODECS:
        return [*range(0, count, size), count]
    return [0, count]
