"""FAISS as every use in a process has it: with the processor's fast products, and its blocks of one size.

FAISS brings an OpenBLAS of its own (0.3.15 in ``faiss-cpu`` 1.15), which takes some processors of today for one of 2004
and multiplies at a quarter of their speed. NumPy's is younger: FAISS's is told what that one has found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import threadpoolctl

from gangue.transforms.running import process_wide

_NAME = "OPENBLAS_CORETYPE"  # read once, as the library is loaded
_CORES = {"Haswell": "Haswell", "Zen": "Zen"} | dict.fromkeys(("SkylakeX", "Cooperlake", "SapphireRapids"), "SkylakeX")
"""What NumPy's OpenBLAS may find -> the name of the like that older ones know."""


@contextlib.contextmanager
def recognised() -> Iterator[None]:
    """An OpenBLAS that is loaded inside takes the processor for what NumPy's does, unless the user has said."""
    found = (each.get("architecture") for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas")
    core = next((_CORES[name] for name in found if name in _CORES), None)
    with contextlib.nullcontext() if core is None else process_wide.told(_NAME, core):
        yield


with recognised():
    import faiss as faiss
    from faiss.contrib import inspect_tools as inspect_tools

# The sizes decide the last bits of a score. FAISS picks its slow kernel for small batches: a larger block of documents
# halves the time of exact search.
faiss.cvar.distance_compute_blas_database_bs = 8192
faiss.cvar.distance_compute_blas_query_bs = 2048  # their product is held in memory: 64 MiB
# And where queries x dimensions are fewer than this; its own 128,000 makes 300 queries take seven times as long as 350.
faiss.cvar.distance_compute_blas_threshold = 1 << 13
