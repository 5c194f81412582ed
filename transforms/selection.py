"""From verdicts to negatives: which kept candidates each (query, positive) gets."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from transforms import arrays, randomness, rules, sampling

HARD, RANDOM = "hard", "random"


class Simans(Protocol):
    """Parameters of the SimANS law (``pipeline.params.Simans``)."""

    @property
    def a(self) -> float: ...  # noqa: D102
    @property
    def b(self) -> float: ...  # noqa: D102
    @property
    def law(self) -> str: ...  # noqa: D102
    @property
    def scale(self) -> str: ...  # noqa: D102


class Sample(Protocol):
    """Parameters of the choice (``pipeline.params.Sample``)."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def score(self) -> str: ...  # noqa: D102
    @property
    def negatives(self) -> int: ...  # noqa: D102
    @property
    def skip_kept(self) -> int: ...  # noqa: D102
    @property
    def first(self) -> int | None: ...  # noqa: D102
    @property
    def random(self) -> int | None: ...  # noqa: D102
    @property
    def simans(self) -> Simans | None: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The outcome of a choice, m rows by (positive, candidate).

    Attributes:
      pair: (m,) which candidate.   positive: (m,) for which positive.   random: (m,) bool, the others are hard.
      kept: (p,) candidates each positive could have had.
      unscored: rows left out because the sampler's score does not cover them.
      surplus: rows kept and not chosen.
      flat: groups in which SimANS's weights differ by less than a factor of two.
    """

    pair: np.ndarray
    positive: np.ndarray
    random: np.ndarray
    kept: np.ndarray
    unscored: int
    surplus: int
    flat: int


def choose(
    settings: Sample,
    candidates: rules.Candidates,
    verdicts: rules.Verdicts,
    queries: int,
    query_words: np.ndarray,
    positive_words: np.ndarray,
    document_words: np.ndarray,
) -> Chosen:
    """Choose each positive's negatives among the kept candidates.

    Args:
      settings: how.   candidates, verdicts: as judged.   queries: q.
      query_words: (q,), positive_words: (p,), document_words: (n,) uint64 hashes of ids.
    """
    pair, positive = _kept(candidates, verdicts, queries)
    kept = np.bincount(positive, minlength=len(candidates.positive_query))
    score = candidates.scores[settings.score][pair].astype(np.float64)
    scored = ~np.isnan(score)
    unscored = int((~scored).sum())
    pair, positive, score = pair[scored], positive[scored], score[scored]
    words = sampling.noise_words(
        settings.seed, query_words[candidates.query[pair]], positive_words[positive], document_words[pair]
    )
    tie = candidates.tie[pair]
    retrieved = candidates.retrieved[pair]
    hard, flat = _hard(settings, positive, score, tie, retrieved, words, candidates)
    random = np.zeros(len(pair), bool)
    if settings.kind == "mixed":
        assert settings.random is not None
        rest = np.flatnonzero(candidates.random[pair] & ~hard)
        keys = randomness.uniforms(words[rest])
        quota = np.full(len(rest), settings.random)
        random[rest[sampling.choose(positive[rest], keys, tie[rest], quota)]] = True
    chosen = np.flatnonzero(hard | random)
    chosen = chosen[np.lexsort((tie[chosen], positive[chosen]))]
    return Chosen(pair[chosen], positive[chosen], random[chosen], kept, unscored, len(pair) - len(chosen), flat)


def _kept(candidates: rules.Candidates, verdicts: rules.Verdicts, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """(m,) kept candidate and (m,) positive it is kept for."""
    kept = np.flatnonzero(verdicts.verdict == -1)
    pair, positive = verdicts.pair[kept], verdicts.positive[kept]
    for_all = positive < 0
    offsets = arrays.offsets_of(candidates.positive_query, queries)
    position, member = arrays.ragged(offsets, candidates.query[pair[for_all]])
    pair = np.concatenate([pair[~for_all], pair[for_all][position]])
    return pair, np.concatenate([positive[~for_all], member])


def _hard(
    settings: Sample,
    positive: np.ndarray,
    score: np.ndarray,
    tie: np.ndarray,
    retrieved: np.ndarray,
    words: np.ndarray,
    candidates: rules.Candidates,
) -> tuple[np.ndarray, int]:
    """(m,) bool which rows are chosen as hard negatives, and how many groups SimANS finds too flat."""
    result = np.zeros(len(positive), bool)
    rows = np.flatnonzero(retrieved)
    place = arrays.rank_within(positive[rows], [-score[rows], tie[rows]])
    inside = place >= settings.skip_kept
    if settings.first is not None:
        inside &= place < settings.skip_kept + settings.first
    rows, place = rows[inside], place[inside]
    flat = 0
    if settings.kind == "random":
        keys = randomness.uniforms(words[rows])
    elif settings.kind == "simans":
        assert settings.simans is not None
        own = candidates.positive_scores[settings.score][positive[rows]].astype(np.float64)
        values = score[rows]
        if settings.simans.scale == "zscore" and len(rows):
            mean, deviation = sampling.zscores(values, positive[rows])
            values, own = (values - mean) / deviation, (own - mean) / deviation
        logits = sampling.simans_logits(values, own, settings.simans.a, settings.simans.b, settings.simans.law)
        logits = np.nan_to_num(logits, nan=0.0)  # the positive has no score: every candidate is as likely
        groups = np.unique(positive[rows], return_inverse=True)[1]
        several = np.bincount(groups) > 1 if len(groups) else np.empty(0, bool)
        flat = int((several & (sampling.weight_ratio(logits, groups) < 2)).sum()) if len(groups) else 0
        keys = logits + randomness.gumbels(words[rows])
    else:
        keys = -place.astype(np.float64)
    quota = np.full(len(rows), settings.negatives - (settings.random or 0))
    result[rows[sampling.choose(positive[rows], keys, tie[rows], quota)]] = True
    return result, flat
