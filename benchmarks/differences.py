"""Why two miners chose different negatives: every difference gets a name, or is called unexplained."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping

from gangue.transforms.candidates.rules import IDENTITY

ROUNDING = 1e-5
"""Cosines of one pair differ by less from one batch of the encoder to another."""

UNEXPLAINED = "unexplained"


@dataclasses.dataclass(frozen=True)
class Ours:
    """What we know of one query text.

    Attributes:
      chosen: positive text -> negative text -> score.
      verdicts: document text -> our verdict; a text that only a copy of it stands for is a ``duplicate``.
      ceilings: score that a negative must stay below, of each query that has this text; none where the mode has none.
        They see one query with the positives of all, and so the lowest ceiling.
    """

    chosen: Mapping[str, Mapping[str, float]]
    verdicts: Mapping[str, str]
    ceilings: tuple[float, ...] = ()


@dataclasses.dataclass
class Tally:
    """Differences by name, counted.

    Attributes:
      same: negatives that both sides chose for a (query, positive).
      only_ours, only_theirs: name -> negatives that one side chose alone.
      unexplained: a line for each of these.
      largest_gap: largest difference of scores that a rounding was held responsible for.
    """

    same: int = 0
    only_ours: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    only_theirs: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    unexplained: list[str] = dataclasses.field(default_factory=list)
    largest_gap: float = 0.0


def compare(tally: Tally, query: str, positive: str, ours: Ours, theirs: Mapping[str, float], wanted: int) -> None:
    """Add one (query, positive) to the tally.

    Args:
      tally: is changed.
      query: its text.
      positive: its text.
      ours: as mined here.
      theirs: negative text -> score.
      wanted: how many negatives each side was asked for.

    >>> tally = Tally()
    >>> mined = Ours({"p": {"a": 0.9, "c": 0.5}}, {"a": "kept", "b": "own_text", "c": "kept"})
    >>> compare(tally, "b", "p", mined, {"b": 1.0, "a": 0.9}, 2)
    >>> tally.same, dict(tally.only_theirs), dict(tally.only_ours)
    (1, {'own_text': 1}, {'takes the place of own_text': 1})
    """
    chosen = ours.chosen.get(positive, {})
    missing = {text: score for text, score in theirs.items() if text not in chosen}
    extra = {text: score for text, score in chosen.items() if text not in theirs}
    tally.same += len(chosen) - len(extra)
    freed = []  # why a place of theirs is free for another document of ours
    for text, score in sorted(missing.items(), key=lambda item: -item[1]):
        name, gap = _left_out(text, score, ours, chosen.values(), wanted)
        tally.only_theirs[name] += 1
        tally.largest_gap = max(tally.largest_gap, gap)
        freed.append(name)
        if name == UNEXPLAINED:
            verdict = ours.verdicts.get(text, "not retrieved")
            tally.unexplained.append(f"theirs alone, {score:.6f}, {verdict}: {query[:60]!r} -> {text[:60]!r}")
    for text, score in sorted(extra.items(), key=lambda item: -item[1]):
        name, gap = _taken_in(score, ours, theirs.values(), freed, wanted)
        tally.only_ours[name] += 1
        tally.largest_gap = max(tally.largest_gap, gap)
        if name == UNEXPLAINED:
            tally.unexplained.append(f"ours alone, {score:.6f}: {query[:60]!r} -> {text[:60]!r}")


def _left_out(text: str, score: float, ours: Ours, chosen: Iterable[float], wanted: int) -> tuple[str, float]:
    """Why we did not choose what they chose, and the gap of scores if rounding decided."""
    verdict = ours.verdicts.get(text)
    scores = list(chosen)
    if verdict in IDENTITY:
        return verdict, 0.0
    if verdict not in (None, "kept") and ours.ceilings:
        gap = min(abs(score - ceiling) for ceiling in ours.ceilings)
        if gap == 0:
            return "equal to the ceiling: strict here, not there", gap
        return ("rounding at the ceiling", gap) if gap < ROUNDING else (UNEXPLAINED, 0.0)
    if len(scores) == wanted and (gap := abs(score - min(scores))) < ROUNDING:
        return "near-tie for the last place", gap
    return UNEXPLAINED, 0.0


def _taken_in(score: float, ours: Ours, theirs: Iterable[float], freed: list[str], wanted: int) -> tuple[str, float]:
    """Why we chose what they did not; uses up a place of ``freed``."""
    scores = list(theirs)
    if ours.ceilings:
        lowest, highest = min(ours.ceilings), max(ours.ceilings)
        if (gap := min(abs(score - lowest), abs(score - highest))) < ROUNDING:
            return "rounding at the ceiling", gap
        if lowest < score < highest:
            return "another query of this text has a weaker positive: one ceiling there, one each here", 0.0
    last = min(scores, default=0.0)
    if len(scores) == wanted and score > last + ROUNDING:
        return UNEXPLAINED, 0.0
    if freed:
        name = freed.pop(0)
        return (name if name.startswith("near-tie") else f"takes the place of {name}"), max(0.0, score - last)
    return UNEXPLAINED, 0.0
