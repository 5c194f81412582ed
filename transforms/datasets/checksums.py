"""A tag of its content in a file's name: by it anybody can check the file, and no version overwrites another.

The tag is what ``sha256sum`` prints of the file, its first 16 digits; of a folder, that of the list of its files. It
guards against disks and networks, not against people.
"""

from __future__ import annotations

import hashlib
import os
import re

_DIGITS = 16
_TAGGED = re.compile(rf"(.+)-([0-9a-f]{{{_DIGITS}}})((?:\.[a-z]+)?)")


def tag(content: bytes) -> str:
    """Tag of a content.

    >>> tag(b"words")
    'dba36bffa5cab0f9'
    """
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def tag_of(path: str) -> str:
    """Tag of a local file or folder.

    Raises:
      FileNotFoundError: it is not there.
    """
    if os.path.isdir(path):
        found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
        return tag("".join(sorted(f"{os.path.relpath(one, path)}\0{tag_of(one)}\n" for one in found)).encode())
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


def tagged(name: str, tag: str) -> str:
    """Name of a file or folder with the tag of its content.

    >>> tagged("part-00000-of-00001.parquet", "dba36bffa5cab0f9"), tagged("fold-0", "dba36bffa5cab0f9")
    ('part-00000-of-00001-dba36bffa5cab0f9.parquet', 'fold-0-dba36bffa5cab0f9')
    """
    stem, suffix = os.path.splitext(name)
    return f"{stem}-{tag}{suffix}"


def untagged(name: str) -> tuple[str, str] | None:
    """Name without its tag, and the tag: the inverse of ``tagged``; None: it has none.

    >>> untagged("part-00000-of-00001-dba36bffa5cab0f9.parquet"), untagged("part-00000-of-00001.parquet")
    (('part-00000-of-00001.parquet', 'dba36bffa5cab0f9'), None)
    """
    found = _TAGGED.fullmatch(name)
    return (found[1] + found[3], found[2]) if found else None


def check(name: str, found: str) -> None:
    """Hold the tag in a name against that of the content.

    Raises:
      ValueError: the content is not what was written.

    >>> check("part-00000-of-00001-dba36bffa5cab0f9.parquet", tag(b"words"))
    >>> check("part-00000-of-00001-dba36bffa5cab0f9.parquet", tag(b"wordy"))
    Traceback (most recent call last):
    ...
    ValueError: its SHA-256 must begin with dba36bffa5cab0f9, as its name says, got 41e167dc05d91834
    """
    _, wanted = untagged(name) or ("", "")
    if found != wanted:
        said = f"begin with {wanted}, as its name says" if wanted else "stand in its name"
        raise ValueError(f"its SHA-256 must {said}, got {found}")
