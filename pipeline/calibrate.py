"""calibrate: relevance, pairs, scores -> calibration.   Usage: gangue calibrate [--data data]

Chooses the cut of the main rule of ``filter`` by the budget ``max_false_negatives``: mines with every cut, and adds up
how likely each negative is false, at the unfavourable end of the labelled share. Where queries have several positives,
some are hidden and those that come back are counted: the higher of the two is promised. A budget that no cut can keep
is refused by name, and the negatives are chosen by the fallback, or by the cut that is expected to keep it. A filter
without a budget only leaves a note.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms.candidates import query_shard
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import frontier, risk
from gangue.transforms.relevance import labelled_share, learn_note, propensity
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts, ForEachShard

_HIDDEN = "hidden_"  # columns of what is measured on hidden positives
_ENOUGH = 30  # queries with hidden positives below which these say too little
_LEAST = 0.2  # of the most negatives that any cut gives: a budget that leaves fewer is refused
_FULL = 0.8  # of the most negatives that any cut gives: as many are chosen where a budget is refused


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> Counts:
    """Choose the loosest cut that keeps the budget, or say why none does.

    Raises:
      ValueError: the learn stage ran for a filter without a learned rule or a budget.
    """
    data = data.deriving_from("relevance")
    if p.filter.max_false_negatives is None:
        counts = Counts()
        with data.staging("calibration"):
            data.write_note(staged("calibration"), query_shard.CUT, json.dumps({"cut": p.filter.rule.cut}) + "\n")
            if propensity.pools(p):
                fit = FitPropensities(data, p)
                counts = runner.run("calibrate", lambda root: root | fit, data, p.beam, rows=None, flags=flags)
            data.publish("calibration")
        return counts
    if "shift" not in learn_note.read(data):  # DVC runs learn again for another kind of filter, not for a first budget
        raise ValueError(
            f"{data.shown('relevance')}: a budget needs to know how likely each candidate is a positive, and learn ran"
            " for a filter without one. Run it again: dvc repro --force --single-item learn"
        )
    filters = [p.filter.with_cut(cut) for cut in frontier.cuts(data, p, p.filter.rule)]

    def build(root: beam.Pipeline) -> Any:
        work = functools.partial(measure_shard, data=data, p=p, filters=filters)
        fitted = root | FitPropensities(data, p) if propensity.pools(p) else None
        measured = root | beam.Create(data.shards("queries"), reshuffle=False) | ForEachShard(work, after=fitted)
        choose = functools.partial(choose_cut, data=data, p=p)
        return root | "One" >> beam.Create(["cut"]) | "Choose" >> ForEachShard(choose, after=measured)

    rows = sum(data.rows("queries"))
    counts = runner.run("calibrate", build, data, p.beam, writes=["calibration"], rows=rows, flags=flags)
    note = data.read_note("calibration", query_shard.CUT)
    if note["refused"] is not None:
        print(f"calibrate: {note['refused']}", file=sys.stderr)  # noqa: T201
    return counts


@dataclasses.dataclass
class FitPropensities(beam.PTransform):
    """Fit for each pool how likely it is that a positive of it is labelled (``relevance.propensity``).

    In: the root.  Out: the names of the pools, when the fits are written.
    """

    data: Data
    p: params.Params

    def expand(self, root: Any) -> Any:
        """Wire the fits."""
        fit = functools.partial(propensity.fit, data=self.data, p=self.p)
        return root | "Pools" >> beam.Create(propensity.pools(self.p), reshuffle=False) | "Fit" >> ForEachShard(fit)


def measure_shard(shard: str, data: Data, p: params.Params, filters: Sequence[params.Filter]) -> Counts:
    """Write what each cut, and last the fallback, lets through in one shard of queries."""
    pool = p.calibrate.pool
    seen = None if pool is None else propensity.read(data, p, pool, unpublished=True)
    loaded = frontier.load(data, p, shard)
    measured = measure(data, p, loaded, filters, seen)
    if p.filter.fallback is not None:  # by itself: it is no looser cut of the main rule, the last row
        measured = pa.concat_tables([measured, measure(data, p, loaded, [p.filter.with_rule(p.filter.fallback)], seen)])
    output = staged("calibration")
    data.write(output, shard, measured)
    queries = len(lookup.query_rows(data).of(shard))
    tested = int(measured["queries"][0].as_py())
    counts = {"in": queries, "out:tested": tested, "out:not_tested": queries - tested}
    return Counts({**counts, f"rows:{output}": len(measured)})


def measure(
    data: Data,
    p: params.Params,
    shard: query_shard.Shard,
    filters: Sequence[params.Filter],
    seen: propensity.Propensity | None = None,
) -> pa.Table:
    """What each cut is expected to let through (``frontier.expected``), and did of hidden positives, ``hidden_`` …"""
    labelled = learn_note.read(data)["share"]["low"]
    hidden = frontier.measure(data, p, shard, filters, p.calibrate, labelled=labelled, seen=seen)
    table = frontier.expected(data, p, shard, filters)
    for name in hidden.column_names[1:]:
        table = table.append_column(_HIDDEN + name, hidden[name])
    return table


def points_of(parts: Sequence[pa.Table], confidence: float | None) -> list[dict[str, Any]]:
    """The line of all shards, from strict to loose: what each cut is expected to let through, and what is promised.

    Returns:
      ``setting``, ``queries``, ``loss``: expected share of false negatives, ``bound``: what it stays below on average,
      or with this confidence; ``hardness``, ``per_query``, and ``hidden``: queries, loss and corrected of those that
      were hidden.
    """
    hidden = frontier.points(parts, _HIDDEN)
    names = ("queries", "chosen", "expected", "cautious", "hardness")
    sums = {name: np.sum([part[name].to_numpy() for part in parts], axis=0) for name in names}
    chosen, queries = np.maximum(sums["chosen"], 1), int(sums["queries"][0])
    bound = np.where(sums["chosen"] > 0, sums["cautious"] / chosen, 0.0)
    enough = hidden[0]["queries"] >= _ENOUGH
    if confidence is not None:
        bound = risk.confident_bound(np.maximum.accumulate(bound), queries, confidence)
        if enough:
            losses = np.hstack([_losses(part) for part in parts])
            bound = np.maximum(bound, risk.tighter_bound(losses, confidence))
    elif enough:
        bound = np.maximum(bound, [point["loss"] for point in hidden])
    bound = np.maximum.accumulate(bound)  # a looser cut is never promised less
    figures = {
        "loss": sums["expected"] / chosen,
        "bound": bound,
        "hardness": sums["hardness"] / chosen,
        "per_query": sums["chosen"] / max(queries, 1),
    }
    return [
        {
            "setting": point["setting"],
            "queries": queries,
            **{name: float(f"{values[number]:.6g}") for name, values in figures.items()},
            "hidden": {key: point[key] for key in ("queries", "loss", "corrected")},
        }
        for number, point in enumerate(hidden)
    ]


def _losses(part: pa.Table) -> np.ndarray:
    """(c, q) loss of each hidden query at each cut."""
    flat: Any = part[f"{_HIDDEN}losses"].combine_chunks().flatten()
    return np.asarray(flat.to_numpy()).reshape(len(part), -1)


def choose_cut(_: str, data: Data, p: params.Params) -> Counts:
    """Write the cut, with the whole line it was chosen from."""
    parts, fallback = [data.read(staged("calibration"), shard) for shard in data.shards("queries")], None
    if p.filter.fallback is not None:
        (fallback,) = points_of([part[-1:] for part in parts], p.filter.confidence)
        parts = [part[:-1] for part in parts]
    note = chosen_cut(points_of(parts, p.filter.confidence), p, learn_note.read(data), fallback)
    data.write_note(staged("calibration"), query_shard.CUT, json.dumps(note, indent=1) + "\n")
    return Counts()


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
    """Place of the cut for a budget that is refused: the loosest expected to keep it by the middle of the share.

    Where there is none, the strictest one that leaves four fifths of the most negatives that any cut gives.
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
    if learned["findings"]:
        why = learned["findings"][0]
    else:
        least = min(point["bound"] for point in points if point["per_query"] >= _LEAST * most)
        why = f"{_percent(least)} of the negatives may be false with the strictest cut that leaves a fifth of them"
    labelled = share["labels"] >= labelled_share.LEAST  # which settles it, whatever is said
    known = "" if labelled or share["told"] else ", or learn.labelled, if you know the share"
    label = (
        "Label 200 of the negatives that are chosen now too (gangue sample-for-labels), and keep the earlier labels,"
        " which say little of what looks less relevant"
        if labelled
        else "Label 200 of the negatives to see how many are false (gangue sample-for-labels)"
    )
    return (
        f"{_percent(budget)} false negatives cannot be promised: {why}; {share['words']}. {label}; give more positives"
        f" of the same queries, a larger filter.max_false_negatives{known}"
    )


def _percent(share: float) -> str:
    return f"{float(f'{100 * share:.3g}'):g}%"
