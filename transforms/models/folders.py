"""Folders of models: where one is, and what identifies its content."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from gangue.transforms import at_hand
from gangue.transforms.datasets import disk
from gangue.transforms.models import trust

_IRRELEVANT = (".md", ".gitattributes", ".lock", ".txt.orig")


def locate(model: str, revision: str | None = None) -> str:
    """Folder of a model named as ``package:MODULE/path``, a folder, an fsspec path of one, or a hub id.

    Only the last two open a connection, and only where there is no copy yet.

    Raises:
      FileNotFoundError: no such package, folder or hub id, or no way to the hub; says how to get it.
      ValueError: a revision of what has none.
    """
    if revision is not None and (model.startswith("package:") or os.path.isdir(model) or "://" in model):
        raise ValueError(f"encoders.*.revision: must be of a hub id, got {revision} and {model}. Remove it")
    if model.startswith("package:"):
        module, _, inside = model.removeprefix("package:").partition("/")
        found = importlib.util.find_spec(module)
        if found is None or found.origin is None:
            raise FileNotFoundError(
                f"model {model}: package {module} must be installed. pip install 'gangue[models]', or name another"
            )
        folder = os.path.join(os.path.dirname(found.origin), inside)
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"model {model}: {folder} must be a folder. Name one that the package has")
        return folder
    if os.path.isdir(model):
        return model
    if "://" in model:
        return _copied(model)
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise FileNotFoundError(f"model {model}: must be a folder that exists. Check encoders.*.model")
    from huggingface_hub import snapshot_download

    trust.stay_quiet()
    try:
        return str(snapshot_download(model, revision=revision))
    except (OSError, ValueError) as error:
        at = f" at revision {revision}" if revision else ""
        raise FileNotFoundError(
            f"model {model}{at}: must be a folder, or on the model hub and in its cache or within reach, got"
            f" {type(error).__name__}: {str(error).strip().splitlines()[0]}. Correct the name, or run"
            f" `hf download {model}` where there is a network, and name the folder it prints"
        ) from error


@at_hand.keep
def _copied(url: str) -> str:
    return disk.local_copy(url)


@contextlib.contextmanager
def named(folder: str, model: str, where: str | None = None) -> Iterator[None]:
    """Have errors name a model as the params do, and not the folder of a copy that is gone when they are read.

    Args:
      where: the section that names it, such as ``scorers.ce``, in the place of ``scorers.*``.
    """
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        told = str(error).replace(folder, model)
        if where is not None:
            told = re.sub(r"\b(encoders|scorers)\.\*", where, told)
        if told == str(error):
            raise
        raise type(error)(told) from error


def fingerprint(folder: str, **settings: Any) -> str:
    """What a vector or a score depends on: every file of the model that is not prose, and the settings.

    The folder's own place and name do not count: a moved model keeps its vectors, a changed weight does not.

    Args:
      folder: the model.   settings: JSON values, such as prompt, max length, dtype.

    Returns:
      32 hex digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name in sorted(_files(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            content = hashlib.file_digest(file, "blake2b").hexdigest()
        digest.update(f"{name.replace(os.sep, '/')}\0{content}\0".encode())
    return digest.hexdigest()


def _files(folder: str) -> Iterator[str]:
    for directory, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and not name.endswith(_IRRELEVANT):
                yield os.path.relpath(os.path.join(directory, name), folder)
