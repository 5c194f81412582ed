"""What the work of one process keeps at hand from shard to shard, until ``forget``: models, indexes, rows."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

Given = ParamSpec("Given")
Result = TypeVar("Result")

_clear: list[Callable[[], None]] = []
_run = ""
_lock = threading.Lock()


def keep(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Call a function once for each of its arguments, the last sixteen of them, until ``forget``.

    >>> drawn = keep(lambda place: object())
    >>> before = drawn(1)
    >>> drawn(1) is before, drawn(2) is before
    (True, False)
    >>> forget()
    >>> drawn(1) is before
    False
    """
    kept = functools.lru_cache(maxsize=16)(function)
    _clear.append(kept.cache_clear)
    return cast(Callable[Given, Result], kept)


def forget() -> None:
    """Drop all of it: the files that it was made of may have changed."""
    for clear in _clear:
        clear()


def begin(run: str) -> bool:
    """Forget what is of another run of a stage than this one; whether it was another."""
    global _run
    with _lock:
        if run == _run:
            return False
        forget()
        _run = run
        return True


def run() -> str:
    """The run of a stage that was begun last."""
    return _run
