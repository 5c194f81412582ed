"""Files as a whole: written all or not at all, checked when they are read, fetched where they are remote."""

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import hashlib
import os
import platform
import posixpath
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Iterator
from typing import Any, BinaryIO

import fsspec

from gangue.transforms import at_hand
from gangue.transforms.datasets import checksums, remote
from gangue.transforms.settings.section import is_local, place

REBUILD = "Rebuild it: gangue mine, or dvc repro --force"
"""The cure for a dataset that cannot be used."""

_FULL = "Free some space there"
_FORBIDDEN = "Allow writing there, or name another folder"
_CURES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f)",
    errno.EROFS: _FORBIDDEN,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
}


def absolute(path: str) -> str:
    """A local path as it is from any folder; an fsspec path as it is.

    Raises:
      ValueError: as ``place``.

    >>> absolute("memory://job"), absolute("/data/../job"), absolute("file:///data/../job")
    ('memory://job', '/job', '/job')
    """
    path = place(path)
    return os.path.abspath(path) if is_local(path) else path


def filesystem_of(root: str) -> tuple[Any, str]:
    """The file system of a local or fsspec path, and the path as it names it.

    Raises:
      ValueError: a package is missing; says which.   OSError: its client finds no credentials.
    """
    # What a relative path means changes with the working folder; a connection is of one process, not of its forks.
    return _filesystem_of(absolute(root), os.getpid())


@functools.cache
def _filesystem_of(root: str, process: int) -> tuple[Any, str]:
    if is_local(root):  # with :: in its name too, which fsspec would take for a chain
        return fsspec.filesystem("file"), root.rstrip("/")
    # Workers write what another process lists: a remembered listing would miss it.
    try:
        filesystem, path = fsspec.core.url_to_fs(root, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{root}: needs a package for such paths: {error}. For gs://, az:// and s3://: pip install"
            " 'gangue[gs]', 'gangue[azure]', 'gangue[s3]'"
        ) from None
    except Exception as error:  # of a client that looks for its credentials
        raise remote.refused(root, error) from error
    inside = path.rstrip("/")
    return (filesystem if filesystem.protocol[0] == "file" else remote.Store(filesystem, root, inside)), inside


def check_writable(root: str) -> None:
    """Check that a remote folder can be written, before hours of work; a local one is tried by the first file.

    Raises:
      OSError: it cannot.
    """
    filesystem, _ = filesystem_of(root)
    if filesystem.protocol[0] == "file":
        return
    with writing(root), token(root) as (path, content):
        found = remote.content(filesystem, path, size=len(content))
    if found != content:
        raise OSError(f"{root}: must give back what was written, it does not. Name another place")


def check_bucket(path: str) -> None:
    """Check, of a path where nothing was found, that the bucket is there, where the store says so.

    Raises:
      StoreError: it is not.
    """
    filesystem, inside = filesystem_of(path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        filesystem.ls(inside)


@contextlib.contextmanager
def token(root: str) -> Iterator[tuple[str, bytes]]:
    """Path and content of a file in a folder, there while the block runs: who reads it sees the folder.

    Raises:
      FileNotFoundError: there is no such bucket.
    """
    filesystem, inside = filesystem_of(root)
    content = uuid.uuid4().hex.encode()
    path = posixpath.join(inside, f".{content.decode()}.tmp")
    remote.make_folder(filesystem, inside)  # in a bucket that would make a bucket of a misspelt name
    if filesystem.protocol[0] == "file":  # a killed run leaves its own, and no other runs where one job works at a time
        for left in glob.glob(posixpath.join(glob.escape(inside), f".{'[0-9a-f]' * len(content)}.tmp")):
            discard(left)
    try:
        filesystem.pipe_file(path, content)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{root}: must be in a bucket that exists, this one does not. Correct its name, or make it"
        ) from None
    except remote.StoreError as error:  # which would name a file that nobody knows
        raise remote.StoreError(str(error).replace(remote.shown(filesystem, path), root)) from error
    try:
        yield path, content
    finally:
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm_file(path)


def temporary_prefix() -> str:
    """What the names of this process's temporary folders begin with; those that killed processes left go."""
    found = f"{tempfile.gettempdir()}/gangue-{_machine()}-"
    for left in glob.glob(f"{glob.escape(found)}[0-9]*-*"):
        process = left.removeprefix(found).partition("-")[0]
        if process.isdecimal() and not _lives(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    return f"{os.path.basename(found)}{os.getpid()}-"


def _machine() -> str:
    """What tells processes whose numbers are compared from those of other machines and containers."""
    space = ""
    with contextlib.suppress(OSError):  # Linux has it
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.blake2b(f"{platform.node()} {space}".encode(), digest_size=4).hexdigest()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no process's
        return True
    return True


class _Folder:
    """A temporary folder that is gone when nobody holds this any more, or the process that made it ends."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix=temporary_prefix())
        weakref.finalize(self, _remove_own, self.path, os.getpid())


def _remove_own(folder: str, process: int) -> None:
    if os.getpid() == process:  # a fork holds it too
        shutil.rmtree(folder, ignore_errors=True)


@at_hand.keep
def _copies() -> _Folder:
    """Where this process has its copies: one that works for many runs, on a cluster, would fill its disk with them."""
    return _Folder()


def _new_folder() -> str:
    """One for a copy, among the others."""
    try:
        return tempfile.mkdtemp(dir=_copies().path)
    except FileNotFoundError as error:  # somebody cleaned up
        raise OSError(
            f"{error.filename}: the folder of temporary files must stay, it is gone. Run it again, and see that nothing"
            " removes what is in use there, or name another folder: TMPDIR"
        ) from None


def local_copy(path: str) -> str:
    """Path on this machine's disk of a file or folder: its own, or that of a copy that lasts as what is at hand.

    Raises:
      FileNotFoundError: it is not there.
    """
    filesystem, inside = filesystem_of(path)
    if filesystem.protocol[0] == "file":
        if not filesystem.exists(inside):
            raise FileNotFoundError(f"{path}: must exist, found nothing")
        return str(inside)
    try:
        with writing(tempfile.gettempdir()):
            target = os.path.join(_new_folder(), posixpath.basename(inside))
            remote.copy(filesystem, inside, target)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: must exist, found nothing") from None
    return target


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Say what to do where the disk is full or may not be written.

    Raises:
      OSError: names the path, and the cure.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _CURES:
            raise
        raise OSError(
            f"{path}: must be writable: {error.strerror}. {_CURES[error.errno]}, and run the same command again:"
            " what was finished is kept"
        ) from error


@contextlib.contextmanager
def whole(path: str) -> Iterator[BinaryIO]:
    """A file to write that stands at ``path`` when all is well, and nowhere when not."""
    temporary = temporary_name(path, str(os.getpid()))
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def temporary_name(path: str, writer: str) -> str:
    """Where a process writes a file before it is whole."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.{writer}.tmp")


def sync(path: str) -> None:
    """Have what was written to a local file, or to the files of a folder, on the disk."""
    found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    for one in found if os.path.isdir(path) else [path]:
        with open(one, "rb") as file:
            os.fsync(file.fileno())


def move(path: str, target: str) -> None:
    """Put a local file or folder in the place of another of this name: of an equal one, or of a damaged one."""
    if os.path.isdir(target):  # which cannot be replaced in one operation
        try:
            verify(target)
        except ValueError:
            discard(target)
        else:
            discard(path)
            return
    os.replace(path, target)


def discard(path: str) -> None:
    """Remove a local file or folder, if it is there; half a folder has no name by which it could be taken for whole."""
    if os.path.isdir(path):
        hidden = temporary_name(path, str(os.getpid()))
        os.replace(path, hidden)
        shutil.rmtree(hidden)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def verify(path: str) -> None:
    """Hold a local file or folder against the tag in its name, once per process as long as it is the same.

    Raises:
      ValueError: it is damaged.   FileNotFoundError: it is not there.
    """
    status = os.stat(path)
    _verify(path, status.st_mtime_ns, status.st_size, status.st_ino)


def damaged(path: str, why: object) -> ValueError:
    """The error of a file that cannot be used, with the cure."""
    return ValueError(f"{path}: a shard must be readable and whole: {why}. {REBUILD}")


@functools.lru_cache(maxsize=1 << 16)
def _verify(path: str, modified: int, size: int, number: int) -> None:
    checksums.check(os.path.basename(path), checksums.tag_of(path))
