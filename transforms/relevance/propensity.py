"""How likely those who labelled saw a document, by what the retriever that pooled for them says of it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays, randomness
from gangue.transforms.candidates import rules
from gangue.transforms.datasets import schema
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.running.counts import Counts

if TYPE_CHECKING:
    from gangue.pipeline import params

UNITS = 1024  # parts of one that a positive stands for: whole numbers add up the same over any shards
_FITTED = 1 << 16  # candidates that it is fitted on, and as many positives
_MOST = 10.0  # positives that one may stand for: few were hardly seen, and they would decide everything


@dataclasses.dataclass(frozen=True)
class Propensity:
    """What a document's place in the pool says of its having been judged.

    Attributes:
      pool: the retriever whose results were labelled.   depth: how deep it looked.
      coefficients: (f + 1,) as ``fit_propensity`` gives them.
      mean: of exp(-logit) over the labelled positives.
    """

    pool: str
    depth: int
    coefficients: np.ndarray
    mean: float

    def logits(self, ranks: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """(n,) logits of having been judged, by rank and score of the pool's retriever."""
        return logits(pool_features(ranks, scores, self.depth), self.coefficients)

    def stands_for(self, candidates: rules.Candidates) -> np.ndarray:
        """(n,) how many unlabelled positives each one stands for if it is one, in 1 / 1024 of the average."""
        logits = self.logits(candidates.ranks[self.pool], candidates.scores[self.pool].astype(np.float64))
        weights = np.clip(np.exp(-np.clip(logits, -50, 50)) / self.mean, 1 / _MOST, _MOST)
        return np.rint(weights * UNITS).astype(np.int64)


def pools(p: params.Params) -> list[str]:
    """Retrievers of whose results it must be known how likely they were judged."""
    weight = p.sample.weight
    named = {p.calibrate.pool, None if weight is None else weight.fitted}
    return sorted(name for name in named if name is not None)


def fit(pool: str, data: Data, p: params.Params) -> Counts:
    """Fit it on positives and candidates of all shards, which a hash picks where there are too many, and write it."""
    columns = ["query_id", "document_id", *schema.RELATIONS, f"rank_{pool}", f"score_{pool}"]
    kept: dict[bool, pa.Table] = {}
    for shard in data.shards("pairs"):
        pairs = data.read("pairs", shard, columns)
        hashes = randomness.mix(p.sample.seed, *(randomness.id_hashes(pairs[name]) for name in columns[:2]))
        related = np.any([pairs[relation].to_numpy() for relation in schema.RELATIONS], axis=0)
        table = pa.table(
            {
                "word": hashes,
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
    features = pool_features(ranks, scores, _depth(p, pool))
    labelled = np.arange(len(table)) < len(kept[True])
    # With positives or candidates only, nothing tells who was judged: each stands for itself.
    known = labelled.any() and not labelled.all()
    coefficients = fit_propensity(features, labelled) if known else np.zeros(features.shape[1] + 1)
    seen = logits(features[labelled], coefficients)
    mean = float(f"{np.exp(-np.clip(seen, -50, 50)).mean():.6g}") if labelled.any() else 1.0
    fitted = {"coefficients": coefficients.tolist(), "mean": mean}
    data.write_note(staged("calibration"), _file(pool), json.dumps(fitted) + "\n")
    return Counts({"fitted_on": len(table)})


def read(data: Data, p: params.Params, pool: str, *, unpublished: bool = False) -> Propensity:
    """What was fitted for a pool; ``unpublished``: in the run of ``calibrate`` that goes on."""
    place = staged if unpublished else str
    fitted = data.read_note(place("calibration"), _file(pool))
    return Propensity(pool, _depth(p, pool), np.array(fitted["coefficients"]), fitted["mean"])


def _file(pool: str) -> str:
    return f"propensity-{pool}.json"


def _depth(p: params.Params, pool: str) -> int:
    retriever = p.retrievers[pool]
    return max(retriever.depth, retriever.max_depth or 0)


def pool_features(ranks: np.ndarray, scores: np.ndarray, depth: int) -> np.ndarray:
    """(n, 3) what the pool's retriever says of a document: log rank (just beyond ``depth`` if absent), there, score.

    >>> pool_features(np.array([1, np.nan]), np.array([2.0, 0.5]), 9).round(4).tolist()
    [[0.0, 1.0, 2.0], [2.3026, 0.0, 0.5]]
    """
    there = ~np.isnan(ranks)
    return np.stack([np.log(np.where(there, ranks, depth + 1)), there, np.nan_to_num(scores)], axis=1)


def fit_propensity(features: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """Logistic regression of whether a document was selected (labelled) on what its pool says of it.

    Args:
      features: (n, f).   selected: (n,) bool; both values must occur, and weigh the same.

    Returns:
      (f + 1,) coefficients of the features, then the constant, rounded: beyond six digits they are the solver's.

    >>> fit = fit_propensity(np.array([[0.0], [1], [2], [3]]), np.array([False, False, True, True]))
    >>> bool(fit[0] > 0), fit.shape
    (True, (2,))
    """
    from sklearn.linear_model import LogisticRegression  # seconds to import, and few stages fit anything

    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation < 1e-9, 1.0, deviation)
    model = LogisticRegression(class_weight="balanced", max_iter=1000).fit((features - mean) / deviation, selected)
    slopes = model.coef_[0] / deviation
    result = np.append(slopes, model.intercept_[0] - slopes @ mean)
    return np.array([float(f"{value:.6g}") for value in result])


def logits(features: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """(n,) logits of (n, f) features under (f + 1,) coefficients.

    >>> logits(np.array([[2.0]]), np.array([0.5, -3.0])).tolist()
    [-2.0]
    """
    return features @ coefficients[:-1] + coefficients[-1]
