"""What goes before each text: the prompts that come with a model, chosen as sentence-transformers chooses them."""

from __future__ import annotations

import json
import os
from typing import Any

TASKS = {"queries": "query", "documents": "document"}
"""What sentence-transformers calls each dataset: the task of ``encode_query`` and of ``encode_document``."""
_UNREAD = ("passage", "corpus")  # names that some models give the prompt of documents


def chosen(told: str | None, folder: str, dataset: str) -> str:
    """The prompt of ``queries`` or ``documents``: what the params say, or the model's own where they say nothing."""
    return of_model(folder).get(TASKS[dataset], "") if told is None else told


def of_model(folder: str) -> dict[str, str]:
    """Name -> prompt, of the prompts that a sentence-transformers folder comes with; none where it is another's.

    ``encode_query`` takes the one named query, ``encode_document`` the one named document, and neither of them the
    model's default prompt (sentence-transformers 5 and later).

    Raises:
      ValueError: the file that names them is damaged.
    """
    config = _read(folder, "config_sentence_transformers.json")
    if config.get("model_type", "SentenceTransformer") != "SentenceTransformer":
        return {}  # the library builds an encoder from it and leaves the prompts of the other kind of model out
    if not os.path.exists(os.path.join(folder, "modules.json")):
        return {}  # nor does it read them where the folder is one of transformers
    return {name: prompt for name, prompt in (config.get("prompts") or {}).items() if prompt}


def described(used: dict[str, str], folder: str) -> str:
    """What was put before the texts of each dataset, in words.

    >>> described({"queries": "query: ", "documents": ""}, "/nowhere")
    'prompts: queries "query: ", documents none'
    """
    said = ", ".join(
        f"{dataset} {json.dumps(used[dataset], ensure_ascii=False) if used[dataset] else 'none'}" for dataset in used
    )
    own = of_model(folder)
    unread = [f"{name} {json.dumps(own[name], ensure_ascii=False)}" for name in _UNREAD if name in own]
    if unread and not used.get("documents"):
        said += (
            f". The model also names {', '.join(unread)}, which encode_document does not read: set document_prompt if"
            " its documents want it"
        )
    return f"prompts: {said}"


def _read(folder: str, name: str) -> dict[str, Any]:
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except ValueError as error:
        raise ValueError(f"{path}: must be JSON, got {error}. Fetch the model whole") from error
    return found if isinstance(found, dict) else {}
