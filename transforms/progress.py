"""How far a stage is, for whoever watches: rows done, rows per second, time left."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Protocol


class Reporter(Protocol):
    """Something that shows progress."""

    def advance(self, rows: int) -> None:
        """So many more rows are done."""


_reporter: Reporter | None = None


def advance(rows: int) -> None:
    """Say that ``rows`` more rows are done; does nothing where nobody watches, as in a worker process."""
    if _reporter is not None:
        _reporter.advance(rows)


class _Lines:
    """Plain lines for logs, at most one every ten seconds."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, total, 0
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
            left = max(0, self._total - self._done) / rate if rate else 0
        print(f"{self._title}: {self._done}/{self._total} rows, {rate:.0f} rows/s, {left:.0f} s left",  # noqa: T201
              file=sys.stderr, flush=True)  # fmt: skip


class _Bar:
    """A bar for terminals."""

    def __init__(self, title: str, total: int) -> None:
        from rich import progress

        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TextColumn("{task.completed:.0f}/{task.total:.0f} rows"),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
            transient=True,
        )
        self._task = self.bar.add_task(title, total=total, rate="")
        self._started, self._done = time.monotonic(), 0

    def advance(self, rows: int) -> None:
        self._done += rows
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        self.bar.update(self._task, advance=rows, rate=f"{rate:.0f} rows/s")


@contextlib.contextmanager
def shown(title: str, total: int) -> Iterator[None]:
    """Show the progress of what runs inside: a bar on a terminal, plain lines otherwise."""
    global _reporter
    if sys.stderr.isatty():
        bar = _Bar(title, total)
        _reporter = bar
        context: contextlib.AbstractContextManager[object] = bar.bar
    else:
        _reporter = _Lines(title, total)
        context = contextlib.nullcontext()
    try:
        with context:
            yield
    finally:
        _reporter = None
