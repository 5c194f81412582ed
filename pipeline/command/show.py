"""What was mined, on the terminal: a summary, the first triplets, and what labels say of it."""

from __future__ import annotations

import collections
import itertools
import json
import shlex
import textwrap
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gangue.pipeline import params
from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets import occupancy
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import vector_store
from gangue.transforms.running import progress

_RELATED = {
    "alone": "single positives",
    "siblings": "positives of queries that ask the same",
    "near_copies": "near copies of positives",
}
_NAMED = 5  # texts without a usable vector
_AT_ONCE = 64  # triplets made ready to print
FULL = 0.99  # share of the quota from which on a setting counts as full


def summary(params_path: str, root: str, reports: str) -> None:
    """Print the size of the dataset, how hard and how false its negatives are, and where to look.

    Where the last run failed, or the params were changed since, that comes first, and no number of another run follows.

    Raises:
      FileNotFoundError: nothing was mined there.
    """
    from gangue.transforms.evidence import labelling, lineage
    from gangue.transforms.evidence.budget import percent

    p, data, console = params.load(params_path), Data(root), Console(highlight=False, soft_wrap=True)
    failed = occupancy.last_end(data)
    if data.unlisted("triplets"):
        raise data.missing("triplets")
    if not data.exists("triplets"):
        why = f", and the last run did not end well: {failed}" if failed else ""
        raise FileNotFoundError(
            f"{data.shown('triplets')}: no triplets have been mined{why}. Run gangue mine, or dvc repro"
        )
    metrics, unaudited = lineage.audited(data, Data(reports))
    recipe, stale = lineage.recipe(data), lineage.stale(data, p)
    other_models = None if stale else lineage.other_models(recipe, p)
    for line in (failed and f"the last run did not end well: {failed}", stale, other_models, unaudited):
        if line:
            console.print(escape(f"Note: {line}."))
    rows = recipe["rows"]
    console.print(
        f"{sum(data.rows('triplets'))} triplets from {rows['queries']} queries, {rows['positives']} positives and"
        f" {rows['documents']} documents; rejected records: {rows['rejected']}."
    )
    for name in p.encoders:
        if gone := sum(data.rows(place := vector_store.rejected(name))):
            first = lineage.rejected_texts(data, [name], _NAMED)
            named = ", ".join(f"{row['id']} ({row['reason']})" for row in first) + ", …" * (gone > len(first))
            console.print(
                escape(
                    f"Rejected by the encoder {name}, which makes no usable vector of them: {gone} texts, {named}."
                    f" {_sentence(first[0]['cure'])}. All are in {data.shown(place)}"
                )
            )
    if metrics:
        short = sum(metrics["shortfalls"].values())
        why = f" What the others lack them for: {_counted(metrics['shortfalls'], recipe)}." if short else ""
        console.print(
            f"{metrics['positives'] - short} of {metrics['positives']} positives have all"
            f" {recipe['params']['sample']['negatives']} negatives.{why}"
        )
    leak, budget = metrics.get("leak") or {}, metrics.get("budget")
    if leak.get("rules") and None not in (leak["rules"]["share"], leak["naive"]["share"]):
        hidden, naive = leak["rules"], leak["naive"]
        console.print(
            f"Leak test: {hidden['share']:.1%} of the negatives are hidden positives ({hidden['low']:.1%} to"
            f" {hidden['high']:.1%}), at a mean {p.sample.score} score of {hidden['hardness']:.3f}; without rules"
            f" {naive['share']:.1%} at {naive['hardness']:.3f}."
        )
        if budget and not budget["refused"] and hidden["low"] > budget["false_negatives"]:
            console.print(
                f"Warning: that is more than the budget of {percent(budget['false_negatives'])}. Read the negatives"
                " that the report calls suspicious, and label some: gangue sample-for-labels."
            )
    elif leak:
        known = "".join(
            f" Of {leak[name]['retrieved']} {what} {leak[name]['leaked']} would be negatives if nobody knew."
            for name, what in _RELATED.items()
            if leak.get(name, {}).get("retrieved")
        )
        why = "no query has two labelled positives that could be hidden"
        if leak["hidden"]:
            why = "no negative could be chosen for the queries whose positives were hidden"
        console.print(f"Leak test: not measured, since {why}.{known}")
    if found := labelling.measured(data, Data(reports)):
        console.print(f"Labels: {_measured(found)}.")
        if budget and not budget["refused"] and found["low"] > budget["false_negatives"]:
            console.print(
                f"Warning: that is more than the budget of {percent(budget['false_negatives'])}, whatever is promised."
                " Mine again with these labels: labels.path."
            )
    if budget and budget["refused"]:
        console.print(escape(f"Budget: {budget['refused']}."))
    elif budget:
        how = "on average" if budget["confidence"] is None else f"with {budget['confidence']:.0%} confidence"
        console.print(
            f"Budget: {percent(budget['false_negatives'])} false negatives {how}; {budget['kind']} at"
            f" {budget['cut']:.4g} promises {percent(budget['bound'])} and expects {percent(budget['loss'])}."
        )
    for finding in (metrics.get("learned") or {}).get("findings", []):
        if not (budget and finding in (budget["refused"] or "")):
            console.print(escape(f"Finding: {finding}."))
    places = f"Triplets: {data.shown('triplets')}   views: {data.shown('views')}   report: {reports}/report.html"
    console.print(escape(places))
    shown, drawn = _options(data=root), _options(params=params_path, data=root, reports=reports)
    console.print(
        escape(f"Next: gangue show{shown} prints triplets; gangue frontier{drawn}, what every cut would let through.")
    )


def _counted(reasons: Mapping[str, int], recipe: Mapping[str, Any]) -> str:
    """Reasons, the most frequent first.

    >>> _counted({"perc": 2, "passed_over": 7}, {})
    'passed_over 7, perc 2'
    >>> _counted({"unscored": 1}, {"params": {"scorers": {"ce": {}}}})
    'unscored 1 (raise scorers.ce.depth)'
    """
    depths = " or ".join(f"scorers.{name}.depth" for name in recipe.get("params", {}).get("scorers", {}))
    cures = {rules.UNSCORED: f" (raise {depths})" if depths else ""}
    return ", ".join(
        f"{reason} {count}{cures.get(reason, '')}"
        for reason, count in sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
    )


def _options(**given: str) -> str:
    """The options that a next command needs to find what this one was given."""
    usual = {"params": "params.yaml", "data": "data", "reports": "reports"}
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in given.items() if value != usual[name])


def triplets(root: str, count: int | None, query: str | None = None) -> None:
    """Print triplets, a few lines each: the first ones, or those of one query, likeliest false negatives first.

    Args:
      root: of the datasets.   count: how many, None for all.   query: an id, or words of the query's text.

    Raises:
      ValueError: no query with triplets has this id, and none these words; says why where its texts were rejected.
    """
    from gangue.transforms.evidence import lineage

    data, console = Data(root), Console(highlight=False, soft_wrap=True)
    tables = [_of_query(data, query)] if query else (data.read("triplets", shard) for shard in data.shards("triplets"))
    if not sum(data.rows("triplets")) and not query:
        reasons = collections.Counter(data.read_all("shortfalls", ["reason"])["reason"].to_pylist())
        why = _counted(reasons, lineage.recipe(data))
        console.print(f"{data.shown('triplets')}: no rows. What positives lack negatives for: {why}")
    blocks = (batch.to_pylist() for table in tables for batch in table.to_batches(_AT_ONCE))
    for row in itertools.islice(itertools.chain.from_iterable(blocks), count):
        _print_triplet(console, row)


def _of_query(data: Data, query: str) -> pa.Table:
    """The triplets of a query by its id, else of the first whose text has these words; the likeliest false first."""
    like: pa.Table | None = None
    for shard in data.shards("triplets"):
        table = data.read("triplets", shard)
        found = table.filter(pc.equal(table["query_id"], query))
        if len(found):
            return _suspicious_first(data, found)
        some = table.filter(pc.match_substring(table["query"], query, ignore_case=True))
        if like is None and len(some):
            like = some.filter(pc.equal(some["query_id"], some["query_id"][0]))
    if like is None:
        known = _rejected(data, query) or _without_negatives(data, query) or _unread(data, query)
        why = known or f"no query has the id or the words {query}. gangue show{_options(data=data.root)} prints some"
        raise ValueError(f"{data.shown('triplets')}: {why}")
    return _suspicious_first(data, like)


def _rejected(data: Data, query: str) -> str | None:
    """Why there are no triplets of this text, or of the query of this id, if an encoder rejected it or its positive."""
    from gangue.transforms.evidence import lineage

    short = data.read_all("shortfalls", ["query_id", "positive_id"])
    asked = {query, *short.filter(pc.equal(short["query_id"], query))["positive_id"].to_pylist()}
    for row in lineage.rejected_texts(data, lineage.recipe(data).get("without_vector", {})):
        if row["id"] in asked or query.lower() in row["text"].lower():
            return (
                f"none of {query}, for {row['id']} of {row['dataset']} has no usable vector of the encoder"
                f" {row['encoder']}: {row['reason']}. {_sentence(row['cure'])}"
            )
    return None


def _unread(data: Data, query: str) -> str | None:
    """Why a record with this id or these words was rejected when the source was read."""
    rejected = data.read_all("rejected")
    some = rejected.filter(pc.match_substring(rejected["record"], query, ignore_case=True)).slice(0, 1).to_pylist()
    return (
        f"none of {query}, for a record with it was rejected, {some[0]['origin']} line {some[0]['line']}:"
        f" {some[0]['reason']}. {data.shown('rejected')} has all"
        if some
        else None
    )


def _without_negatives(data: Data, query: str) -> str | None:
    """Why there are no triplets of the query of this id, or of the first with these words."""
    like: list[str] = []
    for shard in data.shards("queries"):
        table = data.read("queries", shard, ["query_id", "text"])
        here = pc.or_(pc.equal(table["query_id"], query), pc.match_substring(table["text"], query, ignore_case=True))
        like += table.filter(here)["query_id"].to_pylist()
    named = query if query in like else next(iter(like), None)
    short = data.read_all("shortfalls")
    reasons = [
        f"for {row['positive_id']} {row['found']} of {row['wanted']} among {row['candidates']} candidates"
        f" ({row['reason']})"
        for row in short.filter(pc.equal(short["query_id"], named)).to_pylist()
    ]
    return f"no negatives were found of the query {named}: {', '.join(reasons[:_NAMED])}" if reasons else None


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _suspicious_first(data: Data, table: pa.Table) -> pa.Table:
    """What says best which negatives are false goes first, as in the report: the learned filter, else a scorer."""
    from gangue.transforms.evidence import lineage

    scorers = [f"score_{name}" for name in lineage.recipe(data).get("params", {}).get("scorers", {})]
    scores = [name for name in table.column_names if name.startswith("score_")]
    by = [name for name in dict.fromkeys((rules.P_FALSE, *scorers, *scores)) if name in table.column_names]
    return table.sort_by([(name, "descending") for name in by])


def _print_triplet(console: Console, row: dict[str, Any]) -> None:
    scores = [name.removeprefix("score_") for name in row if name.startswith("score_")]
    for role, prefix in (("query", None), ("positive", "positive_score_"), ("negative", "score_")):
        numbers = [f"{s} {row[prefix + s]:.3f}" for s in scores if prefix and row[prefix + s] is not None]
        if role == "query":
            numbers = [row["query_id"]]
        elif role == "negative":
            numbers.append(row["negative_kind"])
            if row.get(rules.P_FALSE) is not None:
                numbers.append(f"{rules.P_FALSE} {row[rules.P_FALSE]:.2g}")
        text = textwrap.shorten(" ".join(_printable(row[role]).split()), 96, placeholder=" …")
        shown = escape(_printable("  ".join(numbers)))
        console.print(f"[bold]{role:9}[/bold] {escape(text)}" + (f"  [dim]{shown}[/dim]" if shown else ""))
    console.print()


def _printable(text: str) -> str:
    """The text without what would steer the terminal: escape sequences, marks that turn the writing's direction."""
    return "".join(character if character.isprintable() else " " for character in text)


def frontier(params_path: str, root: str, reports: str) -> None:
    """Print what every cut of every filter would let through on a mined job; write it and draw it.

    Queries with several positives only, as rules on the positive's score need one that is known.
    """
    from gangue.pipeline.command import preflight
    from gangue.pipeline.report import charts
    from gangue.transforms.evidence import frontier, lineage

    p, data, console = params.load(params_path), Data(root), Console(highlight=False, soft_wrap=True)
    written = Data(reports)
    preflight.check_frontier(written)
    lineage.check_mined(data, p, params_path)
    with progress.shown("frontier", sum(data.rows("queries"))):
        lines = frontier.lines(data, p)
    if not next(iter(lines.values()))[0]["queries"]:
        console.print(
            "Not measured: no query has two labelled positives of which one could be hidden. Give more positives of the"
            " same queries, or label negatives: gangue sample-for-labels"
        )
        _expected(console, data, p)
        return
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
    written.write_text("frontier.json", json.dumps(lines, indent=1) + "\n")
    drawn = charts.frontier(lines, FULL * p.sample.negatives)
    written.write_text("frontier.svg", charts.standalone(drawn))
    console.print(
        f"Half of the positives hidden, {points[0]['queries']} queries:"
        + escape(f" {reports}/frontier.json, {reports}/frontier.svg")
    )


def _expected(console: Console, data: Data, p: params.Params) -> None:
    """Print what the learned filter expects of each of its cuts, where a budget asked."""
    if p.filter.max_false_negatives is None:
        return
    table = Table("filter", "setting", "promised at most", "expected", "hardness", "per query", box=None)
    note = data.read_note("calibration", query_shard.CUT)
    line = note.get("line", []) if note.get("kind") == p.filter.rule.kind else []
    if not line:
        console.print(escape("What each cut is expected to let through is known when it was mined with this budget."))
        return
    for point, before in zip(line, [{}, *line], strict=False):
        if {**point, "setting": 0} == {**before, "setting": 0}:
            continue  # a looser cut that changes nothing
        table.add_row(
            p.filter.rule.kind,
            f"{point['setting']:.4g}",
            f"{point['bound']:.2%}",
            f"{point['loss']:.2%}",
            f"{point['hardness']:.3f}",
            f"{point['per_query']:.2f}",
        )
    console.print(table)


def sample_for_labels(params_path: str, root: str, reports: str, pairs: int, seed: int) -> None:
    """Write the pairs to label, and say what to do with them."""
    from gangue.transforms.evidence import labelling, lineage

    p, data = params.load(params_path), Data(root)
    lineage.check_mined(data, p, params_path)
    count = labelling.draw(data, p, Data(reports), pairs, seed)
    Console(highlight=False, soft_wrap=True).print(
        escape(
            f"{count} pairs: {reports}/{labelling.NAME}.jsonl and .csv. Fill in label (1: the document answers the"
            " query, so the negative is false; 0: it does not), all of them, then: gangue labels"
            f" {reports}/{labelling.NAME}.jsonl{_options(data=root, reports=reports)}"
        )
    )


def labels(path: str, root: str, reports: str) -> None:
    """Print the share of false negatives by the labels of a file; write it."""
    from gangue.pipeline.command import preflight
    from gangue.transforms.evidence import labelling

    written = Data(reports)
    preflight.check_labels(written)
    found = labelling.measure(Data(root), path)
    written.write_text(labelling.MEASURED, json.dumps(found, indent=1) + "\n")
    console = Console(highlight=False, soft_wrap=True)
    console.print(escape(f"{_measured(found)}. {reports}/{labelling.MEASURED}"))
    console.print(
        "To mine again with what they say, name the file, or a folder that it is in, in the params: labels.path."
    )


def _measured(found: dict[str, Any]) -> str:
    return (
        f"{found['share']:.1%} of the {found['negatives']} negatives are false ({found['low']:.1%} to"
        f" {found['high']:.1%} with 95% confidence), by {found['labelled']} labels, {found['false']} of them"
        f" positive; p_false says {found['predicted']:.1%}"
    )
