"""A cut that keeps a budget, with confidence: bounds of the mean loss of queries.

Losses are shares in [0, 1] of queries drawn alike. A cut is chosen
on a line from strict to loose; a loss must not fall on the way, so each is taken at its highest so far.
"""

from __future__ import annotations

import numpy as np
import scipy.special

_OF_MEANS = 0.1  # share of the error that tighter_bound leaves to the bound that knows the mean alone
_CELLS = 1 << 20  # losses at a time


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


def betting_bound(losses: np.ndarray, confidence: float) -> np.ndarray:
    """(c,) what the expected loss stays below with this confidence, from each loss and not their mean alone.

    Each risk is bet against: capital starts at 1 and is multiplied by 1 - bet (loss - risk), loss by loss, with bets
    that look back only. A risk under which capital ever grew to 1 / (1 - confidence) is refuted (Waudby-Smith and
    Ramdas, arXiv 2010.09686; the bets are those of Bates et al., arXiv 2101.02703). Losses that vary
    less than all or nothing, such as thirds, give a bound far below ``confident_bound``. The order must not depend
    on the losses. Bets grow with confidence, so that a little more of it may, rarely, lower a bound by about 0.001.

    Args:
      losses: (c, n) of c cuts, in [0, 1], of n queries in one order.
      confidence: in (0, 1).

    >>> losses = np.zeros((2, 200))
    >>> losses[1, ::50] = 0.5
    >>> betting_bound(losses, 0.9).round(4).tolist(), confident_bound(losses.mean(axis=1), 200, 0.9).round(4).tolist()
    ([0.0119, 0.0235], [0.0114, 0.0332])
    """
    cuts, queries = losses.shape
    at_once = max(1, _CELLS // max(1, queries))
    parts = [_betting_bound(losses[start : start + at_once], 1 - confidence) for start in range(0, cuts, at_once)]
    return np.concatenate([np.empty(0), *parts])


def tighter_bound(losses: np.ndarray, confidence: float) -> np.ndarray:
    """(c,) the smaller of ``betting_bound`` and ``confident_bound``, which share the error between them.

    The smaller of two bounds fails where either does, so at full confidence each it would fail too often. Betting
    gets nine tenths of the error, the means one tenth: the sum is what was asked for. That costs 0 to 5 % of the
    bound that betting alone gives. Where losses are fractions, betting is a quarter below the means; where they are
    all or nothing, the two are on par, and the means bound what an unlucky order does to betting.

    Args:
      losses: (c, n) of c cuts, in [0, 1], of n queries in one order.
      confidence: in (0, 1).

    >>> losses = np.zeros((2, 200))
    >>> losses[1, ::50] = 0.5
    >>> tighter_bound(losses, 0.9).round(4).tolist(), tighter_bound(np.empty((1, 0)), 0.9).tolist()
    ([0.0124, 0.024], [1.0])
    """
    queries, error = losses.shape[1], 1 - confidence
    mean = losses.sum(axis=1, dtype=np.float64) / max(1, queries)
    of_means = confident_bound(mean, queries, 1 - _OF_MEANS * error)
    return np.minimum(betting_bound(losses, 1 - (1 - _OF_MEANS) * error), of_means)


def _betting_bound(losses: np.ndarray, error: float) -> np.ndarray:
    """(c,) the least risk that betting refutes: capital grows with the risk, so by bisection."""
    losses, queries = losses.astype(np.float64), losses.shape[1]
    seen = np.arange(1, queries + 1)
    mean = (0.5 + np.cumsum(losses, axis=1)) / (seen + 1)
    variance = (0.25 + np.cumsum((losses - mean) ** 2, axis=1)) / (seen + 1)
    before = np.insert(variance, 0, 0.25, axis=1)[:, :queries]  # of the losses before each
    bets = np.minimum(np.sqrt(2 * np.log(1 / error) / (queries * before)), 1.0)
    low, high = np.zeros(len(losses)), np.ones(len(losses))
    for _ in range(40):
        middle = (low + high) / 2
        capital = np.cumsum(np.log1p(bets * (middle[:, None] - losses)), axis=1)
        refuted = capital.max(axis=1, initial=-np.inf) >= np.log(1 / error)
        low, high = np.where(refuted, low, middle), np.where(refuted, middle, high)
    return high


def _p_value(mean: np.ndarray, risk: np.ndarray, queries: int) -> np.ndarray:
    """(c,) how likely so low a mean is under this risk, at most."""
    low = np.minimum(mean, risk)
    distance = scipy.special.rel_entr(low, risk) + scipy.special.rel_entr(1 - low, 1 - risk)
    distance = np.minimum(distance, 1000)  # exp(-1000) is 0; of no queries, infinite times 0 would be nothing at all
    events = np.ceil(queries * mean - 1e-9)  # 100 * 0.07 is a little more than 7
    bentkus = np.e * scipy.special.bdtr(events, queries, risk)
    return np.asarray(np.minimum(np.minimum(np.exp(-queries * distance), bentkus), 1.0))


def loosest(bounds: np.ndarray, budget: float) -> int:
    """Place of the loosest cut whose bound, and every stricter one's, is within the budget; -1 if none is.

    >>> loosest(np.array([0.01, 0.02, 0.05]), 0.02), loosest(np.array([0.1]), 0.02), loosest(np.array([np.nan]), 0.02)
    (1, -1, -1)
    """
    beyond = np.flatnonzero(~(bounds <= budget))  # what is no number keeps none
    return int(beyond[0]) - 1 if beyond.size else len(bounds) - 1
