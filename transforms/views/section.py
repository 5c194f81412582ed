"""The section ``export``."""

from __future__ import annotations

from gangue.transforms.settings.section import Section
from gangue.transforms.views import View


class Export(Section):
    """Which ready-made views are written beside the triplets."""

    views: tuple[View, ...] = ()
