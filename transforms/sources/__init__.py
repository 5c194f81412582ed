"""Where records come from: one module per kind of source. No Beam: a source is read once, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from transforms.sources import beir, pairs, python_code, tables
from transforms.sources.blocks import Block, in_blocks

if TYPE_CHECKING:
    from pipeline import params


def read(source: params.Source) -> Iterator[Block]:
    """Everything a source holds, as blocks of records.

    Raises:
      FileNotFoundError: a file is missing.   ValueError: a file as a whole cannot be read.
    """
    if source.kind == "python_code":
        return in_blocks(python_code.records(source))
    if source.kind == "beir":
        return in_blocks(beir.records(source))
    if source.kind == "pairs":
        return in_blocks(pairs.records(source))
    return in_blocks(tables.records(source))


def without_positive(source: params.Source) -> str:
    """Why a query that no positive of the source names is rejected."""
    return "no positive in splits" if source.kind == "beir" else "no positive"
