"""Features of a (query, document) pair that mean the same in every corpus and under every encoder.

No raw score and no raw cosine: these depend on the model. What is left is a pair's place among the other pairs of its
query. So a filter that is fitted on them in some corpora can judge another (``pretrained``).

``blind`` does not know which document is a known positive, and so describes one just as a positive that nobody
labelled. ``full`` knows the query's positives but the one that it describes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from gangue.transforms import arrays

BLIND = (
    "dense_standardised",
    "dense_found",
    "dense_place",
    "lexical_standardised",
    "lexical_found",
    "lexical_place",
    "crowd_standardised",
    "crowd_place",
    "asked",
    "answered",
    "usage_standardised",
)
FULL = (
    "dense_standardised",
    "dense_gap",
    "dense_found",
    "dense_place",
    "dense_known_place",
    "lexical_standardised",
    "lexical_gap",
    "lexical_found",
    "lexical_place",
    "lexical_known_place",
    "nearest_standardised",
    "nearest_place",
    "neighbours_standardised",
    "neighbours_place",
    "crowd_standardised",
    "crowd_place",
    "overlap",
    "overlap_place",
    "asked",
    "answered",
    "mutual",
    "usage_standardised",
    "positives",
)
_DEEPEST = 200.0  # rank of a positive that was not found
_LEAST_MUTUAL = 0.01  # keeps its logarithm finite


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs to describe, as arrays: n pairs of q queries.

    Attributes:
      query: (n,) query number, ascending.   queries: q.
      known: (n,) bool, a labelled positive.   unlabelled: (n,) bool, neither that nor any copy of one.
      ranks: role -> (n,) float raw rank, NaN where not found; roles are ``dense`` and ``lexical``, either may lack.
      columns: feature -> (n,), as ``features`` describes the pairs: ``ROLE``, ``ROLE_standardised``, ``ROLE_gap`` of a
        role, ``nearest``, ``neighbours``, ``crowd`` and each with ``_standardised``, ``mutual``, ``overlap``,
        ``asked``, ``answered``, ``usage``, ``positives``. What is absent counts as NaN everywhere.
    """

    query: np.ndarray
    queries: int
    known: np.ndarray
    unlabelled: np.ndarray
    ranks: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]

    def column(self, name: str) -> np.ndarray:
        """(n,) float64 of a feature, NaN where there is none."""
        values = self.columns.get(name)
        return np.full(len(self.query), np.nan) if values is None else np.asarray(values, np.float64)


def blind(pairs: Pairs) -> np.ndarray:
    """(n, 11) float32 features, ``BLIND``, that do not tell a known positive from one that nobody labelled."""
    others = pairs.known | pairs.unlabelled
    found = _of_roles(pairs, others)
    found |= {
        "crowd_standardised": pairs.column("crowd_standardised"),
        "crowd_place": place(pairs, "crowd", others),
        "asked": pairs.column("asked"),
        "answered": pairs.column("answered"),
        "usage_standardised": _usage(pairs),
    }
    return np.column_stack([found[name] for name in BLIND]).astype(np.float32)


def full(pairs: Pairs) -> np.ndarray:
    """(n, 23) float32 features, ``FULL``, that also say how alike the pair is to the query's other positives."""
    found = _of_roles(pairs, pairs.unlabelled)
    for role in ("dense", "lexical"):
        found[f"{role}_gap"] = pairs.column(f"{role}_gap")
        found[f"{role}_known_place"] = known_place(pairs, role)
    for name in ("nearest", "neighbours", "crowd"):
        found[f"{name}_standardised"] = pairs.column(f"{name}_standardised")
        found[f"{name}_place"] = place(pairs, name, pairs.unlabelled)
    found |= {
        "overlap": pairs.column("overlap"),
        "overlap_place": place(pairs, "overlap", pairs.unlabelled),
        "asked": pairs.column("asked"),
        "answered": pairs.column("answered"),
        "mutual": np.log(pairs.column("mutual") + _LEAST_MUTUAL),
        "usage_standardised": _usage(pairs),
        "positives": pairs.column("positives"),
    }
    return np.column_stack([found[name] for name in FULL]).astype(np.float32)


def place(pairs: Pairs, name: str, others: np.ndarray) -> np.ndarray:
    """(n,) log(1 + pairs of the query, of these ``others``, (n,) bool, that have more of a feature); NaN without it.

    >>> some = np.array([True, True, False])
    >>> three = Pairs(np.zeros(3, int), 1, ~some, some, {}, {"dense": np.array([0.2, 0.8, 0.5])})
    >>> np.expm1(place(three, "dense", some)).round().tolist()
    [1.0, 0.0, 1.0]
    """
    values = pairs.column(name)
    result = np.full(len(values), np.nan)
    has = np.flatnonzero(np.isfinite(values))
    if not has.size:
        return result
    order = has[arrays.order_by(pairs.query[has], -values[has])]
    query, value = pairs.query[order], values[order]
    before = arrays.sums_before(query, others[order].astype(np.int64))
    # Equal values share a place: that of the first of them.
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(query) != 0) | (np.diff(value) != 0)
    result[order] = np.log1p(before[np.flatnonzero(new)][np.cumsum(new) - 1])
    return result


def known_place(pairs: Pairs, role: str) -> np.ndarray:
    """(n,) log(1 + rank) of the best known positive of the query but the pair itself; 201 where there is none.

    >>> one = Pairs(np.zeros(2, int), 1, np.array([True, False]), np.array([False, True]),
    ...             {"dense": np.array([4.0, 1.0])}, {})
    >>> np.expm1(known_place(one, "dense")).round().tolist()
    [200.0, 4.0]
    """
    if role not in pairs.ranks:
        return np.full(len(pairs.query), np.nan)
    own = np.where(pairs.known, np.nan_to_num(pairs.ranks[role], nan=_DEEPEST), np.inf)
    known = np.flatnonzero(pairs.known)
    order = known[np.lexsort((own[known], pairs.query[known]))]
    turn = arrays.rank_within(pairs.query[order], [own[order]])
    best, second = np.full((2, pairs.queries), _DEEPEST)
    best[pairs.query[order[turn == 0]]] = own[order[turn == 0]]
    second[pairs.query[order[turn == 1]]] = own[order[turn == 1]]
    first = np.zeros(len(pairs.query), bool)
    first[order[turn == 0]] = True
    return np.log1p(np.minimum(np.where(first, second[pairs.query], best[pairs.query]), _DEEPEST))


def _of_roles(pairs: Pairs, others: np.ndarray) -> dict[str, np.ndarray]:
    result = {}
    for role in ("dense", "lexical"):
        rank = pairs.ranks.get(role)
        nowhere = np.full(len(pairs.query), np.nan)
        result[f"{role}_standardised"] = pairs.column(f"{role}_standardised")
        result[f"{role}_found"] = nowhere if rank is None else np.isfinite(rank).astype(np.float64)
        result[f"{role}_place"] = place(pairs, role, others)
    return result


def _usage(pairs: Pairs) -> np.ndarray:
    """(n,) usage in standard deviations from the mean of the query's pairs."""
    values, counted = pairs.column("usage"), pairs.known | pairs.unlabelled
    group, value = pairs.query[counted], values[counted]
    count = np.maximum(np.bincount(group, minlength=pairs.queries), 1)
    mean = np.bincount(group, value, minlength=pairs.queries) / count
    spread = np.sqrt(np.bincount(group, (value - mean[group]) ** 2, minlength=pairs.queries) / count)
    spread[spread < 1e-9] = 1.0
    return (values - mean[pairs.query]) / spread[pairs.query]
