"""One stage alone, as DVC runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gangue.pipeline import params
from gangue.pipeline.command import preflight
from gangue.transforms.datasets import occupancy
from gangue.transforms.datasets.storage import Data


def run_alone(
    stage: Callable[..., Any],
    title: str,
    name: str | None,
    section: str,
    params_path: str,
    root: str,
    **given: Any,
) -> None:
    """Run one stage on a params file, alone in its folder of datasets.

    Args:
      stage: its ``run``.   title: what it is called.   name: what it is run for, of a ``section`` of the params; None:
        it is run once.   params_path, root: as ``mine.run``.   given: to be passed on.

    Raises:
      ValueError, FileNotFoundError: as ``mine.run``; or the section knows no such name.
    """
    p, data = params.load(params_path), Data(root)
    names = list(getattr(p, section)) if section else []
    if name is not None and name not in names:
        raise ValueError(f"{params_path}: {title} knows {', '.join(names)}, got {name}")
    preflight.check_source(data, p)
    preflight.check_retrievers(p)
    if title == "export":
        preflight.check_card(data)
    if title == "audit":
        preflight.check_report(Data(given["reports"]), p)
    with occupancy.occupied(data, title):
        stage(data, p, *([] if name is None else [name]), **given)
        check_unchanged(params_path, p)


def check_unchanged(path: str, settings: params.Params) -> None:
    """Check that the params file still says what the run was told: DVC and the reader take it for what was done.

    Raises:
      ValueError: it was changed meanwhile.
    """
    if params.load(path) != settings:
        raise ValueError(
            f"{path}: must not change while a stage runs, but it did: what was written follows the earlier values."
            " Run the same command again"
        )
