"""A cut that keeps a budget: conformal risk control over queries.

Losses are shares in [0, 1] of queries drawn alike, the ones that calibrate and the one to come. A cut is chosen
on a line from strict to loose; a loss must not fall on the way, so each is taken at its highest so far.
"""

from __future__ import annotations

import numpy as np
import scipy.special


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
    low, high = mean.astype(np.float64), np.ones(len(mean))
    for _ in range(40):  # the smallest risk that the mean refutes, by bisection
        middle = (low + high) / 2
        refuted = _p_value(mean, middle, queries) <= 1 - confidence
        low, high = np.where(refuted, low, middle), np.where(refuted, middle, high)
    return high


def _p_value(mean: np.ndarray, risk: np.ndarray, queries: int) -> np.ndarray:
    """(c,) how likely so low a mean is under this risk, at most."""
    low = np.minimum(mean, risk)
    distance = scipy.special.rel_entr(low, risk) + scipy.special.rel_entr(1 - low, 1 - risk)
    distance = np.minimum(distance, 1000)  # exp(-1000) is 0; of no queries, infinite times 0 would be nothing at all
    bentkus = np.e * scipy.special.bdtr(np.ceil(queries * mean), queries, risk)
    return np.asarray(np.minimum(np.minimum(np.exp(-queries * distance), bentkus), 1.0))


def loosest(bounds: np.ndarray, budget: float) -> int:
    """Place of the loosest cut whose bound, and every stricter one's, is within the budget; -1 if none is.

    >>> loosest(np.array([0.01, 0.02, 0.05]), 0.02), loosest(np.array([0.1]), 0.02)
    (1, -1)
    """
    beyond = np.flatnonzero(bounds > budget)
    return int(beyond[0]) - 1 if beyond.size else len(bounds) - 1
