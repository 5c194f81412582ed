"""What a model may do when it is loaded: read its own folder, and run no code but that of the known libraries."""

from __future__ import annotations

from gangue.transforms import log


def announce(where: str, model: str) -> None:
    """Say in the log that a model's own code is run."""
    log.say(where, f"runs the code that comes with {model}, since trust_remote_code is true")


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
