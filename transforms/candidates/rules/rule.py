"""What every false-negative rule is: settings, and where it fires."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar, Self, TypeVar

import numpy as np

from gangue.transforms.candidates.rules.candidates import Rows
from gangue.transforms.settings.section import Section

Quantiles = Callable[[str], list[float]]
"""Name of a score -> quantiles of what all candidates have, ascending."""

AnyRule = TypeVar("AnyRule", bound="RuleSection")


class RuleSection(Section, abc.ABC):
    """One rule, of the kind that its class says. What is not overridden does not apply to it."""

    cut_key: ClassVar[str | None] = None  # the key that a budget can choose, which may be left out then
    reads_answers: ClassVar[bool] = False
    learns: ClassVar[bool] = False  # it reads P_FALSE

    kind: str

    @property
    def own(self) -> bool:
        """Whether it gives a verdict for each own positive of a query, instead of one for all of them."""
        return False

    @abc.abstractmethod
    def fires(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """(m,) bool where it speaks against the candidate, and (m,) bool where it cannot tell and should."""

    def cuts(self, deepest: int, quantiles: Quantiles) -> list[float]:
        """Cuts for a budget to choose from, from strict to loose, the last one dropping nothing or almost nothing.

        Args:
          deepest: rank down to which any retriever may search.   quantiles: of a score.
        """
        raise NotImplementedError(f"kind {self.kind} has no cut")

    @property
    def cut(self) -> float | None:
        """The value of ``cut_key``; None: there is no such key, or a budget is to choose it."""
        value: float | None = None if self.cut_key is None else getattr(self, self.cut_key)
        return value

    def with_cut(self, cut: float) -> Self:
        """The same rule with another cut."""
        assert self.cut_key is not None
        return self.model_copy(update={self.cut_key: cut})

    def judged_by(self, retriever: str) -> bool:
        """Whether what this one retriever returns is all that it reads."""
        return self.named("scores", "retrievers") == {retriever} == self.named() and not (
            self.reads_answers or self.learns
        )


def whole(rule: AnyRule) -> AnyRule:
    """A rule that no budget completes.

    Raises:
      ValueError: its cut is missing.
    """
    if rule.cut_key is not None and rule.cut is None:
        raise ValueError(f"kind {rule.kind} needs {rule.cut_key}")
    return rule
