"""What a change costs: nothing, a filter, one percent of new documents and queries.

Usage: python -m benchmarks.changes --data FOLDER [--max-length TOKENS] [--cross-encoder DEPTH] [--work DIR]
       [--output NAME]

A clone of the project mines a BEIR folder, all but a hundredth of its documents and of its queries, by ``dvc repro``.
Then it runs again with nothing to do; again with another ``max_false_negatives``; again with what was left out, by
``dvc repro`` and, over a copy of what there was, by ``gangue mine``. One JSON object: seconds of each and their share
of a full run's; which stages ran, and the seconds of each without loading its libraries; and whether the last triplets
are, row by row, those of a full run over the same source (``gangue mine`` in an empty folder, timed too), and how far
their scores are apart.

With ``--cross-encoder`` a given cross-encoder scores the pairs that a retriever ranks so high. It is MiniLM with an
untaught head: its time is that of a real one, and it stays the same where a taught one would be taught anew.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from gangue.transforms.models import folders

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LEFT_OUT = 0.01


def project(folder: pathlib.Path, source: pathlib.Path, max_length: int | None, depth: int | None) -> None:
    """A clone of the project whose params mine the source with the default's encoder, retrievers and filter.

    ``max_length``: tokens of a text that are embedded; None: as many as in the default job.
    ``depth``: pairs that a retriever ranks this high are scored by a cross-encoder; None: there is none.
    """
    for name in ("pipeline", "transforms", "labels"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    for path in ROOT.glob("data/*/.gitkeep"):
        (folder / path.relative_to(ROOT)).parent.mkdir(parents=True)
        shutil.copy(path, folder / path.relative_to(ROOT))
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values |= {"source": {"kind": "beir", "path": source.name}, "scorers": {}}
    if max_length is not None:
        values["encoders"]["minilm"]["max_length"] = max_length
    if depth is not None:
        write_cross_encoder(folder / "cross_encoder", values["encoders"]["minilm"]["model"])
        length = values["encoders"]["minilm"]["max_length"]
        values["scorers"] = {"cross": {"model": "cross_encoder", "depth": depth, "max_length": length}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


def write_cross_encoder(folder: pathlib.Path, model: str) -> None:
    """An encoder with a head for one score, always the same."""
    import sentence_transformers
    import torch

    torch.manual_seed(1)
    sentence_transformers.CrossEncoder(folders.locate(model), num_labels=1, device="cpu").save_pretrained(str(folder))


def write_source(data: pathlib.Path, target: pathlib.Path, *, whole: bool) -> None:
    """The BEIR folder's train labels, with or without a hundredth of the documents and one of the queries.

    No document is left out that is the only positive of a query: more than a hundredth of the queries would be new.
    """
    (target / "qrels").mkdir(parents=True, exist_ok=True)
    (path,) = [path for path in (data / "qrels").glob("*.tsv") if path.stem == "train"] or [
        next((data / "qrels").glob("*.tsv"))
    ]
    header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
    pairs = [row.split("\t")[:2] for row in rows]
    positives = collections.Counter(query for query, _ in pairs)
    needed = {document for query, document in pairs if positives[query] == 1}
    asked = dict.fromkeys(query for query, _ in pairs)
    missing: dict[str, set[str]] = {}
    for name in ("corpus", "queries"):
        lines = (data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        names = [json.loads(line)["_id"] for line in lines]
        able = [name for name in names if name not in needed] if name == "corpus" else list(asked)
        count = 0 if whole else round(len(names if name == "corpus" else able) * LEFT_OUT)
        missing[name] = {able[len(able) * number // count] for number in range(count)}
        kept = [line for line, name_of in zip(lines, names, strict=True) if name_of not in missing[name]]
        (target / f"{name}.jsonl").write_text("".join(kept), encoding="utf-8")
    left = [
        row
        for row, (query, document) in zip(rows, pairs, strict=True)
        if query not in missing["queries"] and document not in missing["corpus"]
    ]
    (target / "qrels" / "train.tsv").write_text(header + "".join(left), encoding="utf-8")


def shell(folder: pathlib.Path, command: str) -> tuple[float, str]:
    """Seconds that a command takes, and what it says."""
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(folder)}
    started = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return time.monotonic() - started, done.stdout + done.stderr


def triplets(folder: pathlib.Path) -> pa.Table:
    """All triplets."""
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("*.parquet")))


def compared(one: pa.Table, other: pa.Table) -> dict[str, Any]:
    """Whether two sets of triplets have the same rows in the same order, and how far their floats are apart."""
    floats = [field.name for field in one.schema if pa.types.is_floating(field.type)]
    if not one.drop_columns(floats).equals(other.drop_columns(floats)):
        return {"rows_equal": False}
    apart = (np.abs(one[name].to_numpy() - other[name].to_numpy()) for name in floats)
    return {"rows_equal": True, "floats_apart": float(f"{max(map(np.nanmax, apart)):.2g}")}


def measure(data: pathlib.Path, work: pathlib.Path, max_length: int | None, depth: int | None) -> dict[str, Any]:
    """All runs."""
    source = work / "source"
    write_source(data, source, whole=False)
    project(work, source, max_length, depth)
    shell(work, "git init -q . && git config user.email a@b.c && git config user.name n && dvc init -q && git add -A")
    runs: dict[str, Any] = {}

    def run(name: str, command: str) -> None:
        seconds, said = shell(work, command)
        stages = {
            stage: float(took) for stage, took in re.findall(r"^([\w@]+): .*\(([0-9.]+) s\)$", said, re.MULTILINE)
        }
        runs[name] = {"seconds": round(seconds, 1), "stages": stages}
        print(name, round(seconds, 1), file=sys.stderr, flush=True)

    run("first", "dvc repro")
    run("nothing", "dvc repro")
    params = work / "params.yaml"
    params.write_text(params.read_text().replace("max_false_negatives: 0.02", "max_false_negatives: 0.03"))
    run("filter", "dvc repro")
    shutil.copytree(work / "data", work / "other")
    write_source(data, source, whole=True)
    run("one_percent_new", "dvc repro")
    run("one_percent_new_in_one_process", "gangue mine --data other --reports other_reports")
    run("full_run", "gangue mine --data full --reports full_reports")
    found = {name: triplets(work / name / "triplets") for name in ("data", "other", "full")}
    same = {name: compared(found[name], found["full"]) for name in ("data", "other")}
    first = runs["first"]["seconds"]
    alone = runs["full_run"]["seconds"]
    shares = {
        "nothing": runs["nothing"]["seconds"] / first,
        "filter": runs["filter"]["seconds"] / first,
        "one_percent_new": runs["one_percent_new"]["seconds"] / first,
        "one_percent_new_in_one_process": runs["one_percent_new_in_one_process"]["seconds"] / alone,
    }
    return {
        "runs": runs,
        "share": {name: round(share, 3) for name, share in shares.items()},
        "against_a_full_run": {"dvc repro": same["data"], "gangue mine": same["other"]},
    }


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="BEIR folder")
    parser.add_argument("--max-length", type=int, help="tokens of a text that are embedded, where not the default's")
    parser.add_argument("--work", type=pathlib.Path, help="keep the clone here")
    parser.add_argument("--output", help="NAME: also write benchmarks/results/changes_NAME.json")
    parser.add_argument("--cross-encoder", type=int, metavar="DEPTH", help="score the pairs ranked so high as well")
    arguments = parser.parse_args()
    work = arguments.work or pathlib.Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    result = {"data": arguments.data.name, "max_length": arguments.max_length, "depth": arguments.cross_encoder}
    result |= measure(arguments.data, work, arguments.max_length, arguments.cross_encoder)
    print(json.dumps(result, indent=1))
    if arguments.output:
        (RESULTS / f"changes_{arguments.output}.json").write_text(json.dumps(result, indent=1) + "\n")
    if arguments.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
