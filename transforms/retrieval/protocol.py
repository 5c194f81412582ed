"""What the stages ask of a retriever; a kind is whatever can answer, and nobody asks which it is.

Two classes make a kind: a section of ``params.yaml`` that can be opened (``Retriever``), and what it opens
(``Opened``). What only some kinds can do is asked by the functions below, which say None, or nothing, of the others.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from gangue.transforms.datasets.storage import Data

if TYPE_CHECKING:
    import scipy.sparse


class Opened(Protocol):
    """A retriever that is ready; queries and documents are named by their rows in the datasets.

    A process may hold it once for each shard that it works on, so what is large is held by ``lookup``.
    """

    def search(self, queries: np.ndarray, depth: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best documents of each query.

        Args:
          queries: (q,) query rows.
          depth: k.
          allowed: (documents,) bool; others are never returned.

        Returns:
          (q, k') document rows, -1 where there are fewer, in no order, and (q, k') scores, which may be approximate.
        """

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """(n,) float64 scores of pairs of rows, higher is better, the same in any company; NaN where there is none."""


class OpenedLexical(Opened, Protocol):
    """A retriever that sees a text as tokens."""

    def tokens(self, documents: np.ndarray) -> scipy.sparse.csr_matrix:
        """(n, v) which tokens these documents hold: an inner product of two rows says how much they share."""

    def query_tokens(self, queries: np.ndarray) -> scipy.sparse.csr_matrix:
        """(q, v) which tokens these queries hold, as ``tokens``."""


class Retriever(Protocol):
    """A kind's section of ``params.yaml``: a ``Section`` with its ``kind``, these keys and others of its own."""

    @property
    def kind(self) -> str:
        """Its name in ``params.yaml``: in the section, ``kind: Literal["bm25"]``."""

    @property
    def depth(self) -> int:
        """Documents that each query gets."""

    @property
    def max_depth(self) -> int | None:
        """How deep a query that misses its quota is searched; None: no deeper."""

    def open(self, data: Data, name: str, *, unpublished: bool = False) -> Opened:
        """The retriever called ``name`` over these datasets; ``unpublished``: over the index now being built."""


class Step(NamedTuple):
    """Work that Beam spreads: ``work`` is called with each element, and may be pickled; the next step waits for all."""

    name: str
    elements: Sequence[str]
    work: Callable[[str], collections.Counter[str]]


@dataclasses.dataclass(frozen=True)
class Indexing:
    """What is built before queries are searched: by default nothing.

    Attributes:
      steps: in their order. They write into ``names.staged`` of what follows, which lies under ``indexes/NAME``.
      datasets: those made of shards; a step counts the rows that it writes there, as ``rows:PATH``.
      folders: those of files in another form.
      scratch: what is not needed when the index is built.
      said: what a person should know of it, when it is built and published.
    """

    steps: Sequence[Step] = ()
    datasets: Sequence[str] = ()
    folders: Sequence[str] = ()
    scratch: Sequence[str] = ()
    said: Callable[[], str] | None = None

    def published(self, name: str) -> list[str]:
        """What lies under ``indexes/NAME`` when the retriever of this name has searched."""
        return [f"indexes/{name}/recall", *self.datasets, *self.folders]


@runtime_checkable
class _Indexed(Protocol):
    def indexing(self, data: Data, name: str) -> Indexing:
        """What to build for the retriever called ``name``."""


@runtime_checkable
class _Checked(Protocol):
    def check(self, name: str) -> None:
        """Raise ValueError where something that the kind needs is not installed."""


@runtime_checkable
class _Approximate(Protocol):
    def exact(self) -> Retriever | None:
        """The retriever that misses nothing, which this one is measured against; None: this one misses nothing."""


@runtime_checkable
class _Cut(Protocol):
    def edges(self, data: Data) -> list[int] | None:
        """As the function ``edges``; None: at every shard."""


@runtime_checkable
class _Accelerated(Protocol):
    def accelerated(self, data: Data, queries: int) -> bool:
        """Whether a search of so many queries at a time is done sooner on a machine with a device."""


@runtime_checkable
class _OfVectors(Protocol):
    @property
    def encoder(self) -> str:
        """Its scores are inner products of this encoder's vectors, one a text."""


@runtime_checkable
class Lexical(Retriever, Protocol):
    """A kind that sees a text as tokens."""

    def open(self, data: Data, name: str, *, unpublished: bool = False) -> OpenedLexical:
        """As ``Retriever.open``."""

    def language(self, data: Data, name: str) -> str | None:
        """Of which language the index lacks the stop words; None: of none."""

    def stems(self, data: Data, name: str) -> str | None:
        """By which language the words of the index are stemmed; None: by none."""


def check(retriever: Retriever, name: str) -> None:
    """Check, before anything runs, that what the retriever called ``name`` needs is installed.

    Raises:
      ValueError: it is not; says what, and the cure.
    """
    if isinstance(retriever, _Checked):
        retriever.check(name)


def indexing(retriever: Retriever, data: Data, name: str) -> Indexing:
    """What to build before the retriever called ``name`` is opened."""
    return retriever.indexing(data, name) if isinstance(retriever, _Indexed) else Indexing()


def exact(retriever: Retriever) -> Retriever | None:
    """The retriever that an approximate one is measured against; None for one that misses nothing."""
    return retriever.exact() if isinstance(retriever, _Approximate) else None


def accelerated(retriever: Retriever, data: Data, queries: int) -> bool:
    """Whether a search of so many queries at a time is done sooner on a machine with a device (a GPU)."""
    return isinstance(retriever, _Accelerated) and retriever.accelerated(data, queries)


def edges(retriever: Retriever, data: Data) -> list[int]:
    """Rows of the documents at which a search may be cut, from 0 to their number: by default those between shards.

    What is found between the edges, put together, is what a search of all documents finds.
    """
    own = retriever.edges(data) if isinstance(retriever, _Cut) else None
    return np.cumsum([0, *data.rows("documents")]).tolist() if own is None else own


def encoder(retriever: Retriever) -> str | None:
    """The encoder whose vectors it compares, queries with documents and so documents with each other; or None."""
    return retriever.encoder if isinstance(retriever, _OfVectors) else None


def encoders(retrievers: Mapping[str, Retriever]) -> list[str]:
    """Encoders that some retriever searches with, in the order of ``retrievers``."""
    return list(dict.fromkeys(name for retriever in retrievers.values() if (name := encoder(retriever)) is not None))


def lexical(retrievers: Mapping[str, Retriever]) -> dict[str, Lexical]:
    """Those that see a text as tokens, in the order of ``retrievers``."""
    return {name: retriever for name, retriever in retrievers.items() if isinstance(retriever, Lexical)}
