"""Whether the positives of pairs are texts, or ids of documents of the corpus."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gangue.transforms.sources import rows
from gangue.transforms.sources.files import File
from gangue.transforms.sources.row import Kind
from gangue.transforms.sources.values import Fault, as_id

if TYPE_CHECKING:
    from gangue.transforms.sources.pairs import Pairs

_ROWS = 1000  # pairs that are looked at
_NEARLY_ALL = 0.9
_LONG = 100  # characters that no id has
_NAMES = ("_id", "id", "document_id", "doc_id", "docid", "pid", "passage_id", "corpus_id", "corpus-id")


def id_column(pairs: Sequence[File], corpus: Sequence[File], source: Pairs, note: Callable[[str], None]) -> str | None:
    """The column of the corpus that holds what the positives are: its ids. None if they are texts.

    It is ``source.document_id``, or where that is not given a column with a usual name of ids, if nearly all of the
    first positives are among its values. The corpus is read for this only if the positives look like ids, or the
    column is given.

    Raises:
      ValueError: the anchors are ids too: then their texts are in no file that the params name. Or some positives are
        in the column that is given, and others are not.
    """
    anchors, positives = _first(pairs, source)
    given = source.document_id is not None
    able = _may_be_an_id if given else _like_an_id
    wanted = {_key(value) for value in positives if able(value)}
    if not corpus or not wanted or sum(map(able, positives)) < _NEARLY_ALL * len(positives):
        return None
    names = [source.document_id] if source.document_id is not None else [*_NAMES, source.positive]
    names = [name for name in dict.fromkeys(names) if name != source.text]
    seen: dict[str, set[str]] = {name: set() for name in names}
    columns: dict[str, Kind] = {source.text: "any", **dict.fromkeys(names, "any")}
    optional = [] if given else names
    for row in itertools.chain.from_iterable(rows.rows(file, columns, optional, _quiet) for file in corpus):
        for name, value in zip(names, row.values[1:], strict=False):
            if value is not None and (key := _key(value)) in wanted:
                seen[name].add(key)
    name = max(names, key=lambda each: len(seen[each]), default="")
    if given and 1 - _NEARLY_ALL < len(seen[name]) / len(wanted) < _NEARLY_ALL:
        lost = min(wanted - seen[name])
        raise ValueError(
            f"{pairs[0].path}: {source.positive} must hold texts, or ids of the corpus: of the first {len(wanted)}"
            f" {len(seen[name])} are in its column {name}, and others, such as {lost}, are not. Give the corpus whole,"
            " leave those pairs out, or use source.kind: tables, which rejects them one by one"
        )
    if not name or len(seen[name]) < _NEARLY_ALL * len(wanted):
        return None
    if anchors and sum(_like_an_id(value) and any(map(str.isdigit, str(value))) for value in anchors) >= (
        _NEARLY_ALL * len(anchors)
    ):
        raise ValueError(
            f"{pairs[0].path}: column {source.anchor} must hold texts, found ids such as {anchors[0]}, and in"
            f" {source.positive} ids of the corpus. Use source.kind: tables, with a file of the queries' ids and texts"
        )
    note(
        f"{pairs[0].path}: {source.positive} holds ids of the corpus, not texts: {len(seen[name])} of the first"
        f" {len(wanted)} are in its column {name}, so pairs are joined with it by {name}"
    )
    return name


def _first(pairs: Sequence[File], source: Pairs) -> tuple[list[Any], list[Any]]:
    """The anchors and the positives of the first pairs."""
    columns: dict[str, Kind] = {source.anchor: "any", source.positive: "any"}

    def found() -> Iterator[tuple[Any, ...]]:
        for file in pairs:
            yield from (row.values for row in rows.rows(file, columns, note=_quiet) if not row.fault)

    values = list(itertools.islice(found(), _ROWS))
    positives = [one for _, many in values for one in (many if isinstance(many, list) else [many])]
    return [anchor for anchor, _ in values if anchor is not None], [one for one in positives if not _missing(one)]


def _missing(value: object) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _may_be_an_id(value: object) -> bool:
    return 0 < len(_key(value)) <= _LONG


def _like_an_id(value: object) -> bool:
    key = _key(value)
    return _may_be_an_id(value) and key.isascii() and not any(map(str.isspace, key))


def _key(value: object) -> str:
    """A value as an id, however a float of it is written; '' if it is none."""
    try:
        key = as_id(value, "")
    except Fault:
        return ""
    return key[:-2] if key.endswith(".0") and key[:-2].isdecimal() else key


def _quiet(_: str) -> None:
    pass
