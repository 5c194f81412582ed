"""A folder as BEIR lays it out: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv``."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from upath import UPath

from gangue.transforms.sources import files, lines
from gangue.transforms.sources.blocks import Record, rejected
from gangue.transforms.sources.files import File
from gangue.transforms.sources.row import Kind
from gangue.transforms.sources.rows import Reading
from gangue.transforms.sources.source import SourceSection
from gangue.transforms.sources.values import Fault, as_answers, as_grade, as_id, as_string, as_text

_JUDGED_ZERO = ".judged_zero"  # pairs that were judged and found not relevant, beside the split of that name
_SOURCE_DOCS = "source_docs"  # the papers that queries were written from: neither positive nor safe negative


class Beir(SourceSection):
    """A folder with ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/SPLIT.tsv``."""

    without_positive: ClassVar[str] = "no positive in splits"

    kind: Literal["beir"]
    path: str
    splits: tuple[str, ...] = ("train",)
    min_grade: float = 1.0
    answers: str | None = None  # field of queries.jsonl

    def readings(self) -> list[Reading]:
        """Documents and queries.

        Raises:
          FileNotFoundError: a file is missing, also one of the splits.
        """
        root = files.folder(self.path)
        corpus, queries = (_file(root, name) for name in ("corpus.jsonl", "queries.jsonl"))
        self._qrels(root)  # a split that is missing is told before anything is read
        asked: dict[str, Kind] = {"_id": "id", "text": "text"}
        if self.answers is not None:
            asked[self.answers] = "texts"
        document = functools.partial(_document, corpus.origin)
        query = functools.partial(_query, queries.origin, self.answers)
        return [
            Reading(corpus, {"_id": "id", "title": "text", "text": "text"}, document, ("title",)),
            Reading(queries, asked, query),
        ]

    def records(self) -> Iterator[Record]:
        """The positives of the chosen splits, and what was judged to be none.

        Raises:
          FileNotFoundError: a file is missing.   ValueError: a file is not what its name says, or is no split.
        """
        for file in self._qrels(files.folder(self.path)):
            yield from _judgements(file, self.min_grade)

    def _qrels(self, root: Path | UPath) -> list[File]:
        """The files of the chosen splits, those of what was judged to be none at the end."""
        judged, splits = _splits(root), list(dict.fromkeys(self.splits))
        zero = [judged[name] for split in splits if (name := f"{split}{_JUDGED_ZERO}") in judged]
        return [*(_split(root, split, judged) for split in splits), *zero]


def _document(origin: str, values: Sequence[Any], line: int) -> Iterable[Record]:
    identifier, title, body = values
    identifier = as_id(identifier, "_id")
    title = "" if title is None else as_string(title, "title")
    # Title and text are read as one: a document is empty when both are.
    body = as_string(body, "text") if title.strip() else as_text(body, "text")
    return [Record("documents", (identifier, title, body, origin, line))]


def _query(origin: str, answered: str | None, values: Sequence[Any], line: int) -> Iterable[Record]:
    identifier, words, *given = values
    answers = as_answers(given[0], str(answered)) if given else []
    return [Record("queries", (as_id(identifier, "_id"), as_text(words, "text"), answers, origin, line))]


def _file(root: Path | UPath, name: str) -> File:
    for ending in ("", *files.CODECS):
        if (root / f"{name}{ending}").is_file():
            return File(root / f"{name}{ending}", f"{name}{ending}")
    raise FileNotFoundError(f"{root / name}: a BEIR folder must have this file, found none. Correct source.path")


def _splits(root: Path | UPath) -> dict[str, File]:
    """The files of judgements, compressed or not, by their names."""
    judged = (File(path, files.origin(path, root)) for path in files.readable(root / "qrels"))
    return {files.split(file.path)[0]: file for file in judged if file.format == ".tsv"}


def _split(root: Path | UPath, split: str, judged: dict[str, File]) -> File:
    splits = [name for name in judged if not name.endswith(_JUDGED_ZERO) and name != _SOURCE_DOCS]
    if split not in splits:
        raise FileNotFoundError(
            f"source.splits: {split} must be a split of {root / 'qrels'}, found"
            f" {', '.join(splits) or 'none'}. Choose among those"
        )
    return judged[split]


def _judgements(file: File, min_grade: float) -> Iterator[Record]:
    """Positives of one split, and what was judged to be none; grades between are neither (``candidates.otherwise``).

    The header is optional: the third field of a judgement is a number.
    """
    good, bad = 0, ""
    for number, line, whole in lines.numbered(file):
        if not line.strip():
            continue
        raw = line.decode(errors="surrogateescape").rstrip("\r\n")
        fields = raw.split("\t")
        if number == 1 and len(fields) == 3 and not _is_number(fields[2]):
            continue
        try:
            if not whole:
                raise Fault(f"longer than {lines.LINE_BYTES} bytes")
            if len(fields) != 3:
                raise Fault("not three fields: query, document, grade")
            query_id, document_id = as_id(fields[0], "query-id"), as_id(fields[1], "corpus-id")
            grade = as_grade(fields[2], "score", written=True)
        except Fault as fault:
            bad = bad or f"line {number}: {fault}"
            yield rejected(file.origin, number, str(fault), raw)
            continue
        good += 1
        if grade < min_grade:
            yield Record("judged", (query_id, document_id, grade, "grade", file.origin, number))
        else:
            yield Record("positives", (query_id, document_id, grade, file.origin, number))
    if bad and not good:
        raise ValueError(
            f"{file.path}: must have lines of query, document and grade with tabs between, but none is one,"
            f" first: {bad}. Convert it"
        )


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
