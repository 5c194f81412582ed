"""Where records come from: one module for each kind of source, its settings beside its reader.

Acts on the user's files, and only reads them, once and in order. A new source is one module here and its class in
``Source``. May import ``running`` and what lies below it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from gangue.transforms.datasets import remote
from gangue.transforms.sources import rows
from gangue.transforms.sources.beir import Beir as Beir
from gangue.transforms.sources.blocks import Block, Record, in_blocks
from gangue.transforms.sources.labels import Labels as Labels
from gangue.transforms.sources.pairs import Pairs as Pairs
from gangue.transforms.sources.python_code import PythonCode as PythonCode
from gangue.transforms.sources.rows import Reading
from gangue.transforms.sources.source import SourceSection as SourceSection
from gangue.transforms.sources.tables import Tables as Tables

Source = Annotated[PythonCode | Beir | Pairs | Tables, Field(discriminator="kind")]


def read(
    source: SourceSection, told: Labels | None = None, readings: Sequence[Reading] | None = None
) -> Iterator[Block]:
    """Everything a source holds and labels tell, as blocks of records; of its ``readings`` only these, if given.

    Raises:
      FileNotFoundError: a file is missing.   ValueError: a file as a whole cannot be read.   OSError: or opened.
    """
    with telling(source.path):
        chosen = source.readings() if readings is None else readings
        every = itertools.chain.from_iterable(map(rows.records, chosen))
        yield from in_blocks(itertools.chain(every, source.records(), _labelled(told) if told else ()))


def _labelled(told: Labels) -> Iterator[Record]:
    with telling(told.path or "", "labels.path"):
        yield from told.records()


@contextlib.contextmanager
def telling(path: str, key: str = "source") -> Iterator[None]:
    """Whatever goes wrong with the files at a path, which a key of the params names, is told in one line.

    Raises:
      FileNotFoundError, ValueError, OSError: as was raised; names the file, or this path where the error names none.
    """
    try:
        with remote.answering(path):
            yield
    except (ValueError, OSError) as error:
        message = str(error)
        if isinstance(error, OSError) and error.errno is not None:
            name = os.fsdecode(error.filename or path)
            message = (
                f"{name}: must be a file that can be read: {error.strerror}. Correct its link, its name or its"
                f" permissions, or {key}"
            )
        elif "\n" not in message:  # it says already what to do
            raise
        raise type(error)(message.replace("\n", "\\n")) from error
