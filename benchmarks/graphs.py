"""A knowledge graph as a BEIR folder: corpora that the pretrained filter was never fitted on, nor on their like.

Usage: python -m benchmarks.graphs --data FOLDER --write FOLDER

From WN18RR (``entities.jsonl`` with id, name and description, ``train.tsv``, ``valid.tsv`` and ``test.tsv`` of head,
relation and tail): documents are entities, queries "kinds of", "parts of", "members of" and "terms of" an entity. From
ATOMIC 2020 (``triples.tsv`` of texts): documents are tails, queries a head under its relation. Positives are all that
the graph joins. Queries with at least three positives (ATOMIC: two) and at most 200, 2,500 of them drawn at random.
WordNet's labels are nearly complete; what people wrote for ATOMIC is a fraction of what they might have.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
from collections.abc import Sequence

import numpy as np

QUERIES, MOST, SEED = 2500, 200, 0
WORDNET = {  # relation -> how a query asks for it, and on which side of a triple its positives are
    "_hypernym": ("kinds of", 0),
    "_instance_hypernym": ("kinds of", 0),
    "_has_part": ("parts of", 2),
    "_member_meronym": ("members of", 2),
    "_synset_domain_topic_of": ("terms of", 0),
}
ATOMIC = {
    "xNeed": "what PersonX needs before",
    "xWant": "what PersonX wants then",
    "xEffect": "what happens to PersonX",
    "xAttr": "what PersonX is like",
    "xReact": "how PersonX feels",
    "xIntent": "why PersonX does it",
    "oEffect": "what happens to others",
    "oWant": "what others want then",
    "oReact": "how others feel",
    "isAfter": "happens after",
    "isBefore": "happens before",
    "isFilledBy": "what fills the blank",
    "HinderedBy": "what hinders",
    "ObjectUse": "used for",
}
Graph = tuple[dict[str, str], dict[str, set[str]]]


def wordnet(folder: pathlib.Path) -> Graph:
    """Text of each entity, and query -> the entities that answer it."""
    with open(folder / "entities.jsonl", encoding="utf-8") as file:
        entities = {each["id"]: f"{each['name']}: {each['description']}" for each in map(json.loads, file)}
    positives = collections.defaultdict(set)
    for split in ("train", "valid", "test"):
        for triple in _lines(folder / f"{split}.tsv"):
            asks, side = WORDNET.get(triple[1], (None, 0))
            if asks is not None:
                positives[f"{asks} {entities[triple[2 - side]]}"].add(triple[side])
    return entities, {query: found for query, found in positives.items() if len(found) > 2}


def atomic(folder: pathlib.Path) -> Graph:
    """Text of each tail, tails that read alike being one, and query -> the tails that answer it."""
    tails: dict[str, tuple[str, str]] = {}
    positives = collections.defaultdict(set)
    for head, relation, tail in _lines(folder / "triples.tsv"):
        if relation in ATOMIC:
            text = " ".join(tail.split())
            name, _ = tails.setdefault(text.lower(), (f"d{len(tails)}", text))
            positives[f"{ATOMIC[relation]}: {head}"].add(name)
    return dict(tails.values()), {query: found for query, found in positives.items() if len(found) > 1}


def _lines(path: pathlib.Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.count("\t") == 2]


def write(folder: pathlib.Path, graph: Graph) -> int:
    """Write the BEIR folder; returns its number of queries."""
    documents, positives = graph
    able = sorted(query for query, found in positives.items() if len(found) <= MOST)
    chosen = [able[i] for i in np.random.default_rng(SEED).permutation(len(able))[:QUERIES]]
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", documents), ("queries", {f"q{i}": query for i, query in enumerate(chosen)})):
        rows = [json.dumps({"_id": each, "text": text}) + "\n" for each, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    judged = [f"q{i}\t{each}\t1\n" for i, query in enumerate(chosen) for each in sorted(positives[query])]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged), encoding="utf-8")
    return len(chosen)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, write, say how much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path, help="WN18RR's or ATOMIC's folder")
    parser.add_argument("--write", required=True, type=pathlib.Path, help="the BEIR folder to make")
    asked = parser.parse_args(arguments)
    graph = atomic(asked.data) if (asked.data / "triples.tsv").exists() else wordnet(asked.data)
    print(f"{len(graph[0])} documents, {write(asked.write, graph)} queries")


if __name__ == "__main__":
    main()
