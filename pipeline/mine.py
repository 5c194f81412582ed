"""Every stage, one after the other, in this process: for notebooks and for other people's workflows."""

from __future__ import annotations

import importlib

from gangue.pipeline import STAGES, params
from gangue.pipeline.command import models, preflight, stages
from gangue.transforms import at_hand
from gangue.transforms.datasets import occupancy
from gangue.transforms.datasets.storage import Data
from gangue.transforms.running import heap


def run(params_path: str, root: str, reports: str) -> None:
    """Mine: params and a source in, datasets and a report out.

    Args:
      params_path: a params file.   root: where the datasets go.   reports: where report and metrics go.

    Raises:
      ValueError, FileNotFoundError: the params or the source break a rule; says which, and the cure.
    """
    p, data = params.load(params_path), Data(root)
    preflight.check(data, p, reports)
    # A model that is not there, or not what was meant, is named now, not after hours, and here before anything is
    # written. A cluster's workers are asked to read what is, so the folder must be this job's alone.
    on_cluster = p.beam.cluster is not None
    if not on_cluster:
        models.check(data, p)
    with occupancy.occupied(data, "gangue mine"):
        if on_cluster:
            models.check(data, p)
        _run(data, p, reports)
        _forget_others(data, p)
        stages.check_unchanged(params_path, p)


def _run(data: Data, p: params.Params, reports: str) -> None:
    every = {stage: importlib.import_module(f"gangue.pipeline.{stage}") for stage in STAGES}
    for stage, section in STAGES.items():
        given = {"reports": reports} if stage == "audit" else {}
        for names in [[name] for name in getattr(p, section)] if section else [[]]:
            every[stage].run(data, p, *names, **given)
        _drop_models()


def _forget_others(data: Data, p: params.Params) -> None:
    """Remove what earlier params made and these do not name; not vectors and scores, which took a model's time."""
    data.prune("clusters", p.encoders)
    data.prune("indexes", p.retrievers)
    data.prune("candidates", p.retrievers)


def _drop_models() -> None:
    """The next stages have no use for what models and their batches hold, some hundred MB."""
    at_hand.forget()
    heap.give_back()
