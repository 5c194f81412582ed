"""Documents, queries and positives that have ids, in Parquet, JSON Lines or CSV files; grades of 0 are judged pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal

from gangue.transforms.sources import files, rows
from gangue.transforms.sources.blocks import Record
from gangue.transforms.sources.files import File
from gangue.transforms.sources.row import Kind
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

    def records(self) -> Iterator[Record]:
        """Records of the three tables.

        Raises:
          FileNotFoundError: a file is missing.   ValueError: a file is not what its name says, or lacks a column.
        """
        root = files.folder(self.path)
        documents = files.find(root, self.documents, "documents")
        queries = files.find(root, self.queries, "queries")
        positives = files.find(root, self.positives, "positives")
        for file in documents:
            yield from _documents(file, self)
        for file in queries:
            yield from _queries(file, self)
        for file in positives:
            yield from _positives(file, self)


def _documents(file: File, source: Tables) -> Iterator[Record]:
    def parse(values: Sequence[Any], line: int) -> Iterable[Record]:
        identifier = as_id(values[0], source.document_id)
        title = "" if len(values) < 3 or values[2] is None else as_string(values[2], str(source.document_title))
        body = (as_string if title.strip() else as_text)(values[1], source.document_text)
        return [Record("documents", (identifier, title, body, file.origin, line))]

    columns: dict[str, Kind] = {source.document_id: "id", source.document_text: "text"}
    if source.document_title is not None:
        columns[source.document_title] = "text"
    return rows.records(file, columns, parse)


def _queries(file: File, source: Tables) -> Iterator[Record]:
    def parse(values: Sequence[Any], line: int) -> Iterable[Record]:
        identifier, words = as_id(values[0], source.query_id), as_text(values[1], source.query_text)
        answers = as_answers(values[2], str(source.answers)) if len(values) > 2 else []
        return [Record("queries", (identifier, words, answers, file.origin, line))]

    columns: dict[str, Kind] = {source.query_id: "id", source.query_text: "text"}
    if source.answers is not None:
        columns[source.answers] = "texts"
    return rows.records(file, columns, parse)


def _positives(file: File, source: Tables) -> Iterator[Record]:
    written = file.format in (".csv", ".tsv")

    def parse(values: Sequence[Any], line: int) -> Iterable[Record]:
        query_id = as_id(values[0], source.positive_query_id)
        document_id = as_id(values[1], source.positive_document_id)
        grade = as_grade(values[2], str(source.grade), written=written) if len(values) > 2 else 1.0
        if grade <= 0:
            return [Record("judged", (query_id, document_id, grade, "grade", file.origin, line))]
        return [Record("positives", (query_id, document_id, grade, file.origin, line))]

    columns: dict[str, Kind] = {source.positive_query_id: "id", source.positive_document_id: "id"}
    if source.grade is not None:
        columns[source.grade] = "grade"
    return rows.records(file, columns, parse)
