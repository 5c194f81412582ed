"""The negatives of one shard of queries: ``selection`` on what the datasets say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets.storage import Data
from gangue.transforms.negatives import selection
from gangue.transforms.retrieval.dense import DenseRetriever

if TYPE_CHECKING:
    from gangue.pipeline import params


def choose(
    data: Data,
    loaded: query_shard.Shard,
    verdicts: rules.Verdicts,
    settings: params.Sample,
    denied: np.ndarray | None = None,
) -> selection.Chosen:
    """Choose negatives for one shard as judged, without the (n,) ``denied``."""
    document = loaded.pairs["document_row"].to_numpy()

    def similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        assert settings.diverse is not None
        return DenseRetriever(data, settings.diverse.encoder).similarity(document[one], document[other])

    return selection.select(
        settings,
        loaded.candidates,
        verdicts,
        loaded.queries,
        loaded.hashes if settings.draws else None,
        similarity,
        denied,
    )
