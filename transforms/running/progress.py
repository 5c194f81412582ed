"""How far a stage is, for whoever watches: rows done, rows per second, and time left where the total is known."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from gangue.transforms import log


class Reporter(Protocol):
    """Something that shows progress."""

    def advance(self, rows: int) -> None:
        """So many more rows are done."""


_reporter: Reporter | None = None
_LOOKS = 5.0  # a second, that the parent looks at what its workers did
_advanced = 0


def advance(rows: int) -> None:
    """Say that ``rows`` more rows are done; nobody need watch."""
    global _advanced
    _advanced += rows
    if _reporter is not None and rows:
        _reporter.advance(rows)


def advanced() -> int:
    """How many rows this process has said to be done."""
    return _advanced


class _Counter:
    """What a worker process says is done, where its parent reads it."""

    def __init__(self, counter: Any) -> None:
        self._counter = counter

    def advance(self, rows: int) -> None:
        with self._counter.get_lock():
            self._counter.value += rows


def advance_parent(counter: Any) -> None:
    """Let this process, a worker, advance a ``multiprocessing.Value`` instead of what it inherited from its parent."""
    global _reporter
    _reporter = _Counter(counter)


@contextlib.contextmanager
def followed(counter: Any) -> Iterator[None]:
    """Advance by what workers add to a ``multiprocessing.Value`` while the block runs."""
    ended, seen = threading.Event(), 0

    def look() -> None:
        nonlocal seen
        seen, before = counter.value, seen
        advance(seen - before)

    def follow() -> None:
        while not ended.wait(1 / _LOOKS):
            look()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()


class _Lines:
    """Plain lines for logs, at most one every ten seconds."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self._title, self._total, self._unit, self._done = title, total, unit, 0
        self._started = self._spoken = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, rows: int) -> None:
        with self._lock:
            self._done += rows
            now = time.monotonic()
            if now - self._spoken < 10:
                return
            self._spoken = now
            rate = self._done / (now - self._started)
            line = f"{_amount(self._done, self._total, self._unit)}, {rate:.0f} {self._unit}/s"
            if self._total is not None and rate:
                line += f", {max(0, self._total - self._done) / rate:.0f} s left"
        log.say(self._title, line)


class _Bar:
    """A bar for terminals; it only moves to and fro while the total is unknown."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        from rich import console, progress

        columns = [progress.TextColumn("{task.description}"), progress.BarColumn()]
        columns += [progress.TextColumn("{task.fields[amount]}"), progress.TextColumn("{task.fields[rate]}")]
        if total is not None:
            columns.append(progress.TimeRemainingColumn())
        self.bar = progress.Progress(*columns, console=console.Console(stderr=True), transient=True)
        self._total, self._unit, self._done = total, unit, 0
        self._task = self.bar.add_task(title, total=total, amount=_amount(0, total, unit), rate="")
        self._started = time.monotonic()

    def advance(self, rows: int) -> None:
        self._done += rows
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        amount = _amount(self._done, self._total, self._unit)
        self.bar.update(self._task, advance=rows, amount=amount, rate=f"{rate:.0f} {self._unit}/s")


def _amount(done: int, total: int | None, unit: str) -> str:
    return f"{done} {unit}" if total is None else f"{done}/{total} {unit}"


@contextlib.contextmanager
def shown(title: str, total: int | None, unit: str = "rows") -> Iterator[None]:
    """Show the progress of what runs inside: a bar on a terminal, plain lines otherwise.

    Args:
      title: what runs.   total: how much there is to do; None: nobody knows.   unit: of what, in the plural.
    """
    global _reporter
    if sys.stderr.isatty():
        bar = _Bar(title, total, unit)
        _reporter = bar
        context: contextlib.AbstractContextManager[object] = bar.bar
    else:
        _reporter = _Lines(title, total, unit)
        context = contextlib.nullcontext()
    try:
        with context:
            yield
    finally:
        _reporter = None
