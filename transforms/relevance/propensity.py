"""How likely those who labelled saw a document, by what the retriever that pooled for them says of it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import arrays, randomness
from gangue.transforms.candidates import rules
from gangue.transforms.datasets import schema
from gangue.transforms.datasets.storage import Data, shard_names, staged
from gangue.transforms.negatives import propensity
from gangue.transforms.running.shards import Counts, ForEachShard

UNITS = 1024  # parts of one that a positive stands for: whole numbers add up the same over any shards
_FITTED = 1 << 16  # candidates that it is fitted on, and as many positives
_MOST = 10.0  # positives that one may stand for: few were hardly seen, and they would decide everything
_SCHEMA = pa.schema([("coefficient", pa.float64()), ("mean", pa.float64())])


@dataclasses.dataclass(frozen=True)
class Propensity:
    """What a document's place in the pool says of its having been judged.

    Attributes:
      pool: the retriever whose results were labelled.   depth: how deep it looked.
      coefficients: (f + 1,) as ``propensity.fit_propensity`` gives them.
      mean: of exp(-logit) over the labelled positives.
    """

    pool: str
    depth: int
    coefficients: np.ndarray
    mean: float

    def logits(self, ranks: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """(n,) logits of having been judged, by rank and score of the pool's retriever."""
        return propensity.logits(propensity.pool_features(ranks, scores, self.depth), self.coefficients)

    def stands_for(self, candidates: rules.Candidates) -> np.ndarray:
        """(n,) how many unlabelled positives each one stands for if it is one, in 1 / 1024 of the average."""
        logits = self.logits(candidates.ranks[self.pool], candidates.scores[self.pool].astype(np.float64))
        weights = np.clip(np.exp(-np.clip(logits, -50, 50)) / self.mean, 1 / _MOST, _MOST)
        return np.rint(weights * UNITS).astype(np.int64)


def fitting(root: beam.Pipeline, data: Data, p: params.Params, stage: str, pool: str) -> Any:
    """The step that fits it for a stage; other steps wait for what it returns."""
    fit_for = functools.partial(fit, data=data, p=p, pool=pool)
    return root | "Name" >> beam.Create([_area(stage)]) | "Fit" >> ForEachShard(fit_for)


def fit(area: str, data: Data, p: params.Params, pool: str) -> Counts:
    """Fit it on positives and candidates of all shards, which a hash picks where there are too many."""
    columns = ["query_id", "document_id", *schema.RELATIONS, f"rank_{pool}", f"score_{pool}"]
    kept: dict[bool, pa.Table] = {}
    for shard in data.shards("pairs"):
        pairs = data.read("pairs", shard, columns)
        words = randomness.mix(p.sample.seed, *(randomness.id_words(pairs[name]) for name in columns[:2]))
        related = np.any([pairs[relation].to_numpy() for relation in schema.RELATIONS], axis=0)
        table = pa.table(
            {
                "word": words,
                "rank": arrays.floats(pairs, f"rank_{pool}"),
                "score": arrays.floats(pairs, f"score_{pool}"),
            }
        )
        for selected, mask in ((True, pairs["positive"].to_numpy()), (False, ~related)):
            more = table.filter(pa.array(mask))
            joined = pa.concat_tables([kept[selected], more]) if selected in kept else more
            kept[selected] = joined.sort_by("word").slice(0, _FITTED)
    table = pa.concat_tables([kept[True], kept[False]])
    ranks, scores = (table[name].to_numpy().astype(np.float64) for name in ("rank", "score"))
    features = propensity.pool_features(ranks, scores, _depth(p, pool))
    labelled = np.arange(len(table)) < len(kept[True])
    # With positives or candidates only, nothing tells who was judged: each stands for itself.
    known = labelled.any() and not labelled.all()
    coefficients = propensity.fit_propensity(features, labelled) if known else np.zeros(features.shape[1] + 1)
    seen = propensity.logits(features[labelled], coefficients)
    mean = float(f"{np.exp(-np.clip(seen, -50, 50)).mean():.6g}") if labelled.any() else 1.0
    rows = pa.table([coefficients, np.full(len(coefficients), mean)], schema=_SCHEMA)
    data.write(area, shard_names(1)[0], rows, suffix=".arrow")
    return Counts({"fitted_on": len(table)})


def read(data: Data, p: params.Params, stage: str, pool: str) -> Propensity:
    """What the step of this stage fitted."""
    table = data.read(_area(stage), shard_names(1)[0])
    return Propensity(pool, _depth(p, pool), table["coefficient"].to_numpy(), table["mean"][0].as_py())


def forget(data: Data, stage: str) -> None:
    """Throw away what was fitted for a stage."""
    data.begin(f"propensity_{stage}")


def _area(stage: str) -> str:
    return staged(f"propensity_{stage}")


def _depth(p: params.Params, pool: str) -> int:
    retriever = p.retrievers[pool]
    return max(retriever.depth, retriever.max_depth or 0)
