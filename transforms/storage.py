"""Datasets on disk: a directory of shards, each shard one block, written once and whole.

A shard is written to a temporary name, flushed and renamed. A stage writes its shards into a hidden directory
beside the dataset; ``publish`` puts it in place when every shard is there and the counts agree, so a reader
sees the old dataset or the new one. Any fsspec path will do as root.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import json
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".arrow")


@functools.cache
def _filesystem(root: str) -> tuple[Any, str]:
    # Workers write what another process lists: a remembered listing would miss it.
    try:
        filesystem, path = fsspec.core.url_to_fs(root, use_listings_cache=False)
    except ImportError as error:
        raise ValueError(f"{root}: needs a package for such paths: {error}. For gs://: pip install gcsfs") from None
    return filesystem, path.rstrip("/")


def shard_names(count: int) -> list[str]:
    """Names of the shards of a dataset.

    >>> shard_names(2)
    ['part-00000-of-00002', 'part-00001-of-00002']
    """
    return [f"part-{number:05d}-of-{count:05d}" for number in range(count)]


@dataclasses.dataclass(frozen=True)
class Data:
    """The datasets under one root: a local folder, ``gs://bucket/job``, ``memory://job``…"""

    root: str

    @property
    def local(self) -> bool:
        """Whether files can be memory-mapped and synced."""
        return bool(_filesystem(self.root)[0].protocol[0] == "file")

    def path(self, dataset: str, name: str = "") -> str:
        """Path of a dataset, or of a file in it, as the file system of the root names it."""
        return posixpath.join(_filesystem(self.root)[1], dataset, name).rstrip("/")

    def exists(self, dataset: str) -> bool:
        """Whether the dataset has at least one shard."""
        return bool(self.files(dataset))

    def files(self, dataset: str) -> list[str]:
        """File names of the dataset's shards, in shard order."""
        filesystem, _ = _filesystem(self.root)
        directory = self.path(dataset)
        if not filesystem.isdir(directory):
            return []
        filesystem.invalidate_cache(directory)
        names = (posixpath.basename(entry) for entry in filesystem.ls(directory, detail=False))
        return sorted(name for name in names if name.startswith("part-") and name.endswith(SUFFIXES))

    def shards(self, dataset: str) -> list[str]:
        """Names of the dataset's shards, in order.

        Raises:
          FileNotFoundError: there is no such dataset, or shards of it are missing.
        """
        names = [posixpath.splitext(name)[0] for name in self.files(dataset)]
        if not names:
            raise FileNotFoundError(
                f"{self.path(dataset)}: a dataset must have shards, found none. Build it: dvc repro"
            )
        expected = shard_names(int(names[0].rsplit("-", 1)[1]))
        if names != expected:
            odd = sorted(set(expected) ^ set(names))
            raise FileNotFoundError(
                f"{self.path(dataset)}: a dataset has all shards of one count, but {odd[0]}"
                f" ({len(odd)} in all) is missing or of another count. Rebuild it: dvc repro"
            )
        return names

    def rows(self, dataset: str) -> list[int]:
        """Number of rows of each shard, from the footers."""
        return [self._open(dataset, name, count_only=True) for name in self.files(dataset)]

    def read(self, dataset: str, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One shard as one block.

        Raises:
          ValueError: the file is damaged or lacks a column; names it, and the cure.
        """
        for suffix in SUFFIXES:
            if _filesystem(self.root)[0].exists(self.path(dataset, shard + suffix)):
                return self._open(dataset, shard + suffix, columns)
        raise FileNotFoundError(f"{self.path(dataset, shard)}: no such shard. Rebuild it: dvc repro")

    def read_all(self, dataset: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All shards, one after the other: for columns that are small."""
        return pa.concat_tables(self.read(dataset, shard, columns) for shard in self.shards(dataset))

    def _open(self, dataset: str, name: str, columns: Sequence[str] | None = None, *, count_only: bool = False) -> Any:
        filesystem, _ = _filesystem(self.root)
        path = self.path(dataset, name)
        try:
            if name.endswith(".arrow"):
                if count_only and not self.local:
                    with filesystem.open(path, "rb") as file:  # the first column only: vectors come later
                        reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=[0]))
                        return sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
                source = pa.memory_map(path) if self.local else pa.BufferReader(filesystem.cat_file(path))
                reader = pa.ipc.open_file(source)
                if count_only:
                    return sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
                table = reader.read_all()
                return table.select(columns) if columns else table
            with filesystem.open(path, "rb") as file:
                if count_only:
                    return pq.read_metadata(file).num_rows
                return pq.read_table(file, columns=list(columns) if columns else None).combine_chunks()
        except (pa.ArrowInvalid, OSError, KeyError, pa.ArrowKeyError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"{path}: a shard must be readable and whole: {error}. Rebuild it: dvc repro") from error

    def write(self, dataset: str, shard: str, table: pa.Table, *, suffix: str = ".parquet") -> None:
        """Write one shard, all or nothing; ``dataset`` may be ``staged(dataset)``."""
        filesystem, _ = _filesystem(self.root)
        path = self.path(dataset, shard + suffix)
        filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
        if not self.local:
            with filesystem.open(path, "wb") as file:
                _serialise(table, file, suffix)
            return
        temporary = self.path(dataset, f".{shard}{suffix}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                _serialise(table, file, suffix)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    def write_text(self, path: str, content: str) -> None:
        """Write a small text file, all or nothing."""
        filesystem, _ = _filesystem(self.root)
        target = self.path(path)
        filesystem.makedirs(posixpath.dirname(target), exist_ok=True)
        if not self.local:
            filesystem.pipe_file(target, content.encode())
            return
        temporary = f"{target}.{os.getpid()}.tmp"
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
        os.replace(temporary, target)

    @contextlib.contextmanager
    def local_file(self, path: str) -> Iterator[str]:
        """A file on this machine's disk to write, which is at ``path`` when the block ends well."""
        filesystem, _ = _filesystem(self.root)
        target = self.path(path)
        filesystem.makedirs(posixpath.dirname(target), exist_ok=True)
        if self.local:
            yield target
            return
        with tempfile.TemporaryDirectory() as folder:
            written = os.path.join(folder, posixpath.basename(target))
            yield written
            filesystem.put_file(written, target)

    def local_copy(self, path: str) -> str:
        """Path on this machine's disk of a file or folder, as ``local_copy``."""
        return local_copy(posixpath.join(self.root, path))

    def read_json(self, path: str) -> Any:
        """A small JSON file."""
        return json.loads(_filesystem(self.root)[0].cat_file(self.path(path)))

    def begin(self, dataset: str) -> None:
        """Throw away what an interrupted run staged for this dataset."""
        filesystem, _ = _filesystem(self.root)
        for leftover in (self.path(staged(dataset)), self.path(staged(dataset)) + ".old"):
            if filesystem.exists(leftover):
                filesystem.rm(leftover, recursive=True)

    def publish(self, dataset: str) -> None:
        """Put the staged shards in the place of the dataset."""
        filesystem, _ = _filesystem(self.root)
        old, new = self.path(dataset), self.path(staged(dataset))
        if not self.local:
            if filesystem.exists(old):
                filesystem.rm(old, recursive=True)
            filesystem.mv(new, old, recursive=True)
            return
        discarded = self.path(staged(dataset)) + ".old"
        if os.path.exists(discarded):
            filesystem.rm(discarded, recursive=True)
        if os.path.exists(old):
            os.rename(old, discarded)
        os.rename(new, old)
        if os.path.exists(discarded):
            filesystem.rm(discarded, recursive=True)

    def sweep(self, dataset: str, shards: Iterable[str]) -> None:
        """Remove everything in the dataset's directory but the named shards: other shard counts, leftovers."""
        filesystem, _ = _filesystem(self.root)
        wanted = {shard + suffix for shard in shards for suffix in SUFFIXES}
        for entry in filesystem.ls(self.path(dataset), detail=False):
            if posixpath.basename(entry) not in wanted:
                filesystem.rm(entry, recursive=True)


def local_copy(path: str) -> str:
    """Path on this machine's disk of a file or folder: its own, or that of a copy that lasts as long as the process.

    Raises:
      FileNotFoundError: it is not there.
    """
    filesystem, inside = _filesystem(path)
    if not filesystem.exists(inside):
        raise FileNotFoundError(f"{path}: must exist, found nothing")
    if filesystem.protocol[0] == "file":
        return str(inside)
    folder = tempfile.mkdtemp(prefix="gangue-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = os.path.join(folder, posixpath.basename(inside))
    filesystem.get(inside, target, recursive=bool(filesystem.isdir(inside)))
    return target


def staged(dataset: str) -> str:
    """Where a stage writes a dataset before it is published.

    >>> staged("vectors/minilm/queries")
    'vectors/minilm/.queries.staged'
    """
    head, tail = posixpath.split(dataset)
    return posixpath.join(head, f".{tail}.staged")


def _serialise(table: pa.Table, file: Any, suffix: str) -> None:
    table = table.combine_chunks()  # the layout of the file follows the chunks
    if suffix == ".parquet":
        # One row group per shard: a block is a row group.
        pq.write_table(table, file, row_group_size=max(1, table.num_rows), compression="zstd")
        return
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, table.num_rows))
