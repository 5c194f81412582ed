"""Sentence encoders: texts to vectors."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from gangue.transforms import at_hand
from gangue.transforms.datasets import unfinished
from gangue.transforms.models import batching, libraries, loading, trust
from gangue.transforms.running import process_wide

Backend = Literal["torch", "onnx", "openvino"]

TOKENS = 2048  # of a batch on a processor


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
        counts: collections.Counter[str] | None = None,
    ) -> np.ndarray:
        """(n, d) float32 vectors of texts, in their order.

        Low bits depend on which texts share a batch; batches depend on the texts given and the token budget only.

        Args:
          prompt: goes before each text.   normalise: whether to length one.
          tokens: of a batch, padding included; None: 2,048, on a GPU 65,536.
          task: query or document, which a model may treat differently (a ``Router``); None: neither.
          counts: to which the texts are added that were ``cut``.
        """
        import torch

        with process_wide.MODELS:
            vectors = self._outputs(list(texts), prompt, task, batching.budget(self.model, tokens, TOKENS), counts)
        return torch.nn.functional.normalize(torch.from_numpy(vectors)).numpy() if normalise else vectors

    def blocks(self, texts: Sequence[str], *, tokens: int | None = None, **how: Any) -> Iterator[np.ndarray]:
        """The same vectors, some seconds of work at a time; to a static model that is all of them."""
        budget = batching.budget(self.model, tokens, TOKENS)
        for part in unfinished.slices(texts, budget) if self._limit is not None else [slice(None)]:
            yield self.encode(texts[part], tokens=tokens, **how)

    def _outputs(
        self, texts: list[str], prompt: str, task: str | None, tokens: int, counts: collections.Counter[str] | None
    ) -> np.ndarray:
        """The vectors as the model makes them."""
        lengths = np.ones(len(texts), np.int64)  # to a static model length does not matter
        limit, tokenizer = self._limit, self.model.tokenizer
        if texts and limit is not None and callable(tokenizer):
            read = batching.Texts(tokenizer, [prompt + text for text in texts], limit)
            if counts is not None:
                counts["cut"] += read.cut
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
