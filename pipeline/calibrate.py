"""calibrate: relevance, pairs, scores -> calibration.   Usage: gangue calibrate [--data data]

Chooses the cut of the main rule of ``filter`` by the budget ``max_false_negatives``: mines with every cut, and adds up
how likely each negative is false, at the unfavourable end of the labelled share. Where queries have several positives,
some are hidden and those that come back are counted: the higher of the two is promised. A budget that no cut can keep
is refused by name, and the negatives are chosen by the fallback, or by the cut that comes nearest. A filter without a
budget only leaves a note.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import log
from gangue.transforms.candidates import query_shard
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import budget, frontier
from gangue.transforms.relevance import learn_note, propensity
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts, ForEachShard


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
        log.say("calibrate", note["refused"])
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
    """What each cut is expected to let through (``frontier.expected``), and did of hidden positives: ``hidden_`` …"""
    labelled = learn_note.read(data)["share"]["low"]
    hidden = frontier.measure(data, p, shard, filters, p.calibrate, labelled=labelled, seen=seen, drawn_anew=False)
    table = frontier.expected(data, p, shard, filters)
    for name in ("queries", "loss", "losses", "corrected"):
        table = table.append_column(budget.HIDDEN + name, hidden[name])
    return table


def choose_cut(_: str, data: Data, p: params.Params) -> Counts:
    """Write the cut, with the whole line it was chosen from."""
    parts, fallback = [data.read(staged("calibration"), shard) for shard in data.shards("queries")], None
    if p.filter.fallback is not None:
        (fallback,) = budget.points_of([part[-1:] for part in parts], p.filter.confidence)
        parts = [part[:-1] for part in parts]
    note = budget.chosen_cut(budget.points_of(parts, p.filter.confidence), p, learn_note.read(data), fallback)
    data.write_note(staged("calibration"), query_shard.CUT, json.dumps(note, indent=1) + "\n")
    return Counts()
