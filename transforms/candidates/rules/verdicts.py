"""What a stack of rules says of candidates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from gangue.transforms import arrays
from gangue.transforms.candidates.rules.candidates import IDENTITY, UNSCORED, Candidates, Rows
from gangue.transforms.candidates.rules.rule import RuleSection


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """One verdict per candidate, or per (positive, candidate) where a rule refers to each own positive.

    Attributes:
      names: what bit i of ``fired`` stands for; -1 in ``verdict`` is "kept", i is ``names[i]``.
      pair: (m,) which candidate.
      positive: (m,) which positive, -1 for all of the query's.
      verdict: (m,) int8.
      fired: (m,) int64 bits of all that fire.
    """

    names: tuple[str, ...]
    pair: np.ndarray
    positive: np.ndarray
    verdict: np.ndarray
    fired: np.ndarray


def rule_names(rules: Sequence[RuleSection]) -> tuple[str, ...]:
    """Names of the verdicts of a stack of rules; a second rule of one kind gets a number.

    >>> from gangue.transforms.candidates.rules.absolute import Abs
    >>> rule_names([Abs(abs=0.7, score="a"), Abs(abs=9, score="b")])[-2:]
    ('abs_2', 'unscored')
    """
    kinds = [rule.kind for rule in rules]
    numbered = [kind if (n := kinds[:i].count(kind)) == 0 else f"{kind}_{n + 1}" for i, kind in enumerate(kinds)]
    return (*IDENTITY, *numbered, UNSCORED)


def first_bit(fired: np.ndarray) -> np.ndarray:
    """(m,) int8 number of the lowest bit that is set, which stands for the verdict; -1 where none is.

    >>> first_bit(np.array([0, 1, 12])).tolist()
    [-1, 0, 2]
    """
    lower = (fired & -fired) - 1  # all bits below the lowest
    return np.where(fired == 0, np.int8(-1), np.bitwise_count(lower).view(np.int8))


def places(candidates: Candidates, rules: Sequence[RuleSection], queries: int) -> tuple[np.ndarray, np.ndarray]:
    """(m,) which candidate and (m,) which positive, -1 for all, each verdict of ``judge`` is for, in its order."""
    pair = np.arange(len(candidates.query))
    if not any(rule.own for rule in rules):
        return pair, np.full(len(pair), -1)
    offsets = arrays.offsets_of(candidates.positive_query, queries)
    position, member = arrays.ragged(offsets, candidates.query)
    once = candidates.relations["positive"][position] & (member != offsets[candidates.query][position])
    pair = position[~once]
    return pair, np.where(candidates.relations["positive"][pair], -1, member[~once])


def judge(candidates: Candidates, rules: Sequence[RuleSection], queries: int) -> Verdicts:
    """Judge every candidate by every rule: the first that fires is the verdict, all that fire are kept.

    Args:
      candidates: the pairs, positives among them.   rules: in the order in which they fire.   queries: q.

    Returns:
      Verdicts in the order of the candidates; with a rule on the ``own`` positive, for each candidate one
      per positive of its query (a positive itself has a single one).
    """
    names = rule_names(rules)
    pairs, positive = places(candidates, rules, queries)
    bits = {name: 1 << i for i, name in enumerate(names)}
    identity = np.zeros(len(candidates.query), np.int64)
    for relation in IDENTITY:
        identity[np.flatnonzero(candidates.relations[relation])] |= bits[relation]
    fired = identity[pairs]
    rows = Rows(candidates, pairs, positive, fired == 0, queries)
    for rule, name in zip(rules, names[len(IDENTITY) : -1], strict=True):
        fires, unscored = rule.fires(rows)
        fired |= fires * np.int64(bits[name])
        fired[np.flatnonzero(unscored & rows.left)] |= bits[UNSCORED]
    # Who judged a pair knew that its document is almost a positive, or is one of another.
    told = np.flatnonzero(candidates.judged[pairs])
    known = sum(bits[name] for name in ("near_duplicate", "sibling_positive", "partly_relevant", "reverse_positive"))
    fired[told] = identity[pairs[told]] & ~known
    # A positive is a positive: what else a rule says of it is noise.
    fired[np.flatnonzero(candidates.relations["positive"][pairs])] = bits["positive"]
    return Verdicts(names, pairs, positive, first_bit(fired), fired)
