"""Whose a file is: what Gangue did not write is neither replaced nor removed."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Any

from gangue.transforms.datasets import checksums, disk, manifest, remote

# In a dataset's folder: unfinished, or put there by Git and file systems.
_HIDDEN = re.compile(
    r"\.(.+\.tmp|.+\.unfinished((-[0-9a-f]+)?\.arrow)?|.+\.staged(\.old)?|gitkeep|gitignore|DS_Store|nfs.*)"
)
# What versions without manifests wrote there.
_SHARD = re.compile(r"part-\d{5,}-of-\d{5,}\.(parquet|arrow|faiss)")
_NOTE = re.compile(r"cut\.json|model\.json|origin\.json|factory\.txt|fold-\d+")
_QUOTA = re.compile(r"[A-Za-z][A-Za-z0-9_]*\.json")
_FORMATS = (b"PAR1", b"ARROW1")  # what whole Parquet and Arrow files end with
_MARK, _FOOTER_BYTES = b"gangue.crc32=", 1 << 18  # in the footers of theirs


def check(filesystem: Any, folder: str) -> None:
    """Check that all of a dataset's folder is Gangue's, before it is replaced.

    A damaged shard is Gangue's: it may be built again. On remote storage files are known by their names alone.

    Args:
      filesystem: of fsspec.   folder: path in it; it need not exist.

    Raises:
      ValueError: a file in it, or the path itself, is somebody else's; names it, and the cure.
    """
    root, entries = _entries(filesystem, folder)
    for path in [folder] if entries == [(root, "file")] else _foreign(filesystem, root, entries):
        raise in_the_way(remote.shown(filesystem, path), remote.shown(filesystem, folder), "--data")


def in_the_way(path: str, replaced: str, option: str) -> ValueError:
    """The error of somebody else's file where Gangue would write; ``option`` names another folder."""
    return ValueError(
        f"{path}: must be written by Gangue, since {replaced} would be replaced, and it is not. Name another folder"
        f" ({option}), or move it away"
    )


def foreign(filesystem: Any, folder: str) -> Iterator[str]:
    """Paths of files in a folder of datasets, or in a dataset's, that Gangue did not write."""
    yield from _foreign(filesystem, *_entries(filesystem, folder))


def _entries(filesystem: Any, folder: str) -> tuple[str, list[tuple[str, str]]]:
    """A folder as its file system names it, and path and type of what is in it; a file is in itself."""
    filesystem.invalidate_cache(folder)
    root = str(filesystem._strip_protocol(folder)).rstrip("/")
    try:
        found = filesystem.ls(folder, detail=True)
    except FileNotFoundError:
        return root, []
    entries = [(str(entry["name"]), entry["type"]) for entry in found if not _is_folder_marker(entry)]
    return root, sorted((name.rstrip("/"), kind) for name, kind in entries)


def _is_folder_marker(entry: dict[str, Any]) -> bool:
    """An empty object whose key ends in a slash: a folder to a bucket's console, and nobody's file."""
    return str(entry["name"]).endswith("/") and entry["type"] == "file" and not entry["size"]


def _foreign(filesystem: Any, root: str, entries: list[tuple[str, str]]) -> Iterator[str]:
    listed = _listed(filesystem, posixpath.join(root, manifest.NAME)) if entries else ()
    local = filesystem.protocol[0] == "file"
    for path, kind in entries:
        name = posixpath.basename(path)
        if path == root or name in listed or _HIDDEN.fullmatch(name) or _is_old(path, local=local and kind == "file"):
            continue
        if checksums.untagged(name) and not (local and _is_other(path)):
            continue
        if kind != "directory":
            yield path
        else:
            yield from foreign(filesystem, path)


def _listed(filesystem: Any, path: str) -> Iterable[str]:
    """Names of the files that a manifest lists, and its own; of a damaged one, its own."""
    try:
        content = remote.content(filesystem, path)
    except FileNotFoundError:
        return ()
    try:
        return {manifest.NAME, *manifest.Manifest.parse(content).files}
    except ValueError:
        return (manifest.NAME,) if manifest.is_ours(content) else ()


def _is_other(path: str) -> bool:
    """Whether the tag in the name of a local file or folder is not that of its content."""
    try:
        disk.verify(path)
    except ValueError:
        return True
    return False


def _is_old(path: str, *, local: bool) -> bool:
    """Whether a version without manifests wrote this, to be built again."""
    folder, name = posixpath.split(path)
    if _SHARD.fullmatch(name):
        return not (local and _is_whole_and_unsealed(path))
    return bool(_NOTE.fullmatch(name)) or (posixpath.basename(folder) == "quotas" and bool(_QUOTA.fullmatch(name)))


def _is_whole_and_unsealed(path: str) -> bool:
    """Whether a file is a good Parquet or Arrow file that carries no checksum of Gangue's in its footer."""
    with open(path, "rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _FOOTER_BYTES))
        footer = file.read()
    return footer.endswith(_FORMATS) and _MARK not in footer
