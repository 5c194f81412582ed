"""What a process has once and all its threads share: its models, its random generators, the settings of libraries.

Elements of a stage may be worked on side by side in threads of one process, as a cluster's workers do.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Iterator

import numpy as np
import threadpoolctl

MODELS = threading.RLock()
"""Held by whoever uses a model: a tokenizer's padding and truncation are its state, and a device works for one only."""

_BLAS = threading.RLock()


@contextlib.contextmanager
def told(name: str, value: str) -> Iterator[None]:
    """Libraries that load inside read this in the environment, unless the user has set it; then it is undone."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Have BLAS use one thread, so that no bit depends on how many there are; one thread of ours at a time.

    The setting is the process's: who sets and undoes it would undo it for another in the middle of its work, and
    threadpoolctl lets the first thread alone set it for that reason.
    """
    with _BLAS, threadpoolctl.threadpool_limits(1, "blas"):
        yield


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's, numpy's and torch's generators, which libraries draw from; give torch one thread; then undo it.

    How torch's sums are cut among threads decides their last bits, and training makes more of these.
    """
    import torch

    with MODELS, torch.random.fork_rng(range(torch.cuda.device_count())):
        of_python, of_numpy, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()  # noqa: NPY002
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
