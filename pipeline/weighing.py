"""How much each chosen negative counts: the ``weight`` of the triplets."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline import judging, params
from transforms import arrays, randomness, schema, selection, weighting
from transforms.shards import Counts
from transforms.storage import Data, shard_names, staged

PROPENSITY = "propensity"  # a dataset of one shard, there while the stage runs
_FITTED = 1 << 16  # candidates that the propensity is fitted on, and as many positives
_COEFFICIENTS = pa.schema([("coefficient", pa.float64())])


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
        table = data.read(staged(PROPENSITY), shard_names(1)[0])
        logits = weighting.logits(
            weighting.pool_features(ranks, scores, _depth(p, settings)), table["coefficient"].to_numpy()
        )
        return chosen.times * weighting.propensity_weights(logits, settings.temperature, settings.clip)
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


def fit(_: str, data: Data, p: params.Params) -> Counts:
    """Fit the propensity on positives and candidates of all shards, which a hash picks where there are too many."""
    settings = p.sample.weight
    assert isinstance(settings, params.Cet)
    columns = ["query_id", "document_id", *schema.RELATIONS, f"rank_{settings.pool}", f"score_{settings.pool}"]
    kept: dict[bool, pa.Table] = {}
    for shard in data.shards("pairs"):
        pairs = data.read("pairs", shard, columns)
        words = randomness.mix(p.sample.seed, *(randomness.id_words(pairs[name]) for name in columns[:2]))
        related = np.any([pairs[relation].to_numpy() for relation in schema.RELATIONS], axis=0)
        table = pa.table(
            {
                "word": words,
                "rank": arrays.floats(pairs, f"rank_{settings.pool}"),
                "score": arrays.floats(pairs, f"score_{settings.pool}"),
            }
        )
        for selected, mask in ((True, pairs["positive"].to_numpy()), (False, ~related)):
            more = table.filter(pa.array(mask))
            joined = pa.concat_tables([kept[selected], more]) if selected in kept else more
            kept[selected] = joined.sort_by("word").slice(0, _FITTED)
    if not len(kept[False]):
        raise ValueError("pairs: sample.weight cet must have candidates beside the positives, got none")
    table = pa.concat_tables([kept[True], kept[False]])
    features = weighting.pool_features(
        table["rank"].to_numpy().astype(np.float64), table["score"].to_numpy().astype(np.float64), _depth(p, settings)
    )
    coefficients = weighting.fit_propensity(features, np.arange(len(table)) < len(kept[True]))
    data.write(staged(PROPENSITY), shard_names(1)[0], pa.table([coefficients], schema=_COEFFICIENTS), suffix=".arrow")
    return Counts({"fitted_on": len(table)})


def _depth(p: params.Params, settings: params.Cet) -> int:
    retriever = p.retrievers[settings.pool]
    return max(retriever.depth, retriever.max_depth or 0)
