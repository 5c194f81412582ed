"""A share from few labels and many predictions: which pairs to label, and an interval that no prediction can spoil.

Pairs are labelled by Poisson sampling: each on its own, with a probability that is known beforehand. Chance lies in
that draw alone, the labels are fixed. So predictions, however wrong, only cost width.
"""

from __future__ import annotations

import numpy as np
import scipy.special

_FOLDS = 10


def inclusion(predicted: np.ndarray, budget: float, floor: float = 0.75) -> np.ndarray:
    """(n,) probabilities of being labelled, in (0, 1], that sum to the budget.

    Part of the budget goes to all pairs alike, so that confident predictions are checked too, and the rest in
    proportion to sqrt(p (1 - p)), which makes the variance least where p is right (Neyman's allocation). Where none
    of the pairs drawn with probability h has a label of 1, a share of 3.7 / (n h) may still be hidden among them: a
    low floor costs width where 1 is rare.

    Args:
      predicted: (n,) predicted probabilities that the label is 1.
      budget: labels wanted, on average; all pairs are labelled where there are no more.
      floor: part of the budget that is spread evenly, in (0, 1].

    Raises:
      ValueError: a prediction is no probability, or budget or floor is out of range.

    >>> inclusion(np.array([0.5, 0.1, 0.0, 0.0]), 2.0, floor=0.5).round(3).tolist()
    [0.875, 0.625, 0.25, 0.25]
    >>> inclusion(np.array([0.5, 0.0, 0.0, 0.0]), 2.0, floor=0.5).round(3).tolist()
    [1.0, 0.333, 0.333, 0.333]
    """
    _check(predicted, "predicted", "be in [0, 1]: clip it", (predicted >= 0) & (predicted <= 1))
    if not budget > 0 or not 0 < floor <= 1:
        raise ValueError(f"budget must be above 0 and floor in (0, 1], got {budget} and {floor}")
    pairs = len(predicted)
    if budget >= pairs:
        return np.ones(pairs)
    least = floor * budget / pairs
    spread = np.maximum(np.sqrt(predicted * (1 - predicted)), 1e-6)  # something, if all are certain
    ordered = np.sort(spread)[::-1]
    rest, room = budget - pairs * least, 1 - least
    # the k most uncertain are full, the others share what is left in proportion: the first k that leaves none over
    scale = (rest - room * np.arange(pairs)) / np.cumsum(ordered[::-1])[::-1]
    full = np.argmax(scale * ordered <= room)
    return np.asarray(np.minimum(least + np.minimum(scale[full] * spread, room), 1.0))


def share(
    predicted: np.ndarray,
    inclusion: np.ndarray,
    sampled: np.ndarray,
    labels: np.ndarray,
    confidence: float = 0.95,
    *,
    tuned: bool = True,
) -> tuple[float, float, float]:
    """Estimate and interval of the share of labels that are 1 among all n pairs.

    The estimate is mean(f) + sum over the sampled of (y - f) / inclusion / n: prediction-powered inference
    (Angelopoulos et al., arXiv 2301.09633) as the difference estimator of survey sampling. f is the prediction p
    itself, or tuned to a + b p (power tuning, PPI++, arXiv 2311.01453, with an intercept: it stands in for the number
    of labels, which is random), clipped to [0, 1]. Each tenth of the pairs takes a and b from the labels of the
    others (Zrnic and Candès, arXiv 2309.16598), so tuning on few labels biases nothing.

    The interval is not normal: with few labels of 1 that fails. Labels of 1 push the estimate up from mean(f), labels
    of 0 down; each is a weighted sum of rare events, with a gamma interval that allows for one more event of the
    largest weight, seen or not (Fay and Feuer, Statistics in Medicine 16, 1997). The two are joined with the square
    root of the sum of squares of their distances (Zou and Donner, Statistics in Medicine 27, 2008). Ends go outwards
    to whole numbers of labels, which matters where most pairs are sampled.

    Args:
      predicted: (n,) predicted probabilities that the label is 1.
      inclusion: (n,) the probability with which each was to be sampled, each on its own.
      sampled: (n,) bool, which were.
      labels: (s,) 0 or 1, of the sampled in their order.
      confidence: of the two-sided interval.
      tuned: whether labels may correct the predictions.

    Returns:
      The estimate, and the interval's low and high end, in [0, 1]; everything is possible of no pairs.

    Raises:
      ValueError: shapes differ, a prediction or an inclusion is no probability, or a label is neither 0 nor 1.

    >>> predicted, chance = np.full(1000, 0.5), np.full(1000, 0.1)
    >>> sampled = np.random.default_rng(1).random(1000) < chance
    >>> [round(end, 4) for end in share(predicted, chance, sampled, np.zeros(sampled.sum()))]
    [0.0, 0.0, 0.036]
    >>> [round(end, 4) for end in share(predicted, chance, sampled, np.arange(sampled.sum()) % 4 == 0)]
    [0.2507, 0.176, 0.343]
    """
    pairs, labels = len(predicted), np.asarray(labels, np.float64)
    if not pairs == len(inclusion) == len(sampled) or len(labels) != np.count_nonzero(sampled):
        raise ValueError(
            f"predicted, inclusion and sampled must have a row per pair and labels one per sampled pair, got {pairs},"
            f" {len(inclusion)}, {len(sampled)} and {len(labels)}, of {np.count_nonzero(sampled)} sampled"
        )
    _check(predicted, "predicted", "be in [0, 1]: clip it", (predicted >= 0) & (predicted <= 1))
    _check(inclusion, "inclusion", "be in (0, 1]: none may be left out", (inclusion > 0) & (inclusion <= 1))
    _check(labels, "labels", "be 0 or 1", (labels == 0) | (labels == 1))
    if pairs == 0:
        return 0.0, 0.0, 1.0
    fitted = _tuned(predicted, inclusion, sampled, labels) if tuned else np.asarray(predicted, np.float64)
    rare = (1 - confidence) / 2
    up = _sum_of_rare(1 - fitted, inclusion, sampled, labels, rare)
    down = _sum_of_rare(fitted, inclusion, sampled, 1 - labels, rare)
    estimate = fitted.sum() + up[0] - down[0]
    low = estimate - np.hypot(up[0] - up[1], down[2] - down[0])
    high = estimate + np.hypot(up[2] - up[0], down[0] - down[1])
    seen = labels.sum(), pairs - (1 - labels).sum()  # what the labels leave possible
    low, high = np.clip([np.floor(low + 1e-9), np.ceil(high - 1e-9)], *seen) / pairs + 0.0  # no -0.0
    return float(np.clip(estimate / pairs, low, high)), float(low), float(high)


def _tuned(predicted: np.ndarray, inclusion: np.ndarray, sampled: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) a + b p that makes the variance least, sum of (1 / inclusion - 1) (y - a - b p)^2, by the other folds."""
    known = np.stack([predicted, np.ones(len(predicted))], axis=1)
    weights = (1 - inclusion) / inclusion
    fold = np.arange(len(predicted)) % _FOLDS
    moved = known[sampled] * (weights[sampled] * labels / inclusion[sampled])[:, None]
    by_fold = np.stack([np.bincount(fold[sampled], column, _FOLDS) for column in moved.T], axis=1)
    others = (by_fold.sum(axis=0) - by_fold) * _FOLDS / (_FOLDS - 1)
    inverse = np.linalg.pinv((known * weights[:, None]).T @ known, rcond=1e-9, hermitian=True)  # constant: no inverse
    return np.asarray(np.clip((known * (others @ inverse)[fold]).sum(axis=1), 0.0, 1.0))


def _sum_of_rare(
    values: np.ndarray, inclusion: np.ndarray, sampled: np.ndarray, happened: np.ndarray, rare: float
) -> tuple[float, float, float]:
    """Sum over all pairs of their values where something happened, and two ends, each missed as rarely.

    The sampled count for sure; what the others add is estimated.

    Args:
      values: (n,) in [0, 1], what a pair adds if it happened there.
      inclusion: (n,) chances of being sampled.
      sampled: (n,) bool.
      happened: (s,) whether it did, 0 or 1, among the sampled.
      rare: probability with which an end may fail.
    """
    sure, chance = happened * values[sampled], inclusion[sampled]
    certain, mean = float(sure.sum()), float((sure * (1 - chance) / chance).sum())
    variance = float((sure**2 * (1 - chance) / chance**2).sum())
    drawn = inclusion < 1
    # one more event: where none is seen, -log(rare) of it is the exact upper end
    largest = float(np.max(values[drawn] / -np.log1p(-inclusion[drawn]), initial=0.0))
    low = _gamma(mean, variance, rare)
    return certain + mean, certain + low, certain + _gamma(mean + largest, variance + largest**2, 1 - rare)


def _gamma(mean: float, variance: float, quantile: float) -> float:
    """Quantile of the gamma distribution with this mean and variance."""
    if variance <= 0:
        return mean
    return float(scipy.special.gammaincinv(mean**2 / variance, quantile) * variance / mean)


def _check(values: np.ndarray, name: str, rule: str, fine: np.ndarray) -> None:
    """Refuses values that break a rule, by the first of them."""
    if not fine.all():
        first = int(np.argmin(fine))
        raise ValueError(f"{name} must {rule}, got {values[first]} at row {first}")
