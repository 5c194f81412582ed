"""Whether a job's models and its filter's file can be used: told before the source is read, not hours later."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence

from gangue.pipeline import params
from gangue.transforms import at_hand
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import configured, folders, libraries, vector_store
from gangue.transforms.relevance import pretrained
from gangue.transforms.running import workers


def check(data: Data, p: params.Params) -> None:
    """Find every model and the filter's file, here and on every worker; load once what nothing here was made with yet.

    The models' own checks do the rest. It takes a second or two a model, and nothing where its vectors or scores are at
    hand. Whatever runs elsewhere, or brings code of its own, is left to its stage.

    Raises:
      ValueError, FileNotFoundError: a model is not there or not what was meant; says which, and the cure.
    """
    every: list[params.Encoder | params.Scorer] = [*p.encoders.values(), *p.scorers.values()]
    filter_file = p.learn.pretrained if p.filter.asks_to_learn else None
    found = _find(every, filter_file)
    if p.beam.elsewhere:
        return
    made = {f"vectors/{name}/documents": settings for name, settings in p.encoders.items()} | {
        f"scores/{name}": settings for name, settings in p.scorers.items() if settings.model is not None
    }
    new = [s for dataset, s in made.items() if not s.trust_remote_code and not _used(data, dataset, s)]
    if new and p.beam.workers > 1:
        libraries.load()  # here, for all worker processes of all stages
    try:
        with workers.started("models", p.beam if new or p.beam.cluster else params.Beam(), data):
            if p.beam.cluster is not None:
                same = {name: folders.fingerprint(folder) for name, folder in found.items()}
                own = {name: os.path.abspath(name) for name in found if os.path.isdir(name)}
                workers.everywhere(functools.partial(_find_same, every, filter_file, same, own))
            loads = [(functools.partial(_load, settings), f"model {settings.model}") for settings in new]
            for load, loaded in [(load, workers.submit(load, name, p.beam.resources)) for load, name in loads]:
                if loaded is None:
                    load("")
                else:
                    loaded.result()
    finally:
        at_hand.forget()


def _find(every: Sequence[params.Encoder | params.Scorer], filter_file: str | None) -> dict[str, str]:
    """Model -> its folder here."""
    if filter_file is not None:
        pretrained.load(filter_file)
    return {settings.model: configured.find(settings) for settings in every if settings.model is not None}


def _find_same(
    every: Sequence[params.Encoder | params.Scorer],
    filter_file: str | None,
    same: Mapping[str, str],
    own: Mapping[str, str],
) -> None:
    """On a worker: find them, and check that they are those of the command, by their ``folders.fingerprint``.

    Those that are the command's ``own`` folders must be folders here: by that name the hub may have another.
    """
    for name, folder in own.items():
        if not os.path.isdir(name):
            raise ValueError(
                f"model {name} must be a folder here too, as it is for the command ({folder}), found none. Name it by"
                " its whole path, where both see it, or a model that both read: s3://BUCKET/MODEL"
            )
    for name, folder in _find(every, filter_file).items():
        if folders.fingerprint(folder) != same[name]:
            raise ValueError(
                f"model {name} must be the one that the command has, and is another. Copy that here, or name a model"
                " that both read: s3://BUCKET/MODEL"
            )


def _used(data: Data, dataset: str, settings: params.Encoder | params.Scorer) -> bool:
    """Whether what is at hand was made with this model."""
    fingerprint = configured.fingerprint(settings)
    some = vector_store.left(data, dataset)[:1]
    return any(vector_store.of_model(data, dataset, file, fingerprint) is not None for file in some)


def _load(settings: params.Encoder | params.Scorer, _: str) -> None:
    folder = configured.find(settings)
    if isinstance(settings, params.Encoder):
        configured.load_encoder(folder, settings)
    else:
        configured.load_scorer(folder, settings)
