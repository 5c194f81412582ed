"""One job at a time in a folder of datasets, and how the last one ended."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import posixpath
from collections.abc import Iterator
from typing import TextIO

from gangue.transforms.datasets.storage import Data

NAME = ".running"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)  # some network file systems


@contextlib.contextmanager
def occupied(data: Data, what: str) -> Iterator[None]:
    """Keep other jobs out of a local folder of datasets while the block runs.

    The lock is the kernel's, on an open file: it goes when the process does, however that ends. What the file says
    then stays, and ``last_end`` reads it. Remote storage has no locks.

    Args:
      data: the folder; made where it is missing.   what: runs in it, for messages: ``gangue mine``.

    Raises:
      ValueError: another job works there; names its process.
    """
    if not data.local:
        yield
        return
    path = data.path(NAME)
    os.makedirs(posixpath.dirname(path), exist_ok=True)
    if os.path.exists(path) and not os.access(path, os.W_OK):
        _make_way(data, path)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8") as file:
        _lock(data, file)
        _say(file, f"{what} (process {os.getpid()})")
        try:
            yield
        except BaseException as error:
            said = " ".join(str(error).split()) or type(error).__name__
            _say(file, f"{what}: {said}")
            raise
        _say(file, "")


def _lock(data: Data, file: TextIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(
            f"{data.shown('')}: one job at a time may write here, and {file.read().strip() or 'another'} does. Wait"
            " until it ends, or name another folder: --data"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _make_way(data: Data, path: str) -> None:
    """Remove a file that may not be written, as DVC makes those that it links to its cache, if no job holds it."""
    with open(path, encoding="utf-8") as file:
        _lock(data, file)
        os.remove(path)


def last_end(data: Data) -> str | None:
    """How the last job in a folder ended, if not well; None also while one runs.

    Returns:
      Its command and its error, or its command and process where it was killed.
    """
    if not data.local or not os.path.exists(data.path(NAME)):
        return None
    with open(data.path(NAME), encoding="utf-8") as file:
        said = file.read().strip()
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return None
    return said or None


def _say(file: TextIO, said: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(said)
    file.flush()
