"""One row of a foreign file, whatever its format."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from transforms.sources.files import File

Kind = Literal["id", "ids", "text", "texts", "passages", "grade", "label"]  # what a column holds


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


def lacks(file: File, what: str, absent: set[str], found: str) -> ValueError:
    """The error of a file without a column that the params name."""
    return ValueError(
        f"{file.path}: {what} {', '.join(sorted(absent))} must be there, found {found or 'nothing'}."
        f" Name the {what}s in source, or rename them in the file"
    )
