"""Whether the positives of pairs are texts, or ids of documents of the corpus, and the negatives what they are."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gangue.transforms.sources import rows
from gangue.transforms.sources.files import File
from gangue.transforms.sources.labels import NO, YES
from gangue.transforms.sources.row import Kind
from gangue.transforms.sources.values import Fault, as_id, is_missing

if TYPE_CHECKING:
    from gangue.transforms.sources.pairs import Pairs

_ROWS = 1000  # pairs that are looked at
_NEARLY_ALL = 0.9
_LONG = 100  # characters that no id has
_WRITTEN_LIST = re.compile(r"""\[\s*['"{\[]""")
_NUMBER = re.compile(r"[_-]?\d+$")  # at the end of a name
_ID = re.compile(r"(id|key|docno)$", re.IGNORECASE)  # at the end of a column's name


def id_column(pairs: Sequence[File], corpus: Sequence[File], source: Pairs, note: Callable[[str], None]) -> str | None:
    """The column of the corpus that holds what the positives are: its ids. None if they are texts.

    It is ``source.document_id``, or where that is not given a column with a name as ids have it, if nearly all of the
    first positives are among its values. The corpus is read for this only if the positives look like ids, or the
    column is given. ``note`` is also told where they look like ids that nothing knows.

    Raises:
      ValueError: the anchors are ids too: then their texts are in no file that the params name. Or some positives are
        in a column of ids, and others are not. Or they look like ids, and are neither ids nor texts of the corpus.
    """
    anchors, positives = _first(pairs, source)
    given = source.document_id is not None
    able = _may_be_an_id if given else _like_an_id
    wanted = {_key(value) for value in positives if able(value)}
    if not wanted or sum(map(able, positives)) < _NEARLY_ALL * len(positives):
        return None
    coded = _coded(positives) and not _coded(anchors)
    if not corpus:
        if coded:
            note(
                f"{pairs[0].path}: {source.positive} looks like ids, such as {positives[0]}, and is read as texts. If"
                " they are ids, name the file that has their texts: source.corpus"
            )
        return None
    names = [source.document_id] if source.document_id is not None else _names_of_ids(corpus[0], source)
    seen: dict[str, set[str]] = {name: set() for name in (*names, source.text)}
    columns: dict[str, Kind] = {source.text: "any", **dict.fromkeys(names, "any")}
    optional = [] if given else names
    for row in itertools.chain.from_iterable(rows.rows(file, columns, optional, _quiet) for file in corpus):
        for name, value in zip(columns, row.values, strict=False):
            if value is not None and (key := _key(value)) in wanted:
                seen[name].add(key)
    name = max(names, key=lambda each: len(seen[each]), default="")
    found, texts = len(seen.get(name, ())) / len(wanted), len(seen[source.text]) / len(wanted)
    if (given or coded) and 1 - _NEARLY_ALL < found < _NEARLY_ALL and texts <= 1 - _NEARLY_ALL:
        lost = min(wanted - seen[name])
        raise ValueError(
            f"{pairs[0].path}: {source.positive} must hold texts, or ids of the corpus: of the first {len(wanted)}"
            f" {len(seen[name])} are in its column {name}, and others, such as {lost}, are not. Give the corpus whole,"
            " leave those pairs out, or use source.kind: tables, which rejects them one by one"
        )
    if not name or found < _NEARLY_ALL:
        if coded and not texts and not given:
            raise ValueError(
                f"{pairs[0].path}: {source.positive} must hold texts, or ids of the corpus, and looks like ids, such as"
                f" {positives[0]}, but {corpus[0].path} has them in no column of ids ({', '.join(names) or 'none'})."
                " Name its column of ids: source.document_id. If they are texts, name any: they are in none"
            )
        return None
    if _coded(anchors):
        raise ValueError(
            f"{pairs[0].path}: column {source.anchor} must hold texts, found ids such as {anchors[0]}, and in"
            f" {source.positive} ids of the corpus. Use source.kind: tables, with a file of the queries' ids and texts"
        )
    note(
        f"{pairs[0].path}: {source.positive} holds ids of the corpus, not texts: {len(seen[name])} of the first"
        f" {len(wanted)} are in its column {name}, so pairs are joined with it by {name}"
    )
    return name


def _names_of_ids(corpus: File, source: Pairs) -> list[str]:
    """The columns of a corpus whose names say that they hold ids."""
    there = rows.names(corpus, {source.text})
    return [
        name for name in dict.fromkeys(there) if (_ID.search(name) or name == source.positive) and name != source.text
    ]


def _coded(values: Sequence[Any]) -> bool:
    """Whether nearly all values are one word with a digit, as ids are and few texts."""
    coded = sum(_like_an_id(value) and any(map(str.isdigit, str(value))) for value in values)
    return bool(values) and coded >= _NEARLY_ALL * len(values)


def negative_columns(
    pairs: Sequence[File], source: Pairs, note: Callable[[str], None], *, by_id: bool
) -> tuple[str, ...]:
    """The columns of judged negatives that there may be: those that are named, or those with a usual name.

    A usual name may have a number, as where sentence-transformers writes a column for each negative: those that hold no
    documents are passed over. All others must hold documents, as the column of positives does: not scores, flags or
    ids. Where the positives are ids, so are the negatives, and only flags are told from them: 0 and 1 again and again.

    Raises:
      ValueError: nearly all of the first values of a column are none, and few of the positives are like them; or the
        positives are lists written as strings; or the file lacks a column that the params name.
    """
    told = "negatives" in source.model_fields_set
    read = [source.anchor, source.positive, source.anchor_id, source.positive_id, source.answers]
    named = [name for name in read if name is not None]
    there = columns_of(pairs, named)
    found = [name for name in source.negatives if name not in named]
    numbered = [name for name in there if name not in (*named, *found) and _NUMBER.sub("", name) in source.negatives]
    able = found if told else [*found, *numbered]
    first = first_of(pairs, (source.anchor, source.positive, *able), able)
    positives = [one for row in first for one in items(row[1])]
    check_no_lists(pairs[0], source.positive, positives)
    bare = _is_flag if by_id else _is_bare
    few = sum(map(bare, positives)) < len(positives) / 2
    for place, name in enumerate(able, start=2):
        values = [one for row in first for one in items(row[place])]
        if told and not values:
            note(f"{pairs[0].path}: of the first {len(first)} pairs none has a negative in column {name}")
        none = [one for one in values if bare(one)]
        repeated = not by_id or len(none) > len(set(map(_key, none)))
        wrong = few and bool(none) and repeated and len(none) >= _NEARLY_ALL * len(values)
        if wrong and name in source.negatives:
            raise ValueError(
                f"{pairs[0].path}: column {name} must hold {'ids' if by_id else 'texts'} of judged negatives, as"
                f" {source.positive} does of positives, but of its first {len(values)} values {len(none)} are numbers,"
                f" flags, ids or the like, such as {repr(none[0])[:_LONG]}. Name the columns that hold negatives, or"
                " none: source.negatives: []"
            )
        if name not in source.negatives and not wrong:
            found.append(name)
    if source.answers is not None:
        check_answers(pairs, source.answers)
    note_unread(pairs[0], there, [*named, *found], note)
    return tuple(found)


def columns_of(files: Sequence[File], required: Sequence[str]) -> list[str]:
    """The columns of some files, each once, of which some are required."""
    return list(dict.fromkeys(name for file in files for name in rows.names(file, required)))


def note_unread(first: File, there: Sequence[str], read: Sequence[str], note: Callable[[str], None]) -> None:
    """Say which columns that are there are not read, those of ids apart."""
    if unread := [name for name in there if name not in read and not _ID.search(name)]:
        note(f"{first.path}: columns that are not read: {', '.join(unread)[:_LONG]}")


def check_answers(files: Sequence[File], column: str) -> None:
    """Check that the first answers of some files are no lists written as strings.

    Raises:
      ValueError: nearly all are.
    """
    check_no_lists(files[0], column, [one for (value,) in first_of(files, (column,)) for one in items(value)])


def check_no_lists(file: File, column: str, values: Sequence[Any]) -> None:
    """Check that a file that knows no lists does not hold what some program wrote of them.

    Raises:
      ValueError: nearly all values are such.
    """
    lists = [value for value in values if file.format in (".csv", ".tsv") and _is_written_list(str(value).strip())]
    if lists and len(lists) >= _NEARLY_ALL * len(values):
        raise ValueError(
            f"{file.path}: column {column} must hold texts, but of its first {len(values)} values {len(lists)} are"
            f" lists written as strings, such as {lists[0][:_LONG]}. Write JSON Lines or Parquet, where a list is"
            " several texts"
        )


def _is_written_list(word: str) -> bool:
    return bool(_WRITTEN_LIST.match(word)) and word.endswith("]")


def items(value: Any) -> list[Any]:
    """What is in a cell that may hold a list: all but what is missing or blank."""
    return [one for one in (value if isinstance(value, list) else [value]) if not is_missing(one)]


def _is_flag(value: object) -> bool:
    """Whether a value says yes or no."""
    return str(value).strip().lower() in (*YES, *NO)


def _is_bare(value: object) -> bool:
    """Whether a value is no text of a document: no string, or a flag, a number, an id, a list written as a string."""
    said = value.get("text") if isinstance(value, dict) else value
    if not isinstance(said, str):
        return True
    word = said.strip()
    coded = _like_an_id(word) and any(map(str.isdigit, word))
    return coded or _is_written_list(word) or _is_flag(word) or not any(map(str.isalpha, word))


def _first(pairs: Sequence[File], source: Pairs) -> tuple[list[Any], list[Any]]:
    """The anchors and the positives of the first pairs."""
    values = first_of(pairs, (source.anchor, source.positive))
    positives = [one for _, many in values for one in items(many)]
    return [anchor for anchor, _ in values if anchor is not None], positives


def first_of(files: Sequence[File], names: Sequence[str], optional: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    """What the first rows have in these columns."""
    columns: dict[str, Kind] = dict.fromkeys(names, "any")
    every = itertools.chain.from_iterable(rows.rows(file, columns, optional, _quiet) for file in files)
    return [row.values for row in itertools.islice((row for row in every if not row.fault), _ROWS)]


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
