"""A tag of its content in a file's name: by it anybody can check the file, and no version overwrites another.

The tag is XXH3 of 64 bits, as ``xxhsum -H3`` prints it; of a folder, that of the list of its files. It guards against
disks and networks, not against people. All of a dataset passes through it: SHA-256 takes four times as long.
"""

from __future__ import annotations

import os
import re

import xxhash

_DIGITS = 16
_BLOCK = 1 << 20
_TAGGED = re.compile(rf"(.+)-([0-9a-f]{{{_DIGITS}}})((?:\.[a-z]+)?)")


def tag(content: bytes) -> str:
    """Tag of a content.

    >>> tag(b"words")
    '86da0aee43e6678c'
    """
    return xxhash.xxh3_64_hexdigest(content)


def tag_of(path: str) -> str:
    """Tag of a local file or folder.

    Raises:
      FileNotFoundError: it is not there.
    """
    if os.path.isdir(path):
        found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
        return tag("".join(sorted(f"{os.path.relpath(one, path)}\0{tag_of(one)}\n" for one in found)).encode())
    digest = xxhash.xxh3_64()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def tagged(name: str, tag: str) -> str:
    """Name of a file or folder with the tag of its content.

    >>> tagged("part-00000-of-00001.parquet", "86da0aee43e6678c"), tagged("fold-0", "86da0aee43e6678c")
    ('part-00000-of-00001-86da0aee43e6678c.parquet', 'fold-0-86da0aee43e6678c')
    """
    stem, suffix = os.path.splitext(name)
    return f"{stem}-{tag}{suffix}"


def untagged(name: str) -> tuple[str, str] | None:
    """Name without its tag, and the tag: the inverse of ``tagged``; None: it has none.

    >>> untagged("part-00000-of-00001-86da0aee43e6678c.parquet"), untagged("part-00000-of-00001.parquet")
    (('part-00000-of-00001.parquet', '86da0aee43e6678c'), None)
    """
    found = _TAGGED.fullmatch(name)
    return (found[1] + found[3], found[2]) if found else None


def check(name: str, found: str) -> None:
    """Hold the tag in a name against that of the content.

    Raises:
      ValueError: the content is not what was written.

    >>> check("part-00000-of-00001-86da0aee43e6678c.parquet", tag(b"words"))
    >>> check("part-00000-of-00001-86da0aee43e6678c.parquet", tag(b"wordy"))
    Traceback (most recent call last):
    ...
    ValueError: its XXH3 must be 86da0aee43e6678c, as its name says, got 6a85ef268d95d3fb
    """
    _, wanted = untagged(name) or ("", "")
    if found != wanted:
        said = f"be {wanted}, as its name says" if wanted else "stand in its name"
        raise ValueError(f"its XXH3 must {said}, got {found}")
