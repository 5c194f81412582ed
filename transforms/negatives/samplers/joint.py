"""Choosing from several lists of the same candidates: teachers that take turns, retrievers that share the draw.

R²anker (arXiv 2206.08063) trains on negatives from the joint distribution of several retrievers; its code is not
public, so each way to join them here says what it is. NV-Retriever's ensembles (arXiv 2407.15831) join scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from gangue.transforms import arrays, randomness
from gangue.transforms.negatives.rows import Order, Rows
from gangue.transforms.negatives.samplers.sampler import SamplerSection
from gangue.transforms.settings import mistakes
from gangue.transforms.settings.section import Count, Name, Positive


class Joint(SamplerSection):
    """Negatives from several retrievers together (R2anker)."""

    kind: Literal["joint"] = "joint"
    mode: Literal["union", "mixture", "round_robin", "rrf"] = "union"
    depth: Positive | None = None  # ranks of each retriever that take part; null: all it returned
    weights: dict[Name, Annotated[float, Field(gt=0)]] | None = None  # mixture: of each retriever; null: all alike
    k: Positive | None = None  # rrf: null is 60
    quotas: dict[Name, Count] = Field(default_factory=dict)  # negatives that a retriever may supply at most
    max_share: Annotated[float, Field(gt=0, le=1)] = 1.0  # the same, as a share of the hard ones

    @model_validator(mode="after")
    def _of_mode(self) -> Self:
        for key, mode in (("weights", "mixture"), ("k", "rrf")):
            if getattr(self, key) is not None and self.mode != mode:
                raise ValueError(f"{key} belongs to mode {mode} and only there, got mode {self.mode}")
        return self

    @property
    def refuses(self) -> dict[str, str]:
        """All that says in which order one score chooses."""
        return {
            "keep_first": "several retrievers have a first one each",
            "diverse": "it chooses in its own order",
            "ensemble": "ranks decide there, not scores",
        }

    def check(self, hard: int, retrievers: Sequence[str]) -> None:
        """Check that the retrievers are there and may supply all hard negatives.

        Raises:
          ValueError: one is not there, or they may not.
        """
        for key in ("weights", "quotas"):
            for name in getattr(self, key) or {}:
                mistakes.known(f"sample.joint.{key}", name, retrievers)
        limits = self.limits(hard, retrievers)
        if sum(limits) < hard:
            shown = ", ".join(f"{name} {limit}" for name, limit in zip(retrievers, limits, strict=True))
            raise ValueError(
                f"sample.joint.quotas and max_share must leave room for the {hard} hard negatives, got {shown}"
            )

    def limits(self, hard: int, retrievers: Sequence[str]) -> list[int]:
        """How many of so many hard negatives each retriever may supply.

        >>> Joint(quotas={"bm25": 1}, max_share=0.6).limits(5, ["dense", "bm25"])
        [3, 1]
        """
        most = int(self.max_share * hard + 1e-9)  # a share such as 0.6 of 5 must not lose one to rounding
        return [min(most, self.quotas.get(name, most)) for name in retrievers]

    def order(self, rows: Rows, hard: int) -> Order:
        """In turns, by chance or by ranks, what the limit of its retriever leaves."""
        groups, names = rows.groups, list(rows.candidates.ranks)
        ranks = np.array([rank[rows.pair] for rank in rows.candidates.ranks.values()])
        if self.depth is not None:
            ranks = np.where(ranks <= self.depth, ranks, np.nan)
        limits = np.array(self.limits(hard, names))
        if self.mode == "round_robin":
            taken = take_turns(groups, np.nan_to_num(ranks, nan=np.inf), hard, limits)
            return Order(rows.score, np.asarray(taken.any(axis=0)))
        supplier = suppliers(ranks)
        if self.mode == "mixture":
            weights = self.weights or {}
            logits = mixture_logits(ranks, groups, np.array([weights.get(name, 1.0) for name in names]))
            keys = logits + randomness.gumbels(rows.hashes)
        elif self.mode == "rrf":
            keys = reciprocal_ranks(ranks, self.k or 60)
        else:
            keys = rows.uniforms
        keys = np.where(supplier < 0, -np.inf, keys)
        of_supplier = arrays.rank_within(groups * (len(limits) + 1) + supplier + 1, [-keys, rows.tie])
        return Order(keys, (supplier >= 0) & (of_supplier < limits[supplier]))


def take_turns(
    groups: np.ndarray, places: np.ndarray, quota: int, limits: np.ndarray | None = None, *, repeat: bool = False
) -> np.ndarray:
    """Which list takes which row when the lists of each group take turns, each its best that is left.

    A list that has nothing left, or has its limit, passes; a group stops when it has its quota.

    Args:
      groups: (n,) group numbers from 0.   places: (l, n) lower first, inf where a list does not have the row.
      quota: rows taken in each group.   limits: (l,) rows that each list may take in a group; None: any number.
      repeat: a row may be taken by several lists, and counts each time.

    Returns:
      (l, n) bool.

    >>> both = np.array([[0, 1, 2], [0, 2, 1]])
    >>> take_turns(np.zeros(3, int), both, 2).astype(int).tolist()
    [[1, 0, 0], [0, 0, 1]]
    >>> take_turns(np.zeros(3, int), both, 2, repeat=True).astype(int).tolist()
    [[1, 0, 0], [1, 0, 0]]
    """
    lists = len(places)
    taken = np.zeros(places.shape, bool)
    count = int(groups.max(initial=-1)) + 1
    found = np.zeros(count, np.int64)
    by_list = np.zeros((lists, count), np.int64)
    most = np.full(lists, quota) if limits is None else np.minimum(limits, quota)
    orders = [np.lexsort((place, groups)) for place in places]
    orders = [order[np.isfinite(place[order])] for order, place in zip(orders, places, strict=True)]
    for _ in range(quota):  # rounds, not rows: each list takes one at most in each group
        before = found.sum()
        for number, order in enumerate(orders):
            gone = taken[number] if repeat else taken.any(axis=0)
            open_ = (found < quota) & (by_list[number] < most[number])
            left = order[~np.asarray(gone)[order] & open_[groups[order]]]
            best = left[np.unique(groups[left], return_index=True)[1]]
            taken[number, best] = True
            found[groups[best]] += 1
            by_list[number, groups[best]] += 1
        if found.sum() == before:
            break
    return taken


def mixture_logits(ranks: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log-probability under a mixture of the retrievers: p(d) = sum over r of w_r p_r(d), p_r uniform on what r has.

    Args:
      ranks: (r, n) rank by each retriever, NaN where it does not have the row.   groups: (n,) numbers from 0.
      weights: (r,) positive.

    Returns:
      (n,) unnormalised; -inf where no retriever has the row.

    >>> ranks = np.array([[1, 2, np.nan], [np.nan, 1, 2]])
    >>> np.exp(mixture_logits(ranks, np.zeros(3, int), np.array([1.0, 1.0]))).tolist()
    [0.25, 0.5, 0.25]
    """
    count = int(groups.max(initial=-1)) + 1
    mass = np.zeros(ranks.shape[1])
    for rank, weight in zip(ranks, weights / weights.sum(), strict=True):
        has = ~np.isnan(rank)
        mass[has] += weight / np.bincount(groups[has], minlength=count)[groups[has]]
    with np.errstate(divide="ignore"):
        return np.log(mass)


def reciprocal_ranks(ranks: np.ndarray, k: float) -> np.ndarray:
    """(n,) reciprocal rank fusion: the sum over retrievers of 1 / (k + rank), from (r, n) ranks, NaN where absent.

    >>> reciprocal_ranks(np.array([[1, 2], [np.nan, 1]]), 60).round(6).tolist()
    [0.016393, 0.032522]
    """
    return np.nansum(1.0 / (k + ranks), axis=0)


def suppliers(ranks: np.ndarray) -> np.ndarray:
    """(n,) the retriever that ranks each row best, the first of equals; -1 where none has it.

    >>> suppliers(np.array([[1, np.nan, 2], [1, np.nan, 1]])).tolist()
    [0, -1, 1]
    """
    filled = np.nan_to_num(ranks, nan=np.inf)
    return np.where(np.isinf(filled).all(axis=0), -1, filled.argmin(axis=0))
