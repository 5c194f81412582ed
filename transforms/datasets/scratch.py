"""Arrays on disk, for what a stage needs all of at once and memory should not hold."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from gangue.transforms.datasets.disk import writing
from gangue.transforms.datasets.storage import Data


@contextlib.contextmanager
def scratch(data: Data, area: str, shape: tuple[int, ...], dtype: Any) -> Iterator[np.ndarray]:
    """An array in a file without a name, which is gone with the block: the kernel may drop its pages at any time.

    Args:
      data, area: where the file is, if that is a local disk; else where the system has its temporary files.
      shape, dtype: of the array.

    Raises:
      OSError: the disk is full; says what to do.
    """
    folder = data.path(area) if data.local else None
    size = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    if folder is not None:
        os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        with writing(folder or tempfile.gettempdir()):
            if hasattr(os, "posix_fallocate"):  # or a full disk would kill the process where it touches the mapping
                os.posix_fallocate(file.fileno(), 0, size)
        yield np.memmap(file, dtype, "w+", shape=shape) if 0 not in shape else np.empty(shape, dtype)
