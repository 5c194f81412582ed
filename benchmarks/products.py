"""How fast FAISS multiplies here, as it comes and as it is loaded (``transforms/retrieval/faiss_setup.py``).

Usage: python -m benchmarks.products [--output]

k-means (50,000 vectors of 256 dimensions, 1,024 centroids, 5 iterations) and 4,096 vectors compared with 1,024 and
4,096 centroids, in one thread, each in a process of its own, in turns. One JSON object: seconds of the processor, the
ratios of their medians, and for what FAISS's library of products takes the processor.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
import threadpoolctl

RESULTS = pathlib.Path(__file__).parent / "results"
VECTORS, SOME, DIMENSIONS, CENTROIDS, ITERATIONS = 50_000, 4096, 256, (1024, 4096), 5


def _measured(as_it_comes: bool) -> dict[str, Any]:
    if as_it_comes:
        import faiss
    else:
        from gangue.transforms.retrieval.faiss_setup import faiss
    faiss.omp_set_num_threads(1)
    generator, found = np.random.default_rng(0), {}
    vectors = generator.standard_normal((VECTORS, DIMENSIONS), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    library = next(
        each for each in threadpoolctl.threadpool_info() if "faiss" in each["filepath"] and each["user_api"] == "blas"
    )
    with threadpoolctl.threadpool_limits(1):
        started = time.process_time()
        means = faiss.Kmeans(
            DIMENSIONS, CENTROIDS[0], niter=ITERATIONS, seed=1, spherical=True, max_points_per_centroid=VECTORS
        )
        means.train(vectors)
        found["k-means"] = time.process_time() - started
        for count in CENTROIDS:
            started = time.process_time()
            faiss.knn(vectors[:SOME], vectors[-count:], 2, metric=faiss.METRIC_INNER_PRODUCT)
            found[f"{count} centroids"] = time.process_time() - started
    return {"processor": library["architecture"], "seconds": {key: round(value, 3) for key, value in found.items()}}


def main() -> None:
    """Measure both in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("comes", "loaded"), help=argparse.SUPPRESS)
    parser.add_argument("--output", action="store_true", help="also write benchmarks/results/products.json")
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(_measured(asked.only == "comes")))
        return
    found: dict[str, Any] = {"comes": [], "loaded": []}
    for _ in range(3):
        for how, runs in found.items():
            command = [sys.executable, "-m", "benchmarks.products", "--only", how]
            runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    medians = {
        how: {key: statistics.median(run["seconds"][key] for run in runs) for key in runs[0]["seconds"]}
        for how, runs in found.items()
    }
    ratios = {key: round(medians["loaded"][key] / value, 2) for key, value in medians["comes"].items()}
    result = {
        "processor": {how: runs[0]["processor"] for how, runs in found.items()},
        "seconds": medians,
        "ratio": ratios,
    }
    print(json.dumps(result, indent=1))
    if asked.output:
        (RESULTS / "products.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
