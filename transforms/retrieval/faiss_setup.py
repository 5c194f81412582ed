"""FAISS with the sizes of its blocks set, for every use in a process alike: they decide the last bits of a score."""

from __future__ import annotations

import faiss as faiss
from faiss.contrib import inspect_tools as inspect_tools

# FAISS picks its slow kernel for small batches: a larger block of documents halves the time of exact search.
faiss.cvar.distance_compute_blas_database_bs = 8192
faiss.cvar.distance_compute_blas_query_bs = 2048  # their product is held in memory: 64 MiB
# And where queries x dimensions are fewer than this; its own 128,000 makes 300 queries take seven times as long as 350.
faiss.cvar.distance_compute_blas_threshold = 1 << 13
