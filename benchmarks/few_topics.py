"""A BEIR folder of few, large topics, made of one whose queries ask for whole classes.

Usage: python -m benchmarks.few_topics --data FOLDER --write FOLDER [--topics 15] [--classes 4] [--documents 900]
           [--queries 300] [--seed 0]

Queries with the same positives are a class, and so many classes are a topic: each document of a topic is a positive of
each of its queries, however unlike they are. So one document in as many as there are topics is a positive whatever it
looks like, and what looks least relevant is not surely irrelevant: a case in which no filter can keep a small budget,
to see that it is refused (``python -m benchmarks.budget --data FOLDER --known one --labelled bm25 --labels 200``).
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import sys

import numpy as np

from benchmarks import beir
from benchmarks import frontier as lines


def write(folder: pathlib.Path, target: pathlib.Path, asked: argparse.Namespace) -> None:
    """Write the folder.

    Raises:
      ValueError: there are too few classes.
    """
    classes = collections.defaultdict[frozenset[str], list[str]](list)
    for split in lines.SPLITS:
        if (folder / "qrels" / f"{split}.tsv").exists():
            positives = collections.defaultdict[str, set[str]](set)
            for query, document in beir.read(folder, split).pairs:
                positives[query].add(document)
            for query, found in positives.items():
                classes[frozenset(found)].append(query)
    order = sorted(classes, key=min)
    wanted = asked.topics * asked.classes
    if len(order) < wanted:
        raise ValueError(
            f"{folder}: must have {wanted} classes of queries, has {len(order)}. Lower --topics or --classes"
        )
    draw = np.random.default_rng(asked.seed)
    chosen = [order[place] for place in draw.permutation(len(order))[:wanted]]

    def some(of: list[str], count: int) -> list[str]:
        return [of[place] for place in draw.permutation(len(of))[: count // wanted]]

    topics = [chosen[topic * asked.classes : (topic + 1) * asked.classes] for topic in range(asked.topics)]
    documents = [[d for one in topic for d in some(sorted(one), asked.documents)] for topic in topics]
    queries = [[q for one in topic for q in some(classes[one], asked.queries)] for topic in topics]

    def records(name: str, kept: list[list[str]]) -> list[dict[str, str]]:
        texts = {record["_id"]: record for record in beir.records(folder / f"{name}.jsonl")}
        return [texts[one] for topic in kept for one in topic]

    pairs = [(q, d) for qs, ds in zip(queries, documents, strict=True) for q in qs for d in ds]
    beir.write(target, records("corpus", documents), records("queries", queries), pairs)


def main() -> int:
    """Write it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.few_topics",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, type=pathlib.Path, help="BEIR folder")
    parser.add_argument("--write", required=True, type=pathlib.Path, help="where the folder is written")
    parser.add_argument("--topics", type=int, default=15, help="topics")
    parser.add_argument("--classes", type=int, default=4, help="classes of each")
    parser.add_argument("--documents", type=int, default=900, help="documents, about")
    parser.add_argument("--queries", type=int, default=300, help="queries, about")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    asked = parser.parse_args()
    write(asked.data, asked.write, asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
