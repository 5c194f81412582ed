"""Documents, queries and positives that have ids, in Parquet, JSON Lines or CSV files; grades of 0 are judged pairs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from gangue.transforms.sources import files, references
from gangue.transforms.sources.blocks import Record
from gangue.transforms.sources.files import File
from gangue.transforms.sources.row import Kind
from gangue.transforms.sources.rows import Reading
from gangue.transforms.sources.source import SourceSection
from gangue.transforms.sources.values import as_answers, as_grade, as_id, as_string, as_text


class Tables(SourceSection):
    """Documents, queries and positives that have ids, one file each under ``path``."""

    files: ClassVar[tuple[str, ...]] = ("documents", "queries", "positives")

    kind: Literal["tables"]
    path: str
    documents: str
    queries: str
    positives: str
    document_id: str = "document_id"
    document_text: str = "text"
    document_title: str | None = None
    query_id: str = "query_id"
    query_text: str = "text"
    answers: str | None = None  # column of the queries: a string, or a list of strings
    positive_query_id: str = "query_id"
    positive_document_id: str = "document_id"
    grade: str | None = None

    def readings(self) -> list[Reading]:
        """The three tables.

        Raises:
          FileNotFoundError: a file is missing.   ValueError: its name does not say what format it has.
        """
        root = files.folder(self.path)
        documents = files.find(root, self.documents, "documents")
        queries = files.find(root, self.queries, "queries")
        positives = files.find(root, self.positives, "positives")
        document = _columns(self, "document_id", "document_text", "document_title")
        query = _columns(self, "query_id", "query_text", "answers")
        positive = _columns(self, "positive_query_id", "positive_document_id", "grade")
        if self.answers is not None:
            references.check_answers(queries, self.answers)
        return [
            *(Reading(file, document, functools.partial(_document, file, self)) for file in documents),
            *(Reading(file, query, functools.partial(_query, file, self)) for file in queries),
            *(Reading(file, positive, functools.partial(_positive, file, self)) for file in positives),
        ]


_KINDS: dict[str, Kind] = {"answers": "texts", "grade": "grade"}  # of keys of the params that name no id and no text


def _columns(source: Tables, *keys: str) -> dict[str, Kind]:
    named = {key: getattr(source, key) for key in keys}
    return {
        column: _KINDS.get(key, "id" if key.endswith("_id") else "text")
        for key, column in named.items()
        if column is not None
    }


def _document(file: File, source: Tables, values: Sequence[Any], line: int) -> list[Record]:
    identifier = as_id(values[0], source.document_id)
    title = "" if len(values) < 3 or values[2] is None else as_string(values[2], str(source.document_title))
    body = (as_string if title.strip() else as_text)(values[1], source.document_text)
    return [Record("documents", (identifier, title, body, file.origin, line))]


def _query(file: File, source: Tables, values: Sequence[Any], line: int) -> list[Record]:
    identifier, words = as_id(values[0], source.query_id), as_text(values[1], source.query_text)
    answers = as_answers(values[2], str(source.answers)) if len(values) > 2 else []
    return [Record("queries", (identifier, words, answers, file.origin, line))]


def _positive(file: File, source: Tables, values: Sequence[Any], line: int) -> list[Record]:
    query_id = as_id(values[0], source.positive_query_id)
    document_id = as_id(values[1], source.positive_document_id)
    written = file.format in (".csv", ".tsv")
    grade = as_grade(values[2], str(source.grade), written=written) if len(values) > 2 else 1.0
    if grade <= 0:
        return [Record("judged", (query_id, document_id, grade, "grade", file.origin, line))]
    return [Record("positives", (query_id, document_id, grade, file.origin, line))]
