"""How much faster an index is than exact search, at which recall.

Usage: python -m benchmarks.approximate [--documents 1000000] [--queries 50000] [--dimensions 128]
       [--index INDEX] [--nprobe 4] [--refine 10] [--work DIR] [--output NAME]

Vectors lie around topics of 500 documents each; of an index with lists there are as many as the root of the documents,
to the next power of two: ``--index IVF,Flat``, the default, or ``IVF,PQ64x4fs``. One JSON object: seconds of
``cluster`` (whose centroids the index takes), of ``retrieve`` exactly and with the index, building it and measuring its
recall included, their ratio, and the recall that the stage measured.
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

DIMENSIONS, OF_TOPIC, DEPTH = 128, 500, 100
STAGES = ("cluster one", "plan", "retrieve flat", "retrieve index")


def main() -> None:
    """Write, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=50_000)
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, and use those that are here")
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS)
    parser.add_argument("--index", default="IVF,Flat", help="a FAISS factory string, but for the number of lists")
    parser.add_argument("--nprobe", type=int, help="lists that a query visits")
    parser.add_argument("--refine", type=int, help="times as many documents to fetch from codes")
    parser.add_argument("--output", help="also write benchmarks/results/NAME.json")
    asked = parser.parse_args()
    lists = lists_for(asked.documents)
    retriever = {"kind": "dense", "encoder": "one", "depth": DEPTH}
    index = {
        "index": asked.index.replace("IVF,", f"IVF{lists},"),
        "nprobe": asked.nprobe or (4 if "IVF" in asked.index else None),
        "refine": asked.refine,
    }
    settings = {
        "source": {"kind": "beir", "path": "none"},
        "encoders": {"one": {"model": "none"}},
        "cluster": {"clusters": lists},
        "retrievers": {"flat": retriever, "index": {**retriever, **index}},
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
                dimensions=asked.dimensions,
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
        found = recall.measured(data, "index")
        assert found is not None
    report = {
        "documents": asked.documents,
        "queries": asked.queries,
        "dimensions": asked.dimensions,
        **index,
        "seconds": seconds,
        "ratio": round(seconds["retrieve flat"] / seconds["retrieve index"], 2),
        "recall": round(found.share, 4),
    }
    print(json.dumps(report, indent=1))
    if asked.output:
        (RESULTS / f"{asked.output}.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
