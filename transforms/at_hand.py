"""What the work of one process keeps at hand from shard to shard, until ``forget``: models, indexes, rows."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

_clear: list[Callable[[], None]] = []
_run = ""
_at_work = 0  # elements of that run
_lock = threading.Condition()


class _Kept(Generic[Result]):
    """The result of one call, made by whoever asks first; other threads wait for it."""

    def __init__(self) -> None:
        self._lock, self._results = threading.RLock(), list[Result]()

    def result(self, make: Callable[[], Result]) -> Result:
        with self._lock:
            if not self._results:
                self._results.append(make())
            return self._results[0]


def keep(function: Callable[Given, Result], most: int | None = 16) -> Callable[Given, Result]:
    """Call a function once for each of its arguments, the last ``most`` of them (None: all), until ``forget``.

    Threads that ask for the same at once get the same: a cache of ``functools`` alone would call it for each, and
    hand out what it does not keep.

    >>> drawn = keep(lambda place: object())
    >>> before = drawn(1)
    >>> drawn(1) is before, drawn(2) is before
    (True, False)
    >>> forget()
    >>> drawn(1) is before
    False
    """
    kept: Any = functools.lru_cache(maxsize=most)(lambda *_, **__: _Kept[Result]())
    _clear.append(kept.cache_clear)
    asking = threading.Lock()

    @functools.wraps(function)
    def called(*given: Given.args, **named: Given.kwargs) -> Result:
        with asking:
            one: _Kept[Result] = kept(*given, **named)
        return one.result(lambda: function(*given, **named))

    return called


def forget() -> None:
    """Drop all of it: the files that it was made of may have changed."""
    for clear in _clear:
        clear()


def begin(run: str) -> None:
    """Forget what is of another run of a stage than this one."""
    with _lock:
        _switch(run)


def _switch(run: str) -> bool:
    """Whether it was another run; then what is of that is forgotten."""
    global _run
    if run == _run:
        return False
    forget()
    _run = run
    return True


@contextlib.contextmanager
def working(run: str) -> Iterator[bool]:
    """Keep what is at hand for a run as long as the block lasts, once the work of other runs is done.

    What it gives is whether another run was before. Threads of a cluster's worker may work for two commands:
    what one holds, files among it, is not dropped under it.
    """
    global _at_work
    with _lock:
        _lock.wait_for(lambda: run == _run or not _at_work)
        another = _switch(run)
        _at_work += 1
    try:
        yield another
    finally:
        with _lock:
            _at_work -= 1
            _lock.notify_all()


def run() -> str:
    """The run of a stage that was begun last."""
    return _run
