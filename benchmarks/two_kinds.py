"""A BEIR folder made of two: queries of two kinds, such as questions with one answer and names of whole classes.

Usage: python -m benchmarks.two_kinds --data FOLDER FOLDER --write FOLDER [--queries 300] [--documents 5000] [--seed 0]

Of each folder so many queries, and so many documents: their positives first. Identifiers begin with the folder's
number. Where every query has one label, whether it has one positive or a hundred, the labels that stand highest are
those of queries with one, and say nothing of the others: a case in which a labelled share that is read off the top of
all is far too high (``python -m benchmarks.budget --data FOLDER --known one``).
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks import beir
from benchmarks import frontier as lines


def write(folders: Sequence[pathlib.Path], target: pathlib.Path, queries: int, documents: int, seed: int) -> None:
    """Write the folder."""
    draw = np.random.default_rng(seed)
    records: dict[str, list[dict[str, str]]] = {"corpus": [], "queries": []}
    pairs: list[tuple[str, str]] = []
    for number, folder in enumerate(folders):
        positives = lines.positives_of(folder)
        able = sorted(query for query, found in positives.items() if found)
        asked = [able[place] for place in sorted(draw.permutation(len(able))[:queries])]
        answers = sorted({document for query in asked for document in positives[query]})
        rest = sorted({record["_id"] for record in beir.records(folder / "corpus.jsonl")}.difference(answers))
        more = [rest[place] for place in draw.permutation(len(rest))[: max(0, documents - len(answers))]]
        for name, kept in (("corpus", [*answers, *more]), ("queries", asked)):
            wanted = set(kept)
            found = (record for record in beir.records(folder / f"{name}.jsonl") if record["_id"] in wanted)
            records[name] += [{**record, "_id": f"{number}-{record['_id']}"} for record in found]
        pairs += [(f"{number}-{query}", f"{number}-{one}") for query in asked for one in sorted(positives[query])]
    beir.write(target, records["corpus"], records["queries"], pairs)


def main() -> int:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, nargs="+", type=pathlib.Path, help="BEIR folders")
    parser.add_argument("--write", required=True, type=pathlib.Path, help="the BEIR folder to make")
    parser.add_argument("--queries", type=int, default=300, help="of each")
    parser.add_argument("--documents", type=int, default=5000, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    write(asked.data, asked.write, asked.queries, asked.documents, asked.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
