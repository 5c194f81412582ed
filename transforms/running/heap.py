"""What glibc does with freed memory: it gives large blocks back to the kernel, and fetches new ones for the next array.

Stages make the same large arrays for every shard, models for every batch: fetching them anew costs a tenth of the
time. Other C libraries manage their memory as they like.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc

_OTHER_C_LIBRARY = AttributeError, OSError, TypeError
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep(block: int, on_top: int) -> None:
    """From now on keep freed blocks of up to ``block`` MiB for the next ones, and ``on_top`` MiB at the heap's end.

    As much as a shard or a batch needs: with 32 instead of 8, building an IVF index of 10⁶ documents held 100 MiB more.
    """
    with contextlib.suppress(*_OTHER_C_LIBRARY):
        tune = ctypes.CDLL(None).mallopt
        tune(_M_MMAP_THRESHOLD, block << 20)
        tune(_M_TRIM_THRESHOLD, on_top << 20)


def give_back() -> None:
    """Give the kernel what is free now: the process goes on with something else."""
    gc.collect()
    with contextlib.suppress(*_OTHER_C_LIBRARY):
        ctypes.CDLL(None).malloc_trim(0)
