"""Cross-encoders: scoring (query, document) texts, and teaching a small one on given pairs."""

from __future__ import annotations

import functools
import os
import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from transforms import batching, disk, encoder, progress, trust

_LOCK = threading.Lock()
FOLDS = 2
TOKENS = 4096  # of a batch on a processor


def fold_of(groups: Sequence[str]) -> np.ndarray:
    """(q,) fold of each query, by its group of near-duplicates: queries that ask the same share a fold.

    >>> fold_of(["c", "d", "c"]).tolist()
    [1, 0, 1]
    """
    words = pd.util.hash_array(np.asarray(groups, dtype=object), categorize=False)
    return (words >> np.uint64(32)).astype(np.int64) % FOLDS


class CrossEncoder:
    """A loaded sentence-transformers ``CrossEncoder``.  On a GPU where there is one."""

    def __init__(self, folder: str, max_length: int, dtype: str, trust_remote_code: bool) -> None:
        encoder.load_libraries()
        import sentence_transformers
        import torch

        with trust.opening(folder):
            self.model = sentence_transformers.CrossEncoder(
                folder,
                num_labels=1,
                max_length=max_length,
                model_kwargs={"dtype": getattr(torch, dtype)},
                **trust.loading(trust_remote_code),
            )
        self.model.eval()

    def score(self, queries: Sequence[str], documents: Sequence[str], *, tokens: int | None = None) -> np.ndarray:
        """(n,) float32 scores of n pairs, in their order, on the model's own scale (``CrossEncoder.predict``).

        Args:
          tokens: of a batch, padding included; None: 4,096, on a GPU 65,536.
        """
        if not len(queries):
            return np.empty(0, np.float32)
        pairs = list(zip(queries, documents, strict=True))
        read = batching.Pairs(self.model.tokenizer, queries, documents, self.model.max_length)
        tokens = batching.budget(self.model, tokens, TOKENS)
        prompt = self.model.prompts.get(self.model.default_prompt_name)  # as ``predict`` does
        found = batching.outputs(self.model, pairs, read, tokens, self._scores, prompt)
        if found is not None:
            return found

        def predict(some: list[tuple[str, str]]) -> Any:
            return self.model.predict(some, batch_size=len(some), show_progress_bar=False)

        return batching.filled(np.empty(len(pairs), np.float32), pairs, read.lengths, tokens, predict)

    def _scores(self, found: Mapping[str, Any]) -> Any:
        return self.model.activation_fn(found["scores"].float()).reshape(-1)


@functools.lru_cache(maxsize=4)
def _load(folder: str, max_length: int, dtype: str, trust_remote_code: bool) -> CrossEncoder:
    return CrossEncoder(folder, max_length, dtype, trust_remote_code)


def load(folder: str, max_length: int, dtype: str = "float32", trust_remote_code: bool = False) -> CrossEncoder:
    """The cross-encoder, loaded once per process, until ``forget``."""
    with _LOCK:
        return _load(folder, max_length, dtype, trust_remote_code)


def forget() -> None:
    """Drop the loaded cross-encoders: their folders may hold other weights."""
    _load.cache_clear()


def teach(
    folder: str,
    queries: Sequence[str],
    documents: Sequence[str],
    labels: np.ndarray,
    *,
    layers: int,
    max_length: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    output: str,
    trust_remote_code: bool = False,
) -> None:
    """Fine-tune the first layers of an encoder as a cross-encoder, and save it.

    Args:
      folder: any encoder that transformers can load.
      queries, documents, labels: n training pairs; 1 is relevant, 0 is not.
      layers: how many of the encoder's layers to keep.
      max_length: tokens of a pair.
      epochs, batch_size, learning_rate, seed: of the training.
      output: folder to write.
      trust_remote_code: whether the encoder may bring code of its own.
    """
    encoder.load_libraries()
    import datasets
    import transformers
    from safetensors import SafetensorError
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments, losses

    transformers.set_seed(seed)
    with trust.opening(folder):
        model = _untaught(folder, layers, max_length, trust_remote_code)
    data = datasets.Dataset.from_dict(
        {"query": list(queries), "document": list(documents), "label": labels.astype(float).tolist()}
    )
    os.makedirs(output, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as scratch:
        arguments = CrossEncoderTrainingArguments(
            output_dir=scratch,
            num_train_epochs=epochs,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_steps=0.1,
            seed=seed,
            data_seed=seed,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = CrossEncoderTrainer(
            model=model, args=arguments, train_dataset=data, loss=losses.BinaryCrossEntropyLoss(model)
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.add_callback(_Progress(batch_size))
        trainer.train()
    model.eval()
    model.tokenizer.init_kwargs.pop("local_files_only", None)  # whether a hub was in reach is none of the model's
    with disk.writing(output):
        try:
            model.save_pretrained(output, create_model_card=False)
        except SafetensorError as error:
            code = re.search(r"os error (\d+)", str(error))
            if code is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def _untaught(folder: str, layers: int, max_length: int, trust_remote_code: bool) -> Any:
    """A cross-encoder of the first layers of an encoder: the mean of its tokens, and one linear unit.

    An encoder's first layers have no useful [CLS], so the mean it was trained with is kept; without dropout, with its
    word vectors frozen and small batches it learns from a few hundred pairs in a minute on two cores.
    """
    import sentence_transformers
    import torch
    from sentence_transformers.base.modules.dense import Dense
    from sentence_transformers.base.modules.transformer import Transformer
    from sentence_transformers.models import Pooling

    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    where = trust.loading(trust_remote_code)
    transformer = Transformer(
        folder,
        max_seq_length=max_length,
        model_kwargs=dict(where),
        processor_kwargs=dict(where),
        config_kwargs={"num_hidden_layers": layers, **quiet, **where},
    )
    transformer.model.get_input_embeddings().weight.requires_grad = False
    width = int(transformer.model.config.hidden_size)
    unit = Dense(width, 1, activation_function=torch.nn.Identity(), module_output_name="scores")
    return sentence_transformers.CrossEncoder(modules=[transformer, Pooling(width, "mean"), unit], num_labels=1)


def _Progress(batch_size: int) -> Any:
    import transformers

    class Progress(transformers.TrainerCallback):
        """Reports a batch after every step."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            progress.advance(batch_size)

    return Progress()
