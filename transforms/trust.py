"""What a model may do when it is loaded: read its own folder, and run no code but that of the known libraries."""

from __future__ import annotations

import contextlib
import logging
import pickle
import sys
from collections.abc import Iterator


def announce(where: str, model: str) -> None:
    """Say in the log that a model's own code is run."""
    sys.stderr.write(f"{where}: runs the code that comes with {model}, since trust_remote_code is true\n")
    sys.stderr.flush()


@contextlib.contextmanager
def opening(model: str) -> Iterator[None]:
    """Load a model under this: one that is more than tensors and known classes is refused, and the error says why.

    The model libraries leave out an activation function that they do not trust and only warn of it: also refused.

    Raises:
      ValueError: its weights are a pickle of more than tensors, or it needs code of its own that is not trusted.
      FileNotFoundError: its folder lacks a file.
    """
    stay_quiet()
    log, heard = logging.getLogger("sentence_transformers"), _Heard(logging.WARNING)
    before = log.level, log.propagate
    log.setLevel(logging.WARNING)
    log.propagate = False
    log.addHandler(heard)
    try:
        yield
        untrusted = next((message for message in heard.messages if "is not trusted" in message), "")
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"model {model}: its weights must be tensors only, but pytorch_model.bin is a pickle of something else and"
            " was not loaded. Take a model with model.safetensors"
        ) from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        untrusted = str(error)
    except OSError as error:
        raise FileNotFoundError(
            f"model {model}: its folder must hold all that it needs, got {str(error).strip().splitlines()[0]}. Fetch it"
            " whole, or name another"
        ) from error
    finally:
        log.removeHandler(heard)
        log.setLevel(before[0])
        log.propagate = before[1]
    if untrusted:
        raise ValueError(
            f"model {model}: needs code of its own, which runs only if it is trusted. Read it, then set"
            f" trust_remote_code: true where the model is named, or name another ({untrusted.split(chr(10))[0]})"
        )


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def stay_quiet() -> None:
    """Keep the hub's library from asking the hub for a list of agents, which it does even when told to stay local."""
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True


def loading(trust_remote_code: bool) -> dict[str, bool]:
    """How the model libraries are to load: from the model's folder alone, unless it may bring code from elsewhere."""
    return {"trust_remote_code": trust_remote_code, "local_files_only": not trust_remote_code}


def settings(trust_remote_code: bool) -> dict[str, bool]:
    """What trust adds to the settings of a fingerprint: a model may be another one with its own code."""
    return {"trust_remote_code": True} if trust_remote_code else {}
