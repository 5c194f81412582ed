"""How sure a share is: Wilson's interval, and a bootstrap over queries whose parts add up over shards."""

from __future__ import annotations

import numpy as np

from gangue.transforms import randomness

Z = 1.959963984540054  # 95 %, two-sided
REPLICATES = 1000
_FEW = 10  # queries: resampling fewer sees too little of what may be
_BLOCK = 64  # replicates at a time: bounds the (queries, replicates) matrix
_POISSON = np.cumsum(np.exp(-1) / np.cumprod(np.maximum(np.arange(16), 1).astype(np.float64)))


def wilson(hits: float, trials: float) -> tuple[float, float]:
    """95 % interval of a share of independent trials; everything is possible where there are none.

    >>> [round(bound, 4) for bound in wilson(0, 20)]
    [0.0, 0.1611]
    >>> wilson(0, 0)
    (0.0, 1.0)
    """
    if trials <= 0:
        return 0.0, 1.0
    share, spread = hits / trials, Z * Z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = Z * np.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    low = 0.0 if hits <= 0 else middle - half
    high = 1.0 if hits >= trials else middle + half
    return float(max(0.0, low)), float(min(1.0, high))


def resampled(hashes: np.ndarray, values: np.ndarray, seed: int, replicates: int = REPLICATES) -> np.ndarray:
    """(c, replicates) sums of c quantities over resampled queries: a Poisson bootstrap.

    In each replicate a query counts Poisson(1) times, drawn by a hash of its id. So the sums of shards add
    up, and neither order nor sharding can change them.

    Args:
      hashes: (q,) uint64 hash of each query's id.
      values: (q, c) whole numbers per query.
      seed: of the draws.
      replicates: how often to draw.
    """
    sums = np.zeros((values.shape[1], replicates))
    for start in range(0, replicates, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, replicates), dtype=np.uint64)
        noise = randomness.uniforms(randomness.mix(seed, hashes[:, None], numbers[None, :]))
        times = np.searchsorted(_POISSON, noise.reshape(-1)).reshape(len(hashes), len(numbers))
        sums[:, start : start + len(numbers)] = values.T.astype(np.float64) @ times
    return sums


def of_queries(hits: int, trials: int, queries: float, drawn: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """95 % interval of a share of trials that lie in queries: a bootstrap over queries, as far as that sees a spread.

    Where it sees none it is Wilson's, with a query as one trial; where queries are few, both.

    Args:
      hits, trials: as counted.   queries: how many.   drawn: both when queries are drawn anew.

    >>> [round(bound, 2) for bound in of_queries(2, 6, 2, (np.array([1.0, 2.0]), np.array([3.0, 6.0])))]
    [0.05, 0.84]
    """
    low, high = interval_of_ratio(*drawn)
    lowest, highest = wilson(hits / max(trials, 1) * queries, queries)
    if hits in (0, trials) or high - low < 1e-9:
        return lowest, highest
    return (min(low, lowest), max(high, highest)) if queries < _FEW else (low, high)


def interval_of_ratio(hits: np.ndarray, trials: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of ``hits / trials`` over replicates; (0, 1) where no replicate has a trial.

    >>> interval_of_ratio(np.array([1.0, 1.0]), np.array([4.0, 4.0]))
    (0.25, 0.25)
    """
    some = trials > 0
    if not some.any():
        return 0.0, 1.0
    low, high = np.quantile(hits[some] / trials[some], [0.025, 0.975])
    return float(low), float(high)
