"""Whose a file is: what Gangue did not write is neither replaced nor removed."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from gangue.transforms.datasets import checksums

# In a dataset's folder.
_SHARD = re.compile(r"(.*/)?part-\d{5,}-of-\d{5,}\.(parquet|arrow|faiss)")
_NOTE = re.compile(r"(.*/)?(cut\.json|propensity-[A-Za-z]\w*\.json|model\.json|origin\.json|factory\.txt)|fold-\d+/.*")
_HIDDEN = re.compile(  # unfinished, or put there by Git and file systems
    r"(.*/)?\.([^/]+\.(tmp|unfinished(\.arrow)?|staged(\.old)?)(/.*)?|gitkeep|gitignore|DS_Store|nfs[^/]*)"
)
_QUOTA = re.compile(r"[A-Za-z][A-Za-z0-9_]*\.json")
_FORMATS = (b"PAR1", b"ARROW1")  # what whole Parquet and Arrow files end with


def check(filesystem: Any, folder: str) -> None:
    """Check that all of a dataset's folder is Gangue's, before it is replaced.

    A damaged shard is Gangue's: it may be built again. On remote storage files are known by their names alone.

    Args:
      filesystem: of fsspec.   folder: path in it; it need not exist.

    Raises:
      ValueError: a file in it, or the path itself, is somebody else's; names it, and the cure.
    """
    if not filesystem.exists(folder):
        return
    for path in [folder] if filesystem.isfile(folder) else foreign(filesystem, folder):
        raise in_the_way(path, folder, "--data")


def in_the_way(path: str, replaced: str, option: str) -> ValueError:
    """The error of somebody else's file where Gangue would write; ``option`` names another folder."""
    return ValueError(
        f"{path}: must be written by Gangue, since {replaced} would be replaced, and it is not. Name another folder"
        f" ({option}), or move it away"
    )


def foreign(filesystem: Any, folder: str) -> Iterator[str]:
    """Paths in a dataset's folder that Gangue did not write."""
    local = filesystem.protocol[0] == "file"
    root = str(filesystem._strip_protocol(folder)).rstrip("/")
    for path in sorted(filesystem.find(folder)):
        inside = path[len(root) + 1 :]
        if _SHARD.fullmatch(inside):
            if local and _is_whole_and_unsealed(path):
                yield path
        elif not (_NOTE.fullmatch(inside) or _HIDDEN.fullmatch(inside) or _is_quota(root, inside)):
            yield path


def _is_quota(root: str, inside: str) -> bool:
    return posixpath.basename(root) == "quotas" and bool(_QUOTA.fullmatch(inside))


def _is_whole_and_unsealed(path: str) -> bool:
    """Whether a file is a good Parquet or Arrow file that carries no checksum of Gangue's."""
    with open(path, "rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - checksums.FOOTER_BYTES))
        footer = file.read()
    return footer.endswith(_FORMATS) and checksums.stored(footer) is None
