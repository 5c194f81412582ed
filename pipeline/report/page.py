"""The numbers of the audit as files: one page to read, ``metrics.json`` with the few that runs are compared by,
``audit.json`` with all of them, and ``plots/*.svg``.
"""

from __future__ import annotations

import itertools
import json
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jinja2
import numpy as np

from gangue.pipeline import params
from gangue.pipeline.report import charts
from gangue.transforms.datasets import disk, remote
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import intervals, leak, lineage, related
from gangue.transforms.evidence.budget import percent
from gangue.transforms.evidence.distribution import Distribution, bin_edges, bins_of
from gangue.transforms.evidence.tallies import SIDES, Evidence, suspected_by

BINS = 40
_MARK = b'aria-label="Scores of positives and'  # in the drawing of a score
_OF_A_SCORE = re.compile(r"plots/score_\w+\.svg")
MOST_IMPORTANT = 12  # features shown
_QUANTILES = {"25%": 0.25, "50%": 0.5, "75%": 0.75}


def write(
    reports: Data,
    p: params.Params,
    evidence: Evidence,
    recipe: dict[str, Any],
    *,
    reuse: dict[str, Any],
    recall: dict[str, dict[str, int]],
    rejected: Sequence[Mapping[str, str]],
    triplets: str,
    learned: dict[str, Any] | None = None,
    budget: dict[str, Any] | None = None,
) -> None:
    """Write all files; equal evidence gives equal bytes.

    Args:
      reports: where to.
      p: params.
      evidence: of all shards.
      recipe: as in the triplets' footer.
      reuse: documents, times, most, most_id.
      recall: retriever -> queries, wanted, found.
      rejected: some of the texts without a usable vector, as ``lineage.rejected_texts``.
      triplets: their checksum, which says whose numbers these are.
      learned: what the learn stage learned, where a learned rule was asked for.
      budget: the note of the calibrate stage, where there is a budget.
    """
    numbers = figures(p, evidence, reuse, learned, budget)
    drawn = {"verdicts": charts.waterfall(evidence.verdicts, evidence.fired)}
    drawn |= {f"score_{name}": _histogram(evidence, name) for name in evidence.scores}
    files = {
        "metrics.json": _json(metrics(numbers, p.sample.score)),
        lineage.NUMBERS: _json({"checksum_of_triplets": triplets} | numbers),
        **{f"plots/{name}.svg": charts.standalone(chart) for name, chart in drawn.items()},
        "report.html": page(p, evidence, recipe, numbers, drawn, reuse, recall, rejected, learned, budget),
    }
    for path, content in files.items():
        reports.write_text(path, content)
    _remove_others(reports, files)


def _remove_others(reports: Data, files: Collection[str]) -> None:
    """Remove the drawings of scores that earlier params named and these do not."""
    filesystem, _ = disk.filesystem_of(reports.root)
    for path in filesystem.ls(reports.path("plots"), detail=False):
        name = f"plots/{posixpath.basename(path)}"
        if name not in files and _OF_A_SCORE.fullmatch(name) and _MARK in remote.content(filesystem, path):
            remote.remove(filesystem, [path])


def metrics(numbers: Mapping[str, Any], score: str) -> dict[str, float | int | None]:
    """The few of ``figures`` that say whether a run is better than another; null: not measured, or not asked for.

    Args:
      numbers: as ``figures``.   score: the one negatives are chosen by.
    """
    leak, budget = numbers["leak"], numbers.get("budget") or {}
    return {
        "triplets": numbers["triplets"],
        "positives_with_all_negatives": numbers["full_quota"]["share"],
        "hardness": numbers["means"][score]["negative"],
        "leak": leak["rules"]["share"],
        "leak_low": leak["rules"]["low"],
        "leak_high": leak["rules"]["high"],
        "leak_without_rules": leak["naive"]["share"],
        "false_negatives_promised": budget.get("bound"),
        "false_negatives_expected": budget.get("loss"),
    }


def figures(
    p: params.Params,
    evidence: Evidence,
    reuse: dict[str, Any],
    learned: dict[str, Any] | None = None,
    budget: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """All numbers of the audit; null where there is nothing to measure.

    ``order`` is the area under the ROC curve within queries: how often a score puts a positive above a candidate.
    """
    sizes = evidence.sizes
    low, high = intervals.wilson(sizes["full"], sizes["positives"])
    means = {
        name: {side: _rounded(values.mean if values.count else None) for side, values in sides.items()}
        for name, sides in evidence.scores.items()
    }
    shares: dict[str, dict[str, float | None]] = {}
    for key, (total, queries) in evidence.overlaps.items():
        one, other, ranks = key.split("|")
        shares.setdefault(f"{one}_{other}", {})[f"top_{ranks}"] = _rounded(total / queries if queries else None)
    return {
        **{name: sizes[name] for name in ("triplets", "queries", "positives", "hard", "random", "next_cluster")},
        "full_quota": {
            "share": _rounded(sizes["full"] / sizes["positives"] if sizes["positives"] else None),
            "low": _rounded(low),
            "high": _rounded(high),
        },
        "leak": {
            "queries": evidence.leak.queries,
            "hidden": evidence.leak.hidden,
            **{
                name: {"retrieved": evidence.leak.related[kind], "leaked": evidence.leak.related_leaked[kind]}
                for name, kind in related.RELATED.items()
            },
            **{
                name: leak.figures(stack, evidence.leak.queries, p.audit.rounds)
                | ({} if p.calibrate.pool is None else {"corrected": leak.corrected(stack)})
                for name, stack in (("rules", evidence.leak.rules), ("naive", evidence.leak.naive))
            },
        },
        "means": means,
        "order": {name: _rounded(wins / pairs if pairs else None) for name, (wins, pairs) in evidence.order.items()},
        "verdicts": dict(evidence.verdicts),
        "shortfalls": dict(sorted(evidence.shortfalls.items())),
        "overlap": shares,
        "reuse": {"most": reuse["most"], "documents": sum(reuse["times"].values())},
        **({} if learned is None else {"learned": _learned(evidence, learned)}),
        **({} if budget is None else {"budget": _budget(budget)}),
    }


def _learned(evidence: Evidence, learned: dict[str, Any]) -> dict[str, Any]:
    """How good the learned filter is on queries it did not see, and how many of the candidates fell to it."""
    quality, judged = learned.get("quality", {}), sum(evidence.verdicts.values())
    dropped = evidence.verdicts.get("learned", 0)
    share = learned["share"]
    return {
        "usable": learned["usable"],
        "weight": learned["weight"],
        "labelled": {
            key: share[key] for key in ("low", "middle", "high", "place", "gap", "chosen", "depends", "kinds")
        },
        "findings": learned["findings"],
        **{key: quality.get(key) for key in ("auc", "ece", "positives", "candidates")},
        "dropped": dropped,
        "dropped_share": _rounded(dropped / judged if judged else None),
    }


def _budget(budget: dict[str, Any]) -> dict[str, Any]:
    """The budget, the cut that was chosen by it, and what calibration saw at this cut."""
    chosen = {key: budget["chosen"][key] for key in ("bound", "loss", "hardness", "per_query")}
    if budget["refused"] is not None:
        chosen |= {"bound": None}  # what stands for nothing is not shown
    if budget["pool"]:
        chosen["corrected"] = budget["chosen"]["hidden"]["corrected"]
    asked = {key: budget[key] for key in ("refused", "confidence", "kind", "cut", "queries")}
    return {"false_negatives": budget["budget"], **asked, "labelled": budget["labelled"]["middle"], **chosen}


def page(
    p: params.Params,
    evidence: Evidence,
    recipe: dict[str, Any],
    numbers: dict[str, Any],
    drawn: Mapping[str, str],
    reuse: dict[str, Any],
    recall: dict[str, dict[str, int]],
    rejected: Sequence[Mapping[str, str]] = (),
    learned: dict[str, Any] | None = None,
    budget: dict[str, Any] | None = None,
) -> str:
    """The report: one HTML page that loads nothing and runs nothing."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gangue.pipeline.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "share": _share,
        "number": _number,
        "whole": _whole,
        "pretty": _pretty,
        "sentence": _sentence,
    }
    quality = (learned or {}).get("quality")
    return environment.get_template("report.html.j2").render(
        p=p,
        numbers=numbers,
        evidence=evidence,
        recipe=recipe,
        reuse=reuse,
        recall=recall,
        rejected=rejected,
        total=sum(evidence.verdicts.values()),
        waterfall=drawn["verdicts"],
        tables={name: {side: columns(sides[side]) for side in SIDES} for name, sides in evidence.scores.items()},
        histograms={name: drawn[f"score_{name}"] for name in evidence.scores},
        learned=learned,
        reliability=charts.reliability(quality["reliability"]) if quality else "",
        importances=charts.bars(dict(itertools.islice(learned["importances"].items(), MOST_IMPORTANT)))
        if learned and quality
        else "",
        budget=budget,
        line=charts.budget_line(budget["line"], budget["chosen"], budget["budget"]) if budget else "",
        names=[*p.retrievers, *p.scorers],
        suspicion=f"the highest {by}" if (by := suspected_by(p)) else "the score nearest to the positive's",
    )


def columns(values: Distribution) -> dict[str, float | int | None]:
    """A distribution in the rows that sentence-transformers prints of mined negatives."""
    some = values.count > 0
    return {
        "count": values.count,
        "mean": values.mean if some else None,
        "std": values.deviation,
        "min": values.low if some else None,
        **{name: values.quantile(share) for name, share in _QUANTILES.items()},
        "max": values.high if some else None,
    }


def _histogram(evidence: Evidence, name: str) -> str:
    """Chart of one score; one scale for both kinds."""
    sides = {side: evidence.scores[name][side] for side in ("positive", "negative")}
    some = [values for values in sides.values() if values.count] or [Distribution(high=1.0)]
    low, high = min(s.low for s in some), max(s.high for s in some)
    if high - low <= 1e-6 * max(abs(low), abs(high)):  # one value only
        low, high = low - max(abs(low) / 2, 0.5), high + max(abs(high) / 2, 0.5)
    edges = np.linspace(low, high, BINS + 1)
    first, last = bins_of(np.array([low, high], np.float32)).tolist()
    if last - first < 4 * BINS:  # bars nearly as narrow as the bins would be empty and full by turns
        step = -(-(last - first + 1) // BINS)
        edges = bin_edges(np.arange(first, last + step + 1, step))
    positives, negatives = (sides[side].histogram(edges).tolist() for side in ("positive", "negative"))
    return charts.histograms(name, edges.tolist(), positives, negatives)


def _rounded(value: float | None) -> float | None:
    """Six significant digits: sums of shards differ in the last bits."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.6g}")


def _share(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else percent(value, digits).replace("%", " %")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}".replace("-", "−")


def _whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _sentence(value: str) -> str:
    return value[:1].upper() + value[1:]


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
