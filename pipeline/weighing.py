"""How much each chosen negative counts: the ``weight`` of the triplets."""

from __future__ import annotations

import numpy as np

from pipeline import judging, params, propensity
from transforms import selection, weighting
from transforms.storage import Data


def weigh(data: Data, p: params.Params, loaded: judging.Shard, chosen: selection.Chosen) -> np.ndarray:
    """(m,) weights of the chosen: how many scores of an ensemble chose each, times ``sample.weight``.

    Raises:
      ValueError: a weight needs a probability and there is none.
    """
    settings, candidates = p.sample.weight, loaded.candidates
    if settings is None:
        return chosen.times.astype(np.float64)
    if isinstance(settings, params.Cet):
        ranks, scores = (of[settings.pool][chosen.pair] for of in (candidates.ranks, candidates.scores))
        logits = propensity.read(data, p, "sample", settings.pool).logits(ranks, scores)
        return chosen.times * weighting.propensity_weights(logits, settings.temperature, settings.clip)
    if isinstance(settings, params.LambdaRank):
        ranks = candidates.ranks[settings.retriever]
        own = ranks[loaded.pair_of_positive[chosen.positive]]
        return chosen.times * weighting.lambda_weights(own, ranks[chosen.pair], settings.cut)
    scores = candidates.scores[settings.score][chosen.pair].astype(np.float64)
    if isinstance(settings, params.Phi):
        return chosen.times * weighting.phi_weights(scores, settings.phi)
    bad = ~((scores >= 0) & (scores <= 1))
    if bad.any():
        raise ValueError(
            f"sample.weight: kind asl needs a probability of every negative by {settings.score}, but"
            f" {int(bad.sum())} of {len(scores)} have none, first {scores[bad][0]}."
            f" Raise scorers.{settings.score}.depth, or set sample.score: {settings.score}"
        )
    return chosen.times * weighting.asl_weights(scores, settings.gamma_neg, settings.clip, settings.form)
