"""What a person is told while stages run: lines on standard error, each under the name of who tells it."""

from __future__ import annotations

import functools
import sys


def say(who: str, line: str) -> None:
    """Tell a line at once, also where standard error is a file or a pipe."""
    print(f"{who}: {line}", file=sys.stderr, flush=True)  # noqa: T201


@functools.cache
def say_once(who: str, line: str) -> None:
    """Tell a line the first time that this process comes to it."""
    say(who, line)
