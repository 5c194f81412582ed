"""Lines of a text file with their numbers, or what the file is instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from gangue.transforms.datasets import remote
from gangue.transforms.sources.blocks import EXCERPT
from gangue.transforms.sources.files import CODECS, File

LINE_BYTES = 10_000_000
NOT_UTF8 = "not UTF-8, perhaps Latin-1 or Windows-1252"
_BOM = b"\xef\xbb\xbf"
_HEAD = 4096  # bytes that tell what a file is
_CONVERT = "Convert it: iconv -f UTF-16 -t UTF-8"
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (rb"PK\x03\x04", "a zip archive or an Excel file", "Unpack it, or save the sheet as CSV"),
    (rb"\xd0\xcf\x11\xe0", "an Excel file", "Save the sheet as CSV"),
    (rb"PAR1", "a Parquet file", "Name it .parquet"),
    (rb"ARROW1", "an Arrow file", "Write it as Parquet"),
    (rb"\x1f\x8b", "compressed by gzip", "Let its name end in .gz"),
    (rb"\x28\xb5\x2f\xfd", "compressed by zstd", "Let its name end in .zst"),
    (rb"BZh[1-9]1AY", "compressed by bzip2", "Let its name end in .bz2"),
    (rb"\xfd7zXZ", "compressed by xz", "Unpack it: xz -d"),
    (rb"%PDF-", "a PDF", "Extract its text first"),
    (rb"SQLite format 3", "a SQLite database", "Export its table as CSV"),
    (rb"version https://git-lfs", "a pointer of Git LFS", "Fetch the file: git lfs pull"),
    (rb"(?i)\s*<(!doctype html|html)", "a page of HTML", "Download the file itself"),
    (rb"\xff\xfe|\xfe\xff", "UTF-16 text", _CONVERT),
    (rb"(\0[^\0]){4}|([^\0]\0){4}", "UTF-16 text without a mark, or no text", _CONVERT),
    (rb"[^\n]*\r(?!\n)[^\n]*\Z", "text whose lines end in CR alone", "Convert it: tr '\\r' '\\n'"),
)


def numbered(file: File, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes, bool]]:
    """Number and bytes of each line, and whether it is whole: of one over ``LINE_BYTES`` only the start.

    Args:
      file: the file.   start, stop: lines that begin in this range of bytes, numbered from its first; None: to the end.

    Raises:
      ValueError: the file is a damaged archive, or no text in UTF-8.   OSError: it cannot be opened.
    """
    with file.open() as stream:
        try:
            foreign = None if start else _foreign(stream.peek(_HEAD))  # type: ignore[attr-defined]
            if not foreign:
                yield from _lines(stream, start, stop)
        except OSError as error:
            if error.errno is not None or remote.by_client(error) or file.path.suffix.lower() not in CODECS:
                raise
            suffix = file.path.suffix
            raise ValueError(
                f"{file.path}: must be a whole {suffix} file: {error}. Copy or compress it again"
            ) from error
    if foreign:
        raise ValueError(f"{file.path}: must be text in UTF-8, as {file.format} is, found {foreign[0]}. {foreign[1]}")


def _foreign(head: bytes) -> tuple[str, str] | None:
    """What a file is that is no text, and the cure."""
    return next(((what, cure) for pattern, what, cure in _FOREIGN if re.match(pattern, head)), None)


def _lines(stream: BinaryIO, start: int, stop: int | None) -> Iterator[tuple[int, bytes, bool]]:
    number, place = 0, start
    if start:  # the line that begins before ends here
        stream.seek(start - 1)
        place += _skip(stream, stream.readline(LINE_BYTES)) - 1
    while (stop is None or place < stop) and (line := stream.readline(LINE_BYTES + 1)):
        number += 1
        whole = len(line) <= LINE_BYTES
        place += len(line) if whole else _skip(stream, line)
        if number == 1 and not start:
            line = line.removeprefix(_BOM)
        yield number, line if whole else line[:EXCERPT], whole


def _skip(stream: BinaryIO, line: bytes) -> int:
    """Read to the end of a line of which this much is read; returns all its bytes."""
    size = len(line)
    while line and not line.endswith(b"\n"):
        line = stream.readline(LINE_BYTES)
        size += len(line)
    return size
