"""A distribution as sums: fixed bins for any scale, exact moments, and no value that could break it."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np

_CUT = 13  # mantissa bits of a float32 that a bin ignores: ten stay, a bin is 0.1 % wide
_MAGNITUDE = np.int32(0x7FFFFFFF)
_TINY = np.finfo(np.float32).tiny  # what is smaller has no bins of its own: it counts as zero


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Exact count, mean, spread and ends of some values; quantiles to 0.1 % from fixed bins.

    A bin holds the float32 values that agree in their upper 19 bits. Such bins are fixed for any scale,
    cosines and BM25 alike, so the distributions of shards add up and nothing is ever sorted.

    Attributes:
      count: finite values.   odd: values that are NaN or infinite, which nothing else here counts.
      mean: of the finite values.   squares: sum of squared distances from it.
      low, high: smallest and largest, 0 where there is none.
      bins: bin -> values in it.
    """

    count: int = 0
    odd: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = 0.0
    high: float = 0.0
    bins: dict[int, int] = dataclasses.field(default_factory=dict)

    def __add__(self, other: Distribution) -> Distribution:
        """The distribution of both (Chan, Golub and LeVeque's update)."""
        count, odd = self.count + other.count, self.odd + other.odd
        if not self.count or not other.count:
            return dataclasses.replace(self if self.count else other, odd=odd)
        distance = other.mean - self.mean
        bins = collections.Counter(self.bins)
        bins.update(other.bins)
        return Distribution(
            count,
            odd,
            self.mean + distance * other.count / count,
            self.squares + other.squares + distance**2 * self.count * other.count / count,
            min(self.low, other.low),
            max(self.high, other.high),
            dict(sorted(bins.items())),
        )

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation; none of fewer than two values."""
        return float(np.sqrt(self.squares / (self.count - 1))) if self.count > 1 else None

    def quantile(self, share: float) -> float | None:
        """The value that ``share`` of the values do not exceed, interpolated as numpy does; to 0.1 %."""
        if not self.count:
            return None
        position = share * (self.count - 1)
        below, above = self._ordered(int(np.floor(position))), self._ordered(int(np.ceil(position)))
        return float(below + (above - below) * (position - np.floor(position)))

    def _ordered(self, place: int) -> float:
        """The value at this place from below, 0 to count - 1."""
        if place <= 0 or place >= self.count - 1:
            return self.low if place <= 0 else self.high
        numbers, counts = np.fromiter(self.bins, np.int64), np.fromiter(self.bins.values(), np.int64)
        until = np.cumsum(counts)
        found = int(np.searchsorted(until, place, side="right"))
        start, stop = (float(edge) for edge in bin_edges(numbers[found] + np.arange(2)))
        within = (place - (until[found] - counts[found]) + 0.5) / counts[found]
        return min(max(start + (stop - start) * within, self.low), self.high)

    def histogram(self, edges: np.ndarray) -> np.ndarray:
        """(b,) values between each two of (b + 1,) ascending edges; those outside count at the ends."""
        if not self.bins:
            return np.zeros(len(edges) - 1, np.int64)
        numbers, counts = np.fromiter(self.bins, np.int64), np.fromiter(self.bins.values(), np.int64)
        middles = (bin_edges(numbers) + bin_edges(numbers + 1)) / 2
        place = np.clip(np.searchsorted(edges, middles, side="right") - 1, 0, len(edges) - 2)
        return np.bincount(place, counts, minlength=len(edges) - 1).astype(np.int64)


def distribution_of(values: np.ndarray) -> Distribution:
    """Distribution of (n,) values.

    >>> s = distribution_of(np.array([0.5, 0.25, np.nan, np.inf])) + distribution_of(np.array([1.0]))
    >>> s.count, s.odd, round(s.mean, 4), s.low, s.high, s.quantile(0.5)
    (3, 2, 0.5833, 0.25, 1.0, 0.500244140625)
    """
    with np.errstate(over="ignore"):
        narrow = np.asarray(values).astype(np.float32)
    finite = narrow[np.isfinite(narrow)]
    finite = np.where(np.abs(finite) < _TINY, np.float32(0), finite)
    odd = len(narrow) - len(finite)
    if not finite.size:
        return Distribution(odd=odd)
    wide = finite.astype(np.float64)
    numbers, counts = np.unique(bins_of(finite), return_counts=True)
    return Distribution(
        len(finite),
        odd,
        float(wide.mean()),
        float(((wide - wide.mean()) ** 2).sum()),
        float(wide.min()),
        float(wide.max()),
        dict(zip(numbers.tolist(), counts.tolist(), strict=True)),
    )


def bins_of(values: np.ndarray) -> np.ndarray:
    """(n,) int64 number of the bin of each finite float32; a larger value never has a smaller number."""
    bits = (np.asarray(values, np.float32) + np.float32(0)).view(np.int32)  # + 0: one zero, not two
    return np.where(bits < 0, bits ^ _MAGNITUDE, bits).astype(np.int64) >> _CUT


def bin_edges(numbers: np.ndarray) -> np.ndarray:
    """(n,) float64 lower edge of each bin.

    >>> bin_edges(bins_of(np.array([0.0, 1.0, -1.0]))).round(4).tolist()
    [0.0, 1.0, -1.001]
    """
    largest = np.int64(0x7F7FFFFF)  # the bin above the last finite one would begin at infinity
    bits = np.clip(np.asarray(numbers, np.int64) << _CUT, -largest - 1, largest).astype(np.int32)
    edges = np.where(bits < 0, bits ^ _MAGNITUDE, bits).astype(np.int32).view(np.float32).astype(np.float64)
    return np.where(np.abs(edges) < _TINY, 0.0, edges)
