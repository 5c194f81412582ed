"""Cross-encoders: scoring (query, document) texts, and teaching a small one on given pairs."""

from __future__ import annotations

import collections
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gangue.transforms import at_hand, log
from gangue.transforms.datasets import disk, unfinished
from gangue.transforms.models import batching, checkpoints, libraries, loading, trust
from gangue.transforms.running import process_wide, progress

FOLDS = 2
TOKENS = 4096  # of a batch on a processor


def label_of(folder: str, count: int, names: Mapping[int, str], told: int | str | None) -> int | None:
    """Which label of a model means relevant; None for a model of one label, whose score is what it puts out.

    Args:
      folder: of the model.   count: labels it has.   names: what its config calls them.
      told: name or number (from 0) in the params.

    Raises:
      ValueError: there is no such label, or none was named where that is not plain.

    >>> label_of("m", 2, {0: "LABEL_0", 1: "LABEL_1"}, None), label_of("m", 1, {}, None)
    (1, None)
    >>> label_of("m", 3, {0: "contradiction", 1: "entailment", 2: "neutral"}, "entailment")
    1
    >>> label_of("m", 2, {0: "entailment", 1: "not_entailment"}, None)
    Traceback (most recent call last):
    ...
    ValueError: scorers.*.label: must say which of the 2 labels of m means relevant: 0 (entailment), 1 (not_entailment)
    """
    if count == 1 and told is None:
        return None
    called = {number: names.get(number, f"LABEL_{number}") for number in range(count)}
    numbers = [number for number, name in called.items() if told in (number, name)]
    if numbers:
        return numbers[0] if count > 1 else None
    unnamed = all(re.fullmatch(r"LABEL_\d+", name) for name in called.values())
    if told is None and count == 2 and unnamed:
        log.say_once(
            f"model {folder}",
            "has two labels without names; a score is the probability of the second. If the first means relevant, set"
            " scorers.*.label: 0",
        )
        return 1
    shown = ", ".join(f"{number} ({name})" for number, name in list(called.items())[:9])
    got = "" if told is None else f", got {told}"
    if isinstance(told, str) and told.isdigit():
        got = f', got the name "{told}"; a number stands without quotes'
    raise ValueError(f"scorers.*.label: must say which of the {count} labels of {folder} means relevant: {shown}{got}")


class CrossEncoder:
    """A loaded sentence-transformers ``CrossEncoder``.  On a GPU where there is one."""

    def __init__(
        self,
        folder: str,
        max_length: int,
        dtype: str,
        trust_remote_code: bool,
        label: int | str | None = None,
        activation: str | None = None,
        prompt: str | None = None,
    ) -> None:
        libraries.load()
        import sentence_transformers
        import torch

        with loading.opening(folder) as heard:
            self.model = sentence_transformers.CrossEncoder(
                folder,
                max_length=max_length,
                model_kwargs={"dtype": getattr(torch, dtype)},
                **trust.loading(trust_remote_code),
            )
        self.model.eval()
        self._label = label_of(folder, self.model.num_labels, dict(self.model.config.id2label or {}), label)
        loading.check_weights(folder, self.model, heard, of="cross-encoder")
        loading.check_tokenizer(folder, self.model)
        loading.check_length(folder, self.model, max_length, "scorers.*.max_length", pair=True)
        if activation is not None and self._label is not None:
            raise ValueError(
                f"scorers.*.activation: is of models of one label, but a score of {folder}, which has"
                f" {self.model.num_labels}, is a probability among them (softmax). Leave it out"
            )
        own = self.model.activation_fn
        self._activation = {None: own, "sigmoid": torch.nn.Sigmoid(), "identity": torch.nn.Identity()}[activation]
        default = self.model.prompts.get(self.model.default_prompt_name) or ""
        self._prompt = default if prompt is None else prompt
        if self._prompt:
            log.say_once(f"model {folder}", f"prompt: {json.dumps(self._prompt, ensure_ascii=False)}")
        texts = loading.probes(self.model.tokenizer)
        pairs = [*zip(texts, texts, strict=True), *itertools.pairwise(texts)]
        loading.check_outputs(folder, lambda some: self._predict(list(some)), pairs)

    @property
    def probable(self) -> bool:
        """Whether its scores are probabilities, as far as its activation function tells."""
        import torch

        return self._label is not None or not isinstance(self._activation, torch.nn.Identity)

    def score(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        *,
        tokens: int | None = None,
        counts: collections.Counter[str] | None = None,
    ) -> np.ndarray:
        """(n,) float32 scores of n pairs, in their order, as ``CrossEncoder.predict`` with this activation and prompt.

        Args:
          tokens: of a batch, padding included; None: 4,096, on a GPU 65,536.
          counts: to which the pairs are added that were ``cut``.
        """
        if not len(queries):
            return np.empty(0, np.float32)
        pairs = list(zip(queries, documents, strict=True))
        tokens = batching.budget(self.model, tokens, TOKENS)
        with process_wide.MODELS:
            asked = [self._prompt + query for query in queries]
            read = batching.Pairs(self.model.tokenizer, asked, documents, self.model.max_length)
            if counts is not None:
                counts["cut"] += read.cut
            found = batching.outputs(self.model, pairs, read, tokens, self._scores, self._prompt)
            if found is not None:
                return found
            return batching.filled(np.empty(len(pairs), np.float32), pairs, read.lengths, tokens, self._predict)

    def slices(self, queries: Sequence[str], documents: Sequence[str], *, tokens: int | None = None) -> Iterator[slice]:
        """Consecutive slices of pairs, some seconds of work each."""
        texts = [query + document for query, document in zip(queries, documents, strict=True)]
        return unfinished.slices(texts, batching.budget(self.model, tokens, TOKENS))

    def _predict(self, pairs: list[tuple[str, str]]) -> Any:
        import torch

        # An empty prompt is given too: without one the model would take its default prompt.
        some: dict[str, Any] = {"batch_size": len(pairs), "show_progress_bar": False, "prompt": self._prompt}
        if self._label is None:
            return self.model.predict(pairs, activation_fn=self._activation, **some)
        logits = self.model.predict(pairs, activation_fn=torch.nn.Identity(), convert_to_tensor=True, **some)
        return self._scores({"scores": logits}).cpu().numpy()

    def _scores(self, found: Mapping[str, Any]) -> Any:
        if self._label is None:
            return self._activation(found["scores"].float()).reshape(-1)
        return found["scores"].float().softmax(dim=1)[:, self._label]


@at_hand.keep
def _load(folder: str, *given: Any) -> CrossEncoder:
    return CrossEncoder(folder, *given)


def load(
    folder: str,
    max_length: int,
    dtype: str = "float32",
    trust_remote_code: bool = False,
    label: int | str | None = None,
    activation: str | None = None,
    prompt: str | None = None,
) -> CrossEncoder:
    """The cross-encoder, loaded once per process.

    Args:
      max_length: tokens of a pair.   label: of a model with several: which means relevant, by name or number.
      activation: ``sigmoid`` or ``identity``; None: the model's own.   prompt: goes before each query; None: its own.
    """
    with process_wide.MODELS:
        return _load(folder, max_length, dtype, trust_remote_code, label, activation, prompt)


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
    checkpoint: str,
    trust_remote_code: bool = False,
) -> None:
    """Fine-tune the first layers of an encoder as a cross-encoder, and save it.

    A training that was killed goes on from its last checkpoint, seconds before, and ends with the same bytes.

    Args:
      folder: any encoder that transformers can load.
      queries, documents, labels: n training pairs; 1 is relevant, 0 is not.
      layers: how many of the encoder's layers to keep.
      max_length: tokens of a pair.
      epochs, batch_size, learning_rate, seed: of the training.
      output: folder to write.   checkpoint: folder for checkpoints, on this machine's disk; stays when all is done.
      trust_remote_code: whether the encoder may bring code of its own.
    """
    libraries.load()
    import datasets
    import transformers
    from safetensors import SafetensorError
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments, losses

    with process_wide.seeded(seed):
        model = _checked(folder, layers, max_length, trust_remote_code)
        data = datasets.Dataset.from_dict(
            {"query": list(queries), "document": list(documents), "label": labels.astype(float).tolist()}
        )
        training = checkpoints.fingerprint(
            folder,
            [list(queries), list(documents), labels.tolist()],
            layers=layers,
            max_length=max_length,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            device=model.device.type,
            **trust.settings(trust_remote_code),
        )
        begun = checkpoints.last(checkpoint, training)
        arguments = CrossEncoderTrainingArguments(
            output_dir=checkpoint,
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
        trainer = checkpoints.trainer(
            training, model=model, args=arguments, train_dataset=data, loss=losses.BinaryCrossEntropyLoss(model)
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.add_callback(_Progress(batch_size))
        trainer.train(resume_from_checkpoint=begun)
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


def check_start(folder: str, layers: int, max_length: int) -> None:
    """Check that ``teach`` can begin with an encoder.

    Raises:
      ValueError, FileNotFoundError: it is none that can be taught, or has not so many layers or positions.
    """
    libraries.load()
    with process_wide.seeded(0):
        _checked(folder, layers, max_length, trust_remote_code=False)


def _checked(folder: str, layers: int, max_length: int, trust_remote_code: bool) -> Any:
    """The model that is to be taught, checked."""
    import transformers

    if os.path.exists(os.path.join(folder, "modules.json")) and not os.path.exists(os.path.join(folder, "config.json")):
        raise ValueError(
            f"scorers.*.teach.encoder: must be a transformer, of whose layers some are taught, but {folder} has no"
            " config.json of one, as a static model has none. Name another"
        )
    with loading.opening(folder) as heard:
        config = transformers.AutoConfig.from_pretrained(folder, **trust.loading(trust_remote_code))
        most = getattr(config, "num_hidden_layers", None) or layers
        model = _untaught(folder, min(layers, most), max_length, trust_remote_code)
    if layers > most:
        raise ValueError(
            f"scorers.*.teach.layers: must be at most {most}, the layers of {folder}, got {layers}. Set a smaller one"
        )
    loading.check_weights(folder, model, heard, of="encoder")
    loading.check_tokenizer(folder, model)
    loading.check_length(folder, model, max_length, "scorers.*.max_length", pair=True)
    return model


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
