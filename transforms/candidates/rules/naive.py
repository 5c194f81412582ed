"""The rule ``naive``: nothing but relations speaks against a candidate."""

from __future__ import annotations

from typing import Literal

import numpy as np

from gangue.transforms.candidates.rules.candidates import Rows
from gangue.transforms.candidates.rules.rule import RuleSection


class Naive(RuleSection):
    """Drop nothing."""

    kind: Literal["naive"] = "naive"

    def fires(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """(m,) and (m,): nowhere."""
        return rows.nowhere, rows.nowhere
