"""What every source is: settings, and the records that it reads."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import ClassVar

from gangue.transforms.settings.section import Section
from gangue.transforms.sources.blocks import Record


class SourceSection(Section, abc.ABC):
    """One source, of the kind that its class says."""

    files: ClassVar[tuple[str, ...]] = ()  # keys that name files below ``path``
    without_positive: ClassVar[str] = "no positive"  # why a query that no positive of the source names is rejected

    kind: str
    path: str

    @abc.abstractmethod
    def records(self) -> Iterator[Record]:
        """Everything that it holds, in order; what cannot be used as rejected records.

        Raises:
          FileNotFoundError: a file is missing.   ValueError: a file as a whole cannot be read.
        """
