"""How much each chosen negative counts: the ``weight`` of the triplets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gangue.transforms.candidates import query_shard
from gangue.transforms.datasets.storage import Data
from gangue.transforms.negatives import selection
from gangue.transforms.negatives.weights import Negatives
from gangue.transforms.relevance import propensity

if TYPE_CHECKING:
    from gangue.pipeline import params


def weigh(data: Data, p: params.Params, loaded: query_shard.Shard, chosen: selection.Chosen) -> np.ndarray:
    """(m,) weights of the chosen: how many scores of an ensemble chose each, times ``sample.weight``.

    Raises:
      ValueError: a weight needs a probability and there is none.
    """
    if p.sample.weight is None:
        return chosen.times.astype(np.float64)

    def seen(pool: str) -> np.ndarray:
        ranks, scores = (of[pool][chosen.pair] for of in (loaded.candidates.ranks, loaded.candidates.scores))
        return propensity.read(data, p, pool).logits(ranks, scores)

    rows = Negatives(loaded.candidates, chosen.pair, loaded.pair_of_positive[chosen.positive], seen)
    return chosen.times * p.sample.weight.weigh(rows)
