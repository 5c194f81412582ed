"""FAISS multiplies as fast as NumPy does, whatever its own OpenBLAS takes the processor for."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, os, numpy, threadpoolctl
from gangue.transforms.retrieval import faiss_setup
found = {}
for each in threadpoolctl.threadpool_info():
    if each["user_api"] == "blas":
        found["faiss" if "faiss" in each["filepath"] else "numpy"] = each.get("architecture")
print(json.dumps({**found, "left": os.environ.get("OPENBLAS_CORETYPE"), "known": faiss_setup._CORES}))
"""


def cores(**variables):
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"} | variables
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    if "faiss" not in found or found.get("numpy") not in found["known"]:
        pytest.skip(f"FAISS or NumPy has another library of products, or another processor: {found}")
    return found


def test_its_library_of_products_knows_the_processor_as_numpys_does():
    found = cores()
    assert found["faiss"] == found["known"][found["numpy"]]
    assert found["left"] is None  # what is started from here finds its own


def test_what_the_user_says_of_the_processor_stays():
    found = cores(OPENBLAS_CORETYPE="Haswell")
    assert (found["faiss"], found["numpy"], found["left"]) == ("Haswell",) * 3
