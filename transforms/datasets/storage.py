"""Datasets on disk: a directory of shards, each shard one block, written once and whole.

A shard is written to a temporary name, flushed and renamed. A stage writes its shards into a hidden directory
beside the dataset; ``publish`` puts it in place when every shard is there and the counts agree, so a reader
sees the old dataset or the new one. Any fsspec path will do as root.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import glob
import hashlib
import io
import json
import os
import posixpath
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gangue.transforms.datasets import checksums, disk, ownership

SUFFIXES = (".parquet", ".arrow")
_FOOTERS = 16  # read at once where they are far away
_HARDLY_REPEATED = ("document_id", "text")  # within a shard


def shard_names(count: int) -> list[str]:
    """Names of the shards of a dataset.

    >>> shard_names(2)
    ['part-00000-of-00002', 'part-00001-of-00002']
    """
    return [shard_name(number, count) for number in range(count)]


def shard_name(number: int, count: int) -> str:
    """Name of one of ``count`` shards."""
    return f"part-{number:05d}-of-{count:05d}"


def place_of(shard: str) -> tuple[int, int]:
    """Number of a shard, and of how many: the inverse of ``shard_name``.

    >>> place_of("part-00001-of-00003")
    (1, 3)
    """
    _, number, _, count = shard.split("-")
    return int(number), int(count)


@dataclasses.dataclass(frozen=True)
class Data:
    """The datasets under one root: a local folder, ``gs://bucket/job``, ``memory://job``…"""

    root: str

    def __post_init__(self) -> None:
        """A relative path is meant from where it was given, also when the working folder changes."""
        object.__setattr__(self, "root", disk.absolute(self.root))

    @property
    def local(self) -> bool:
        """Whether files can be memory-mapped and synced."""
        return bool(disk.filesystem_of(self.root)[0].protocol[0] == "file")

    def path(self, dataset: str, name: str = "") -> str:
        """Path of a dataset, or of a file in it, as the file system of the root names it."""
        return posixpath.join(disk.filesystem_of(self.root)[1], dataset, name).rstrip("/")

    def exists(self, dataset: str) -> bool:
        """Whether the dataset has at least one shard."""
        return bool(self.files(dataset))

    def files(self, dataset: str) -> list[str]:
        """File names of the dataset's shards, in shard order."""
        filesystem, _ = disk.filesystem_of(self.root)
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
            odd = sorted(set(expected) ^ set(names)) or [name for name in expected if names.count(name) > 1]
            raise FileNotFoundError(
                f"{self.path(dataset)}: a dataset has all shards of one count, each once, but {odd[0]}"
                f" ({len(odd)} in all) is missing, of another count or there twice. Rebuild it: dvc repro"
            )
        return names

    def rows(self, dataset: str) -> list[int]:
        """Number of rows of each shard, from the footers."""
        count = functools.partial(self._open, dataset, count_only=True)
        if self.local:
            return [count(name) for name in self.files(dataset)]
        with concurrent.futures.ThreadPoolExecutor(_FOOTERS) as threads:  # each of them waits for a server
            return list(threads.map(count, self.files(dataset)))

    def metadata(self, dataset: str, column: str) -> dict[bytes, bytes]:
        """Metadata of the first shard's schema, empty where there is none; ``column``: one that is quickly read."""
        return self.read(dataset, self.shards(dataset)[0], [column]).schema.metadata or {}

    def checksum(self, dataset: str) -> str:
        """32 hex digits that change with any byte of the dataset, from the checksums in its footers."""
        filesystem, _ = disk.filesystem_of(self.root)

        def stored(name: str) -> bytes:
            return checksums.stored(filesystem.cat_file(self.path(dataset, name), start=-checksums.FOOTER_BYTES)) or b""

        with concurrent.futures.ThreadPoolExecutor(_FOOTERS) as threads:
            found = dict(zip(files := self.files(dataset), threads.map(stored, files), strict=True))
        return hashlib.blake2b(repr(sorted(found.items())).encode(), digest_size=16).hexdigest()

    def read(self, dataset: str, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One shard as one block.

        Raises:
          ValueError: the file is damaged or lacks a column; names it, and the cure.
        """
        for suffix in SUFFIXES:
            if disk.filesystem_of(self.root)[0].exists(self.path(dataset, shard + suffix)):
                return self._open(dataset, shard + suffix, columns)
        raise FileNotFoundError(f"{self.path(dataset, shard)}: no such shard. Rebuild it: dvc repro")

    def read_all(self, dataset: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All shards, one after the other: for columns that are small."""
        return pa.concat_tables(self.read(dataset, shard, columns) for shard in self.shards(dataset))

    def _open(self, dataset: str, name: str, columns: Sequence[str] | None = None, *, count_only: bool = False) -> Any:
        filesystem, _ = disk.filesystem_of(self.root)
        path = self.path(dataset, name)
        try:
            if count_only and not self.local:  # not the whole file
                with filesystem.open(path, "rb") as file:
                    return _rows(file, name)
            if not self.local:
                content = filesystem.cat_file(path)
                checksums.verify(content)
                source = pa.BufferReader(content)
            else:
                if not count_only:
                    disk.verify(path)
                source = pa.memory_map(path)
            if count_only:
                return _rows(source, name)
            if name.endswith(".arrow"):
                return _columns(source, columns)
            return pq.read_table(source, columns=list(columns) if columns else None).combine_chunks()
        except (pa.ArrowException, ValueError, OSError, KeyError) as error:
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            raise disk.damaged(path, error) from error

    def write(
        self, dataset: str, shard: str, table: pa.Table, *, suffix: str = ".parquet", read_once: bool = False
    ) -> None:
        """Write one shard, all or nothing; ``dataset`` may be ``staged(dataset)``.

        Args:
          read_once: it is large and the next stages' only: an Arrow file under lz4, which they read and write in a
            fourth of Parquet's time.

        Raises:
          OSError: the disk is full or may not be written; names the file, and the cure.
        """
        filesystem, _ = disk.filesystem_of(self.root)
        suffix = ".arrow" if read_once else suffix
        path = self.path(dataset, shard + suffix)
        with disk.writing(path):
            filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
            if self.local:
                with disk.whole(path) as file:
                    _serialise(table, file, suffix, "lz4" if read_once else None)
                    checksums.seal(file)
                return
            memory = io.BytesIO()
            _serialise(table, memory, suffix, "lz4" if read_once else None)
            filesystem.pipe_file(path, checksums.sealed(memory.getvalue()))

    def write_text(self, path: str, content: str) -> None:
        """Write a small text file, all or nothing."""
        filesystem, _ = disk.filesystem_of(self.root)
        target = self.path(path)
        with disk.writing(target):
            filesystem.makedirs(posixpath.dirname(target), exist_ok=True)
            if not self.local:
                filesystem.pipe_file(target, content.encode())
                return
            for leftover in glob.glob(
                disk.temporary_name(glob.escape(target), "*")
            ):  # of a killed run: nothing else sweeps here
                os.remove(leftover)
            with disk.whole(target) as file:
                file.write(content.encode())

    @contextlib.contextmanager
    def local_file(self, path: str) -> Iterator[str]:
        """A file on this machine's disk to write, which is at ``path`` when the block ends well."""
        filesystem, _ = disk.filesystem_of(self.root)
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
        return disk.local_copy(posixpath.join(self.root, path))

    def read_json(self, path: str) -> Any:
        """A small JSON file.

        Raises:
          FileNotFoundError: there is none.   ValueError: it is damaged.
        """
        try:
            return json.loads(disk.filesystem_of(self.root)[0].cat_file(self.path(path)))
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path(path)}: must exist, found none. Build it: dvc repro") from None
        except ValueError as error:
            raise ValueError(f"{self.path(path)}: must be JSON: {error}. Rebuild it: dvc repro --force") from error

    def begin(self, dataset: str) -> None:
        """Throw away what an interrupted run staged for this dataset."""
        filesystem, _ = disk.filesystem_of(self.root)
        for leftover in (self.path(staged(dataset)), self.path(staged(dataset)) + ".old"):
            if filesystem.exists(leftover):
                filesystem.rm(leftover, recursive=True)

    @contextlib.contextmanager
    def staging(self, *datasets: str) -> Iterator[None]:
        """Stage datasets anew; what was staged is thrown away if that fails.

        Raises:
          ValueError: somebody else's files stand where they would be published.
        """
        for dataset in datasets:
            self.check_ours(dataset)
            self.begin(dataset)
        try:
            yield
        except BaseException:
            for dataset in datasets:
                self.begin(dataset)
            raise

    def check_ours(self, dataset: str) -> None:
        """Check that a dataset's folder, if there is one, has nothing but Gangue's files.

        Raises:
          ValueError: it has; names one, and the cure.
        """
        ownership.check(disk.filesystem_of(self.root)[0], self.path(dataset))

    def prune(self, dataset: str, wanted: Iterable[str]) -> list[str]:
        """Remove the folders under a dataset that are Gangue's and not named in ``wanted``; returns their names."""
        filesystem, _ = disk.filesystem_of(self.root)
        folder = self.path(dataset)
        if not filesystem.isdir(folder):
            return []
        filesystem.invalidate_cache(folder)
        names = {posixpath.basename(entry.rstrip("/")) for entry in filesystem.ls(folder, detail=False)}
        gone = []
        for name in sorted(names - set(wanted)):
            path = self.path(dataset, name)
            if filesystem.isdir(path) and not any(ownership.foreign(filesystem, path)):
                filesystem.rm(path, recursive=True)
                gone.append(name)
        return gone

    def publish(self, dataset: str) -> None:
        """Put the staged shards in the place of the dataset."""
        filesystem, _ = disk.filesystem_of(self.root)
        old, new = self.path(dataset), self.path(staged(dataset))
        if not self.local:
            if filesystem.exists(old):
                filesystem.rm(old, recursive=True)
            filesystem.mv(new, old, recursive=True)
            return
        discarded = self.path(staged(dataset)) + ".old"
        with disk.writing(old):
            if os.path.exists(discarded):
                filesystem.rm(discarded, recursive=True)
            if os.path.exists(old):
                os.rename(old, discarded)
            os.rename(new, old)
            if os.path.exists(discarded):
                filesystem.rm(discarded, recursive=True)

    def sweep(self, dataset: str, shards: Iterable[str]) -> None:
        """Remove everything in the dataset's directory but the named shards: other shard counts, leftovers."""
        filesystem, _ = disk.filesystem_of(self.root)
        wanted = {shard + suffix for shard in shards for suffix in SUFFIXES}
        for entry in filesystem.ls(self.path(dataset), detail=False):
            if posixpath.basename(entry) not in wanted:
                filesystem.rm(entry, recursive=True)


def staged(dataset: str) -> str:
    """Where a stage writes a dataset before it is published.

    >>> staged("vectors/minilm/queries")
    'vectors/minilm/.queries.staged'
    """
    head, tail = posixpath.split(dataset)
    return posixpath.join(head, f".{tail}.staged")


def _rows(source: Any, name: str) -> int:
    """Rows of a shard, from its footer; of an Arrow file the first column is read, since vectors come later."""
    if name.endswith(".parquet"):
        return int(pq.read_metadata(source).num_rows)
    reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=[0]))
    return sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))


def _columns(source: Any, columns: Sequence[str] | None) -> pa.Table:
    """Columns of an Arrow file, in this order; of a compressed one, no others are decompressed."""
    if columns is None:
        return pa.ipc.open_file(source).read_all()
    known = pa.ipc.open_file(source).schema
    wanted = sorted({known.get_field_index(name) for name in columns if name in known.names})
    options = pa.ipc.IpcReadOptions(included_fields=wanted)
    return pa.ipc.open_file(source, options=options).read_all().select(columns)


def _serialise(table: pa.Table, file: Any, suffix: str, compression: str | None) -> None:
    table = table.combine_chunks()  # the layout of the file follows the chunks
    rows = max(1, table.num_rows)
    if suffix == ".parquet":
        # One row group per shard: a block is a row group. A dictionary is tried only where values come again: twice
        # as fast, and smaller. Page checksums are for other programs that read it.
        repeated = [f.name for f in table.schema if f.type == pa.string() and f.name not in _HARDLY_REPEATED]
        settings: dict[str, Any] = {"use_dictionary": repeated or False, "write_page_checksum": True}
        with pq.ParquetWriter(file, table.schema, compression="zstd", **settings) as writer:
            if len(table):  # readers take the rows of the first row group for a batch, and none is not a size
                writer.write_table(table, row_group_size=rows)
            writer.add_key_value_metadata(checksums.PAIR)
        return
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(file, table.schema, options=options, metadata=checksums.PAIR) as writer:
        writer.write_table(table, max_chunksize=rows)
