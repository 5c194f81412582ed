"""A checksum of a whole file in its own footer: Arrow files have none, and Parquet's leave the footer out.

The footers of both formats take key-value pairs. A file is written with zeros in the place of its checksum, the CRC-32
of all its bytes is taken so, and then put there. Whichever bit changes later, in values, schema or footer: the sum is
another one.
"""

from __future__ import annotations

import mmap
import zlib
from typing import Any

_MARK = b"gangue.crc32="
_ZEROS = b"00000000"
FOOTER_BYTES = 1 << 18
"""A footer with its checksum is shorter."""
UNKNOWN = _MARK + _ZEROS
"""What must stand in the footer, or at the end, when the file is written."""
PAIR = {b"checksum": UNKNOWN}


def seal(file: Any) -> None:
    """Put the checksum of a file, open for reading and writing, in its place."""
    file.flush()
    with mmap.mmap(file.fileno(), 0) as content:
        place, checksum = _checksum(content)
        content[place : place + len(_ZEROS)] = checksum


def sealed(content: bytes) -> bytes:
    """The same for a file in memory."""
    place, checksum = _checksum(content)
    return content[:place] + checksum + content[place + len(_ZEROS) :]


def verify(content: bytes | mmap.mmap) -> None:
    """Check the bytes of a file.

    Raises:
      ValueError: they are not those that were written.

    >>> verify(sealed(b"words, " + UNKNOWN + b", footer"))
    >>> verify(sealed(b"words, " + UNKNOWN + b", footer").replace(b"words", b"wordy"))
    Traceback (most recent call last):
    ...
    ValueError: its CRC-32 must be a1d7c45a, as written, got 7a06fd1b
    """
    place, checksum = _checksum(content)
    written = content[place : place + len(_ZEROS)]
    if written != checksum:
        shown = written.decode("ascii", "replace")
        raise ValueError(f"its CRC-32 must be {shown}, as written, got {checksum.decode()}")


def stored(footer: bytes) -> bytes | None:
    """The checksum, 8 hex digits, that the end of a file carries; None: it has none of this module's.

    >>> stored(sealed(b"words, " + UNKNOWN)), stored(b"words")
    (b'66bdc255', None)
    """
    place = footer.rfind(_MARK)
    return None if place < 0 else footer[place + len(_MARK) :][: len(_ZEROS)]


def _checksum(content: bytes | mmap.mmap) -> tuple[int, bytes]:
    """Where the checksum stands, and what it is with zeros there; a footer is last, so the last mark is its."""
    place = content.rfind(_MARK) + len(_MARK)
    if place < len(_MARK):
        raise ValueError("its footer must have a checksum, found none")
    with memoryview(content) as view, view[:place] as before, view[place + len(_ZEROS) :] as after:
        return place, b"%08x" % zlib.crc32(after, zlib.crc32(_ZEROS, zlib.crc32(before)))
