"""The files of a source: found before anything is read, so that a wrong path costs nothing."""

from __future__ import annotations

import glob
import io
import os
import posixpath
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
from upath import UPath

from gangue.transforms.datasets import disk
from gangue.transforms.settings.section import place

_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), 127)}  # of control characters
SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}  # second suffixes of text files, and Arrow's names
NAMES = f"{', '.join(SUFFIXES)} (all but .parquet also with {', '.join(CODECS)})"  # what a message says of them
_AT_ONCE = 1 << 20  # bytes asked of a remote file


class File(NamedTuple):
    """A file and its path below the source's, which is what a rejected record names."""

    path: Path | UPath
    origin: str

    @property
    def format(self) -> str:
        """One of ``SUFFIXES``."""
        return split(self.path)[1]

    def open(self) -> BinaryIO:
        """The file's bytes, decompressed if its name says that they are compressed.

        Raises, here or while they are read:
          OSError: it cannot be opened; without ``errno``: it is no such archive, or a damaged one.
        """
        stream: Any = self.path.open("rb")
        if isinstance(self.path, UPath):
            stream = io.BufferedReader(stream, _AT_ONCE)
        codec = CODECS.get(self.path.suffix.lower())
        if codec is None:
            return stream
        return io.BufferedReader(pa.CompressedInputStream(stream, codec), _AT_ONCE)


def split(path: Path | UPath) -> tuple[str, str]:
    """Name of a file without what says how it is written, and its format: one of ``SUFFIXES``, or ''.

    >>> split(Path("a/train.part.TSV.gz")), split(Path("notes.txt")), split(Path("x.parquet.gz"))
    (('train.part', '.tsv'), ('notes.txt', ''), ('x.parquet.gz', ''))
    """
    name = PurePosixPath(str(path)).name
    base, dot, last = name.rpartition(".")
    packed = dot + last.lower() in CODECS
    if packed:
        base, dot, last = base.rpartition(".")
    suffix = dot + last.lower()
    if suffix not in SUFFIXES or (packed and suffix == ".parquet"):
        return name, ""
    return base, suffix


def at(path: str) -> Path | UPath:
    """A path on this machine, or any fsspec path.

    Raises:
      ValueError, OSError: as ``filesystem_of``.
    """
    path = place(path)
    if "://" not in path:
        return Path(path)
    disk.filesystem_of(path)  # says which package is missing
    return UPath(path.rstrip("/"))


def readable(folder: Path | UPath) -> list[Path | UPath]:
    """The files of a folder whose names say what format they have, sorted."""
    return sorted((entry for entry in folder.iterdir() if split(entry)[1] and entry.is_file()), key=str)


def matching(folder: Path | UPath, pattern: str) -> list[Path | UPath]:
    """What lies below a folder, whose own name is no pattern, at paths that match one; sorted."""
    if not isinstance(folder, UPath):
        return sorted(Path(entry) for entry in glob.glob(str(Path(glob.escape(str(folder))) / pattern)))
    found = folder.fs.glob(posixpath.join(glob.escape(folder.path), pattern))
    return sorted((folder / str(path)[len(folder.path) :].lstrip("/") for path in found), key=str)


def folder(path: str, cure: str = "Set source.path to the folder of the data") -> Path | UPath:
    """The source's folder, on this machine or at any fsspec path.

    Raises:
      FileNotFoundError: there is none.
    """
    found = at(path)
    if "\0" not in path and found.is_file():
        raise FileNotFoundError(f"source.path: {path} must be a folder, found a file. Set source.path to its folder")
    if not found.is_dir():
        if isinstance(found, UPath):
            disk.check_bucket(path)
        raise FileNotFoundError(f"source.path: {path} must be a folder, found none. {cure}")
    return found


def find(root: Path | UPath, name: str, key: str) -> list[File]:
    """The files that a key of the params names: one file, a pattern, or all files of a folder; sorted.

    Raises:
      FileNotFoundError: there is none.   ValueError: its name does not say what format it has.
    """
    if "\0" in name:
        raise ValueError(f"source.{key}: {name!r} must not hold a NUL character. Correct the name")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"source.{key}: {name} must be below {root}. Write its path from there, or move source.path")
    path = root / name
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = readable(path)
        if (path / "dataset_info.json").is_file() and any(path.glob("*.arrow")):
            raise ValueError(
                f"source.{key}: {path} must hold files that end in {NAMES}, and is what save_to_disk of datasets wrote."
                " Write Parquet: load_from_disk(FOLDER).to_parquet(FILE)"
            )
    else:
        found = matching(root, name)
    if not found and path.is_dir():
        raise FileNotFoundError(f"source.{key}: {path} must hold a file that ends in {NAMES}, found none. Add one")
    if not found:
        raise FileNotFoundError(f"source.{key}: {path} must exist, found none. Correct the name, or source.path")
    for entry in found:
        if isinstance(entry, Path) and (entry.is_fifo() or entry.is_socket() or entry.is_char_device()):
            raise ValueError(f"source.{key}: {entry} must be a file, got a pipe or a device. Write it to a file first")
        if not split(entry)[1]:
            raise ValueError(
                f"source.{key}: {entry} must end in {NAMES}, got {entry.suffix or 'nothing'}."
                " Convert it, or name it for what it is"
            )
    return [File(entry, origin(entry, root)) for entry in found]


def origin(path: Path | UPath, root: Path | UPath) -> str:
    """Path of a file below the source's; bytes that are no UTF-8, line ends and the like are written out."""
    name = os.fsencode(path.relative_to(str(root)).as_posix()).decode(errors="backslashreplace")
    return name.translate(_ESCAPED)
