"""Which of the kept candidates become negatives.

Random choice is Gumbel-top-k on uniforms hashed from (seed, query, positive, document): an exact draw without
replacement that no order, block or worker count can change.
"""

from __future__ import annotations

import numpy as np

from transforms import arrays, randomness


def simans_logits(scores: np.ndarray, positives: np.ndarray, a: float, b: float, law: str = "gauss") -> np.ndarray:
    """Unnormalised log-probability of ambiguous negatives.

    SimANS (arXiv 2210.11773, eq. 4): p_i ~ exp(-a (s_i - s_positive - b)^2). The sign of b is the paper's, not
    its code's. ``laplace``: p_i ~ exp(-a |s_i - s_positive - b|), as its passage code draws with a = 3.

    Args:
      scores: (n,) scores of the candidates.   positives: (n,) score of each one's positive.

    >>> logits = simans_logits(np.array([84, 81, 80, 79, 78, 76.0]), np.full(6, 80.0), 0.5, 0.0)
    >>> (np.exp(logits) / np.exp(logits).sum()).round(6).tolist()
    [0.000143, 0.258201, 0.425701, 0.258201, 0.057612, 0.000143]
    """
    distance = scores - positives - b
    return -a * (distance**2 if law == "gauss" else np.abs(distance))


def softmax_logits(scores: np.ndarray, temperature: float) -> np.ndarray:
    """(n,) unnormalised log-probability of NV-Retriever's sampled top-k (arXiv 2407.15831): p_i ~ exp(s_i / T).

    >>> weights = np.exp(softmax_logits(np.array([0.7, 0.6]), 0.1))
    >>> (weights / weights.sum()).round(4).tolist()
    [0.7311, 0.2689]
    """
    return scores / temperature


def nearness(scores: np.ndarray, positives: np.ndarray, b: float) -> np.ndarray:
    """(n,) the higher, the nearer to the positive's score plus b: SimANS's ablation Nearest-K, which draws nothing.

    >>> nearness(np.array([84.0, 81.0, 79.0]), np.full(3, 80.0), 0.0).tolist()
    [-4.0, -1.0, -1.0]
    """
    return -np.abs(scores - positives - b)


def band_floors(
    scores: np.ndarray, groups: np.ndarray, low: float, high: float, step: float, patience: int, least: int
) -> np.ndarray:
    """Lower bound of the scores that may be drawn, widened where too few lie between the bounds.

    CAR's sampler (arXiv 2305.14869, its code): cosines in (0.3, 0.4), the lower bound lowered by 0.05 up to
    10 times until 10 are there. Both bounds are exclusive.

    Args:
      scores: (n,).   groups: (n,) group numbers from 0.   low, high: the band.
      step: by how much it is widened.   patience: how often at most.   least: how many should be there.

    Returns:
      (g,) lower bound of each group.

    >>> band_floors(np.array([0.35, 0.28, 0.1, 0.5]), np.array([0, 0, 0, 1]), 0.3, 0.4, 0.05, 10, 2).round(2).tolist()
    [0.25, -0.2]
    """
    groups_count = groups.max(initial=-1) + 1
    floors = np.full(groups_count, low)
    for times in range(1, patience + 1):  # a handful, whatever the number of rows
        floor = low - step * times
        inside = np.bincount(groups[(scores > floors[groups]) & (scores < high)], minlength=groups_count)
        floors = np.where(inside < least, floor, floors)
    return floors


def zscores(scores: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each row's group, so that scores of any scale can be compared.

    Args:
      scores: (n,).   groups: (n,) group numbers from 0.

    Returns:
      (n,) mean and (n,) standard deviation, 1 where a group does not vary.
    """
    count = np.maximum(np.bincount(groups), 1)
    mean = np.bincount(groups, scores) / count
    deviation = np.sqrt(np.maximum(np.bincount(groups, scores**2) / count - mean**2, 0))
    deviation[deviation < 1e-9] = 1.0
    return mean[groups], deviation[groups]


def weight_ratio(logits: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(g,) largest over smallest weight in each group; below 2 a draw by these weights is almost uniform.

    >>> weight_ratio(np.log(np.array([1.0, 2.0, 8.0])), np.array([0, 0, 1])).tolist()
    [2.0, 1.0]
    """
    highest = np.full(groups.max(initial=-1) + 1, -np.inf)
    lowest = np.full_like(highest, np.inf)
    np.maximum.at(highest, groups, logits)
    np.minimum.at(lowest, groups, logits)
    return np.exp(np.clip(highest - lowest, 0, 700))


def noise_words(
    seed: int, query_words: np.ndarray, positive_words: np.ndarray, document_words: np.ndarray
) -> np.ndarray:
    """(n,) uint64, a hash of (seed, query, positive, document)."""
    return randomness.mix(seed, query_words, positive_words, document_words)


def choose(groups: np.ndarray, keys: np.ndarray, tie: np.ndarray, quota: np.ndarray, skip: int = 0) -> np.ndarray:
    """(n,) bool: the rows with the highest keys of each group.

    Args:
      groups: (n,) group of each row.   keys: (n,) higher first.   tie: (n,) breaks equal keys, lower first.
      quota: (n,) how many of the row's group to choose.   skip: how many of the highest to pass over.

    >>> choose(np.array([0, 0, 0]), np.array([3.0, 1.0, 2.0]), np.arange(3), np.array([1, 1, 1]), skip=1).tolist()
    [False, False, True]
    """
    place = arrays.rank_within(groups, [-keys, tie])
    return (place >= skip) & (place < quota + skip)
