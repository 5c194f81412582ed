"""Checkpoints of a training: a killed one goes on from the last, and ends with the bytes of one that was not killed."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import time
from typing import Any

from gangue.transforms.datasets import disk, unfinished
from gangue.transforms.models import folders

_WEIGHTS = "weights.pt"
_WHOLE = ".whole"  # written last: the fingerprint of the training and of all other files there
_LIBRARIES = ("accelerate", "sentence-transformers", "torch", "transformers")


def fingerprint(folder: str, examples: Any, **settings: Any) -> str:
    """What the weights of a training, and the files of its checkpoints, depend on.

    Args:
      folder: the model it begins with.   examples, settings: JSON values.

    Returns:
      32 hex digits.
    """
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    digest = hashlib.blake2b(json.dumps(examples).encode(), digest_size=16).hexdigest()
    return folders.fingerprint(folder, examples=digest, libraries=libraries, **settings)


def last(folder: str, training: str) -> str | None:
    """The last checkpoint in a folder that is whole and of this training; whatever else is there is removed."""
    os.makedirs(folder, exist_ok=True)
    steps = {}
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError), open(os.path.join(path, _WHOLE), "rb") as file:
            if file.read() == _whole(path, training):
                steps[name] = int(name.rpartition("-")[2])
    newest = max(steps, key=steps.__getitem__, default="")
    _remove_all_but(newest, folder)
    return os.path.join(folder, newest) if newest else None


def trainer(training: str, **settings: Any) -> Any:
    """A trainer of cross-encoders that writes a checkpoint into its output folder after every ten seconds of work.

    It is the Trainer's own: weights, optimiser, scheduler, states of the random generators, steps; so is going on from
    it, ``train(resume_from_checkpoint=...)``. Of the model only the weights are written and read: the Trainer would
    write and load a whole model, with a page about it, and with code that came with it.

    Args:
      training: its ``fingerprint``.   settings: of a ``CrossEncoderTrainer``.
    """
    import torch
    import transformers
    from sentence_transformers.cross_encoder import CrossEncoderTrainer

    class Trainer(CrossEncoderTrainer):
        """Marks a checkpoint that is whole, and removes the one before."""

        def _save_checkpoint(self, *given: Any) -> None:
            folder = self.args.output_dir
            name = f"{transformers.trainer_utils.PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            path = os.path.join(folder, name)
            try:
                super()._save_checkpoint(*given)
                with disk.whole(os.path.join(path, _WHOLE)) as file:
                    file.write(_whole(path, training))
            except (OSError, RuntimeError):  # torch's error of a full disk: the model itself may find room yet
                shutil.rmtree(path, ignore_errors=True)
            else:
                _remove_all_but(name, folder)

        def _save(self, output_dir: str, *_: Any, **__: Any) -> None:
            os.makedirs(output_dir, exist_ok=True)
            torch.save(self.model.state_dict(), os.path.join(output_dir, _WEIGHTS))

        def _load_from_checkpoint(self, checkpoint: str) -> None:
            self.model.load_state_dict(torch.load(os.path.join(checkpoint, _WEIGHTS), "cpu", weights_only=True))

    class Clock(transformers.TrainerCallback):
        """Says when a checkpoint is due."""

        written = time.monotonic()

        def on_step_end(self, _: Any, __: Any, control: Any, **___: Any) -> None:
            control.should_save = time.monotonic() - self.written >= unfinished.SECONDS

        def on_save(self, *_: Any, **__: Any) -> None:
            self.written = time.monotonic()

    return Trainer(callbacks=[Clock()], **settings)


def _whole(path: str, training: str) -> bytes:
    return folders.fingerprint(path, training=training).encode()


def _remove_all_but(kept: str, folder: str) -> None:
    for name in os.listdir(folder):
        if name != kept:
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
