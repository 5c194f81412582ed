"""The files of a source: found before anything is read, so that a wrong path costs nothing."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")


class File(NamedTuple):
    """A file and its path below the source's, which is what a rejected record names."""

    path: Path
    origin: str


def folder(path: str, cure: str = "Set source.path to the folder of the data") -> Path:
    """The source's folder.

    Raises:
      FileNotFoundError: there is none.
    """
    if not Path(path).is_dir():
        raise FileNotFoundError(f"source.path: {path} must be a folder, found none. {cure}")
    return Path(path)


def find(root: Path, name: str, key: str) -> list[File]:
    """The files that a key of the params names: one file, a pattern, or all files of a folder; sorted.

    Raises:
      FileNotFoundError: there is none.   ValueError: its name does not say what format it has.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"source.{key}: {name} must be below {root}. Write its path from there, or move source.path")
    path = root / name
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = sorted(entry for entry in path.iterdir() if entry.suffix in SUFFIXES and entry.is_file())
    else:
        found = sorted(Path(entry) for entry in glob.glob(str(Path(glob.escape(str(root))) / name)))
    if not found:
        raise FileNotFoundError(f"source.{key}: {path} must exist, found none. Correct the name, or source.path")
    for entry in found:
        if entry.suffix not in SUFFIXES:
            raise ValueError(
                f"source.{key}: {entry} must end in {', '.join(SUFFIXES)}, got {entry.suffix or 'nothing'}."
                " Convert it, or name it for what it is"
            )
    return [File(entry, origin(entry, root)) for entry in found]


def origin(path: Path, root: Path) -> str:
    """Path of a file below the source's; bytes of a name that are no UTF-8 are written out."""
    return os.fsencode(path.relative_to(root).as_posix()).decode(errors="backslashreplace")
