"""Ids of one thing that two files write in two ways: ``1`` and, by way of a column of floats, ``1.0``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gangue.transforms.sources.blocks import Record

_POINT = ".0"  # pandas makes floats of whole numbers where one is missing, and writes them so


class _Spelling:
    """How the ids of one dataset write whole numbers; where both ways occur, each id stands for itself."""

    def __init__(self) -> None:
        self._plain = self._pointed = False

    def see(self, identifier: str) -> None:
        if identifier.isdecimal():
            self._plain = True
        elif identifier.endswith(_POINT) and identifier[:-2].isdecimal():
            self._pointed = True

    def of(self, identifier: str) -> str:
        """The id as the dataset writes it."""
        if self._plain and not self._pointed and identifier.endswith(_POINT) and identifier[:-2].isdecimal():
            return identifier[:-2]
        if self._pointed and not self._plain and identifier.isdecimal():
            return identifier + _POINT
        return identifier


def alike(records: Iterable[Record], note: Callable[[str], None]) -> Iterator[Record]:
    """The records; pairs name queries and documents as the records of these before them do.

    >>> found = alike([Record("documents", ("7", "", "a", "d.csv", 2)), Record("queries", ("q", "b", [], "q.csv", 2)),
    ...                Record("positives", ("q", "7.0", 1.0, "p.csv", 2))], print)
    >>> [record.values[1] for record in found if record.dataset == "positives"]
    p.csv: 1 ids are read as 7 where they are written 7.0, as the files of queries and documents write them
    ['7']
    """
    documents, queries = _Spelling(), _Spelling()
    changed: dict[str, tuple[int, str, str]] = {}
    for record in records:
        dataset, values = record
        if dataset == "documents":
            documents.see(values[0])
        elif dataset == "queries":
            queries.see(values[0])
        elif dataset in ("positives", "judged"):
            pair = queries.of(values[0]), documents.of(values[1])
            if pair != values[:2]:
                origin = values[-2]
                before, after = next((b, a) for b, a in zip(values, pair, strict=False) if b != a)
                count, first, read = changed.get(origin, (0, before, after))
                changed[origin] = count + 1, first, read
                record = Record(dataset, (*pair, *values[2:]))
        yield record
    for origin, (count, first, read) in changed.items():
        note(
            f"{origin}: {count} ids are read as {read} where they are written {first}, as the files of queries and"
            " documents write them"
        )
