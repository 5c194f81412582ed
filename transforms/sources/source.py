"""What every source is: settings, and the records that it reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import field_validator

from gangue.transforms.settings.section import Section, place
from gangue.transforms.sources.blocks import Record
from gangue.transforms.sources.rows import Reading


class SourceSection(Section):
    """One source, of the kind that its class says."""

    files: ClassVar[tuple[str, ...]] = ()  # keys that name files below ``path``
    without_positive: ClassVar[str] = "no positive"  # why a query that no positive of the source names is rejected

    kind: str
    path: str

    _place = field_validator("path")(place)  # of every kind, though each declares its path anew

    def readings(self) -> list[Reading]:
        """Its files whose rows do not depend on each other: workers read them, those that are large in parts.

        Raises:
          FileNotFoundError: a file is missing.   ValueError: a file as a whole cannot be read.
        """
        return []

    def records(self) -> Iterator[Record]:
        """Everything else that it holds, in order; what cannot be used as rejected records.

        Raises:
          FileNotFoundError: a file is missing.   ValueError: a file as a whole cannot be read.
        """
        return iter(())
