"""The committed results as tables and pictures.   Usage: python -m benchmarks.pictures

Draws ``docs/frontier.svg`` from ``results/frontier_*.json`` and prints, for each corpus, the learned filter beside the
best rule at the hardness of *shifted 10*; then the rows of docs/benchmarks.md with one known positive a query, with a
judge and with thirty queries, of the budgets (``results/budget_*.json``) and of the pairs (``results/pairs_truth_*``).
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

RESULTS = pathlib.Path(__file__).parent / "results"
PICTURE = pathlib.Path(__file__).parents[1] / "docs" / "frontier.svg"
RULES = ("shifted", "abs", "margin", "perc")
FULL = 4.95  # negatives per query, of five
BUDGET = 0.02  # of the pairs, where nothing else is said
COLOURS = {"shifted": "#8a8f98", "abs": "#c9a227", "margin": "#7a9e7e", "perc": "#5b8db8", "learned": "#b4541a"}


def line(report: dict[str, Any], name: str) -> np.ndarray:
    """(n, 2) hardness and share of false negatives of one filter at full quota, by ascending hardness.

    Every line ends where no cut drops anything: at naive.
    """
    points = [
        (one["hardness"], one["fn_rate"])
        for one in report["lines"]
        if one["filter"] in (name, "naive") and one["per_query"] >= FULL
    ]
    return np.array(sorted(points))


def at(points: np.ndarray, hardness: float) -> float:
    """Share of false negatives at a hardness, interpolated; NaN outside the line.

    >>> at(np.array([[0.4, 0.0], [0.6, 0.1]]), 0.5)
    0.05
    """
    if not points[0, 0] <= hardness <= points[-1, 0]:
        return float("nan")
    return float(np.interp(hardness, points[:, 0], points[:, 1]))


def best_learned(report: dict[str, Any], hardness: float) -> float:
    """Share of false negatives at a hardness by the better use of the learned filter: as a price, or with a cut.

    Where its line begins with harder negatives, of the cleanest of these.
    """
    found = []
    for name in ("learned", "learned_cut"):
        points = line(report, name)
        share = at(points, hardness)
        found.append(share if not np.isnan(share) else float(points[points[:, 0] >= hardness, 1].min(initial=np.inf)))
    return min(found)


def compared(report: dict[str, Any], shift: int = 10) -> dict[str, Any]:
    """The learned filter and the best rule at the hardness of ``shifted``."""
    (reference,) = [one for one in report["lines"] if one["filter"] == "shifted" and one["setting"] == shift]
    hardness = reference["hardness"]
    rules = {name: at(line(report, name), hardness) for name in RULES}
    best = min((name for name in rules if not np.isnan(rules[name])), key=lambda name: rules[name])
    learned = best_learned(report, hardness)
    return {
        "corpus": report["data"],
        "hardness": hardness,
        "naive": next(one["fn_rate"] for one in report["lines"] if one["filter"] == "naive"),
        "shifted": reference["fn_rate"],
        "best_rule": best,
        "best": rules[best],
        "learned": learned,
        "ratio": learned / rules[best],
    }


def draw(reports: list[dict[str, Any]]) -> None:
    """One small chart for each corpus: share of false negatives against hardness, a line for each filter."""
    style: Any = {"svg.hashsalt": "gangue", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(9.6, 5.4), layout="constrained")
        for number, report in enumerate(reports):
            axes = figure.add_subplot(2, 3, number + 1)
            for name, colour in COLOURS.items():
                points = line(report, name)
                axes.plot(
                    points[:, 0],
                    100 * points[:, 1],
                    color=colour,
                    linewidth=2.2 if name == "learned" else 1.1,
                    marker="o",
                    markersize=2.5,
                    label=name,
                )
            (reference,) = [o for o in report["lines"] if o["filter"] == "shifted" and o["setting"] == 40]
            axes.set_xlim(left=reference["hardness"] - 0.03)
            axes.set_ylim(bottom=0)
            axes.set_title(report["data"].replace("_", " "), loc="left", fontsize=9)
        figure.supxlabel("hardness: mean cosine between query and negative", fontsize=8)
        figure.supylabel("hidden positives among the negatives, %", fontsize=8)
        figure.axes[0].legend(frameon=False, fontsize=7)
        figure.savefig(PICTURE, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))


def at_levels(report: dict[str, Any], levels: tuple[float, ...] = (0.05, 0.1, 0.2)) -> list[str]:
    """What the learned filter lets through, and its ratio to the best rule, where that lets so much through."""
    ruled = [line(report, name) for name in RULES]
    ends = np.array([(points[0, 0], points[-1, 0]) for points in ruled])
    hardness = np.linspace(ends[:, 0].min(), ends[:, 1].max(), 400)
    best = np.nanmin([[at(points, h) for h in hardness] for points in ruled], axis=0)
    cells = []
    for level in levels:
        below = np.flatnonzero(best <= level)
        if not below.size:
            cells.append("–")
            continue
        place = below.max()
        found = best_learned(report, float(hardness[place]))
        cells.append(f"{found:.1%} of {best[place]:.1%}: {found / max(best[place], 1e-9):.2f}")
    return cells


KNOWN, LABELLED = ("one", "0.1", "0.3", "half"), ("random", "bm25", "dense", "worst")


def budgets(report: dict[str, Any], known: str) -> list[str]:
    """Rows of a table: what came back of each budget on average, by who chose the known positives."""
    rows = []
    for labelled in ("random", "bm25"):
        two, five = (
            next(
                one
                for one in report["lines"]
                if (one["known"], one["labelled"], one["budget"], one["confidence"]) == (known, labelled, budget, None)
            )
            for budget in (0.02, 0.05)
        )
        cells = []
        for one in (two, five):
            refused = f", {one['refused']} of {one['splits']} refused" if one["refused"] else ""
            cells.append(
                "refused | | "
                if "fn_rate" not in one
                else f"{one['fn_rate']:.1%}{refused} | {one['hardness']:.2f} | {one['per_query']:.1f}"
            )
        share, naive = two["share"], two["naive"]
        rows.append(
            f"| {report['data']}, {labelled} | {share['true']:.3f} | {share['low']:.3f} – {share['high']:.2f} |"
            f" {naive['fn_rate']:.0%}, {naive['hardness']:.2f} | " + " | ".join(cells) + " |"
        )
    return rows


def told(once: dict[str, Any], more: dict[str, Any]) -> list[str]:
    """Rows of a table: what came back of each budget with what one job was told, and with more."""
    rows = []
    for how in dict.fromkeys(one["labelled"] for one in once["lines"]):
        found = [one for one in once["lines"] + more["lines"] if one["labelled"] == how and one["confidence"] is None]
        cells, naive = [], found[0]["naive"]
        for one in found:
            some = f", {one['refused']} of {one['splits']} refused" if one["refused"] else ""
            if one.get("fn_rate", 0.0) > one["budget"]:
                some += f", **above** in {one['exceeded']:.0%}"
            cells.append(f"{one['fn_rate']:.1%} ({one['hardness']:.2f}){some}" if "fn_rate" in one else "refused")
        rows.append(
            f"| {once['data']}, {how} | {naive['fn_rate']:.0%} ({naive['hardness']:.2f}) | {' | '.join(cells)} |"
        )
    return rows


def promises(reports: list[dict[str, Any]]) -> list[str]:
    """Rows of a table: of all corpora and drawings, how many budgets were refused and how many exceeded.

    A cell is a corpus under one regime; its mean is that of its drawings that were not refused.
    """
    rows = []
    for known in KNOWN:
        for labelled in LABELLED:
            cells = []
            for budget, confidence in ((0.02, None), (0.05, None), (0.02, 0.9), (0.05, 0.9)):
                asked = (known, labelled, budget, confidence)
                some = [
                    one
                    for report in reports
                    for one in report["lines"]
                    if (one["known"], one["labelled"], one["budget"], one["confidence"]) == asked
                ]
                drawings, refused = (sum(one[key] for one in some) for key in ("splits", "refused"))
                kept = [one for one in some if "fn_rate" in one]
                above = sum(round(one["exceeded"] * (one["splits"] - one["refused"])) for one in kept)
                worst = max((one["fn_rate"] for one in kept), default=0.0)
                means = f"{sum(one['fn_rate'] > budget for one in kept)} of {len(kept)}, {worst:.1%} | "
                cells.append(f"{refused / drawings:.0%} | {means if confidence is None else ''}{above} of {drawings}")
            rows.append(f"| {known}, {labelled} | " + " | ".join(cells) + " |")
    return rows


def pairs(report: dict[str, Any]) -> list[str]:
    """Rows of a table: what the product promised of CSV pairs and what was true."""
    rows, model = [], "" if report["encoder"].startswith("package:") else f", {report['encoder']}"
    more = f", {report['each']} {report['judged']} each" if report.get("judged") else ""
    more += f", {report['budget']:.0%} asked" if report["budget"] != BUDGET else ""
    for one in report["lines"]:
        said = "refused" if one["refused"] else f"{one['shown']:.1%}"
        rules = " | ".join(f"{one[name]['share']:.1%}" for name in ("naive", "perc 0.95", "shifted 10"))
        rows.append(
            f"| {report['data']}{model}, {one['pairs']} pairs, corpus {one['corpus']}, {one['labelled']}{more} |"
            f" {said} |"
            f" {one['share']:.1%} ({one['low']:.1%}–{one['high']:.1%}) |"
            f" {one['hardness']:.2f}, {one['per_query']:.1f} | {rules} | {one['verdict']} |"
        )
    return rows


def main() -> int:
    """Draw and print."""
    reports = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("frontier_*.json"))]
    if not reports:
        raise FileNotFoundError(f"{RESULTS}: must hold frontier_*.json, found none. Run benchmarks.frontier --output")
    reports = [report for report in reports if report.get("known", "half") == "half"]
    draw(reports)
    rows = [compared(report) for report in reports]
    print("| corpus | hardness | naive | shifted 10 | best rule | learned | learned / best rule |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['corpus']} | {row['hardness']:.3f} | {row['naive']:.1%} | {row['shifted']:.1%} |"
            f" {row['best']:.1%} ({row['best_rule']}) | **{row['learned']:.2%}** | {row['ratio']:.2f} |"
        )
    mean = float(np.exp(np.mean([np.log(max(row["ratio"], 1e-3)) for row in rows])))
    print(f"\nGeometric mean of the last column: {mean:.2f}")
    for title, pattern in (
        ("One known positive a query", "frontier_*_one.json"),
        ("The same with a judge who errs in a tenth", "frontier_*_judge.json"),
        ("Thirty queries, twenty draws", "frontier_*_thirty.json"),
    ):
        print(f"\n{title}: learned / best rule where that lets 5, 10 and 20 % through")
        ratios = []
        for path in sorted(RESULTS.glob(pattern)):
            report = json.loads(path.read_text())
            cells = at_levels(report)
            print(f"| {report['data']} | {' | '.join(cells)} |")
            ratios += [max(float(cells[1].rpartition(": ")[2]), 0.01)] if ": " in cells[1] else []
        print(f"Geometric mean at 10 %: {np.exp(np.mean(np.log(ratios))) if ratios else np.nan:.2f}")
    of_regimes = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("budget_*_regimes.json"))]
    print("\nBudgets, all corpora")
    print("\n".join(promises(of_regimes)))
    for known in KNOWN:
        print(f"\nBudgets, {known} known")
        print("\n".join(row for report in of_regimes for row in budgets(report, known)))
    print("\nBudgets, one known, queries as they come")
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("budget_*_as_they_come.json"))]
    print("\n".join(row for report in found for row in budgets(report, "one")))
    for title, ending in (
        ("One known, with 200 labels and with 200 more", "_twice"),
        ("One known that leans to a rank, and the same with learn.labelled: chosen", "_told"),
    ):
        print(f"\nBudgets: {title}")
        for path in sorted(RESULTS.glob(f"budget_*{ending}.json")):
            once = path.with_name(path.name.replace(ending, ""))
            print("\n".join(told(json.loads(once.read_text()), json.loads(path.read_text()))))
    print("\nBudgets: one known, queries of two kinds")
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("budget_*_and_*.json"))]
    print("\n".join(row for report in found for row in told(report, {"lines": []})))
    print("\nBudgets: another encoder, one known, and half known")
    for path in sorted(RESULTS.glob("budget_*_static.json")):
        report = json.loads(path.read_text())
        one, half = (
            {**report, "lines": [each for each in report["lines"] if each["known"] == known]}
            for known in ("one", "half")
        )
        print("\n".join(told(one, half)))
    print("\nPairs")
    for path in sorted(RESULTS.glob("pairs_truth_*.json")):
        print("\n".join(pairs(json.loads(path.read_text()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
