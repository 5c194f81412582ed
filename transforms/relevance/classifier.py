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

FOLDS = 5
ENOUGH = 50  # positives without which nothing is learned
USEFUL = 0.6  # area under the curve below which a model says too little
TOO_GOOD = 0.995  # area under the curve that no evidence has on candidates that look as much like positives
LABEL_FEATURES = (
    "known_asked_",
    "known_answers_",
    "known_shared_",
)  # of which other queries the document is a positive
_PRESENCE = 0.02
_LABELLED = 0.3  # share of labelled candidates from which on the corpus looks made of what is labelled
_FAR = 6.0  # standard deviations at which a feature ends at the latest
_TAIL = 0.02  # share of the positives, or of the candidates, beyond the end of a feature
_LOOSENESS = 0.03  # inverse strength of the regularisation
# To the end: a solver that stops at three digits turns the low bits of a vector into other negatives.
_EXACT: dict[str, Any] = {"solver": "newton-cholesky", "tol": 1e-8, "max_iter": 500}


class NotEnough(ValueError):
    """There is too little to learn from; says what is missing."""


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

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(n,) log odds that the pair is a known positive."""
        return self.slope * self.decide(features) + self.offset

    def labelled(self, features: np.ndarray) -> np.ndarray:
        """(n,) probability that the pair is a known positive."""
        return 1.0 / (1.0 + np.exp(-self.logits(features)))


def telling(
    features: np.ndarray, labels: np.ndarray, blind: np.ndarray, several: np.ndarray, names: Sequence[str]
) -> dict[str, str]:
    """Features that tell an example's label, whatever makes a document a positive: name -> why.

    A feature is fair if it is to a left-out positive what it would be to a positive that nobody labelled. Two signs
    that one is not: it is there, or not 0, for candidates and more rarely for the positives, since to be left out can
    only take labels away (pairs without a corpus: each document is the positive of one query, and of none once that is
    left out), where most queries have one positive or many candidates are labelled; or by itself it tells positives
    from candidates that look as much like positives.

    Args:
      features: (n, f), NaN where there is nothing to say.   labels: (n,) bool.
      blind: (n,) log odds of being a positive, by what does not know the labels.
      several: (n,) bool, the query has another known positive.   names: f.
    """
    from sklearn.metrics import roc_auc_score

    found = {}
    there = np.isfinite(features) & (features != 0)
    alike = blind >= np.quantile(blind[labels], 0.25)
    for number, name in enumerate(names):
        if name.startswith(LABEL_FEATURES):
            of_positives, of_candidates = there[labels, number].mean(), there[~labels, number].mean()
            single = several[labels].mean() < 0.5
            if of_positives < of_candidates - _PRESENCE and (single or of_candidates > _LABELLED):
                found[name] = (
                    f"there for {of_positives:.0%} of the left-out positives, {of_candidates:.0%} of candidates"
                )
                continue
        some = alike & np.isfinite(features[:, number])
        if min(labels[some].sum(), (~labels[some]).sum()) >= ENOUGH:
            area = roc_auc_score(labels[some], features[some, number])
            if max(area, 1 - area) >= TOO_GOOD:
                found[name] = f"tells labels among candidates that look as good (area {max(area, 1 - area):.3f})"
    return found


def outranked(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str],
    scorers: Sequence[str],
    retrievers: Sequence[str],
) -> dict[str, str]:
    """Scorers that put positives above candidates less often than a retriever does: name -> how often each does.

    Compared are the standardised scores, on the rows that the scorer read: those that retrievers rank high, so that
    theirs is the harder task. A scorer taught here is asked on queries that it was not taught on.

    Args:
      features: (n, f).   labels: (n,) bool, known positive.   weights: (n,) how many pairs a row stands for.
      names: f.   scorers, retrievers: their scores' names.
    """
    from sklearn.metrics import roc_auc_score

    found = {}
    column = {name: features[:, names.index(f"{name}_standardised")] for name in (*scorers, *retrievers)}
    for scorer in scorers:
        read = np.isfinite(column[scorer])
        area = {}
        for name in (scorer, *retrievers):
            some = read & np.isfinite(column[name])
            if min(labels[some].sum(), (~labels[some]).sum()) >= ENOUGH:
                area[name] = float(roc_auc_score(labels[some], column[name][some], sample_weight=weights[some]))
        best = max(area, key=area.__getitem__, default=scorer)
        if scorer in area and best != scorer:
            found[scorer] = f"it puts a positive above a candidate in {area[scorer]:.1%}, {best} in {area[best]:.1%}"
    return found


def separation(
    models: Sequence[Model], features: np.ndarray, labels: np.ndarray, fold: np.ndarray, blind: np.ndarray
) -> str | None:
    """How well models tell labels among candidates that look as much like positives, if too well to be true.

    Args:
      models: one per fold.   features, labels, fold: as ``learn``.   blind: (n,) as ``telling``.
    """
    from sklearn.metrics import roc_auc_score

    alike = blind >= np.quantile(blind[labels], 0.25)
    if min(labels[alike].sum(), (~labels[alike]).sum()) < ENOUGH:
        return None
    decisions = np.empty(len(labels))
    for number, model in enumerate(models):
        decisions[fold == number] = model.logits(features[fold == number])
    area = roc_auc_score(labels[alike], decisions[alike])
    return f"(area {area:.3f})" if area >= TOO_GOOD else None


def joined_weight(several: int, depends: float) -> float:
    """How much of the log odds the filter taught here decides, the rest being the pretrained one's.

    Half: each corrects the other. All of it where queries have several positives, for only then do examples show how
    alike positives are to each other; but little where labels depend on a retriever's score, for then it learned what
    was labelled and not what is a positive.

    Args:
      several: examples that are positives and whose query has another one that is known.
      depends: log odds of being labelled in the better half of what is alike, against the worse (``labelled_share``).

    >>> [round(joined_weight(*about), 2) for about in ((0, 0.0), (500, 0.5), (10_000, 0.5), (10_000, 2.5))]
    [0.5, 0.75, 0.98, 0.2]
    """
    trusted = float(np.clip((1.0 - depends) / 0.4, 0.0, 1.0))
    return 0.2 + trusted * (0.3 + 0.5 * several / (several + 500))


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
      NotEnough: too few positives, or almost all of them in few folds; no candidates, or all of them in two folds.
    """
    if labels.sum() < ENOUGH:
        raise NotEnough(f"to learn from at least {ENOUGH} positives must be retrieved, {int(labels.sum())} are")
    if labels.all():
        raise NotEnough("there are no unlabelled candidates to learn from")
    for what, some, least in (("positives", labels, ENOUGH // 5), ("unlabelled candidates", ~labels, 1)):
        of_fold = np.bincount(fold[some], minlength=FOLDS)
        if of_fold.sum() - np.sort(of_fold)[-2:].sum() < least:
            raise NotEnough(f"the {of_fold.sum()} {what} must belong to more queries that ask different things")
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
