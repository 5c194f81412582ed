"""How much each negative counts in training: weights that papers compute in their losses, computed once beforehand."""

from __future__ import annotations

import numpy as np


def phi_weights(scores: np.ndarray, phi: float) -> np.ndarray:
    """(n,) 0 for a negative that another encoder finds too similar to its query, 1 for the others.

    DCLR (arXiv 2205.00656): alpha = 0 if sim > phi else 1. Its code multiplies the logit by alpha, which leaves
    exp(0) in the denominator; a weight of 0 takes the negative out. A negative without a score keeps its 1.

    >>> phi_weights(np.array([0.95, 0.89, 0.5]), 0.9).tolist()
    [0.0, 1.0, 1.0]
    """
    return np.where(scores > phi, 0.0, 1.0)


def asl_weights(probabilities: np.ndarray, gamma: float, clip: float, form: str) -> np.ndarray:
    """(n,) how much a negative of this probability of being relevant counts.

    ASL (arXiv 2009.14119): L = -(p_m)^gamma log(1 - p_m), p_m = max(p - clip, 0). ``weight`` is (p_m)^gamma: it
    drops easy negatives and grows with p. ``gradient`` is |dL/dlogit|: it falls again where p comes near to 1,
    so likely false negatives count less.

    Args:
      probabilities: (n,) in [0, 1].   gamma: >= 0, the paper's 4.   clip: in [0, 1), the paper's 0.05.

    >>> asl_weights(np.array([0.05, 0.5, 0.9]), 4, 0.05, "weight").round(6).tolist()
    [0.0, 0.041006, 0.522006]
    >>> asl_weights(np.array([0.05, 0.5, 0.9]), 4, 0.05, "gradient").round(5).tolist()
    [0.0, 0.07312, 0.73263]
    """
    shifted = np.maximum(probabilities - clip, 0.0)
    focus = np.where(probabilities >= clip, shifted**gamma, 0.0)
    if form == "weight":
        return focus
    # p = 1 without a clip is the limit 1 - gamma p' log(1 - p') -> 1 of a loss that has no bound there.
    safe = np.minimum(shifted, 1 - 1e-12)
    slope = gamma * shifted ** max(gamma - 1, 0) * -np.log1p(-safe) + focus / (1 - safe)
    return np.where(probabilities >= clip, slope * probabilities * (1 - np.minimum(probabilities, 1 - 1e-12)), 0.0)


def propensity_weights(logits: np.ndarray, temperature: float, clip: float) -> np.ndarray:
    """(n,) 1 / (1 - sigmoid(logit / T)), at most ``clip``: a negative that was likely to be judged can be trusted.

    CET (arXiv 2209.05072): who labelled saw a pool, and what was not in the pool was never judged. The paper trains
    the propensity along with the ranker; here it is fitted once, which is plain inverse-propensity weighting.

    >>> propensity_weights(np.array([-4, -1, 0, 1, 4.0]), 2, 10).round(4).tolist()
    [1.1353, 1.6065, 2.0, 2.6487, 8.3891]
    """
    return np.minimum(1.0 + np.exp(np.minimum(logits / temperature, 50.0)), clip)


def lambda_weights(positive_ranks: np.ndarray, ranks: np.ndarray, cut: int) -> np.ndarray:
    """(n,) |1 / r+ - 1 / r-|: by how much the reciprocal rank changes if positive and negative change places.

    ADORE (arXiv 2104.08051) weighs its pairs so, after LambdaRank; it searches anew at every step, and this is the
    weight by one search. A rank beyond ``cut`` counts as never found, whose reciprocal is 0; so does NaN.

    Args:
      positive_ranks, ranks: (n,) from 1, of each row's positive and negative.

    >>> lambda_weights(np.full(4, 3.0), np.array([1, 2, 200, np.nan]), 200).round(4).tolist()
    [0.6667, 0.1667, 0.3283, 0.3333]
    """
    reciprocals = [np.where(of <= cut, 1.0 / of, 0.0) for of in (positive_ranks, ranks)]
    return np.abs(reciprocals[0] - reciprocals[1])


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
