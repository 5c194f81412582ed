"""A classifier that learns from known positives which unlabelled candidates are positives too.

Positive-unlabelled learning: known positives, each described as if nobody knew it, against unlabelled candidates.
Queries are split in folds, and none is judged by a model that saw it. The model is logistic regression on
standardised features and their squares: a line of numbers per fold, saved as JSON.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

FOLDS = 5
ENOUGH = 50  # positives without which nothing is learned
USEFUL = 0.6  # area under the curve below which a model is no better than a rule
_FAR = 6.0  # standard deviations at which a feature ends at the latest
_TAIL = 0.02  # share of the positives, or of the candidates, beyond the end of a feature
_LOOSENESS = 0.03  # inverse strength of the regularisation
# To the end: a solver that stops at three digits turns the low bits of a vector into other negatives.
_EXACT: dict[str, Any] = {"solver": "newton-cholesky", "tol": 1e-8, "max_iter": 500}


@dataclasses.dataclass(frozen=True)
class Model:
    """One fold's classifier.

    Attributes:
      mean, scale: (f,) of each feature where it is present.
      low, high: (f,) standard deviations at which it ends: a curve means nothing beyond what it was fitted on.
      weights: (2 f,) of the standardised features and of their squares.   intercept: added.
      slope, offset: of the logistic curve from decision to probability, fitted on other folds (Platt).
    """

    mean: list[float]
    scale: list[float]
    low: list[float]
    high: list[float]
    weights: list[float]
    intercept: float
    slope: float = 1.0
    offset: float = 0.0

    def decide(self, features: np.ndarray) -> np.ndarray:
        """(n,) decision values of (n, f) features; a feature that is NaN says nothing."""
        standard = _standard(features, *map(np.array, (self.mean, self.scale, self.low, self.high)))
        first, second = np.split(np.array(self.weights), 2)
        return standard @ first + np.square(standard) @ second + self.intercept

    def labelled(self, features: np.ndarray) -> np.ndarray:
        """(n,) probability that the pair is a known positive."""
        return 1.0 / (1.0 + np.exp(-(self.slope * self.decide(features) + self.offset)))


def fold_of(groups: Sequence[str]) -> np.ndarray:
    """(q,) fold of each query by its group of near-duplicates: queries that ask the same share a fold.

    >>> fold_of(["c", "d", "c"]).tolist()
    [1, 2, 1]
    """
    words = pd.util.hash_array(np.asarray(groups, dtype=object), categorize=False)
    return ((words >> np.uint64(32)) % np.uint64(FOLDS)).astype(np.int64)


def false_probability(labelled: np.ndarray, share: float) -> np.ndarray:
    """(n,) probability that an unlabelled candidate is a positive.

    Elkan and Noto (2008): where each positive is labelled with the same probability c, an unlabelled example
    that a model of the labels gives g is a positive with (1 - c) / c x g / (1 - g). Here these are the odds: the
    same for the many candidates near 0, and a probability also where the data contradict the c that was reckoned.

    Args:
      labelled: (n,) g.   share: c, the share of all positives that are labelled.

    >>> false_probability(np.array([0.0, 0.01, 0.5, 0.9]), 0.5).round(6).tolist()
    [0.0, 0.01, 0.5, 0.9]
    >>> false_probability(np.array([0.01, 0.5]), 0.8).round(6).tolist()
    [0.002519, 0.2]
    """
    odds = (1.0 - share) / share * labelled / np.maximum(1.0 - labelled, 1e-12)
    return odds / (1.0 + odds)


def fit(features: np.ndarray, labels: np.ndarray) -> Model:
    """A model of (n, f) features and (n,) labels, not calibrated yet."""
    from sklearn.linear_model import LogisticRegression

    present = np.isfinite(features)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, features, 0.0).sum(axis=0) / count
    scale = np.sqrt(np.where(present, (features - mean) ** 2, 0.0).sum(axis=0) / count)
    scale[scale < 1e-9] = 1.0
    low, high = _ends(features, labels, mean, scale)
    standard = _standard(features, mean, scale, low, high)
    learner = LogisticRegression(C=_LOOSENESS, **_EXACT)
    learner.fit(np.hstack([standard, np.square(standard)]), labels)
    ends = (mean.tolist(), scale.tolist(), low.tolist(), high.tolist())
    return Model(*ends, weights=learner.coef_[0].tolist(), intercept=float(learner.intercept_[0]))


def learn(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, fold: np.ndarray) -> tuple[list[Model], Any]:
    """A calibrated model for each fold, taught on the others, and how good they are.

    Args:
      features: (n, f).   labels: (n,) bool, known positive.   fold: (n,) of the row's query.
      weights: (n,) how many pairs a row stands for: positives 1, sampled candidates more.

    Returns:
      ``FOLDS`` models, and the quality of what each says of the fold it did not see (``quality``).

    Raises:
      ValueError: too few positives, or almost all of them in few folds; no candidates.
    """
    if labels.sum() < ENOUGH:
        raise ValueError(f"to learn from at least {ENOUGH} positives must be retrieved, {int(labels.sum())} are")
    positives = np.bincount(fold[labels], minlength=FOLDS)
    if positives.sum() - np.sort(positives)[-2:].sum() < ENOUGH // 5:
        raise ValueError(f"the {int(labels.sum())} positives must belong to more queries that ask different things")
    if labels.all():
        raise ValueError("there are no unlabelled candidates to learn from")
    # A fold's own curve may not know it either: it is fitted on what models say that saw neither fold.
    decisions = np.empty((FOLDS, len(labels)))
    for one, other in itertools.combinations(range(FOLDS), 2):
        neither = (fold != one) & (fold != other)
        model = fit(features[neither], labels[neither])
        for judging, judged in ((one, other), (other, one)):
            decisions[judging, fold == judged] = model.decide(features[fold == judged])
    calibrated = []
    for number in range(FOLDS):
        seen = fold != number
        slope, offset = _platt(decisions[number, seen], labels[seen], weights[seen])
        calibrated.append(dataclasses.replace(fit(features[seen], labels[seen]), slope=slope, offset=offset))
    predicted = np.empty(len(labels))
    for number, model in enumerate(calibrated):
        predicted[fold == number] = model.labelled(features[fold == number])
    return calibrated, quality(predicted, labels, weights)


def quality(predicted: np.ndarray, labels: np.ndarray, weights: np.ndarray, bins: int = 10) -> dict[str, Any]:
    """Area under the curve, expected calibration error and the points of a reliability plot.

    The bins hold equally many of the positives expected, for almost all candidates are near 0.

    >>> quality(np.array([0.1, 0.9]), np.array([False, True]), np.ones(2), bins=1)["auc"]
    1.0
    """
    from sklearn.metrics import roc_auc_score

    order = np.argsort(predicted, kind="stable")
    mass = np.cumsum((predicted * weights)[order])
    place = np.minimum((mass / max(mass[-1], 1e-300) * bins).astype(np.int64), bins - 1)
    total = np.bincount(place, weights[order], minlength=bins)
    expected = np.bincount(place, (weights * predicted)[order], minlength=bins)
    observed = np.bincount(place, (weights * labels)[order], minlength=bins)
    some = total > 0
    error = np.abs(expected - observed)[some].sum() / total.sum()
    return {
        "auc": float(f"{roc_auc_score(labels, predicted, sample_weight=weights):.6g}"),
        "ece": float(f"{error:.6g}"),
        "positives": int(labels.sum()),
        "candidates": int((~labels).sum()),
        "reliability": [
            {"predicted": float(f"{e:.6g}"), "observed": float(f"{o:.6g}"), "pairs": round(t)}
            for e, o, t in zip(expected[some] / total[some], observed[some] / total[some], total[some], strict=True)
        ],
    }


def importances(models: Sequence[Model], names: Sequence[str]) -> dict[str, float]:
    """Feature -> mean absolute weight over the folds, of the feature and its square, largest first."""
    size = np.abs([model.weights for model in models]).mean(axis=0)
    total = size[: len(names)] + size[len(names) :]
    return {names[i]: float(f"{total[i]:.6g}") for i in np.argsort(-total, kind="stable")}


def _ends(
    features: np.ndarray, labels: np.ndarray, mean: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two (f,): between which standard deviations most positives and most candidates lie."""
    standard = (features - mean) / scale
    low, high = np.full(len(mean), np.inf), np.full(len(mean), -np.inf)
    for group in (standard[labels], standard[~labels]):
        some = np.isfinite(group).any(axis=0)
        ends = np.nanquantile(group[:, some], [_TAIL, 1.0 - _TAIL], axis=0)
        low[some], high[some] = np.minimum(low[some], ends[0]), np.maximum(high[some], ends[1])
    return np.clip(low, -_FAR, 0.0), np.clip(high, 0.0, _FAR)


def _standard(
    features: np.ndarray, mean: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """(n, f) in standard deviations, no further than the ends; 0 where there is no value."""
    return np.nan_to_num(np.clip((features - mean) / scale, low, high), nan=0.0)


def _platt(decisions: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    learner = LogisticRegression(C=1e6, **_EXACT).fit(decisions[:, None], labels, sample_weight=weights)
    return float(learner.coef_[0, 0]), float(learner.intercept_[0])
