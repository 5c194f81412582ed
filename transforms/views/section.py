"""The section ``export``."""

from __future__ import annotations

from typing import ClassVar

from gangue.transforms.settings.section import Among, Section
from gangue.transforms.views import VIEWS, View


class Export(Section):
    """Which ready-made views are written beside the triplets, and whose scores those of scores hold."""

    views: tuple[View, ...] = ()
    score: str | None = None
    reads: ClassVar[dict[str, Among]] = {"score": "scores"}

    @property
    def shows_scores(self) -> bool:
        """Whether some view has a column of scores."""
        return any(VIEWS[view].scores for view in self.views)
