"""What loaded is what was meant: no weight is random, the tokenizer knows words, and texts are told apart."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gangue.transforms import log
from gangue.transforms.models import trust

_LOCK = threading.RLock()  # the libraries' loggers are listened to by one load at a time
_LIBRARIES = ("sentence_transformers", "transformers")
_NORMAL = (
    " LOAD REPORT",
    "Default prompt name is set",
    "Converting SentenceTransformer model",
)  # said by us, or no news
_ROW = re.compile(r"^(\S[^|\n]*?) *\| (?:\x1b\[\d+m)?(MISSING|MISMATCH)(?:\x1b\[0m)? *\|(.*)$", re.MULTILINE)
_POSITIONS = re.compile(r"(^|\.)(position_embeddings?|embed_positions|wpe)$")
_PROBES = 8  # texts that must be told apart


@dataclasses.dataclass
class Heard:
    """What the libraries said while a model was loaded."""

    messages: list[str] = dataclasses.field(default_factory=list)

    def weights(self, status: str) -> list[tuple[str, str]]:
        """(name, detail) of the weights of this status, MISSING or MISMATCH, by the load report of transformers."""
        found = (row for message in self.messages for row in _ROW.findall(message))
        return sorted((name, detail.strip(" |")) for name, kind, detail in found if kind == status)


class _Listener(logging.Handler):
    def __init__(self, heard: Heard) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.messages.append(record.getMessage())


@contextlib.contextmanager
def opening(model: str) -> Iterator[Heard]:
    """Load a model under this: whatever a library raises becomes one line, and what it warns of is passed on once.

    A model that is more than tensors and known classes is refused, and the error says why. The model libraries leave
    out an activation function that they do not trust and only warn of it: also refused.

    Raises:
      ValueError: its weights are a pickle of more than tensors, it needs code of its own that is not trusted, or a
        package that is not installed, or it is not what these libraries can load.
      FileNotFoundError: its folder lacks a file.
    """
    trust.stay_quiet()
    heard = Heard()
    try:
        with _LOCK, _listening(heard):
            yield heard
        untrusted = next((message for message in heard.messages if "is not trusted" in message), "")
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"model {model}: its weights must be tensors only, but pytorch_model.bin is a pickle of something else and"
            " was not loaded. Take a model with model.safetensors"
        ) from error
    except OSError as error:
        raise FileNotFoundError(
            f"model {model}: its folder must hold all that it needs, got {_first_line(error)}. Fetch it"
            " whole, or name another"
        ) from error
    except Exception as error:
        if "trust_remote_code" not in str(error):
            raise ValueError(f"model {model}: {_explained(model, error, heard)}") from error
        untrusted = str(error)
    if untrusted:
        raise ValueError(
            f"model {model}: needs code of its own, which runs only if it is trusted. Read it, then set"
            f" trust_remote_code: true where the model is named, or name another ({untrusted.split(chr(10))[0]})"
        )
    for message in heard.messages:
        if not any(text in message for text in _NORMAL):
            log.say_once(f"model {model}", " ".join(message.split()))


@contextlib.contextmanager
def _listening(heard: Heard) -> Iterator[None]:
    """Hear the libraries' warnings instead of having them printed, and leave their loggers as they were."""
    listener = _Listener(heard)
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    before = [(logger.level, logger.propagate, logger.handlers) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
        logger.propagate, logger.handlers = False, [listener]
    try:
        yield
    finally:
        for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate, logger.handlers = propagate, handlers


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _explained(model: str, error: Exception, heard: Heard) -> str:
    """Why a model did not load, and what to do."""
    text = str(error)
    if "backend tokenizer" in text or "sentencepiece" in text or "tiktoken" in text:
        if not _has_tokenizer(model):
            return f"{_NO_TOKENIZER}, its folder has no file of one. Fetch it whole, or name another"
        return (
            "its tokenizer cannot be read: a package that it needs is missing, or its files are damaged. Run"
            " pip install sentencepiece tiktoken protobuf, or fetch the model whole"
        )
    absent = re.search(
        r"sentence_transformers\S*\" does not define a \"(\w+)\"|'(sentence_transformers\.[\w.]+)'", text
    )
    if absent is not None and isinstance(error, ImportError):
        return (
            f"names {absent[1] or absent[2]}, a class that this version of sentence-transformers does not have. Save it"
            " anew with the version that it was made with, or name another"
        )
    package = re.search(r"No module named '([\w.]+)'|requires the (\w+) library|: ([\w, -]+)\. Run `pip install", text)
    if package is not None and isinstance(error, ImportError):
        name = next(filter(None, package.groups()))
        return f"package {name} must be installed. Run pip install {name.replace(',', '')}"
    if isinstance(error, UnicodeError):
        return "its files of text must be UTF-8, and one is not. Fetch it whole, or name another"
    mismatched = heard.weights("MISMATCH")
    if mismatched:
        name, detail = mismatched[0]
        detail = detail.removeprefix("Reinit due to size mismatch - ")
        return (
            f"its weights must fit its config.json, but {len(mismatched)} do not, first {name} ({detail})."
            " Fetch the model whole, or name another"
        )
    return f"must be one that sentence-transformers can load, got {_first_line(error)}. Fetch it whole, or name another"


_NO_TOKENIZER = "its tokenizer must know words, but it has none"
_TOKENIZER_FILES = re.compile(r"tokenizer\.json|vocab\.\w+|merges\.txt|.*\.(model|tiktoken|bpe|spm|vocab)|tekken\.json")


def _has_tokenizer(folder: str) -> bool:
    return any(_TOKENIZER_FILES.fullmatch(name) for _, _, names in os.walk(folder) for name in names)


def check_weights(folder: str, model: Any, heard: Heard, *, of: str) -> None:
    """Check that no weight was missing in the files: the library makes it of random numbers at each load.

    The pooler of an encoder may be missing where nothing reads it. What an adapter (LoRA) brings is not in the
    weights that it is laid upon, so with one nothing is checked.

    Args:
      folder: of the model.   model: a sentence-transformers model.   heard: while it was loaded.
      of: what it is to be, "encoder" or "cross-encoder".

    Raises:
      ValueError: names the missing weights.
    """
    if os.path.exists(os.path.join(folder, "adapter_config.json")):
        return
    pooled = of != "encoder" or any("pooler" in str(getattr(part, "modality_config", "")) for part in model.modules())
    parameters = {"." + re.sub(r"\d+", "*", name) for name, _ in model.named_parameters()}
    missing = []
    for name, _ in heard.weights("MISSING"):
        pattern = "." + re.sub(r"\{[^}]*\}|\d+", "*", name)
        unread = not pooled and re.search(r"\.pooler\.", pattern)
        if not unread and any(parameter.endswith(pattern) for parameter in parameters):
            missing.append(name)
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        cure = "Name a reranker" if of == "cross-encoder" else "Fetch the model whole, or name another"
        raise ValueError(
            f"model {folder}: must be a whole {of}, but its files lack {named}, and what is missing would be random at"
            f" each load. {cure}"
        )


def check_tokenizer(folder: str, model: Any) -> None:
    """Check that the tokenizer knows more than its special tokens, and no token that the model does not.

    Raises:
      ValueError: it was made up by the library, or is another model's.
    """
    tokenizer = model.tokenizer
    words = _vocabulary(tokenizer)
    if words is None:
        return
    if len(words) <= 2:  # that of T5 has a blank
        raise ValueError(f"model {folder}: {_NO_TOKENIZER}. Fetch the model whole, tokenizer.json too, or name another")
    known, rows = getattr(tokenizer, "vocab_size", None), _embedded_tokens(model)
    if isinstance(known, int) and rows is not None and known > rows:
        raise ValueError(
            f"model {folder}: its tokenizer must be its own, but that has {known} tokens and the model {rows}. Fetch"
            " the model whole, or name another"
        )


def _vocabulary(tokenizer: Any) -> list[int] | None:
    """Ids of the tokens that are not special, ascending; None where the tokenizer does not tell."""
    if not callable(getattr(tokenizer, "get_vocab", None)):
        return None
    vocabulary = tokenizer.get_vocab()
    if not isinstance(vocabulary, dict):
        return None
    special = set(getattr(tokenizer, "all_special_tokens", ()))
    return sorted(number for token, number in vocabulary.items() if token not in special)


def _embedded_tokens(model: Any) -> int | None:
    try:
        return int(model.transformers_model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError, IndexError):
        return None


def positions(model: Any) -> int | None:
    """Tokens that the model has learned positions for; None where positions are computed, and any number goes.

    RoBERTa and its kin number them from the padding token's on: of 514 they use 512.
    """
    import torch

    found = [
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Embedding) and _POSITIONS.search(name)
    ]
    return min(found, default=None)


def check_length(folder: str, model: Any, max_length: int, key: str, *, pair: bool = False) -> None:
    """Check that ``max_length`` tokens have positions, and hold a token of each text beside the special ones.

    Args:
      key: of the params.   pair: whether two texts are read together.

    Raises:
      ValueError: it is more than the model has, or fewer than a text needs; says how many that are.
    """
    least, most = 1, positions(model)
    if callable(getattr(model.tokenizer, "num_special_tokens_to_add", None)):
        least = model.tokenizer.num_special_tokens_to_add(pair=pair) + (2 if pair else 1)
    if max_length < least:
        raise ValueError(
            f"{key}: must be at least {least}, the special tokens of {folder} and one of each text, got {max_length}."
            " Set a larger one"
        )
    if most is not None and max_length > most:
        raise ValueError(
            f"{key}: must be at most {most}, the positions of {folder}, got {max_length}. Set a smaller one"
        )


def probes(tokenizer: Any) -> list[str]:
    """A few texts of words that the tokenizer knows, all different; fewer than two where it knows too few."""
    words = _vocabulary(tokenizer)
    if words is None:
        return []
    picked = [words[place] for place in np.linspace(0, len(words) - 1, 3 * _PROBES + 2).astype(int)[1:-1]]
    texts = [" ".join(tokenizer.decode([word]).strip() for word in picked[i::_PROBES]) for i in range(_PROBES)]
    return list(dict.fromkeys(text for text in texts if text.strip()))


def check_outputs(folder: str, call: Callable[[Sequence[Any]], np.ndarray], inputs: Sequence[Any]) -> None:
    """Check that a model makes numbers of its inputs, the same of the same input, and not one of all.

    Args:
      call: n inputs -> (n, ...) floats.   inputs: unlike each other; with fewer than two nothing is checked.

    Raises:
      ValueError: says which does not hold, or that it cannot take several of them.
    """
    if len(inputs) < 2:
        return
    with np.errstate(invalid="ignore", over="ignore"):
        try:
            first, again = (np.asarray(call(inputs), np.float64).reshape(len(inputs), -1) for _ in range(2))
        except ValueError as error:
            if "padding token" not in str(error) and "pad token" not in str(error):
                raise
            raise ValueError(
                f"model {folder}: must have a padding token to read texts of unlike length at once, but its files name"
                " none. Set pad_token_id in its config.json and pad_token in its tokenizer_config.json, or name another"
            ) from error
        finite = np.isfinite(first).all(axis=1)
        size = np.abs(first[finite]).max(initial=0.0)
        moved = np.abs(first[finite] - again[finite]).max(initial=0.0)
        spread = np.ptp(first[finite], axis=0).max(initial=0.0) if finite.any() else 0.0
    if not finite.any():
        raise ValueError(
            f"model {folder}: must make finite numbers of texts, but made none of {len(inputs)}. Set dtype: float32 or"
            " bfloat16, or name another"
        )
    if not moved <= 0.01 * size:
        raise ValueError(
            f"model {folder}: must make the same of the same text, but two runs differ by {moved:.2g} of {size:.2g}."
            " Name another"
        )
    if finite.sum() > 1 and spread <= 1e-6 * size:
        raise ValueError(
            f"model {folder}: must tell unlike texts apart, but made the same of {int(finite.sum())} of them. Fetch it"
            " whole, tokenizer too, or name another"
        )
