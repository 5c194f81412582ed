"""What a dataset is: the one file that lists its files. It is written last, so all that it lists is there and whole.

Readers take what it lists and nothing else, and need no listing and no footer to know how many rows there are.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from gangue.transforms.datasets.names import is_shard, keys, stem

NAME = ".manifest.json"
VERSION = 1
_KEYS = {"checksum", "files", "schema", "shards", "version"}


class File(NamedTuple):
    """A file of a dataset, or a folder: a model.

    Attributes:
      rows: None where it holds none, or nobody can count them.
      bytes: its size.
      checksum: the tag in its name (``datasets/checksums.py``).
    """

    rows: int | None
    bytes: int
    checksum: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The files of one version of a dataset.

    Attributes:
      files: file name -> what it is.
      schema: 16 hex digits that change with the columns' names and types; None: it has no tables.
      recipe: how it was made, where its files say so.
      derived_from: dataset that its stage read -> its checksum then, as ``Data.deriving_from`` was told.
    """

    files: Mapping[str, File]
    schema: str | None = None
    recipe: dict[str, Any] | None = None
    derived_from: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def shards(self) -> dict[str, str]:
        """Shard -> file name, in shard order."""
        return {stem(name): name for name in sorted(self.files) if is_shard(name)}

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """What its files are asked for by -> their names, as ``keys``."""
        return keys(self.files)

    @property
    def rows(self) -> list[int]:
        """Number of rows of each shard."""
        return [self.files[name].rows or 0 for name in self.shards.values()]

    @functools.cached_property
    def checksum(self) -> str:
        """32 hex digits that change with any byte of the dataset, and of those that it is derived from.

        >>> Manifest({}).checksum
        '438d34e2c279664b9461833866345fca'
        """
        return _checksum(self._listed())

    def content(self) -> bytes:
        """The file, the same bytes for the same dataset."""
        return (json.dumps(self._listed() | {"checksum": self.checksum}, indent=1, sort_keys=True) + "\n").encode()

    @staticmethod
    @functools.lru_cache(maxsize=64)  # a process asks for the same few again and again
    def parse(content: bytes) -> Manifest:
        """The manifest of a file.

        Raises:
          ValueError: the file is damaged or of another version.

        >>> made = Manifest({"part-00000-of-00001-dba36bffa5cab0f9.parquet": File(3, 5, "dba36bffa5cab0f9")})
        >>> Manifest.parse(made.content()) == made, made.rows
        (True, [3])
        """
        found = json.loads(content)
        if not isinstance(found, dict) or found.get("version") != VERSION:
            raise ValueError(f"must be JSON with version {VERSION}")
        written = found.pop("checksum", None)
        if _checksum(found) != written:
            raise ValueError(f"its checksum must be {written}, as written, got {_checksum(found)}")
        files = {name: File(**file) for name, file in found["files"].items()}
        return Manifest(files, found["schema"], found.get("recipe"), found.get("derived_from", {}))

    def _listed(self) -> dict[str, Any]:
        files = {name: file._asdict() for name, file in self.files.items()}
        more: dict[str, Any] = {} if self.recipe is None else {"recipe": self.recipe}
        if self.derived_from:
            more["derived_from"] = self.derived_from
        return {"version": VERSION, "shards": len(self.shards), "files": files, "schema": self.schema, **more}


def _checksum(listed: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(listed, sort_keys=True).encode(), digest_size=16).hexdigest()


def is_ours(content: bytes) -> bool:
    """Whether a file of this name is a manifest, or was before it was damaged.

    >>> is_ours(Manifest({}).content()), is_ours(b""), is_ours(b'{"name": "an app", "version": 3}')
    (True, True, False)
    """
    try:
        found = json.loads(content)
    except ValueError:
        return True
    return isinstance(found, dict) and len(_KEYS & found.keys()) >= len(_KEYS) - 1  # one bit makes one key another
