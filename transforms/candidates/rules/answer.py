"""The rule ``answer``: a document that contains the answer of a question is a positive of it."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from gangue.transforms.candidates.rules.candidates import Rows
from gangue.transforms.candidates.rules.rule import RuleSection


class Answer(RuleSection):
    """Drop what contains an answer of the query, as DPR does (arXiv 2004.04906)."""

    reads_answers: ClassVar[bool] = True

    kind: Literal["answer"] = "answer"

    def fires(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """(m,) where the document contains an answer."""
        return rows.candidates.answered[rows.pair], rows.nowhere
