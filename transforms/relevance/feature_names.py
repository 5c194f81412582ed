"""What the features are called that a filter is taught on, which the params must not make ambiguous."""

from __future__ import annotations

import collections
import itertools
from typing import TYPE_CHECKING

from gangue.transforms.retrieval import protocol

if TYPE_CHECKING:
    from gangue.pipeline import params


def names(p: params.Params) -> list[str]:
    """Names of the features that a filter is taught on here, in the order of their columns."""
    scores = [f"{name}{suffix}" for name in (*p.retrievers, *p.scorers) for suffix in ("", "_standardised", "_gap")] + [
        f"{name}_found" for name in p.retrievers
    ]
    encoders = protocol.encoders(p.retrievers)
    near = [
        f"{feature}_{encoder}{suffix}"
        for encoder in encoders
        for feature in ("nearest", "mean", "crowd", "neighbours")
        for suffix in ("", "_standardised")
    ]
    words = [f"{feature}_{name}" for name in lexical(p) for feature in ("asked", "answered", "overlap")]
    shared = [f"known_{feature}_{encoder}" for encoder in encoders[:1] for feature in ("asked", "answers", "shared")]
    return [*scores, *near, *words, *shared, "positives", "usage"]


def lexical(p: params.Params) -> dict[str, protocol.Lexical]:
    """The lexical retriever whose words are compared: the first."""
    return dict(itertools.islice(protocol.lexical(p.retrievers).items(), 1))


def ambiguous(p: params.Params) -> str | None:
    """A name that two features would share, as one of retriever ``dense_gap`` and one of ``dense``; None: none is."""
    of_pretrained = [f"mutual_{encoder}" for encoder in protocol.encoders(p.retrievers)]
    counts = collections.Counter([*names(p), *of_pretrained])
    return next((name for name, count in counts.items() if count > 1), None)
