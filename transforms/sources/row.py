"""One row of a foreign file, whatever its format."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from gangue.transforms.sources.files import File

Kind = Literal["id", "ids", "text", "texts", "passages", "grade", "label", "any"]  # what a column holds


_SHOWN = 500  # characters of a header in a message


class Row(NamedTuple):
    """One row of a file.

    Attributes:
      line: 1-based line, or row of a Parquet file.
      values: of the columns asked for, in their order; None where there is none.
      raw: the row as it stands in the file, as far as it is needed for a message.
      fault: why it cannot be read; then ``values`` is empty.
    """

    line: int
    values: tuple[Any, ...]
    raw: str
    fault: str = ""


def lacks(file: File, what: str, absent: set[str], found: Sequence[str]) -> ValueError:
    """The error of a file without a column that the params name."""
    shown = " ".join(", ".join(found)[:_SHOWN].split()).encode(errors="replace").decode()
    near = [name for one in sorted(absent) for name in difflib.get_close_matches(one, [f for f in found if f], 1)]
    meant = f" Did you mean {', '.join(near)}?" if near else ""
    where = " in its first line" if file.format in (".csv", ".tsv") and found else ""
    header = ", or put a header there if that is a row" if where else ""
    return ValueError(
        f"{file.path}: {what} {', '.join(sorted(absent))} must be there, found {shown or 'nothing'}{where}.{meant}"
        f" Name the {what}s in source, if it names them, or rename them in the file{header}"
    )


def check_differ(file: File, wanted: Iterable[str], found: Sequence[str]) -> None:
    """Check that no wanted column comes twice: which of the two is meant nobody knows.

    Raises:
      ValueError: one does.
    """
    twice = [name for name in wanted if found.count(name) > 1]
    if twice:
        raise ValueError(f"{file.path}: column names must differ, but {twice[0]} comes twice. Rename one")
