"""Whether a job's models and its filter's file can be used: told before the source is read, not hours later."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

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
    every: dict[str, params.Encoder | params.Scorer] = {f"encoders.{name}": each for name, each in p.encoders.items()}
    every |= {f"scorers.{name}": each for name, each in p.scorers.items()}
    filter_file = p.learn.pretrained if p.filter.asks_to_learn else None
    found = _find(every, filter_file)
    if p.beam.elsewhere:
        return
    asked = p.sample.weight.probability if p.sample.weight else None
    new = {
        where: functools.partial(_load, settings, where, where == f"scorers.{asked}")
        for where, settings in every.items()
        if settings.model is not None and not settings.trust_remote_code and not _used(data, where, settings)
    }
    for name, scorer in p.scorers.items():
        if scorer.teach is not None and not vector_store.left(data, f"scores/{name}"):
            start = p.encoders[scorer.teach.encoder]
            if not start.trust_remote_code:
                new[f"scorers.{name}"] = functools.partial(_load_start, scorer, start, f"scorers.{name}")
    if new and p.beam.workers > 1:
        libraries.load()  # here, for all worker processes of all stages
    try:
        with workers.started("models", p.beam if new or p.beam.cluster else params.Beam(), data):
            if p.beam.cluster is not None:
                same = {name: folders.fingerprint(folder) for name, folder in found.items()}
                own = {name: os.path.abspath(name) for name in found if os.path.isdir(name)}
                workers.everywhere(functools.partial(_find_same, every, filter_file, same, own))
            loads = [(load, workers.submit(load, f"model of {where}", p.beam.resources)) for where, load in new.items()]
            for load, loaded in loads:
                if loaded is None:
                    load("")
                else:
                    loaded.result()
    finally:
        at_hand.forget()


def _find(every: Mapping[str, params.Encoder | params.Scorer], filter_file: str | None) -> dict[str, str]:
    """Model -> its folder here."""
    if filter_file is not None:
        pretrained.load(filter_file)
    return {each.model: configured.find(each, where) for where, each in every.items() if each.model is not None}


def _find_same(
    every: Mapping[str, params.Encoder | params.Scorer],
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


def _used(data: Data, where: str, settings: params.Encoder | params.Scorer) -> bool:
    """Whether what is at hand was made with the model of a section."""
    kind, name = where.split(".", 1)
    dataset = f"vectors/{name}/documents" if kind == "encoders" else f"scores/{name}"
    fingerprint = configured.fingerprint(settings)
    some = vector_store.left(data, dataset)[:1]
    return any(vector_store.of_model(data, dataset, file, fingerprint) is not None for file in some)


def _load(settings: params.Encoder | params.Scorer, where: str, probable: bool, _: str) -> None:
    folder = configured.find(settings, where)
    if isinstance(settings, params.Encoder):
        configured.load_encoder(folder, settings, where)
    elif not configured.load_scorer(folder, settings, where).probable and probable:
        raise ValueError(
            f"sample.weight: needs probabilities, but the model {settings.model} puts out raw scores. Set"
            f" {where}.activation: sigmoid, or name another {where}.model, or another weight"
        )


def _load_start(scorer: params.Scorer, start: params.Encoder, where: str, _: str) -> None:
    """The encoder that a scorer is taught from."""
    from gangue.transforms.models import cross_encoder

    assert scorer.teach is not None
    folder = configured.find(start)
    with folders.named(folder, start.model, where):
        cross_encoder.check_start(folder, scorer.teach.layers, scorer.max_length)
