"""What is in the datasets of a job: a digest of the rows of each, to hold against another version of the code.

Usage: python -m benchmarks.digest [--data DIR] [--against FILE]

Prints one JSON object, dataset -> digest of its shards' names, columns, types and values, bit for bit; not of how the
files are called or compressed, nor of metadata (the recipe is there). With ``--against`` a file that such a run wrote,
it names the datasets that differ and exits with 1. Floats are equal on one machine and number of threads only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

import pyarrow as pa

from gangue.transforms.datasets.storage import Data

FIXED = ("documents", "queries", "positives", "judged", "rejected", "pairs", "verdicts", "negatives", "shortfalls")
"""Datasets of every job; further ones lie under the folders of ``NAMED``."""
NAMED = ("vectors/*/documents", "vectors/*/queries", "clusters/*/documents", "candidates/*", "scores/*", "views/*")


def of_table(table: pa.Table) -> bytes:
    """16 bytes that change with any name, type or value of a table, and with nothing else.

    >>> chunked = pa.table({"a": pa.chunked_array([[1, None], [3]])})
    >>> of_table(chunked) == of_table(chunked.combine_chunks().replace_schema_metadata({"recipe": "other"}))
    True
    >>> of_table(chunked) == of_table(pa.table({"a": [1, 2, 3]}))
    False
    """
    whole = table.replace_schema_metadata(None).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        writer.write_table(whole)
    return hashlib.blake2b(sink.getvalue(), digest_size=16).digest()


def of_dataset(data: Data, dataset: str) -> str:
    """16 hex digits of a dataset's shards: their names and what is in them."""
    digest = hashlib.blake2b(digest_size=8)
    for shard in data.shards(dataset):
        digest.update(shard.encode() + of_table(data.read(dataset, shard)))
    return digest.hexdigest()


def of_job(data: Data) -> dict[str, str]:
    """Dataset -> digest, for all that a job wrote."""
    root = pathlib.Path(data.root)
    found = [path.relative_to(root).as_posix() for pattern in NAMED for path in root.glob(pattern)]
    every = [*FIXED, "triplets", *sorted(found)]
    return {dataset: of_dataset(data, dataset) for dataset in every if data.exists(dataset)}


def differing(found: Mapping[str, str], earlier: Mapping[str, str]) -> list[str]:
    """Datasets whose digests differ, or that only one of the two has.

    >>> differing({"pairs": "1", "views/triplet": "2"}, {"pairs": "3", "scores/minilm": "4"})
    ['pairs', 'scores/minilm', 'views/triplet']
    """
    return sorted(name for name in {*found, *earlier} if found.get(name) != earlier.get(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the digests; 1 where they are not those of ``--against``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digest", description=__doc__)
    parser.add_argument("--data", default="data", help="root of the datasets, a local folder")
    parser.add_argument("--against", type=pathlib.Path, help="what an earlier run printed")
    own = parser.parse_args(arguments)
    found = of_job(Data(own.data))
    print(json.dumps(found, indent=1))
    if own.against is None:
        return 0
    wrong = differing(found, json.loads(own.against.read_text(encoding="utf-8")))
    print(f"other rows: {', '.join(wrong)}" if wrong else f"the same rows as {own.against}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
