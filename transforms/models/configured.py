"""A model under the settings of its section of the params: loaded, and what its vectors or scores depend on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gangue.transforms import at_hand
from gangue.transforms.models import folders, prompts, trust
from gangue.transforms.settings import sections

if TYPE_CHECKING:
    from gangue.transforms.models import cross_encoder, encoder


def find(settings: sections.Encoder | sections.Scorer, where: str | None = None) -> str:
    """The folder of the model here.

    Args:
      where: the section, such as ``encoders.minilm``, for errors.

    Raises:
      FileNotFoundError, ValueError: as ``folders.locate`` has it.
    """
    assert settings.model is not None, "a model that is taught lies with the data"
    with folders.named(settings.model, settings.model, where):
        return folders.locate(settings.model, settings.revision)


def prompt(settings: sections.Encoder, folder: str, dataset: str) -> str:
    """What goes before each text of ``queries`` or ``documents``."""
    told = settings.document_prompt if dataset == "documents" else settings.query_prompt
    return prompts.chosen(told, folder, dataset)


def load_encoder(folder: str, settings: sections.Encoder, where: str | None = None) -> encoder.Encoder:
    """The model of an encoder; ``where``: the section, such as ``encoders.minilm``, for errors."""
    from gangue.transforms.models import encoder

    with folders.named(folder, settings.model, where):
        return encoder.load(
            folder,
            settings.max_length,
            settings.dtype,
            settings.trust_remote_code,
            settings.backend,
            settings.model_file,
        )


def load_scorer(folder: str, settings: sections.Scorer, where: str | None = None) -> cross_encoder.CrossEncoder:
    """The model of a scorer; ``where``: the section, such as ``scorers.ce``, for errors."""
    from gangue.transforms.models import cross_encoder

    with folders.named(folder, settings.model or folder, where):
        return cross_encoder.load(
            folder,
            settings.max_length,
            settings.dtype,
            settings.trust_remote_code,
            settings.label,
            settings.activation,
            settings.prompt,
        )


@at_hand.keep
def of_vectors(folder: str, settings: sections.Encoder, prompt: str) -> str:
    """What the vectors of an encoder under a prompt depend on: ``folders.fingerprint`` with what shapes them."""
    return folders.fingerprint(
        folder,
        prompt=prompt,
        max_length=settings.max_length,
        dtype=settings.dtype,
        normalise=settings.normalise,
        **({} if settings.backend == "torch" else {"backend": settings.backend, "model_file": settings.model_file}),
        **trust.settings(settings.trust_remote_code),
    )


def of_scores(folder: str, settings: sections.Scorer) -> str:
    """What the scores of a scorer depend on: ``folders.fingerprint`` with what shapes them."""
    told = settings.model_dump(include={"label", "activation", "prompt"}, exclude_none=True)
    told |= {} if settings.dtype == "float32" else {"dtype": settings.dtype}
    shaping = {"max_length": settings.max_length, **told, **trust.settings(settings.trust_remote_code)}
    return folders.fingerprint(folder, **shaping)


def fingerprint(settings: sections.Encoder | sections.Scorer) -> str:
    """What the vectors of documents, or the scores, of the model that is there now depend on."""
    folder = find(settings)
    if isinstance(settings, sections.Encoder):
        return of_vectors(folder, settings, prompt(settings, folder, "documents"))
    return of_scores(folder, settings)


def changed(every: Mapping[str, sections.Encoder | sections.Scorer], made: Mapping[str, str]) -> list[str]:
    """The names of the models whose content is not what something was made with.

    DVC sees their names, and not that one was trained further in its folder. Folders and packages of this machine are
    looked at, since any other may take a connection.

    Args:
      every: name of an encoder or scorer -> its section.   made: name -> fingerprint, as in the recipe.
    """
    others = []
    for name, settings in every.items():
        model = settings.model or ""
        if name in made and (os.path.isdir(model) or model.startswith("package:")):
            with contextlib.suppress(FileNotFoundError):  # one that is not here has not changed here
                if made[name] != fingerprint(settings):
                    others.append(name)
    return others
