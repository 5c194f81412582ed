"""By which cut of a filter the negatives are chosen, and what is promised of them.

A share of false negatives is promised where what each cut is expected to let through, at the unfavourable end, keeps
it; where queries have several positives some are hidden, those that come back are counted, and the higher of the two
is promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gangue.transforms.evidence import risk
from gangue.transforms.relevance import labelled_share

if TYPE_CHECKING:
    from gangue.pipeline import params

HIDDEN = "hidden_"  # columns of what is measured on hidden positives
_ENOUGH = 30  # queries with hidden positives below which these say too little
_LEAST = 0.2  # of the most negatives that any cut gives: a budget that leaves fewer is refused
_FULL = 0.8  # of the most negatives that any cut gives: as many are chosen where a budget is refused


def points_of(parts: Sequence[pa.Table], confidence: float | None) -> list[dict[str, Any]]:
    """The line of all shards, from strict to loose: what each cut is expected to let through, and what is promised.

    Returns:
      ``setting``, ``queries``, ``loss``: expected share of false negatives, ``bound``: what it stays below on average,
      or with this confidence; ``hardness``, ``per_query``, and ``hidden``: queries, loss and corrected of those that
      were hidden.
    """
    of_hidden = ("queries", "loss", "corrected")
    names = ("queries", "chosen", "expected", "cautious", "hardness", *(HIDDEN + name for name in of_hidden))
    sums = {name: np.sum([part[name].to_numpy() for part in parts], axis=0) for name in names}
    chosen, queries = np.maximum(sums["chosen"], 1), int(sums["queries"][0])
    bound = np.where(sums["chosen"] > 0, sums["cautious"] / chosen, 0.0)
    tested = int(sums[f"{HIDDEN}queries"][0])
    loss, corrected = (sums[HIDDEN + name] / max(tested, 1) for name in of_hidden[1:])
    enough = tested >= _ENOUGH
    if confidence is not None:
        bound = risk.confident_bound(np.maximum.accumulate(bound), queries, confidence)
        if enough:
            losses = np.hstack([_losses(part) for part in parts])
            bound = np.maximum(bound, risk.tighter_bound(losses, confidence))
    elif enough:
        bound = np.maximum(bound, loss)
    bound = np.maximum.accumulate(bound)  # a looser cut is never promised less
    figures = {
        "loss": sums["expected"] / chosen,
        "bound": bound,
        "hardness": sums["hardness"] / chosen,
        "per_query": sums["chosen"] / max(queries, 1),
    }
    return [
        {
            "setting": setting,
            "queries": queries,
            **{name: _rounded(values[number]) for name, values in figures.items()},
            "hidden": {"queries": tested, "loss": _rounded(loss[number]), "corrected": _rounded(corrected[number])},
        }
        for number, setting in enumerate(parts[0]["setting"].to_pylist())
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _losses(part: pa.Table) -> np.ndarray:
    """(c, q) loss of each hidden query at each cut."""
    flat: Any = part[f"{HIDDEN}losses"].combine_chunks().flatten()
    return np.asarray(flat.to_numpy()).reshape(len(part), -1)


def chosen_cut(
    points: Sequence[dict[str, Any]], p: params.Params, learned: dict[str, Any], fallback: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The loosest cut that keeps the budget, or ``refused``: why none does, and by what the negatives are chosen.

    Refused too is every budget where something tells the labels, and one that would leave hardly any negatives.

    Args:
      points: of the main rule's cuts, as ``points_of`` gives them.   learned: the note of the learn stage.
      fallback: the point of the fallback, if there is one.
    """
    budget = p.filter.max_false_negatives
    assert budget is not None
    per_query = np.array([point["per_query"] for point in points])
    enough = (per_query > 0) & (per_query >= _LEAST * per_query.max())
    bounds = np.array([point["bound"] for point in points])
    place, kind, refused = risk.loosest(bounds, budget), p.filter.rule.kind, None
    if place < 0 or not enough[place] or learned["distrusted"]:
        refused = refusal(points, p, learned)
        place = nearest(points, budget)
    chosen = points[place]
    cut = chosen["setting"]
    if refused is not None and p.filter.fallback is not None:
        assert fallback is not None
        kind, cut, chosen = p.filter.fallback.kind, p.filter.fallback.cut, fallback
    return {
        "cut": cut,
        "kind": kind,
        "budget": budget,
        "confidence": p.filter.confidence,
        "refused": refused,
        "labelled": learned["share"],
        "pool": p.calibrate.pool,
        "queries": chosen["queries"],
        "chosen": chosen,
        "line": list(points),
    }


def nearest(points: Sequence[dict[str, Any]], budget: float) -> int:
    """Place of the cut for a budget that is refused, among those that leave four fifths of the most negatives.

    The loosest expected to keep it by the middle of the share; where none is, the strictest.
    """
    most = max(point["per_query"] for point in points)
    full = [place for place, point in enumerate(points) if point["per_query"] >= _FULL * most]
    kept = [place for place in full if points[place]["per_query"] > 0 and points[place]["loss"] <= budget]
    return max(kept, default=full[0])


def refusal(points: Sequence[dict[str, Any]], p: params.Params, learned: dict[str, Any]) -> str:
    """Why the budget cannot be promised, and what would help."""
    budget, share = p.filter.max_false_negatives, learned["share"]
    assert budget is not None
    most = max(point["per_query"] for point in points)
    if not most:
        return (
            f"{_percent(budget)} false negatives cannot be promised: there are no candidates, or only such as somebody"
            " judged. Give more documents, or raise retrievers.*.depth"
        )
    least = min(point["bound"] for point in points if point["per_query"] >= _LEAST * most)
    why = f"{_percent(least)} of the negatives may be false with the strictest cut that leaves a fifth of them"
    if learned["findings"]:
        why = learned["findings"][0] if learned["distrusted"] else f"{why}; {learned['findings'][0]}"
    tail, deeper = learned["least"], ""
    if tail["share"] > budget:
        why += (
            f"; {tail['missed']} of {tail['missed'] + tail['known']} labelled positives were not retrieved: of what"
            f" looks least relevant up to {_percent(tail['share'])} are positives too, and no cut lets less through"
        )
        deeper = "; raise retrievers.*.depth"
    labelled = share["labels"] >= labelled_share.LEAST  # which settles it, whatever is said
    known = "" if labelled or share["told"] else ", or learn.labelled, if you know the share"
    label = (
        "Label 200 of the negatives that are chosen now too (gangue sample-for-labels), and keep the earlier labels,"
        " which say little of what looks less relevant"
        if labelled
        else "Label 200 of the negatives to see how many are false (gangue sample-for-labels)"
    )
    return (
        f"{_percent(budget)} false negatives cannot be promised: {why}; {share['words']}. {label}{deeper}; give more"
        f" positives of the same queries, a larger filter.max_false_negatives{known}"
    )


def percent(share: float, digits: int = 1) -> str:
    """A share, also a small one, as it is printed.

    >>> percent(0.0213), percent(0.00062), percent(0.0), percent(0.0213, 2)
    ('2.1%', '0.062%', '0.0%', '2.13%')
    """
    small = 0.0 < share < 10 ** (-2 - digits)
    return f"{float(f'{100 * share:.2g}'):g}%" if small else f"{share:.{digits}%}"


def _percent(share: float) -> str:
    return f"{float(f'{100 * share:.3g}'):g}%"
