"""What a reader decided that its user should know: a line on standard error."""

from __future__ import annotations

import sys


def note(line: str) -> None:
    """Say how something was read that could be read otherwise."""
    sys.stderr.write(f"ingest: {line}\n")
    sys.stderr.flush()
