"""Where records come from: one module per kind of source. No Beam: a source is read once, in order."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from transforms.sources import beir, labels, notes, pairs, python_code, spelling, tables
from transforms.sources.blocks import Block, Record, in_blocks

if TYPE_CHECKING:
    from pipeline import params


def read(source: params.Source, told: params.Labels | None = None) -> Iterator[Block]:
    """Everything a source holds and labels tell, as blocks of records.

    Raises:
      FileNotFoundError: a file is missing.   ValueError: a file as a whole cannot be read.   OSError: or opened.
    """
    try:
        every = itertools.chain(_records(source), labels.records(told) if told else ())
        yield from in_blocks(spelling.alike(every, notes.note))
    except (ValueError, OSError) as error:
        message = str(error)
        if isinstance(error, OSError) and error.errno is not None:
            name = os.fsdecode(error.filename or source.path)
            message = (
                f"{name}: must be a file that can be read: {error.strerror}. Correct its link, its name or its"
                " permissions, or source"
            )
        elif "\n" not in message:  # it says already what to do
            raise
        raise type(error)(message.replace("\n", "\\n")) from error


def _records(source: params.Source) -> Iterator[Record]:
    if source.kind == "python_code":
        return python_code.records(source)
    if source.kind == "beir":
        return beir.records(source)
    if source.kind == "pairs":
        return pairs.records(source)
    return tables.records(source)


def without_positive(source: params.Source) -> str:
    """Why a query that no positive of the source names is rejected."""
    return "no positive in splits" if source.kind == "beir" else "no positive"
