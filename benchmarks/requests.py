"""How many requests each stage sends to an object store, as shards of documents and of queries become more.

Usage: python -m benchmarks.requests [--output]

An S3 server on this machine (moto) counts; the corpus is that of benchmarks.growth, 4,000 documents and 400 queries in
other numbers of shards. Every stage runs as a command of its own, so what it must ask for once is in every figure. One
JSON object: for each (documents' shards x queries' shards) and stage, requests by method.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import fsspec

from benchmarks import growth
from benchmarks.candidates import GANGUE
from gangue.pipeline import params

SHARDS = ((4, 4), (8, 4), (4, 8), (8, 8))
DOCUMENTS, QUERIES = 4000, 400
_REQUEST = re.compile(r'"(GET|PUT|POST|HEAD|DELETE) ')


@contextlib.contextmanager
def server(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """An S3 server with the bucket ``gangue``; the file to which it writes a line for each request."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    log = folder / "requests.log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with open(log, "w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            while True:
                with socket.socket() as asked:
                    if not asked.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
            fsspec.filesystem("s3", use_listings_cache=False).mkdir("gangue")
            yield log
        finally:
            process.kill()


def main() -> None:
    """Run every stage at every number of shards, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", action="store_true", help="also write benchmarks/results/requests.json")
    asked = parser.parse_args()
    result: dict[str, dict[str, dict[str, int]]] = {}
    with tempfile.TemporaryDirectory() as name, server(pathlib.Path(name)) as log:
        work = pathlib.Path(name)
        growth.write(work / "source", DOCUMENTS, QUERIES)
        growth.write_model(work / "model")
        for documents, queries in SHARDS:
            settings = growth.job(work, DOCUMENTS)
            settings["ingest"] = {
                "documents_per_shard": DOCUMENTS // documents,
                "queries_per_shard": QUERIES // queries,
            }
            params.parse(settings)
            (work / "params.yaml").write_text(json.dumps(settings))
            there = f"s3://gangue/{documents}x{queries}"
            places = ["--params", str(work / "params.yaml"), "--data", there]
            found = result[f"{documents} x {queries}"] = {}
            for stage in growth.STAGES:
                before = log.stat().st_size
                reports = ["--reports", f"{there}/reports"] if stage == "audit" else []
                subprocess.run([GANGUE, *stage.split(), *places, *reports], check=True, stderr=subprocess.DEVNULL)
                with open(log) as file:
                    file.seek(before)
                    found[stage] = dict(sorted(collections.Counter(_REQUEST.findall(file.read())).items()))
                print(there, stage, found[stage], file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))
    if asked.output:
        (growth.RESULTS / "requests.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
