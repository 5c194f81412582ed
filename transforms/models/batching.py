"""What a model makes of many texts: each is tokenised once, and batches of like length are put together from ids.

sentence-transformers' ``encode`` and ``predict`` tokenise batch by batch while the model waits, a text of many pairs as
often as it has pairs: on a fast GPU that is most of their time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gangue.transforms import arrays
from gangue.transforms.running import progress

_TOKENISED = 256  # texts at once: what a tokenizer returns is two hundred bytes a token
_COMPARED = 8  # inputs of each call, from the shortest to the longest
_ON_GPU = 1 << 16  # tokens of a batch: twice as many gain a twelfth there

Features = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Token ids of n texts, ``cut`` of them with more: of text i, ``ids[offsets[i] : offsets[i + 1]]``, int32."""

    ids: np.ndarray
    offsets: np.ndarray
    cut: int

    @property
    def lengths(self) -> np.ndarray:
        """(n,) tokens of each text."""
        return np.diff(self.offsets)


def tokenise(tokenizer: Any, texts: Sequence[str], limit: int, *, special: bool = True) -> Tokens:
    """Token ids of texts, ``limit`` at most; ``special``: with those that a text begins and ends with."""
    found: list[np.ndarray] = [np.empty(0, np.int32)]
    counts: list[int] = [0]
    cut = 0
    for start in range(0, len(texts), _TOKENISED):
        read = tokenizer(
            list(texts[start : start + _TOKENISED]),
            truncation=True,
            max_length=limit,
            add_special_tokens=special,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        rows, whole = read["input_ids"], getattr(read, "encodings", None)  # a slow tokenizer does not tell what it cut
        cut += sum(len(row) >= limit and (not whole or bool(whole[i].overflowing)) for i, row in enumerate(rows))
        counts += map(len, rows)
        found += (np.array(row, np.int32) for row in rows)
    return Tokens(np.concatenate(found), np.cumsum(counts), cut)


class Texts:
    """Texts as an encoder reads them."""

    def __init__(self, tokenizer: Any, texts: Sequence[str], limit: int) -> None:
        self._tokenizer, self._tokens = tokenizer, tokenise(tokenizer, texts, limit)
        self.lengths, self.cut = self._tokens.lengths, self._tokens.cut

    def features(self, batch: np.ndarray) -> Features:
        """What a model reads of some of the texts: (b, longest) int64 each."""
        lengths = self.lengths[batch]
        ids = self._tokens.ids[arrays.runs(self._tokens.offsets[batch], lengths)]
        return _padded(self._tokenizer, lengths, ids, np.zeros_like(ids))


class Pairs:
    """Pairs of texts as a cross-encoder reads them; a text of many pairs is tokenised once."""

    def __init__(self, tokenizer: Any, first: Sequence[str], second: Sequence[str], limit: int) -> None:
        self._tokenizer = tokenizer
        around, self._around_lengths, self._types = _around(tokenizer)
        pools, starts, counts = [around], [], []
        begin = len(around)
        for texts in (first, second):
            place, different = pd.factorize(np.asarray(texts, dtype=object))
            tokens = tokenise(tokenizer, different.tolist(), limit, special=False)
            pools.append(tokens.ids)
            starts.append(begin + tokens.offsets[place])
            counts.append(tokens.lengths[place])
            begin += len(tokens.ids)
        self._pool, self._starts = np.concatenate(pools), starts
        self.cut = int((counts[0] + counts[1] > limit - len(around)).sum())
        self._counts = truncated(counts[0], counts[1], limit - len(around))
        self.lengths = len(around) + self._counts[0] + self._counts[1]

    def features(self, batch: np.ndarray) -> Features:
        """What a model reads of some of the pairs: (b, longest) int64 each."""
        before, between, after = self._around_lengths
        one = np.ones(len(batch), np.int64)
        lengths = np.stack(
            [before * one, self._counts[0][batch], between * one, self._counts[1][batch], after * one], axis=1
        )
        starts = np.stack(
            [0 * one, self._starts[0][batch], before * one, self._starts[1][batch], (before + between) * one], axis=1
        )
        ids = self._pool[arrays.runs(starts.reshape(-1), lengths.reshape(-1))]
        types = np.repeat(np.tile(self._types, len(batch)), lengths.reshape(-1))
        return _padded(self._tokenizer, self.lengths[batch], ids, types)


def truncated(first: np.ndarray, second: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens that stay of two texts when the longer gives way until both fit (``longest_first`` of ``tokenizers``).

    >>> [kept.tolist() for kept in truncated(np.array([2, 9, 9]), np.array([9, 2, 9]), 7)]
    [[2, 5, 3], [5, 2, 4]]
    """
    shorter = np.minimum(np.minimum(first, second), limit // 2)
    longer = np.minimum(np.maximum(first, second), limit - shorter)
    swapped = first > second
    return np.where(swapped, longer, shorter), np.where(swapped, shorter, longer)


def _around(tokenizer: Any) -> tuple[np.ndarray, tuple[int, int, int], np.ndarray]:
    """Ids that stand before, between and after the texts of a pair, how many each, and the (5,) types of all parts."""
    one, other = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("one", "other"))
    pair = tokenizer("one", "other", return_token_type_ids=True)
    whole, types = pair["input_ids"], pair["token_type_ids"]
    for at, then in itertools.combinations(range(len(whole)), 2):
        ends = at + len(one), then + len(other)
        if whole[at : ends[0]] == one and whole[then : ends[1]] == other and ends[0] <= then:
            around = whole[:at] + whole[ends[0] : then] + whole[ends[1] :]
            of_parts = [types[min(start, len(types) - 1)] for start in (0, at, ends[0], then, ends[1])]
            return np.array(around, np.int32), (at, then - ends[0], len(whole) - ends[1]), np.array(of_parts, np.int64)
    special = tokenizer.num_special_tokens_to_add(pair=True)  # a template of its own: right in number only
    return np.zeros(special, np.int32), (special, 0, 0), np.zeros(5, np.int64)


def _padded(tokenizer: Any, lengths: np.ndarray, ids: np.ndarray, types: np.ndarray) -> Features:
    """Rows of unlike lengths as arrays of the longest's, filled up as the tokenizer does."""
    shape = (len(lengths), int(lengths.max()))
    if tokenizer.padding_side == "left":
        inside = np.arange(shape[1]) >= shape[1] - lengths[:, None]
    else:
        inside = np.arange(shape[1]) < lengths[:, None]
    result = {
        "input_ids": np.full(shape, tokenizer.pad_token_id or 0, np.int64),
        "token_type_ids": np.full(shape, tokenizer.pad_token_type_id, np.int64),
        "attention_mask": inside.astype(np.int64),
    }
    result["input_ids"][inside], result["token_type_ids"][inside] = ids, types
    return result


def batches(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Cut texts into batches of like length whose padded size stays within a budget.

    Args:
      lengths: (n,) tokens of each text.   tokens: budget of a batch, padding included; one text always fits.

    Yields:
      Indices of each batch, longest texts first.

    >>> [b.tolist() for b in batches(np.array([3, 9, 4, 4]), 12)]
    [[1], [2, 3, 0]]
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def filled(
    result: np.ndarray, inputs: Sequence[Any], lengths: np.ndarray, tokens: int, call: Callable[[list[Any]], Any]
) -> np.ndarray:
    """``result``, (n, ...), with what ``call`` returns for each batch of the n inputs."""
    for batch in batches(lengths, tokens):
        result[batch] = call([inputs[i] for i in batch])
        progress.advance(len(batch))
    return result


def budget(model: Any, tokens: int | None, otherwise: int) -> int:
    """Tokens of a batch: as told, or as many as keep a GPU busy, or ``otherwise`` where there is none."""
    return tokens or (_ON_GPU if model.device.type == "cuda" else otherwise)


def outputs(
    model: Any,
    inputs: Sequence[Any],
    read: Texts | Pairs,
    tokens: int,
    output: Callable[[Mapping[str, Any]], Any],
    prompt: str | None = None,
    task: str | None = None,
) -> np.ndarray | None:
    """(n, ...) float32 outputs of a sentence-transformers model, in the order of its inputs.

    A few inputs are also given to the model's own ``preprocess``.  None where that makes anything but these token ids
    of them, as for images, templates of a chat, or a static model: then the model must be left to itself.

    Args:
      model: SentenceTransformer or CrossEncoder.   inputs: (n,) what its ``preprocess`` takes.
      read: the same, tokenised.   tokens: of a batch, padding included.
      output: what the model returns for b inputs -> (b, ...) tensor.   prompt: what goes before each text.
      task: query or document, for models that treat them differently; None: neither.
    """
    import torch

    order = np.argsort(read.lengths, kind="stable")
    some = np.unique(order[np.linspace(0, len(order) - 1, _COMPARED).astype(np.int64)])
    route = {} if task is None else {"task": task}
    expected = dict(model.preprocess([inputs[i] for i in some], prompt=prompt, **route))
    given = {name: value for name, value in expected.items() if isinstance(value, torch.Tensor)}
    ours = read.features(some)
    if not given or any(n not in ours or not np.array_equal(value.numpy(), ours[n]) for n, value in given.items()):
        return None

    def on_device(array: np.ndarray) -> Any:
        tensor = torch.from_numpy(array)
        if model.device.type == "cuda":
            return tensor.pin_memory().to(model.device, non_blocking=True)
        return tensor.to(model.device)

    result = None
    with torch.inference_mode(), _fitting(tokens):
        for batch in batches(read.lengths, tokens):  # a GPU works on one while the next is put together
            features = read.features(batch)
            rows = output(model(expected | {name: on_device(features[name]) for name in given}, **route)).float()
            if result is None:
                result = torch.empty((len(inputs), *rows.shape[1:]), device=model.device)
            # Kept apart until the end, small outputs between what batches free make the heap grow by gigabytes.
            result[on_device(batch)] = rows
            progress.advance(len(batch))
        assert result is not None
        return np.asarray(result.cpu().numpy())


@contextlib.contextmanager
def _fitting(tokens: int) -> Iterator[None]:
    """Say what to do where a batch does not fit a GPU."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"tokens_per_batch: a batch must fit the GPU's memory, {tokens} tokens do not. Set a smaller one"
        ) from error
