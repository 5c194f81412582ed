"""What was mined, on the terminal: a summary, the first triplets, and what labels say of it."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import params
from transforms import progress, vector_store
from transforms.storage import Data

_LIGHT = {"--ink": "#1c1f23", "--faint": "#b4b9be", "--positive": "#0f7b6c", "--negative": "#b4541a"}  # of the report
FULL = 0.99  # share of the quota from which on a setting counts as full


def summary(params_path: str, root: str, reports: str) -> None:
    """Print the size of the dataset, how hard and how false its negatives are, and where to look."""
    from pipeline import labelling

    p, data, console = params.load(params_path), Data(root), Console(highlight=False, soft_wrap=True)
    rows = {name: sum(data.rows(name)) for name in ("documents", "queries", "positives", "rejected", "triplets")}
    console.print(
        f"{rows['triplets']} triplets from {rows['queries']} queries, {rows['positives']} positives and"
        f" {rows['documents']} documents ({rows['rejected']} records rejected)."
    )
    for name in p.encoders:
        if data.exists(place := vector_store.rejected(name)) and (gone := sum(data.rows(place))):
            console.print(f"{gone} texts have no usable vector of {name} and take no part: {data.path(place)}")
    short = sum(data.rows("shortfalls"))
    console.print(
        f"{rows['positives'] - short} of {rows['positives']} positives have all {p.sample.negatives} negatives."
    )
    metrics = _metrics(reports)
    leak, budget = metrics.get("leak") or {}, metrics.get("budget")
    if leak.get("rules") and None not in (leak["rules"]["share"], leak["naive"]["share"]):
        rules, naive = leak["rules"], leak["naive"]
        console.print(
            f"Leak test: {rules['share']:.1%} of the negatives are hidden positives ({rules['low']:.1%} to"
            f" {rules['high']:.1%}), at a mean {p.sample.score} score of {rules['hardness']:.3f}; without rules"
            f" {naive['share']:.1%} at {naive['hardness']:.3f}."
        )
    elif leak:
        siblings = leak.get("siblings") or {"retrieved": 0}
        known = (
            f" Of {siblings['retrieved']} positives of queries that ask the same {siblings['leaked']} would be"
            " negatives if nobody saw that."
            if siblings["retrieved"]
            else ""
        )
        console.print(
            f"Leak test: not measured, since no query has two labelled positives that could be hidden.{known}"
        )
    if found := labelling.measured(data, Data(reports)):
        console.print(f"Labels: {_measured(found)}.")
    if budget and budget["refused"]:
        console.print(escape(f"Budget: {budget['refused']}."))
    elif budget:
        how = "on average" if budget["confidence"] is None else f"with {budget['confidence']:.0%} confidence"
        console.print(
            f"Budget: {budget['false_negatives']:.1%} false negatives {how}; {budget['kind']} at {budget['cut']:.4g}"
            f" promises {budget['bound']:.1%} and expects {budget['loss']:.1%}."
        )
    for finding in (metrics.get("learned") or {}).get("findings", []):
        console.print(escape(f"Finding: {finding}."))
    places = f"Triplets: {data.path('triplets')}   views: {data.path('views')}   report: {reports}/report.html"
    console.print(escape(places))


def _metrics(reports: str) -> dict[str, Any]:
    """The audit's metrics, empty when it has not run."""
    try:
        values: dict[str, Any] = Data(reports).read_json("metrics.json")
    except FileNotFoundError:
        return {}
    return values


def triplets(root: str, count: int) -> None:
    """Print the first triplets, a few lines each."""
    data, console = Data(root), Console(highlight=False, soft_wrap=True)
    left = count
    for shard in data.shards("triplets"):
        for row in data.read("triplets", shard).slice(0, left).to_pylist():
            scores = [name.removeprefix("score_") for name in row if name.startswith("score_")]
            for role, prefix in (("query", None), ("positive", "positive_score_"), ("negative", "score_")):
                numbers = "  ".join(
                    f"{s} {row[prefix + s]:.3f}" for s in scores if prefix and row[prefix + s] is not None
                )
                text = textwrap.shorten(" ".join(_printable(row[role]).split()), 96, placeholder=" …")
                console.print(f"[bold]{role:9}[/bold] {escape(text)}" + (f"  [dim]{numbers}[/dim]" if numbers else ""))
            console.print()
            left -= 1
        if left <= 0:
            return


def _printable(text: str) -> str:
    """The text without what would steer the terminal: escape sequences, marks that turn the writing's direction."""
    return "".join(character if character.isprintable() else " " for character in text)


def calibrate(params_path: str, root: str, reports: str) -> None:
    """Print what every cut of every filter would let through on a mined job; write it and draw it.

    Queries with several positives only, as rules on the positive's score need one that is known.
    """
    from pipeline import charts, frontier

    p, data, console = params.load(params_path), Data(root), Console(highlight=False, soft_wrap=True)
    kinds = 6 if p.filter.asks_to_learn else 5
    with progress.shown("calibrate", kinds * sum(data.rows("queries"))):
        lines = frontier.lines(data, p)
    table = Table("filter", "setting", "false negatives", "95 % interval", "hardness", "per query", box=None)
    for name, points in lines.items():
        for point in points:
            interval = f"{point['fn_low']:.2%} to {point['fn_high']:.2%}"
            table.add_row(
                name,
                f"{point['setting']:.4g}",
                f"{point['fn_rate']:.2%}",
                interval,
                f"{point['hardness']:.3f}",
                f"{point['per_query']:.2f}",
            )
    console.print(table)
    written = Data(reports)
    written.write_text("frontier.json", json.dumps(lines, indent=1) + "\n")
    drawn = charts.frontier(lines, FULL * p.sample.negatives)
    for variable, colour in _LIGHT.items():
        drawn = drawn.replace(f"var({variable})", colour)
    written.write_text("frontier.svg", drawn + "\n")
    console.print(
        f"Half of the positives hidden, {points[0]['queries']} queries:"
        + escape(f" {reports}/frontier.json, {reports}/frontier.svg")
    )


def sample_for_labels(root: str, reports: str, pairs: int, seed: int) -> None:
    """Write the pairs to label, and say what to do with them."""
    from pipeline import labelling

    count = labelling.draw(Data(root), Data(reports), pairs, seed)
    Console(highlight=False, soft_wrap=True).print(
        escape(
            f"{count} pairs: {reports}/{labelling.NAME}.jsonl and .csv. Fill in label (1: the document answers the"
            " query, so the negative is false; 0: it does not), all of them, then: gangue labels"
            f" {reports}/{labelling.NAME}.jsonl"
        )
    )


def labels(path: str, root: str, reports: str) -> None:
    """Print the share of false negatives by the labels of a file; write it."""
    from pipeline import labelling

    found = labelling.measure(Data(root), path)
    Data(reports).write_text(labelling.MEASURED, json.dumps(found, indent=1) + "\n")
    console = Console(highlight=False, soft_wrap=True)
    console.print(escape(f"{_measured(found)}. {reports}/{labelling.MEASURED}"))
    console.print("To mine again with what they say, put the file where labels.path of the params names it.")


def _measured(found: dict[str, Any]) -> str:
    return (
        f"{found['share']:.1%} of the {found['negatives']} negatives are false ({found['low']:.1%} to"
        f" {found['high']:.1%} with 95% confidence), by {found['labelled']} labels, {found['false']} of them"
        f" positive; p_false says {found['predicted']:.1%}"
    )
