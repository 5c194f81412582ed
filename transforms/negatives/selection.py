"""From verdicts to negatives: which kept candidates each (query, positive) gets."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from gangue.transforms import arrays, randomness
from gangue.transforms.candidates import rules
from gangue.transforms.negatives import picking
from gangue.transforms.negatives.diverse.mmr import Similarity
from gangue.transforms.negatives.rows import Rows
from gangue.transforms.negatives.samplers import joint

if TYPE_CHECKING:
    from gangue.pipeline import params

HARD, RANDOM, NEXT_CLUSTER = KINDS = ("hard", "random", "next_cluster")


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The outcome of a choice, m rows by (positive, candidate).

    Attributes:
      pair: (m,) which candidate.   positive: (m,) for which positive.   kind: (m,) one of ``KINDS``.
      times: (m,) by how many scores of an ensemble, 1 without one.
      kept: (p,) candidates each positive could have had.
      unscored: (p,) candidates of each positive that are left out because the sampler's score does not cover them.
      denied: (p,) candidates that each positive must leave to other queries, by a cap on reuse.
      surplus: rows kept and not chosen, without those.
      flat: positives whose candidates a draw weighs with less than a factor of two between them.
      widened: positives for which a band was widened.
    """

    pair: np.ndarray
    positive: np.ndarray
    kind: np.ndarray
    times: np.ndarray
    kept: np.ndarray
    unscored: np.ndarray
    denied: np.ndarray
    surplus: int
    flat: int
    widened: int

    def without(self, rows: np.ndarray) -> Chosen:
        """The choice without some of its rows, (m,) bool: they are denied."""
        denied = self.denied + np.bincount(self.positive[rows], minlength=len(self.denied))
        kept = {name: getattr(self, name)[~rows] for name in ("pair", "positive", "kind", "times")}
        return dataclasses.replace(self, denied=denied, **kept)


def select(
    settings: params.Sample,
    candidates: rules.Candidates,
    verdicts: rules.Verdicts,
    queries: int,
    hashes: randomness.Hashes | None,
    similarity: Similarity,
    denied: np.ndarray | None = None,
) -> Chosen:
    """Choose each positive's negatives among the kept candidates.

    Args:
      settings: how.   candidates, verdicts: as judged.   queries: q.   hashes: hashes of the ids, if anything is drawn.
      similarity: of candidates, for ``diverse: mmr``.
      denied: (n,) bool, candidates to choose as if the filter had dropped them; None: none.
    """
    pair, positive = _kept(candidates, verdicts, queries)
    kept = np.bincount(positive, minlength=len(candidates.positive_query))
    score, level = _scores(settings, candidates, pair, positive, hashes)
    noise = np.zeros(len(pair), np.uint64)
    if hashes is not None:
        noise = picking.noise_hashes(
            settings.seed, hashes.query[candidates.query[pair]], hashes.positive[positive], hashes.document[pair]
        )
    rows = Rows(candidates, pair, positive, candidates.tie[pair], noise, score, level)
    unknown = np.isnan(rows.score)
    refused = np.zeros(len(pair), bool) if denied is None else denied[pair] & ~unknown
    usable = ~unknown & ~refused
    if not usable.all():
        rows = rows.take(usable)
    times, flat, widened = _hard(settings, candidates, rows, similarity)
    kind = np.where(times > 0, KINDS.index(HARD), -1)
    for name, drawn, wanted in (
        (NEXT_CLUSTER, candidates.next_cluster, settings.next_cluster),
        (RANDOM, candidates.random, settings.random),
    ):
        rest = np.flatnonzero(drawn[rows.pair] & (kind < 0))
        if name == NEXT_CLUSTER:
            keys = np.nan_to_num(candidates.scores[settings.score][rows.pair[rest]].astype(np.float64), nan=-np.inf)
        else:
            keys = randomness.uniforms(rows.hashes[rest])
        quota = np.full(len(rest), wanted)
        taken = picking.highest(rows.positive[rest], keys, rows.tie[rest], quota)
        kind[rest[taken]] = KINDS.index(name)
    chosen = np.flatnonzero(kind >= 0)
    chosen = chosen[np.lexsort((rows.tie[chosen], rows.positive[chosen]))]
    return Chosen(
        rows.pair[chosen],
        rows.positive[chosen],
        np.array(KINDS, dtype=object)[kind[chosen]],
        np.maximum(times[chosen], 1),
        kept,
        unscored=np.bincount(positive[unknown], minlength=len(kept)),
        denied=np.bincount(positive[refused], minlength=len(kept)),
        surplus=len(rows.pair) - len(chosen),
        flat=flat,
        widened=widened,
    )


def _kept(candidates: rules.Candidates, verdicts: rules.Verdicts, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """(m,) kept candidate and (m,) positive it is kept for."""
    kept = np.flatnonzero(verdicts.verdict == -1)
    pair, positive = verdicts.pair[kept], verdicts.positive[kept]
    for_all = positive < 0
    offsets = arrays.offsets_of(candidates.positive_query, queries)
    position, member = arrays.ragged(offsets, candidates.query[pair[for_all]])
    pair = np.concatenate([pair[~for_all], pair[for_all][position]])
    return pair, np.concatenate([positive[~for_all], member])


def _scores(
    settings: params.Sample,
    candidates: rules.Candidates,
    pair: np.ndarray,
    positive: np.ndarray,
    hashes: randomness.Hashes | None,
) -> tuple[np.ndarray, np.ndarray]:
    """(m,) score of each row and (m,) of its positive; NaN where there is none."""
    names = [settings.score] if settings.ensemble is None else list(settings.ensemble.scores)
    scores = np.array([candidates.scores[name][pair] for name in names], np.float64)
    levels = np.array([candidates.positive_scores[name][positive] for name in names], np.float64)
    if settings.ensemble is not None and settings.ensemble.kind == "intra":
        return np.where(np.isnan(scores).all(axis=0), np.nan, 0.0), levels[0]  # each score has its own order
    score, level = scores[0], levels[0]
    if len(names) > 1 and hashes is not None:
        own = randomness.mix(settings.seed, hashes.query[candidates.positive_query], hashes.positive)
        which = (randomness.uniforms(own) * len(names)).astype(np.int64)[positive]
        score, level = (values[which, np.arange(len(pair))] for values in (scores, levels))
    if settings.price is not None:  # what could not be judged costs nothing
        score -= settings.price * np.nan_to_num(candidates.scores[rules.P_FALSE][pair].astype(np.float64))
    return score, level


def _hard(
    settings: params.Sample, candidates: rules.Candidates, rows: Rows, similarity: Similarity
) -> tuple[np.ndarray, int, int]:
    """(m,) how often each row is chosen as a hard negative; positives that are flat, and with a widened band."""
    result = np.zeros(len(rows.pair), np.int64)
    inside = np.flatnonzero((candidates.retrieved | candidates.judged)[rows.pair])
    if settings.ensemble is not None and settings.ensemble.kind == "intra":
        result[inside] = _best_of_each(settings, candidates, rows.take(inside))
        return result, 0, 0
    if settings.skip_kept or settings.first is not None:
        place = arrays.rank_within(rows.positive[inside], [-rows.score[inside], rows.tie[inside]])
        last = np.inf if settings.first is None else settings.skip_kept + settings.first
        inside = inside[(place >= settings.skip_kept) & (place < last)]
    those = rows.take(inside)
    order = settings.sampler.order(those, settings.hard)
    keys = order.keys
    if order.left is not None:
        inside, those, keys = inside[order.left], those.take(order.left), keys[order.left]
    if settings.keep_first:
        place = arrays.rank_within(those.positive, [-those.score, those.tie])
        keys = np.where(place < settings.keep_first, np.inf, keys)
    if settings.diverse is not None:
        left = settings.diverse.left(those, keys, settings.hard, similarity)
        inside, those, keys = inside[left], those.take(left), keys[left]
    quota = np.full(len(inside), settings.hard)
    result[inside[picking.highest(those.positive, keys, those.tie, quota)]] = 1
    return result, order.flat, order.widened


def _best_of_each(settings: params.Sample, candidates: rules.Candidates, rows: Rows) -> np.ndarray:
    """(m,) how many scores of the ensemble choose each row, when the scores take turns."""
    assert settings.ensemble is not None
    places = np.full((len(settings.ensemble.scores), len(rows.pair)), np.inf)
    for place, name in zip(places, settings.ensemble.scores, strict=True):
        score = candidates.scores[name][rows.pair].astype(np.float64)
        has = np.flatnonzero(~np.isnan(score))
        of_score = arrays.rank_within(rows.positive[has], [-score[has], rows.tie[has]]) - settings.skip_kept
        inside = (of_score >= 0) & (of_score < (settings.first or np.inf))
        place[has[inside]] = of_score[inside]
    repeat = settings.ensemble.deduplicate is False
    taken = joint.take_turns(arrays.numbered(rows.positive), places, settings.hard, repeat=repeat)
    return np.asarray(taken.sum(axis=0))
