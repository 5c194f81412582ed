"""How much faster an IVF index is than exact search, at which recall.

Usage: python -m benchmarks.approximate [--documents 1000000] [--queries 50000] [--nprobe 4] [--work DIR]
       [--output NAME]

Vectors of 128 dimensions lie around topics of 500 documents each; the index has as many lists as the root of the
documents, to the next power of two. One JSON object: seconds of ``cluster`` (whose centroids the index takes), of
``retrieve`` with an exact index and with IVF, building it and measuring its recall included, their ratio, and the
recall that the stage measured.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

from benchmarks import synthetic
from benchmarks.candidates import GANGUE, RESULTS, measured
from benchmarks.growth import lists_for
from gangue.pipeline import params
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import recall

DIMENSIONS, OF_TOPIC, DEPTH, NPROBE = 128, 500, 100, 4
STAGES = ("cluster one", "plan", "retrieve flat", "retrieve ivf")


def main() -> None:
    """Write, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=50_000)
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, and use those that are here")
    parser.add_argument("--nprobe", type=int, default=NPROBE, help="lists that a query visits")
    parser.add_argument("--output", help="also write benchmarks/results/NAME.json")
    asked = parser.parse_args()
    lists = lists_for(asked.documents)
    retriever = {"kind": "dense", "encoder": "one", "depth": DEPTH}
    settings = {
        "source": {"kind": "beir", "path": "none"},
        "encoders": {"one": {"model": "none"}},
        "cluster": {"clusters": lists},
        "retrievers": {"flat": retriever, "ivf": {**retriever, "index": f"IVF{lists},Flat", "nprobe": asked.nprobe}},
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "flat"},
    }
    params.parse(settings)
    with tempfile.TemporaryDirectory() as scratch:
        work = asked.work or pathlib.Path(scratch)
        data = Data(str(work / "data"))
        if not data.exists("positives"):
            synthetic.write(
                data,
                queries=asked.queries,
                documents=asked.documents,
                dimensions=DIMENSIONS,
                queries_per_shard=2048,
                documents_per_shard=8192,
                topics=asked.documents // OF_TOPIC,
            )
        (work / "params.yaml").write_text(json.dumps(settings))
        places = ["--data", data.root, "--params", str(work / "params.yaml")]
        seconds = {}
        for stage in STAGES:
            name, *of = stage.split()
            seconds[stage] = round(measured([GANGUE, name, *of, *places])["seconds"], 1)
            print(stage, seconds[stage], file=sys.stderr, flush=True)
        found = recall.measured(data, "ivf")
        assert found is not None
    report = {
        "documents": asked.documents,
        "queries": asked.queries,
        "dimensions": DIMENSIONS,
        "lists": lists,
        "nprobe": asked.nprobe,
        "seconds": seconds,
        "ratio": round(seconds["retrieve flat"] / seconds["retrieve ivf"], 2),
        "recall": round(found.share, 4),
    }
    print(json.dumps(report, indent=1))
    if asked.output:
        (RESULTS / f"{asked.output}.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
