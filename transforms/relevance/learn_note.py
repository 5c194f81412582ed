"""What the stage ``learn`` found, as its note says."""

from __future__ import annotations

import dataclasses
from typing import Any

from gangue.transforms.datasets import disk
from gangue.transforms.datasets.storage import Data
from gangue.transforms.relevance import classifier

MODEL = "model.json"


def read(data: Data, dataset: str = "relevance") -> dict[str, Any]:
    """What the learn stage found (``teaching.taught``, ``conclusions.concluded``).

    Raises:
      ValueError: another version of it wrote that.
    """
    found: dict[str, Any] = data.read_note(dataset, MODEL)
    wanted = {field.name for field in dataclasses.fields(classifier.Model)}
    models, caution = found.get("models", []), found.get("caution", [])
    keys = {"usable", "weight", "findings"} | ({"least"} if caution else set())
    known = keys <= set(found) and isinstance(caution, list)
    if not known or any(set(one) != wanted for one in models):
        raise stale(data)
    return found


def stale(data: Data) -> ValueError:
    """What is raised where ``model.json`` is another version's, or follows other params."""
    return ValueError(
        f"{data.shown('relevance')}/{MODEL}: must be of this version of learn and of these params, got another's."
        f" {disk.REBUILD}"
    )
