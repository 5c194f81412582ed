"""Charts of the report as inline SVG: equal numbers, equal bytes; colours and fonts are the page's."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Drawn in colours nothing else has, then replaced by variables of the page: dark mode reaches the charts.
_COLOURS = {"#010203": "--ink", "#040506": "--faint", "#070809": "--positive", "#0a0b0c": "--negative"}
_ON_PAPER = {"--ink": "#1c1f23", "--faint": "#b4b9be", "--positive": "#0f7b6c", "--negative": "#b4541a"}
_INK, _FAINT, _POSITIVE, _NEGATIVE = _COLOURS
_STYLE: Any = {
    "svg.hashsalt": "gangue",
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "text.parse_math": False,
}


def standalone(chart: str) -> str:
    """A chart as a file of its own: the page's variables replaced by its colours on white."""
    for variable, colour in _ON_PAPER.items():
        chart = chart.replace(f"var({variable})", colour)
    return chart + "\n"


def waterfall(first: Mapping[str, int], fired: Mapping[str, int]) -> str:
    """Bars of how many candidates each verdict took, with an outline for all that it would have taken."""
    names = [name for name in first if first[name] or fired.get(name)]
    height = 0.5 + 0.3 * max(len(names), 1)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, height), layout="constrained")
        axes = figure.add_subplot()
        place = np.arange(len(names))
        colours = [_POSITIVE if name == "kept" else _NEGATIVE for name in names]
        axes.barh(place, [first[name] for name in names], height=0.62, color=colours)
        all_that = [fired.get(name, 0) for name in names]
        axes.barh(place, all_that, height=0.62, fill=False, edgecolor=_FAINT, linewidth=0.8)
        axes.set_yticks(place, names)
        axes.invert_yaxis()
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))
        return _svg(figure, "Candidates by verdict")


def histograms(name: str, edges: Sequence[float], positives: Sequence[int], negatives: Sequence[int]) -> str:
    """Shares of positives and of negatives over one score."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 2.1), layout="constrained")
        axes = figure.add_subplot()
        for counts, colour in ((negatives, _NEGATIVE), (positives, _POSITIVE)):
            _steps(axes, np.asarray(edges), np.asarray(counts), colour)
        axes.set_xlabel(name)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(bottom=0)
        return _svg(figure, f"Scores of positives and negatives by {name}")


def frontier(lines: Mapping[str, Sequence[Mapping[str, Any]]], full: float) -> str:
    """False negatives against hardness, a line for each filter; hollow points have less than the ``full`` quota.

    A setting that lets nothing through has no hardness, and no point.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, whole_line) in enumerate(lines.items()):
            points, marker = [point for point in whole_line if point["per_query"] > 0], "os^vDo"[number % 6]
            colour = _NEGATIVE if name == "learned" else _INK
            x = np.array([point["hardness"] for point in points])
            y = 100 * np.array([point["fn_rate"] for point in points])
            whole = np.array([point["per_query"] >= full for point in points], dtype=bool)
            style = "-" if name == "learned" else ("-", "--", ":", "-.", (0, (1, 2)))[number % 5]
            axes.plot(
                x[whole], y[whole], marker, color=colour, linewidth=1.2, linestyle=style, markersize=3.5, label=name
            )
            axes.plot(x[~whole], y[~whole], marker, color=colour, markersize=3.5, fillstyle="none")
        axes.set_xlabel("hardness: mean score of the negatives")
        axes.set_ylabel("false negatives, %")
        axes.legend(frameon=False)
        return _svg(figure, "False negatives against hardness")


def reliability(points: Sequence[Mapping[str, float]]) -> str:
    """How often pairs are known positives (upwards) of which a model says it with some probability (to the right)."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.6, 3.0), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=0.8)
        said, seen = ([point[key] for point in points] for key in ("predicted", "observed"))
        axes.plot(said, seen, "o-", color=_POSITIVE, linewidth=1.2, markersize=3.5)
        axes.set(xlabel="said", ylabel="seen", xlim=(0, 1), ylim=(0, 1))
        return _svg(figure, "Reliability of the learned filter")


def bars(sizes: Mapping[str, float]) -> str:
    """A bar for each name."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 0.5 + 0.24 * max(len(sizes), 1)), layout="constrained")
        axes = figure.add_subplot()
        axes.barh(np.arange(len(sizes)), list(sizes.values()), height=0.6, color=_POSITIVE)
        axes.set_yticks(np.arange(len(sizes)), list(sizes))
        axes.invert_yaxis()
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
        return _svg(figure, "What the learned filter goes by")


def budget_line(points: Sequence[Mapping[str, float]], chosen: Mapping[str, float], budget: float) -> str:
    """False negatives against hardness from cut to cut: what was seen, what it is bound by, and the chosen cut."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 2.9), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(100 * budget, color=_FAINT, linewidth=0.8, linestyle="--")
        hardness = [point["hardness"] for point in points]
        for key, colour in (("bound", _NEGATIVE), ("loss", _POSITIVE)):
            axes.plot(hardness, [100 * point[key] for point in points], color=colour, linewidth=1.3)
            axes.plot(chosen["hardness"], 100 * chosen[key], "o", color=colour, markersize=5)
        axes.set(xlabel="hardness", ylabel="false negatives, %")
        axes.set_ylim(bottom=0)
        return _svg(figure, "False negatives against hardness at every cut")


def _steps(axes: Axes, edges: np.ndarray, counts: np.ndarray, colour: str) -> None:
    width = np.diff(edges)
    shares = counts / max(int(counts.sum()), 1) * width.mean() / width  # an area stands for a share
    axes.stairs(shares, edges, color=colour, fill=True, alpha=0.28)
    axes.stairs(shares, edges, color=colour, linewidth=1.3)


def _svg(figure: Figure, title: str) -> str:
    """The figure as an element of a page, without the document around it."""
    buffer = io.StringIO()
    empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=empty)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' id="[a-z]+(?:\.[a-z]+)?_\d+"', "", svg)  # matplotlib names every group; a page has many charts
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
