"""Exact search on devices: blocks of documents are sent there, multiplied by all queries, and the best of each kept.

What is found are candidates, as ``block_search``'s are: they are scored anew in float64 on the processor, and where
scores are nearer than ``topk.ROUNDING``, 1e-5, more of them are fetched (``searching``): so both lead to the same
bytes. That is room enough for products in float32, which err by up to 8e-7 (unit vectors, 384 components, 2 million
pairs). It is not for TF32, which errs by up to 1e-4, 1.5e-5 on average: it is off here.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gangue.transforms import at_hand
from gangue.transforms.datasets import lookup
from gangue.transforms.retrieval import topk
from gangue.transforms.running import process_wide

_BLOCK_BYTES = 64 << 20  # of documents sent at once; two such are on their way or in use
_PRODUCT = 1 << 27  # scores at once: half a GiB


def search(
    vectors: lookup.Vectors,
    devices: tuple[torch.device, ...],
    queries: np.ndarray,
    depth: int,
    allowed: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The best documents of each query by inner product.

    Args:
      vectors: the documents; those without a vector are never returned.   devices: one at least.
      queries: (q, d) float32; what is found for one that is not finite means nothing.
      depth: k.   allowed: (documents,) bool; others are never returned.

    Returns:
      (q, k') float32 scores, -inf where there are fewer, and (q, k') int64 document rows, -1 there; in no order.

    Raises:
      ValueError: a device has no memory for it.
    """
    with process_wide.MODELS, _full_precision():
        try:
            return _opened(vectors, devices).search(queries, depth, allowed)
        except torch.OutOfMemoryError as error:
            full = str(error).splitlines()[0].rstrip(".")
            raise ValueError(
                f"search: a device must have some {(4 * _PRODUCT + 2 * _BLOCK_BYTES) >> 20} MiB free, and the hits of"
                f" {len(queries)} queries at depth {depth}: {full}. End what else uses it, lower beam.workers, or"
                " search on the processor: CUDA_VISIBLE_DEVICES= gangue"
            ) from error


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Have float32 multiplied as float32; undone after, for the setting is the process's.

    Newer versions of torch have a second setting, and say nothing of the first to who has used it.
    """
    undo: Callable[[], Any]
    try:
        undo = functools.partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
    except RuntimeError:
        matmul = torch.backends.cuda.matmul
        undo = functools.partial(setattr, matmul, "fp32_precision", matmul.fp32_precision)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        undo()


class _Documents:
    """An encoder's vectors, every so many blocks by another device."""

    def __init__(self, vectors: lookup.Vectors, devices: Sequence[torch.device]) -> None:
        self._vectors = vectors
        size = max(1, _BLOCK_BYTES // (4 * vectors.dimensions))
        starts = range(0, len(vectors), size)
        self._blocks = [range(start, min(start + size, len(vectors))) for start in starts]
        self._parts = [_Part(vectors, device, size, starts[i :: len(devices)]) for i, device in enumerate(devices)]

    def search(self, queries: np.ndarray, depth: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        depth, searched = min(depth, len(self._vectors)), allowed.copy()
        for rows in self._blocks:
            here = slice(rows.start, rows.stop)
            if allowed[here].any():  # no shard is opened of which nothing is searched
                searched[here] &= self._vectors.present_in(rows.start, rows.stop)
        with concurrent.futures.ThreadPoolExecutor(len(self._parts)) as threads:
            found = list(threads.map(lambda part: part.search(queries, depth, searched), self._parts))
        scores, hits = found[0]
        for more_scores, more_hits in found[1:]:
            scores, hits = topk.merge(scores, hits, more_scores, more_hits, depth)
        return scores, hits


_opened = at_hand.keep(_Documents)


class _Part:
    """The blocks of one device. They stay there, for the queries that come next, while half of its memory is free."""

    def __init__(self, vectors: lookup.Vectors, device: torch.device, rows: int, starts: Sequence[int]) -> None:
        self._vectors, self._device, self._rows, self._starts = vectors, device, rows, starts
        self._kept: dict[int, torch.Tensor] = {}
        self._sending = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def search(self, queries: np.ndarray, depth: int, searched: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked = torch.from_numpy(np.nan_to_num(queries)).to(self._device)
        scores = torch.full((len(asked), depth), -torch.inf, device=self._device)
        rows = torch.full((len(asked), depth), -1, device=self._device)
        there = torch.from_numpy(searched).to(self._device)  # at once: to send it block by block would wait each time
        together = max(1, _PRODUCT // self._rows)
        for start, block in self._blocks(searched):
            added = torch.where(there[start : start + len(block)], 0.0, -torch.inf)
            for first in range(0, len(asked), together):
                here = slice(first, first + together)
                found, places = torch.addmm(added, asked[here], block.T).topk(min(depth, len(block)), sorted=False)
                both = torch.cat([scores[here], found], dim=1)
                scores[here], best = both.topk(depth, sorted=False)
                rows[here] = torch.cat([rows[here], places + start], dim=1).gather(1, best)
        rows[scores == -torch.inf] = -1
        return scores.cpu().numpy(), rows.cpu().numpy()

    def _blocks(self, searched: np.ndarray) -> Iterator[tuple[int, torch.Tensor]]:
        """First row and vectors of each block of which anything is searched; zeros where a document has no vector.

        A GPU is sent one while it multiplies the one before; the memory that it is sent from is used again when the
        block is done with, so that no more than two wait.
        """
        rooms = self._rooms()
        for start in self._starts:
            rows = np.arange(start, min(start + self._rows, len(self._vectors)))
            if not searched[start : start + len(rows)].any():
                continue
            if start in self._kept:
                yield start, self._kept[start]
                continue
            room, done = next(rooms)
            if done is not None:
                done.synchronize()
            self._vectors.copy(rows, room.numpy()[: len(rows)])
            with torch.cuda.stream(self._sending):
                block = room[: len(rows)].to(self._device, non_blocking=True, copy=True).nan_to_num_(0.0, 0.0, 0.0)
            if self._sending is not None:
                multiplying = torch.cuda.current_stream(self._device)
                multiplying.wait_stream(self._sending)
                block.record_stream(multiplying)
            if _half_free(self._device):
                self._kept[start] = block
            yield start, block
            if done is not None:
                done.record(multiplying)

    def _rooms(self) -> Iterator[tuple[torch.Tensor, torch.cuda.Event | None]]:
        """Two places of this machine's memory in turn, and what says when a block that was sent from there is done."""
        gpu, shape = self._sending is not None, (min(self._rows, len(self._vectors)), self._vectors.dimensions)
        done = torch.cuda.Event if gpu else lambda: None
        yield from itertools.cycle([(torch.empty(shape, pin_memory=gpu), done()) for _ in range(2)])


def _half_free(device: torch.device) -> bool:
    if device.type != "cuda":  # documents in this machine's memory are mapped there already
        return False
    free, total = torch.cuda.mem_get_info(device)
    return free > total // 2
