"""What a reader decided that its user should know."""

from __future__ import annotations

from gangue.transforms import log


def note(line: str) -> None:
    """Say how something was read that could be read otherwise."""
    log.say("ingest", line)
