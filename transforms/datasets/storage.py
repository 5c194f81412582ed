"""Datasets on disk: a directory of shards, each shard one block, written once and whole, and a manifest of them.

A shard is written to a temporary name, flushed and renamed; its name carries a tag of its content, so versions lie
beside each other. A stage writes its shards into a hidden directory beside the dataset; when every shard is there and
the counts agree, ``publish`` moves them into the dataset's own and writes the manifest, in one operation: a reader sees
the old dataset or the new one, whenever whoever publishes is killed. Any fsspec path will do as root.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import glob
import io
import json
import operator
import os
import posixpath
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from gangue.transforms.datasets import checksums, disk, ownership, remote, tables
from gangue.transforms.datasets.manifest import NAME as MANIFEST
from gangue.transforms.datasets.manifest import File, Manifest
from gangue.transforms.datasets.names import at_work, is_shard, keys, place_of, shard_names, staged, stem

_FOOTERS = 16  # read at once where they are far away
_SMALL = 1 << 20  # bytes of a remote file of which all is read and checked where its footer would do
_NAMES: dict[tuple[str, str], dict[str, str]] = {}  # root and dataset -> the names of its files, as last seen
_LISTED: dict[tuple[str, str], Mapping[str, File]] = {}  # and what its manifest said of them

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Data:
    """The datasets under one root: a local folder, ``gs://bucket/job``, ``memory://job``…

    Attributes:
      root: where they are.
      derived_from: datasets and their checksums, which what is committed names as its origin: ``deriving_from``.
    """

    root: str
    derived_from: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """A relative path is meant from where it was given, also when the working folder changes."""
        object.__setattr__(self, "root", disk.absolute(self.root))

    def deriving_from(self, *datasets: str) -> Data:
        """The same datasets, for a stage that reads these, as they are now; one that is not there is left out.

        The manifest of what it commits names them and their checksums, so it changes whenever one of them does. Who
        depends on what the stage wrote depends on what it read: ``dvc.yaml`` need not say it again.
        """
        found = {dataset: self.manifest(dataset) for dataset in datasets}
        known = ((dataset, manifest.checksum) for dataset, manifest in sorted(found.items()) if manifest is not None)
        return dataclasses.replace(self, derived_from=tuple(known))

    @property
    def local(self) -> bool:
        """Whether files can be memory-mapped and synced."""
        return bool(disk.filesystem_of(self.root)[0].protocol[0] == "file")

    def path(self, dataset: str, name: str = "") -> str:
        """Path of a dataset, or of a file in it, as the file system of the root names it."""
        return posixpath.join(disk.filesystem_of(self.root)[1], dataset, name).rstrip("/")

    def shown(self, dataset: str, name: str = "") -> str:
        """The same path as a message names it: with the scheme of its store."""
        return posixpath.join(self.root, dataset, name).rstrip("/")

    def exists(self, dataset: str) -> bool:
        """Whether the dataset has at least one shard."""
        return bool(self.files(dataset))

    def manifest(self, dataset: str) -> Manifest | None:
        """What the dataset consists of; None: there is no such dataset.

        Raises:
          ValueError: its manifest is damaged or another version's.
        """
        path = self.path(dataset, MANIFEST)
        try:
            found = Manifest.parse(self._content(path, Manifest.parse))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(
                f"{self.shown(dataset, MANIFEST)}: must be whole and of this version: {error}. {disk.REBUILD}"
            ) from error
        _NAMES[self.root, dataset], _LISTED[self.root, dataset] = found.names, found.files
        return found

    def files(self, dataset: str) -> list[str]:
        """File names of the dataset's shards, in shard order; of what is still being written, all there are."""
        if at_work(dataset):
            names = sorted(name for name in self.listed(dataset) if is_shard(name))
            return [name for name, before in zip(names, ["", *names], strict=False) if stem(name) != stem(before)]
        found = self.manifest(dataset)
        return list(found.shards.values()) if found else []

    def shards(self, dataset: str) -> list[str]:
        """Names of the dataset's shards, in order.

        Raises:
          FileNotFoundError: there is no such dataset, or shards of it are missing.
        """
        return self._complete(dataset, sorted({stem(name) for name in self.files(dataset)}))

    def _complete(self, dataset: str, names: list[str]) -> list[str]:
        if not names:
            raise self.missing(dataset)
        expected = shard_names(place_of(names[0])[1])
        if names != expected:
            odd = sorted(set(expected) ^ set(names)) or [name for name in expected if names.count(name) > 1]
            raise FileNotFoundError(
                f"{self.shown(dataset)}: a dataset has all shards of one count, each once, but {odd[0]}"
                f" ({len(odd)} in all) is missing, of another count or there twice. Rebuild it: gangue mine, or dvc"
                " repro"
            )
        return names

    def unlisted(self, dataset: str) -> bool:
        """Whether shards lie there without a manifest: an earlier version's, or of a first run that did not end."""
        return self.manifest(dataset) is None and any(map(is_shard, self._entries(dataset)))

    def missing(self, dataset: str) -> FileNotFoundError:
        """The error of a dataset that has no shards for readers."""
        path = self.shown(dataset)
        if self.unlisted(dataset):
            return FileNotFoundError(
                f"{path}: must have a {MANIFEST}, found shards of an earlier version or of a run that did not end."
                " Rebuild it: dvc repro --force, or gangue mine"
            )
        return FileNotFoundError(f"{path}: a dataset must have shards, found none. Build it: gangue mine, or dvc repro")

    def rows(self, dataset: str) -> list[int]:
        """Number of rows of each shard, none where there is no such dataset."""
        found = self.describe(dataset) if at_work(dataset) else self.manifest(dataset)
        return found.rows if found else []

    def metadata(self, dataset: str, column: str) -> dict[bytes, bytes]:
        """Metadata of the first shard's schema, empty where there is none; ``column``: one that is quickly read."""
        return self.read(dataset, self.shards(dataset)[0], [column]).schema.metadata or {}

    def checksum(self, dataset: str) -> str:
        """32 hex digits that change with any byte of the dataset, and of those that it is derived from.

        Raises:
          FileNotFoundError: there is no such dataset.
        """
        found = self.manifest(dataset)
        if found is None:
            raise self.missing(dataset)
        return found.checksum

    def listed(self, dataset: str) -> list[str]:
        """Names of all files with a tag in the dataset's directory, whether readers may take them or not."""
        return [name for name in self._entries(dataset) if checksums.untagged(name)]

    def _entries(self, dataset: str) -> list[str]:
        """Names of what is in the dataset's directory."""
        return [posixpath.basename(path.rstrip("/")) for path in self._listing(dataset, detail=False)]

    def _details(self, dataset: str) -> dict[str, dict[str, Any]]:
        """What is in the dataset's directory: name -> how its file system describes it, which locally costs a call."""
        found = self._listing(dataset, detail=True)
        return {posixpath.basename(entry["name"].rstrip("/")): entry for entry in found}

    def _listing(self, dataset: str, *, detail: bool) -> list[Any]:
        filesystem, _ = disk.filesystem_of(self.root)
        directory = self.path(dataset)
        filesystem.invalidate_cache(directory)
        try:
            found = filesystem.ls(directory, detail=detail)
        except FileNotFoundError:
            return []
        name = operator.itemgetter("name") if detail else str
        return [entry for entry in found if name(entry).rstrip("/") != directory]  # it may be an object itself

    def _named(self, dataset: str, key: str, *, fresh: bool = False) -> str:
        """Name of the file that a key means: in the manifest, or in the directory while the dataset is being written.

        A name that was seen before may be an old one; then it is that of a whole old file, or of none.
        """
        place = (self.root, dataset)
        names = _NAMES.get(place, {})
        if fresh or key not in names:
            if at_work(dataset):
                names = keys(self.listed(dataset))
            else:
                found = self.manifest(dataset)
                names = found.names if found else {}
            _NAMES[place] = names  # at once: other threads ask too
        if key in names:
            return names[key]
        if not names and not at_work(dataset):
            raise self.missing(dataset)
        raise FileNotFoundError(f"{self.shown(dataset, key)}: no such shard. Rebuild it: gangue mine, or dvc repro")

    def _found(self, dataset: str, key: str, use: Callable[[str], Result]) -> Result:
        """What ``use`` makes of the file of a key; of the new one, where another version was published meanwhile."""
        name = self._named(dataset, key)
        while True:
            try:
                return use(name)
            except FileNotFoundError:
                gone, name = name, self._named(dataset, key, fresh=True)
                if name == gone:
                    raise

    def read(self, dataset: str, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One shard as one block.

        Raises:
          ValueError: the file is damaged or lacks a column; names it, and the cure.
        """
        return self._found(dataset, shard, lambda name: self.read_file(dataset, name, columns))

    def mapped(self, dataset: str, shard: str) -> pa.Table:
        """A shard that is Arrow without compression, whose pages the kernel may drop: from a copy if it is far away.

        The copy has no name any more, and is gone with the table.
        """
        if self.local:
            return self.read(dataset, shard)
        path = self.fetched(dataset, shard)
        with pa.memory_map(path) as source:
            table = tables.read_arrow(source, None)
        os.remove(path)
        return table

    def read_all(self, dataset: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All shards, one after the other, all of one version: for columns that are small."""
        while True:
            self.shards(dataset)
            names = self.files(dataset)
            try:
                return pa.concat_tables(self.read_file(dataset, name, columns) for name in names)
            except FileNotFoundError:
                if self.files(dataset) == names:
                    raise

    def read_file(self, dataset: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The shard in a file of this name.

        Raises:
          ValueError: the file is damaged or lacks a column; names it, and the cure.
        """
        with self._opened(dataset, name) as source:
            if name.endswith(".arrow"):
                return tables.read_arrow(source, columns)
            return pq.read_table(source, columns=list(columns) if columns else None).combine_chunks()

    @contextlib.contextmanager
    def _opened(self, dataset: str, name: str, *, footer_of: int = 0) -> Iterator[Any]:
        """A verified file; ``footer_of``: its footer is wanted, of so many bytes, and a large one is not verified."""
        filesystem, _ = disk.filesystem_of(self.root)
        path = self.path(dataset, name)
        try:
            if self.local:
                if not footer_of:
                    disk.verify(path)
                yield pa.memory_map(path)
            elif footer_of > _SMALL:
                yield pa.PythonFile(remote.Ranges(filesystem, path, footer_of), mode="r")
            else:
                known = _LISTED.get((self.root, dataset), {}).get(name)
                size = footer_of or (known.bytes if known else 0)
                yield pa.BufferReader(self._content(path, functools.partial(_check_tag, name), size))
        except (pa.ArrowException, ValueError, OSError, KeyError) as error:
            if isinstance(error, FileNotFoundError | PermissionError | remote.StoreError):
                raise
            raise disk.damaged(self.shown(dataset, name), error) from error

    def _content(self, path: str, check: Callable[[bytes], Any], size: int = 0) -> bytes:
        """All bytes of a file, as ``remote.content``."""
        filesystem, _ = disk.filesystem_of(self.root)
        return filesystem.cat_file(path) if self.local else remote.content(filesystem, path, check, size)

    def write(
        self,
        dataset: str,
        shard: str,
        table: pa.Table,
        *,
        suffix: str = ".parquet",
        intermediate: bool = False,
        anew: bool = False,
    ) -> None:
        """Write one shard, all or nothing; ``dataset`` may be ``staged(dataset)``.

        Args:
          intermediate: it is large and the next stages' only: an Arrow file under lz4, which they read and write in a
            fourth of Parquet's time.
          anew: another version of the shard may lie there, and goes if no reader may take it.

        Raises:
          OSError: the disk is full or may not be written; names the file, and the cure.
        """
        suffix = ".arrow" if intermediate else suffix
        compression = "lz4" if intermediate else None
        self._add(dataset, shard + suffix, lambda file: tables.write(table, file, suffix, compression), anew=anew)

    def write_note(self, dataset: str, name: str, content: str) -> None:
        """Write a small file of a dataset that is being written, instead of an earlier one of this name."""
        self._add(dataset, name, lambda file: file.write(content.encode()), anew=True)

    def _add(self, dataset: str, name: str, write: Callable[[Any], Any], *, anew: bool) -> None:
        """Add what is written to a file; where that is far away, by way of memory."""
        if self.local:
            with self.adding(dataset, name, anew=anew) as path, open(path, "wb") as file:
                write(file)
            return
        memory = io.BytesIO()
        write(memory)
        content = memory.getvalue()
        filesystem, _ = disk.filesystem_of(self.root)
        target = self.path(dataset, checksums.tagged(name, checksums.tag(content)))
        with disk.writing(self.shown(dataset, name)):
            remote.make_folder(filesystem, self.path(dataset))
            filesystem.pipe_file(target, content)
        if anew:
            self._remove_others(dataset, name, posixpath.basename(target))

    @contextlib.contextmanager
    def adding(self, dataset: str, name: str, *, anew: bool = False) -> Iterator[str]:
        """Where to write a file or folder on this machine's disk that is in the dataset when the block ends well.

        There its name has a tag.   ``anew``: as for ``write``.
        """
        filesystem, _ = disk.filesystem_of(self.root)
        directory = self.path(dataset)
        with contextlib.ExitStack() as stack:
            stack.enter_context(disk.writing(self.shown(dataset, name)))
            remote.make_folder(filesystem, directory)
            if self.local:
                path = disk.temporary_name(self.path(dataset, name), str(os.getpid()))
                stack.callback(disk.discard, path)
            else:
                path = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), name)
            yield path
            tagged = checksums.tagged(name, checksums.tag_of(path))
            target = self.path(dataset, tagged)
            if self.local:
                disk.sync(path)
                disk.move(path, target)
            elif os.path.isdir(path):
                remote.put_folder(filesystem, path, target)
            else:
                filesystem.put_file(path, target)
        if anew:
            self._remove_others(dataset, name, tagged)

    def _remove_others(self, dataset: str, name: str, kept: str) -> None:
        """Remove the versions of a file that are neither ``kept`` nor in the manifest."""
        others = {other for other in self.listed(dataset) if (checksums.untagged(other) or ("",))[0] == name} - {kept}
        if others:
            self._remove(dataset, others.difference(self._taken(dataset)))

    def _remove(self, dataset: str, names: Iterable[str]) -> None:
        filesystem, _ = disk.filesystem_of(self.root)
        paths = {self.path(dataset, name) for name in names}
        if not paths:
            return
        entries = self._details(dataset)
        folders = {self.path(dataset, name) for name, entry in entries.items() if entry["type"] == "directory"}
        for path in sorted(paths & folders):
            if self.local:
                disk.discard(path)
            else:
                remote.remove(filesystem, path)
        if files := sorted(paths - folders):
            remote.remove(filesystem, files)

    def _taken(self, dataset: str) -> Iterable[str]:
        """Names of the files that readers may take now; none where the manifest is damaged."""
        if at_work(dataset):
            return ()
        try:
            found = self.manifest(dataset)
        except ValueError:
            return ()
        return found.files if found else ()

    def write_text(self, path: str, content: str) -> None:
        """Write a small text file, all or nothing."""
        filesystem, _ = disk.filesystem_of(self.root)
        target = self.path(path)
        with disk.writing(self.shown(path)):
            remote.make_folder(filesystem, posixpath.dirname(target))
            if not self.local:
                filesystem.pipe_file(target, content.encode())
                return
            for leftover in glob.glob(
                disk.temporary_name(glob.escape(target), "*")
            ):  # of a killed run: nothing else sweeps here
                os.remove(leftover)
            with disk.whole(target) as file:
                file.write(content.encode())

    def local_copy(self, path: str) -> str:
        """Path on this machine's disk of a file or folder, as ``local_copy``."""
        return disk.local_copy(posixpath.join(self.root, path))

    def fetched(self, dataset: str, name: str) -> str:
        """Path on this machine's disk of a file or folder of a dataset, asked for by its name without the tag.

        Raises:
          FileNotFoundError: it is not there.   ValueError: it is damaged.
        """

        def fetch(tagged: str) -> str:
            path = self.local_copy(posixpath.join(dataset, tagged))
            try:
                disk.verify(path)
            except ValueError as error:
                raise disk.damaged(self.shown(dataset, tagged), error) from error
            return path

        return self._found(dataset, name, fetch)

    def read_note(self, dataset: str, name: str) -> Any:
        """A small JSON file of a dataset.

        Raises:
          FileNotFoundError: there is none.   ValueError: it is damaged.
        """
        try:
            return self._found(dataset, name, lambda tagged: self.read_json(posixpath.join(dataset, tagged)))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.shown(dataset, name)}: must exist, found none. Build it: gangue mine, or dvc repro"
            ) from None

    def read_json(self, path: str) -> Any:
        """A small JSON file.

        Raises:
          FileNotFoundError: there is none.   ValueError: it is damaged.
        """
        name = posixpath.basename(path)

        def check(content: bytes) -> None:
            if checksums.untagged(name):
                _check_tag(name, content)
            else:
                json.loads(content)

        try:
            content = self._content(self.path(path), check)
            check(content)
            return json.loads(content)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.shown(path)}: must exist, found none. Build it: gangue mine, or dvc repro"
            ) from None
        except ValueError as error:
            raise ValueError(f"{self.shown(path)}: must be whole JSON: {error}. {disk.REBUILD}") from error

    def begin(self, dataset: str) -> None:
        """Throw away what an interrupted run staged for this dataset."""
        filesystem, _ = disk.filesystem_of(self.root)
        leftover = self.path(staged(dataset))
        if filesystem.isdir(leftover):
            remote.remove(filesystem, leftover)

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
        gone, kept = [], set(wanted)
        for name, entry in sorted(self._details(dataset).items()):
            path = self.path(dataset, name)
            if name not in kept and entry["type"] == "directory" and not any(ownership.foreign(filesystem, path)):
                remote.remove(filesystem, path)
                gone.append(name)
        return gone

    def describe(self, dataset: str, shards: Sequence[str] | None = None) -> Manifest:
        """The manifest of what lies in a dataset's directory, or in a staged one's.

        Of two versions of a file the one counts that readers may not take yet; of two such the first by name, for both
        are whole and of the same work.

        Args:
          shards: those it must have, where any others are leftovers; None: all that are there.

        Raises:
          FileNotFoundError: shards are missing.   ValueError: one is damaged, or has other columns than the first.
        """
        entries = self._details(dataset)
        taken = self._taken(dataset)
        versions: dict[str, str] = {}
        for name in sorted(entries, key=lambda name: (name in taken, name)):
            known = checksums.untagged(name)
            if known and not name.startswith("."):
                versions.setdefault(known[0], name)
        names = sorted(versions.values())
        if shards is not None:
            wanted = set(shards)
            names = [name for name in names if not is_shard(name) or stem(name) in wanted]
        there = [stem(name) for name in names if is_shard(name)]
        if there or shards is not None:
            self._complete(dataset, there)
        describe = functools.partial(self._described, dataset)
        if self.local:
            found = [describe(name, entries[name]) for name in names]
        else:
            with concurrent.futures.ThreadPoolExecutor(_FOOTERS) as threads:  # each of them waits for a server
                found = list(threads.map(describe, names, [entries[name] for name in names]))
        columns = [(name, kind) for name, (_, kind) in zip(names, found, strict=True) if kind is not None]
        for name, kind in columns[1:]:
            if not kind.equals(columns[0][1]):
                raise ValueError(
                    f"{self.shown(dataset, name)}: must have the columns of {columns[0][0]},"
                    f" {tables.fields(columns[0][1])}, got {tables.fields(kind)}. {disk.REBUILD}"
                )
        first = columns[0][1] if columns else None
        return Manifest(
            {name: file for name, (file, _) in zip(names, found, strict=True)},
            None if first is None else checksums.tag(tables.fields(first).encode()),
            None if first is None else tables.recipe(first),
        )

    def _described(self, dataset: str, name: str, entry: dict[str, Any]) -> tuple[File, pa.Schema | None]:
        """A file, and its columns if it is a table."""
        filesystem, _ = disk.filesystem_of(self.root)
        _, tag = checksums.untagged(name) or ("", "")
        rows, columns = None, None
        size = int(filesystem.du(entry["name"]) if entry["type"] == "directory" else entry["size"])
        if name.endswith(tables.SUFFIXES):
            with self._opened(dataset, name, footer_of=max(1, size)) as source:
                rows, columns = tables.footer(source, name)
        return File(rows, size, tag), columns

    def publish(self, dataset: str, new: Manifest | None = None) -> None:
        """Put the staged files in the place of the dataset; ``new``: what they are, where that is known."""
        filesystem, _ = disk.filesystem_of(self.root)
        source, target = self.path(staged(dataset)), self.path(dataset)
        known, new = new is not None, new or self.describe(staged(dataset))
        with disk.writing(self.shown(dataset)):
            remote.make_folder(filesystem, target)
            if self.local:
                for name in new.files:
                    disk.move(posixpath.join(source, name), posixpath.join(target, name))
            else:
                inside = {path: path[len(source) + 1 :] for path in filesystem.find(source)}
                there = {name.partition("/")[0] for name in inside.values()}
                if not known and not (there and there.issuperset(new.files)):  # nor were all when they were described
                    raise self._others(staged(dataset), "must be there to be published, and not all is")
                paths = [path for path, name in inside.items() if name.partition("/")[0] in new.files]
                with contextlib.suppress(FileNotFoundError):  # another writer removed one, and may have published it
                    filesystem.copy(paths, [posixpath.join(target, inside[path]) for path in paths])
                found = self._check_there(dataset, new)
                if not known and not new.shards and any(map(is_shard, found)):
                    raise self._others(staged(dataset), "must hold shards, as the published dataset does, and none is")
        self.commit(dataset, new)
        self.begin(dataset)

    def commit(self, dataset: str, new: Manifest | None = None) -> None:
        """Let readers take what lies in the dataset's directory, and remove all else; ``new``: as for ``publish``.

        Raises:
          FileNotFoundError, ValueError: as ``describe``.
        """
        filesystem, _ = disk.filesystem_of(self.root)
        new = dataclasses.replace(new or self.describe(dataset), derived_from=dict(self.derived_from))
        path = self.path(dataset, MANIFEST)
        with disk.writing(self.shown(dataset, MANIFEST)):
            remote.make_folder(filesystem, self.path(dataset))
            if self.local:
                with disk.whole(path) as file:
                    file.write(new.content())
            else:
                filesystem.pipe_file(path, new.content())
            self._remove(dataset, self._check_there(dataset, new) - {MANIFEST, *new.files})

    def _others(self, path: str, said: str) -> FileNotFoundError:
        """The error of files that another writer removed."""
        return FileNotFoundError(
            f"{self.shown(path)}: {said}: another job writes here. Let one job at a time, and run this one again"
        )

    def _check_there(self, dataset: str, new: Manifest) -> set[str]:
        """Names of what is in the dataset's directory, where all that is to be in it is among them.

        Raises:
          FileNotFoundError: another writer, whose version is published, removed files of this one.
        """
        found = set(self._entries(dataset))
        if gone := sorted(set(new.files) - found):
            said = f"must be there to be published, {len(gone)} of {len(new.files)} files are gone"
            raise self._others(posixpath.join(dataset, gone[0]), said)
        return found


def _check_tag(name: str, content: bytes) -> None:
    checksums.check(name, checksums.tag(content))
