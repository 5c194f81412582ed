"""Names: of shards, of the files that hold them, of the folder in which a dataset is being written."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence

from gangue.transforms.datasets import checksums

_SHARD = re.compile(r"part-(\d{5,})-of-(\d{5,})")


def shard_names(count: int) -> list[str]:
    """Names of the shards of a dataset.

    >>> shard_names(2)
    ['part-00000-of-00002', 'part-00001-of-00002']
    """
    return [shard_name(number, count) for number in range(count)]


def shard_name(number: int, count: int) -> str:
    """Name of one of ``count`` shards."""
    return f"part-{number:05d}-of-{count:05d}"


def place_of(shard: str) -> tuple[int, int]:
    """Number of a shard, and of how many: the inverse of ``shard_name``, also of a file that holds its rows.

    >>> place_of("part-00001-of-00003")
    (1, 3)
    """
    found = _SHARD.search(shard)
    assert found is not None
    return int(found[1]), int(found[2])


def together(shards: Sequence[str], rows: Sequence[int], most: int) -> dict[str, list[str]]:
    """First shard -> shards that are worked on together: one after the other, and no more rows than that, or one shard.

    >>> together(["a", "b", "c", "d"], [2, 1, 3, 9], 3)
    {'a': ['a', 'b'], 'c': ['c'], 'd': ['d']}
    """
    result: dict[str, list[str]] = {}
    first, room = "", -1
    for shard, count in zip(shards, rows, strict=True):
        if count > room:
            first, room = shard, most
        result.setdefault(first, []).append(shard)
        room -= count
    return result


def is_of_shard(name: str) -> bool:
    """Whether a file holds rows of a shard, all or, unfinished, some."""
    return _SHARD.search(name) is not None


def is_shard(name: str) -> bool:
    """Whether a file of this name is a shard, and whole."""
    return name.startswith("part-")


def stem(name: str) -> str:
    """What a shard is called in whose file's name there are a tag and a format.

    >>> stem("part-00000-of-00001-dba36bffa5cab0f9.parquet")
    'part-00000-of-00001'
    """
    return posixpath.splitext((checksums.untagged(name) or (name,))[0])[0]


def keys(names: Iterable[str]) -> dict[str, str]:
    """What files are asked for by, shards without their format -> names; of two versions, the first name's.

    >>> keys(["model-dba36bffa5cab0f9.json"])
    {'model': 'model-dba36bffa5cab0f9.json', 'model.json': 'model-dba36bffa5cab0f9.json'}
    """
    found: dict[str, str] = {}
    for name in sorted(names):
        for key in (stem(name), (checksums.untagged(name) or (name,))[0]):
            found.setdefault(key, name)
    return found


def staged(dataset: str) -> str:
    """Where a stage writes a dataset before it is published.

    >>> staged("vectors/minilm/queries")
    'vectors/minilm/.queries.staged'
    """
    head, tail = posixpath.split(dataset)
    return posixpath.join(head, f".{tail}.staged")


def at_work(dataset: str) -> bool:
    """Whether it is in a staged directory, where nothing is listed yet."""
    return any(part.startswith(".") and part.strip(".") for part in dataset.split("/"))
