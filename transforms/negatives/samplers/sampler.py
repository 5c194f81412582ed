"""What every sampler is: settings, and the order in which it takes what may be chosen."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar

from gangue.transforms.negatives.rows import Order, Rows
from gangue.transforms.settings.section import Section


class SamplerSection(Section, abc.ABC):
    """One sampler, of the kind that its class says. Its further keys are those of ``sample.KIND``."""

    draws: ClassVar[bool] = True  # chance decides
    sharper: ClassVar[str] = ""  # what to change where a draw is almost uniform

    kind: str

    @abc.abstractmethod
    def order(self, rows: Rows, hard: int) -> Order:
        """The order in which rows are taken, ``hard`` for each positive."""

    @property
    def refuses(self) -> dict[str, str]:
        """Keys of ``sample`` that do not go with it, and why."""
        return {}

    @property
    def compares(self) -> str:
        """The setting for which documents are compared by the vectors of ``sample.score``; '': none."""
        return ""

    def check(self, hard: int, retrievers: Sequence[str]) -> None:
        """Nothing to check in params with so many hard negatives and these retrievers.

        Raises:
          ValueError: the settings do not go with them.
        """
