"""A file of (anchor, positive) rows, as sentence-transformers trains on, and optionally more documents.

What the rows call negatives are judged pairs, and documents too.
"""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from gangue.transforms.sources import files, notes, references
from gangue.transforms.sources.blocks import Record, content_ids, rejected
from gangue.transforms.sources.files import File
from gangue.transforms.sources.row import Kind
from gangue.transforms.sources.rows import Reading
from gangue.transforms.sources.source import SourceSection
from gangue.transforms.sources.values import Fault, as_answers, as_id, as_string, as_text

_AT_ONCE = 4096  # records whose ids are hashed together


class Pairs(SourceSection):
    """A file of (anchor, positive) rows under ``path``, and optionally a file of further documents."""

    files: ClassVar[tuple[str, ...]] = ("pairs", "corpus")

    kind: Literal["pairs"]
    path: str
    pairs: str
    anchor: str = "anchor"
    positive: str = "positive"
    anchor_id: str | None = None
    positive_id: str | None = None
    answers: str | None = None
    negatives: tuple[str, ...] = ("neg", "negative", "negatives", "negative_passages")  # numbered ones too
    corpus: str | None = None
    text: str = "text"  # column of the corpus file
    title: str | None = None  # column of the corpus file
    document_id: str | None = None  # column of the corpus file

    @model_validator(mode="after")
    def _each_column_once(self) -> Pairs:
        of_pairs = [self.anchor, self.positive, self.anchor_id, self.answers]
        if self.positive_id != self.positive:  # which may be ids of the corpus
            of_pairs.append(self.positive_id)
        if "negatives" in self.model_fields_set:
            of_pairs += self.negatives
        for named in (of_pairs, [self.text, self.document_id, self.title]):
            for column, times in collections.Counter(named).items():
                if column is not None and times > 1:
                    raise ValueError(f"must name each column of a file once, but {column} comes twice")
        return self

    def readings(self) -> list[Reading]:
        """A query for each anchor, a document for each positive, and the documents of the corpus file.

        Positives that are ids of the corpus, not texts, stand for its documents. Records without an id get one made of
        their text, so an anchor on several rows is one query.

        Raises:
          FileNotFoundError: a file is missing.   ValueError: a file is not what its name says, or lacks a column.
        """
        root = files.folder(self.path)
        pairs = files.find(root, self.pairs, "pairs")
        corpus = files.find(root, self.corpus, "corpus") if self.corpus is not None else []
        key = references.id_column(pairs, corpus, self, notes.note)
        if key is None and self.positive_id == self.positive:
            raise ValueError(
                f"source.positive_id: {self.positive} must hold ids of the corpus, and holds texts. Name the column of"
                " ids, or none"
            )
        read = [name for name in (self.text, self.title, key or self.document_id) if name is not None]
        if corpus:
            references.note_unread(corpus[0], references.columns_of(corpus, read), read, notes.note)
        negatives = references.negative_columns(pairs, self, notes.note, by_id=key is not None)
        return [
            *(_documents(file, self, key or self.document_id) for file in corpus),
            *(_pairs(file, self, negatives, by_id=key is not None) for file in pairs),
        ]


def _documents(file: File, source: Pairs, key: str | None) -> Reading:
    columns: dict[str, Kind] = {source.text: "text"}
    if key is not None:
        columns[key] = "id"
    if source.title is not None:
        columns[source.title] = "text"
    parse = functools.partial(_document, file.origin, source, key, tuple(columns))
    return Reading(file, columns, parse, finish=_with_ids)


def _document(
    origin: str, source: Pairs, key: str | None, names: tuple[str, ...], values: Sequence[Any], line: int
) -> Iterable[Record]:
    row = dict(zip(names, values, strict=True))
    told = None if source.title is None else row[source.title]
    title = "" if told is None else as_string(told, str(source.title))
    body = (as_string if title.strip() else as_text)(row[source.text], source.text)
    return [Record("documents", (None if key is None else as_id(row[key], key), title, body, origin, line))]


def _pairs(file: File, source: Pairs, negatives: tuple[str, ...], *, by_id: bool) -> Reading:
    columns: dict[str, Kind] = {source.anchor: "text", source.positive: "ids" if by_id else "passages"}
    if source.anchor_id is not None:
        columns[source.anchor_id] = "id"
    if source.positive_id is not None and not by_id:
        columns[source.positive_id] = "ids"
    if source.answers is not None:
        columns[source.answers] = "texts"
    columns |= dict.fromkeys(negatives, "any" if by_id else "passages")
    parse = functools.partial(_pair, file.origin, source, tuple(columns), negatives, by_id)
    return Reading(file, columns, parse, negatives, _with_ids)


def _pair(
    origin: str,
    source: Pairs,
    names: tuple[str, ...],
    negatives: tuple[str, ...],
    by_id: bool,
    values: Sequence[Any],
    line: int,
) -> Iterable[Record]:
    row = dict(zip(names, values, strict=True))
    anchor = as_text(row[source.anchor], source.anchor)
    query_id = None if source.anchor_id is None else as_id(row[source.anchor_id], source.anchor_id)
    answers = [] if source.answers is None else as_answers(row[source.answers], source.answers)
    found: list[Record] = []
    faults: list[Record] = []
    for body, identifier in _references(row, source) if by_id else _positives(row, source):
        try:
            if by_id:
                pair = (query_id, anchor), (as_id(identifier, source.positive), "")
                found.append(Record("positives", (*pair, 1.0, origin, line)))
                continue
            title, words, named = _passage(body, source.positive, source)
            if source.positive_id is not None:
                named = as_id(named if identifier is None else identifier, source.positive_id)
            document = (named, title, words, origin, line)
        except Fault as fault:
            faults.append(rejected(origin, line, str(fault), f"{anchor}\t{identifier if by_id else body}"))
            continue
        found.append(Record("documents", document))
        # The texts stand in for ids that are still to be made.
        found.append(Record("positives", ((query_id, anchor), (named, _whole(title, words)), 1.0, origin, line)))
    if found:
        found.append(Record("queries", (query_id, anchor, answers, origin, line)))
    for name in negatives if found else ():
        for one in references.items(row[name]):
            try:
                title, body, identifier = ("", "", as_id(one, name)) if by_id else _passage(one, name, source)
            except Fault as fault:
                faults.append(rejected(origin, line, str(fault), f"{anchor}\t{one}"))
                continue
            if not by_id:
                found.append(Record("documents", (identifier, title, body, origin, line)))
            judged = ((query_id, anchor), (identifier, _whole(title, body)))
            found.append(Record("judged", (*judged, 0.0, "column", origin, line)))
    return [*faults, *found]


def _references(row: dict[str, Any], source: Pairs) -> list[tuple[None, Any]]:
    """(None, id) of each positive of a row whose positives are ids."""
    identifiers = row[source.positive]
    if identifiers == []:
        raise Fault(f"{source.positive} is an empty list")
    return [(None, one) for one in (identifiers if isinstance(identifiers, list) else [identifiers])]


def _passage(one: Any, name: str, source: Pairs) -> tuple[str, str, str | None]:
    """(title, text, id) of one positive or negative of a row: a string, or a passage as Tevatron writes them.

    Raises:
      Fault: it is neither, or has no text.
    """
    if not isinstance(one, dict):
        return "", as_text(one, name), None
    title, identifier = as_string(one.get("title") or "", f"{name}.title"), None
    if source.positive_id is not None and one.get("docid") is not None:
        identifier = as_id(one["docid"], f"{name}.docid")
    return title, (as_string if title.strip() else as_text)(one.get("text"), f"{name}.text"), identifier


def _positives(row: dict[str, Any], source: Pairs) -> list[tuple[Any, Any]]:
    """(text, id) of each positive of a row; a plain string is one positive, however long."""
    bodies = row[source.positive]
    identifiers = None if source.positive_id is None else row[source.positive_id]
    if not isinstance(bodies, list):
        if bodies is not None and not isinstance(bodies, str | bytes | dict):
            raise Fault(f"{source.positive} is neither a string nor a list of strings")
        return [(bodies, identifiers)]
    if not bodies:
        raise Fault(f"{source.positive} is an empty list")
    if source.positive_id is None:
        return [(body, None) for body in bodies]
    if all(isinstance(body, dict) and body.get("docid") is not None for body in bodies):
        return [(body, None) for body in bodies]
    if not isinstance(identifiers, list) or len(identifiers) != len(bodies):
        raise Fault(f"{source.positive_id} is not a list as long as {source.positive}")
    return list(zip(bodies, identifiers, strict=True))


def _with_ids(parsed: Iterator[Record]) -> Iterator[Record]:
    """The records with an id made of the text where they have none."""
    while part := list(itertools.islice(parsed, _AT_ONCE)):
        queries, documents = _made("q-", "queries", 0, part), _made("d-", "documents", 1, part)
        for dataset, values in part:
            if dataset == "documents":
                identifier, title, body, *place = values
                yield Record(dataset, (identifier or documents[_whole(title, body)], title, body, *place))
            elif dataset == "queries":
                identifier, words, *place = values
                yield Record(dataset, (identifier or queries[words], words, *place))
            elif dataset in ("positives", "judged"):
                (query_id, words), (document_id, body), *rest = values
                yield Record(dataset, (query_id or queries[words], document_id or documents[body], *rest))
            else:
                yield Record(dataset, values)


def _whole(title: str, body: str) -> str:
    """What an id is made of."""
    return f"{title}\n{body}" if title else body


def _made(prefix: str, dataset: str, place: int, part: Sequence[Record]) -> dict[str, str]:
    """Id of each text among the records that have none."""
    texts = {_whole(v[1], v[2]) if place else v[1] for d, v in part if d == dataset and v[0] is None}
    texts |= {v[place][1] for d, v in part if d in ("positives", "judged") and v[place][0] is None}
    ordered = sorted(texts)
    return dict(zip(ordered, content_ids(prefix, ordered), strict=True))
