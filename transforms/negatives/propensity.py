"""How likely a document was judged, by what the retriever that pooled for the labellers says of it."""

from __future__ import annotations

import numpy as np


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
