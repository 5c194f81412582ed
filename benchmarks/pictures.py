"""The committed results as tables and pictures.   Usage: python -m benchmarks.pictures

Draws ``docs/frontier.svg`` from ``results/frontier_*.json`` and prints, for each corpus, the learned filter beside the
best rule at the hardness of *shifted 10*.
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


def compared(report: dict[str, Any], shift: int = 10) -> dict[str, Any]:
    """The learned filter and the best rule at the hardness of ``shifted``."""
    (reference,) = [one for one in report["lines"] if one["filter"] == "shifted" and one["setting"] == shift]
    hardness = reference["hardness"]
    rules = {name: at(line(report, name), hardness) for name in RULES}
    best = min((name for name in rules if not np.isnan(rules[name])), key=lambda name: rules[name])
    learned = at(line(report, "learned"), hardness)
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


def main() -> int:
    """Draw and print."""
    reports = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("frontier_*.json"))]
    if not reports:
        raise FileNotFoundError(f"{RESULTS}: must hold frontier_*.json, found none. Run benchmarks.frontier --output")
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
