"""Vectors on disk, kept under the fingerprint of their model and the hash of their text."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays, text
from gangue.transforms.datasets import lookup, schema, unfinished
from gangue.transforms.datasets.names import is_of_shard, place_of
from gangue.transforms.datasets.storage import Data
from gangue.transforms.running.counts import Counts


@dataclasses.dataclass(frozen=True, order=True)
class Left:
    """A file with some of a dataset's rows that an earlier run, or a killed one, left.

    Attributes:
      unfinished: it has some of its shard's rows only.   shards, place: of how many, and which; cut by a hash.
    """

    unfinished: bool
    shards: int
    place: int
    name: str


def left(data: Data, dataset: str) -> tuple[Left, ...]:
    """The files of a dataset, whatever runs left them; whole ones first."""
    found = [(name, *place_of(name)) for name in data.listed(dataset) if is_of_shard(name)]
    return tuple(sorted(Left(name[0] == ".", shards, place, name) for name, place, shards in found))


def meeting(data: Data, dataset: str, shard: str) -> Iterator[Left]:
    """Those files ``left`` whose range of hashes has anything in common with a shard's; whole ones first.

    A process lists the dataset once: for each shard anew would take the square of their number.
    """
    for (_, shards), files in lookup.derived(data, _by_cut, dataset).items():
        for place in common(shard, shards):
            yield from files.get(place, ())


def _by_cut(data: Data, dataset: str) -> dict[tuple[bool, int], dict[int, list[Left]]]:
    """Whether it is unfinished and of how many shards -> which one -> the files, in their order."""
    found: dict[tuple[bool, int], dict[int, list[Left]]] = {}
    for file in left(data, dataset):
        found.setdefault((file.unfinished, file.shards), {}).setdefault(file.place, []).append(file)
    return found


def common(shard: str, shards: int) -> range:
    """Which of so many shards have a part of the range of hashes of this one.

    >>> common("part-00001-of-00003", 2), common("part-00001-of-00003", 4), common("part-00001-of-00003", 3)
    (range(0, 2), range(1, 3), range(1, 2))
    """
    place, count = place_of(shard)
    return range(place * shards // count, -(-(place + 1) * shards // count))


def complete(
    data: Data,
    dataset: str,
    shard: str,
    texts: Sequence[str],
    fingerprint: str,
    dimensions: Callable[[], int],
    encode: Callable[[Sequence[str]], Iterable[np.ndarray]],
    notes: Mapping[bytes, str] = {},
) -> Counts:
    """Write the vectors of a shard's texts, encoding only those that no earlier file has.

    What is encoded is on disk within seconds (``datasets/unfinished.py``): a killed run goes on from there.

    Args:
      data, dataset, shard: where to write.
      texts: (n,) the texts, in row order.
      fingerprint: of model and settings; a file with another one is never read.
      dimensions: d; called only where no vector is known.
      encode: m texts to blocks of (some, d) float32, m in all; called only where some is missing.
      notes: what else to write into the file's metadata.

    Returns:
      Counts of this shard; a row without a usable vector has a null.
    """
    hashes = text.hashes(texts)
    unique, first, inverse = np.unique(text.hash_numbers(hashes), axis=0, return_index=True, return_inverse=True)
    vectors: np.ndarray | None = None
    missing = np.ones(len(unique), bool)
    for file in meeting(data, dataset, shard):
        table = of_model(data, dataset, file, fingerprint) if missing.any() else None
        if table is not None:
            present, known = arrays.present(table), arrays.matrix(table)
            if vectors is None:
                vectors = np.full((len(unique), known.shape[1]), np.nan, np.float32)
            _fill(vectors, missing, unique, text.hash_numbers(table["content_hash"])[present], known[present])
    todo = np.flatnonzero(missing)
    if vectors is None:
        vectors = np.full((len(unique), dimensions()), np.nan, np.float32)
    metadata = {schema.FINGERPRINT: fingerprint, **notes}
    if todo.size:
        kept, done = unfinished.Unfinished(data, dataset, shard), 0
        encoded = functools.partial(_rows, hashes.take(pa.array(first)), vectors, metadata)
        for block in encode([texts[first[i]] for i in todo]):
            vectors[todo[done : done + len(block)]] = block
            done += len(block)
            kept.keep(functools.partial(encoded, todo[:done]))
    finite = usable(vectors)[inverse]
    data.write(dataset, shard, _table(hashes, vectors[inverse], metadata), suffix=".arrow", anew=True)
    counts = Counts({"in": len(texts), "out:embedded": int(finite.sum()), "out:rejected": int((~finite).sum())})
    counts.update({f"rows:{dataset}": len(texts), "encoded": todo.size, "reused": len(unique) - todo.size})
    return counts


def _rows(hashes: pa.Array, vectors: np.ndarray, metadata: Mapping[bytes, str], rows: np.ndarray) -> pa.Table:
    return _table(hashes.take(pa.array(rows)), vectors[rows], metadata)


def _table(hashes: pa.Array, vectors: np.ndarray, metadata: Mapping[bytes, str]) -> pa.Table:
    """Hashes of texts and their vectors; null where one is not usable."""
    flat, width = pa.array(vectors.reshape(-1), pa.float32()), vectors.shape[1]
    column = pa.FixedSizeListArray.from_arrays(flat, width, mask=pa.array(~usable(vectors)))
    return pa.table([hashes, column], schema=schema.vectors(width)).replace_schema_metadata(metadata)


def rejected(encoder: str) -> str:
    """The dataset of the texts that an encoder has no usable vector of."""
    return f"vectors/{encoder}/rejected"


def usable(vectors: np.ndarray) -> np.ndarray:
    """(n,) bool: the vector is finite, not zero, and so short that every product of two is a finite float32.

    >>> usable(np.float32([[1, 0], [0, 0], [np.nan, 1], [np.inf, 1], [3e38, 0]])).tolist()
    [True, False, False, False, False]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        square = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return (square > 0) & (square < float(np.finfo(np.float32).max))


def of_model(data: Data, dataset: str, file: Left, fingerprint: str) -> pa.Table | None:
    """What a file holds; None where it is gone, damaged, empty or of another model: to be made anew."""
    try:
        table = data.read_file(dataset, file.name)
    except (ValueError, FileNotFoundError):
        return None
    same = (table.schema.metadata or {}).get(schema.FINGERPRINT) == fingerprint.encode()
    return table if same and len(table) else None


def _fill(vectors: np.ndarray, missing: np.ndarray, wanted: np.ndarray, hashes: np.ndarray, known: np.ndarray) -> None:
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    keys = np.ascontiguousarray(hashes[order].astype(">u8")).view("S16").ravel()
    asked = np.ascontiguousarray(wanted.astype(">u8")).view("S16").ravel()
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1) if len(keys) else np.zeros(len(asked), int)
    found = missing & (keys[place] == asked) if len(keys) else np.zeros(len(asked), bool)
    vectors[found] = known[order[place[found]]]
    missing[found] = False
