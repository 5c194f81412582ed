"""Files of remote stores: a read is one request, and what it brings is held against what was written.

The clients try refused and broken requests again. What they cannot see is a response that ends early and does not say
so: whoever knows the size or the tag can, and asks again. What they raise in the end is told with the path and a cure.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import functools
import glob
import io
import os
import posixpath
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

BUCKETS = {"abfs", "abfss", "az", "gcs", "gs", "s3", "s3a"}

_PART = 32 << 20  # bytes asked for by one request
_PARTS = 4  # asked for at once
_TAIL = 1 << 16  # bytes of a file's end that hold the footer of nearly every shard
_REMOVED = 16  # at once, where each takes a request
_TIMES = 4  # a read is tried before what it brings counts as what lies there
_SPOILT = {"FlexibleChecksumError"}  # botocore sees it, where the store sends a checksum, and does not ask again
_CURE = "Run the same command again: what was finished is kept"
_WHOLE = {"s3": {"max_concurrency": 1}}  # s3fs asks for the size first where it may ask for several parts at once

_CLIENTS = {"adlfs", "aiobotocore", "aiohttp", "asyncio", "azure", "botocore", "fsspec", "gcsfs", "google", "s3fs"}
_BUSY = (errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EBUSY))  # what s3fs makes of 503 and 500
_NO_BUCKET = re.compile(r"(bucket|container) does not exist", re.IGNORECASE)

Result = TypeVar("Result")


class StoreError(OSError):
    """A store lets nobody in, does not answer or has no such bucket: nothing that lies in it is damaged."""


class Store:
    """A remote file system of fsspec whose errors say which path, what the store said and the cure, in one line.

    Its clients raise errors of many kinds, few of which name a path; those of builtin kinds have texts of their own.
    """

    def __init__(self, filesystem: Any, root: str, inside: str) -> None:
        """``root``, ``inside``: a path as the user named it, and as the file system does."""
        self._filesystem, self._root, self._inside = filesystem, root, inside

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._filesystem, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def call(*given: Any, **named: Any) -> Any:
            try:
                return found(*given, **named)
            except Exception as error:
                paths = given[1:] if name.startswith("put") else given
                raise refused(self.shown(*paths[:1]), error) from error

        return call

    def shown(self, path: str | list[str] = "") -> str:
        """A path as the user would name it; of several the first, of none the root."""
        path = (path if isinstance(path, str) else next(iter(path), "")) or self._inside
        return posixpath.join(self._root, path.removeprefix(self._inside).lstrip("/")).rstrip("/")


def shown(filesystem: Any, path: str) -> str:
    """A path of a file system, as the user would name it."""
    return filesystem.shown(path) if isinstance(filesystem, Store) else path


def refused(path: str, error: Exception) -> OSError | ValueError:
    """The error of a path that a store's client raised an error for."""
    if type(error).__name__ in _SPOILT:
        return ValueError(f"{path}: what is read must be whole: {error}. {_CURE}")
    said = getattr(error, "strerror", None) or str(error)
    said = (said.strip().splitlines() or [type(error).__name__])[-1].rstrip(".")
    if _NO_BUCKET.search(said):
        return StoreError(f"{path}: must be in a bucket that exists, this one does not. Correct its name, or make it")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{path}: must exist, found nothing. Correct the path, or make what it names")
    check = "Check its address, the bucket's name, and the credentials, their rights and quota, and r"
    if isinstance(error, PermissionError):
        check = "Check the credentials, which may have expired, and their rights, and r"
    elif _is_busy(error):
        check = "R"
    cure = check + _CURE[1:]
    return StoreError(f"{path}: must be in a store that answers and lets you in, it says: {said}. {cure}")


def _is_busy(error: Exception) -> bool:
    codes = [getattr(error, name, None) for name in ("code", "status_code", "status")]  # gcsfs's, Azure's, aiohttp's
    return (
        isinstance(error, TimeoutError)
        or getattr(error, "errno", None) in _BUSY
        or any(isinstance(code, int) and (code == 429 or code >= 500) for code in codes)
    )


def by_client(error: Exception) -> bool:
    """Whether a store's client raised an error, and not our code, whose errors say already what to do."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(module.partition(".")[0] in _CLIENTS for module in (type(error).__module__, *frames[-1:]))


@contextlib.contextmanager
def answering(path: str) -> Iterator[None]:
    """Say of a remote path, whose reader is not a ``Store``, what is the matter with it; of a local one nothing.

    Raises:
      OSError: its store does not answer, or lets nobody in.   FileNotFoundError: it is not there.
    """
    try:
        yield
    except Exception as error:
        if "://" not in path or not by_client(error):
            raise
        raise refused(path, error) from error


def again(read: Callable[[], Result]) -> Result:
    """What is read; read up to four times where it raises that what came cannot be what was written.

    Raises:
      ValueError: what the last try raises.

    >>> tries = iter([b"wor", b"words"])
    >>> def read():
    ...     content = next(tries)
    ...     if content != b"words":
    ...         raise ValueError("too short")
    ...     return content
    >>> again(read)
    b'words'
    """
    for _ in range(_TIMES - 1):
        with contextlib.suppress(ValueError):
            return read()
    return read()


def content(filesystem: Any, path: str, check: Callable[[bytes], Any] = len, size: int = 0) -> bytes:
    """All bytes of a file.

    Args:
      filesystem, path: of fsspec, and how it names the file.   check: raises ValueError for what was not written.
      size: of the file, where it is known; then its length is checked too, and a large one comes in several parts.

    Raises:
      FileNotFoundError: it is not there.   ValueError: what ``check`` raises, or it is shorter.
    """

    def read() -> bytes:
        found = b"".join(_parts(filesystem, path, 0, size)) if size else filesystem.cat_file(path, **_whole(filesystem))
        check(found)
        return bytes(found)

    return again(read)


def copy(filesystem: Any, path: str, target: str) -> None:
    """Copy a file or folder to this machine's disk.

    Raises:
      FileNotFoundError: it is not there.   ValueError: a file is shorter than its store says.
    """
    root = filesystem.info(path)
    if root["type"] == "file":
        again(functools.partial(_copy_file, filesystem, path, target, root["size"]))
        return
    os.makedirs(target, exist_ok=True)
    for name, file in filesystem.find(path, detail=True).items():
        here = os.path.join(target, posixpath.relpath(name, root["name"]))
        if not name.endswith("/"):  # some tools write empty objects for folders
            os.makedirs(os.path.dirname(here), exist_ok=True)
            again(functools.partial(_copy_file, filesystem, name, here, file["size"]))


def _copy_file(filesystem: Any, path: str, target: str, size: int | None) -> None:
    with open(target, "wb") as file:
        for part in [content(filesystem, path)] if size is None else _parts(filesystem, path, 0, size):
            file.write(part)


class Ranges(io.RawIOBase):
    """A file of known size of which few bytes are wanted, most of them near its end; each read is one request."""

    def __init__(self, filesystem: Any, path: str, size: int) -> None:
        self._filesystem, self._path, self._size, self._place = filesystem, path, size, 0
        self._start = max(0, size - _TAIL)  # of the end that is at hand
        self._tail = self._fetched(self._start, size)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Offset of what is read next."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset, which is returned."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or what of it the file has bytes for."""
        start, stop = self._place, min(self._place + len(buffer), self._size)
        here = slice(start - self._start, stop - self._start)
        found = self._tail[here] if start >= self._start else self._fetched(start, stop)
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)

    def _fetched(self, start: int, stop: int) -> bytes:
        return again(lambda: b"".join(_parts(self._filesystem, self._path, start, stop)))


def make_folder(filesystem: Any, path: str) -> None:
    """Make a folder, where a store has such a thing; in a bucket a file's name is all there is."""
    if filesystem.protocol[0] not in BUCKETS:
        filesystem.makedirs(path, exist_ok=True)


def remove(filesystem: Any, paths: str | list[str]) -> None:
    """Remove a folder, or files at once; what somebody else removed meanwhile is as well gone."""
    if filesystem.protocol[0] != "file" and glob.has_magic("".join(paths)):  # whose rm would remove what they match
        _remove_by_name(filesystem, paths)
        return
    with contextlib.suppress(FileNotFoundError):
        filesystem.rm(paths, recursive=isinstance(paths, str))


def _remove_by_name(filesystem: Any, paths: str | list[str]) -> None:
    """The same in a request a file, none of which takes ``*``, ``?`` or ``[`` in a name for a pattern."""
    found = (
        filesystem.find(paths, withdirs=True, detail=True) if isinstance(paths, str) else {path: {} for path in paths}
    )
    folders = [path for path, entry in found.items() if entry.get("type") == "directory"]

    def remove_file(path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm_file(path)

    with concurrent.futures.ThreadPoolExecutor(_REMOVED) as threads:
        list(threads.map(remove_file, found.keys() - folders))
    if filesystem.protocol[0] not in BUCKETS:
        for path in reversed(folders):
            with contextlib.suppress(FileNotFoundError):
                filesystem.rmdir(path)


def put_folder(filesystem: Any, path: str, target: str) -> None:
    """Copy a folder of this machine's disk, of whatever name, to ``target``."""
    inside = [os.path.join(folder, name) for folder, *found in os.walk(path) for names in found for name in names]
    filesystem.put([path, *inside], [target, *(posixpath.join(target, os.path.relpath(one, path)) for one in inside)])


def _parts(filesystem: Any, path: str, start: int, stop: int) -> Iterator[bytes]:
    """The bytes of a file from ``start`` to ``stop``, in order, a few parts at a time."""
    starts = range(start, stop, _PART)
    for first in range(0, len(starts), _PARTS):
        here = list(starts[first : first + _PARTS])
        yield from _ranges(filesystem, path, here, [min(at + _PART, stop) for at in here])


def _ranges(filesystem: Any, path: str, starts: list[int], stops: list[int]) -> list[bytes]:
    if len(starts) == 1:
        found = [filesystem.cat_file(path, start=starts[0], end=stops[0])]
    else:
        found = filesystem.cat_ranges([path] * len(starts), starts, stops, on_error="raise")
    for start, stop, part in zip(starts, stops, found, strict=True):
        if len(part) != stop - start:
            raise ValueError(
                f"{shown(filesystem, path)}: {stop - start} bytes must follow byte {start}, got {len(part)}. {_CURE}"
            )
    return found


def _whole(filesystem: Any) -> dict[str, Any]:
    return _WHOLE.get(filesystem.protocol[0], {})
