"""A BEIR folder in plain Python: for the side that has no reader of its own, and for the comparison."""

from __future__ import annotations

import collections
import csv
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The texts of one split.

    Attributes:
      documents: document id -> title and text as one string; empty ones are left out.
      queries: query id -> text, of queries that have a positive.
      pairs: (query id, document id) of every positive.
    """

    documents: dict[str, str]
    queries: dict[str, str]
    pairs: list[tuple[str, str]]

    @property
    def most_positives(self) -> int:
        """Positives of the query text that has most."""
        return max(collections.Counter(self.queries[query] for query, _ in self.pairs).values())


def read(folder: pathlib.Path, split: str) -> Corpus:
    """Read ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/SPLIT.tsv``; grades from 1 are positive.

    Raises:
      FileNotFoundError: a file is missing.   ValueError: no judgement names a known query and document.
    """
    documents = {}
    for record in records(folder / "corpus.jsonl"):
        text = f"{record.get('title') or ''} {record.get('text') or ''}".strip()
        if text:
            documents[record["_id"]] = text
    texts = {record["_id"]: record["text"] for record in records(folder / "queries.jsonl")}
    with _existing(folder / "qrels" / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        judged = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    pairs = [(q, d) for q, d, grade in judged if float(grade) >= 1 and q in texts and d in documents]
    if not pairs:
        raise ValueError(f"{folder}/qrels/{split}.tsv: must judge a known query and document, none does. Check --split")
    asked = {query for query, _ in pairs}
    return Corpus(documents, {query: texts[query] for query in texts if query in asked}, list(dict.fromkeys(pairs)))


def records(path: pathlib.Path) -> list[dict[str, str]]:
    """The lines of a JSONL file."""
    with _existing(path).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(
    folder: pathlib.Path,
    documents: Iterable[Mapping[str, str]],
    queries: Iterable[Mapping[str, str]],
    pairs: Iterable[tuple[str, str]],
) -> None:
    """Write a folder of these records and of positives, (query id, document id), of the split ``test``."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, found in (("corpus", documents), ("queries", queries)):
        rows = (json.dumps(record, ensure_ascii=False) + "\n" for record in found)
        (folder / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    judged = "".join(f"{query}\t{document}\t1\n" for query, document in pairs)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")


def _existing(path: pathlib.Path) -> pathlib.Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: a BEIR folder must have this file, found none. Correct --data or --split")
    return path
