"""The model libraries as every use in a process has them: quiet, and with products that no number of threads changes.

torch multiplies float32 matrices by MKL, where it has that, which adds in another order with more threads: of 3,331
vectors of MiniLM 22 differed between one thread and two. Told to, it has one order, and takes no longer.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator

from gangue.transforms.running import heap, process_wide


def load() -> None:
    """Load the model libraries, without their own bars and notices in the log, and keep freed memory."""
    # MKL's "conditional numerical reproducibility", which it reads as it first multiplies.
    with process_wide.told("MKL_CBWR", "AUTO,STRICT"), _no_search_for_garbage():
        import sentence_transformers  # noqa: F401
        import torch
        import transformers

        torch.ones(64, 64) @ torch.ones(64, 64)
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    heap.keep(block=32, on_top=64)


@contextlib.contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """What loads now would have it take a sixth of the time."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()
