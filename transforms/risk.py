"""A cut that keeps a budget: conformal risk control over queries.

Losses are shares in [0, 1] of queries drawn alike, the ones that calibrate and the one to come. A cut is chosen
on a line from strict to loose; a loss must not fall on the way, so each is taken at its highest so far.
"""

from __future__ import annotations

import numpy as np
import scipy.stats


def expected_bound(mean: np.ndarray, queries: int) -> np.ndarray:
    """(c,) what the expected loss of one more query stays below: (n mean + 1) / (n + 1).

    Conformal risk control (Angelopoulos et al., arXiv 2208.02814, theorem 1), for losses of at most 1.

    >>> expected_bound(np.array([0.0, 0.01]), 99).round(4).tolist()
    [0.01, 0.0199]
    """
    return (queries * mean + 1.0) / (queries + 1)


def confident_bound(mean: np.ndarray, queries: int, confidence: float) -> np.ndarray:
    """(c,) what the expected loss stays below with this confidence, whatever its distribution in [0, 1].

    Risk-controlling prediction sets (Bates et al., arXiv 2101.02703) with the Hoeffding-Bentkus bound.

    >>> confident_bound(np.array([0.0, 0.01]), 200, 0.9).round(4).tolist()
    [0.0114, 0.0332]
    """
    result = np.ones(len(mean))
    for place, value in enumerate(mean):
        low, high = float(value), 1.0
        for _ in range(40):  # the smallest risk that the mean refutes, by bisection
            middle = (low + high) / 2
            low, high = (low, middle) if _p_value(value, middle, queries) <= 1 - confidence else (middle, high)
        result[place] = high
    return result


def _p_value(mean: float, risk: float, queries: int) -> float:
    """How likely so low a mean is under this risk, at most."""
    low, high = min(mean, risk), risk
    distance = 0.0
    if low > 0:
        distance += low * np.log(low / high)
    if low < 1 and high < 1:
        distance += (1 - low) * np.log((1 - low) / (1 - high))
    hoeffding = np.exp(-queries * distance)
    bentkus = np.e * scipy.stats.binom.cdf(np.ceil(queries * mean), queries, risk)
    return float(min(hoeffding, bentkus, 1.0))


def loosest(bounds: np.ndarray, budget: float) -> int:
    """Place of the loosest cut whose bound, and every stricter one's, is within the budget; -1 if none is.

    >>> loosest(np.array([0.01, 0.02, 0.05]), 0.02), loosest(np.array([0.1]), 0.02)
    (1, -1)
    """
    beyond = np.flatnonzero(bounds > budget)
    return int(beyond[0]) - 1 if beyond.size else len(bounds) - 1
