"""Where the product comes from: its shards match, and its recipe is that of these params and these data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gangue.transforms.datasets import disk, lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import configured, vector_store
from gangue.transforms.views.recipe import COUNTED, RECIPE, of_params

if TYPE_CHECKING:
    from gangue.pipeline import params

NUMBERS = "audit.json"  # the file of all numbers, among the reports
_OF_PAIRS = ("source", "labels", "ingest", "encoders", "retrievers", "pool", "scorers")
"""Sections that decide pairs and scores."""
_MADE = ("pairs", "relevance", "calibration", "verdicts", "negatives", "triplets")  # one after the other
CO_SHARDED = ("positives", "judged", "pairs", "verdicts", "negatives", "shortfalls", "triplets")


def check_shards(data: Data, p: params.Params) -> dict[str, dict[str, int]]:
    """Every dataset keyed by query has the shards of ``queries``; returns the rows of each view's shards.

    Raises:
      ValueError: shards are missing or too many.
    """
    expected = data.shards("queries")
    views = [f"views/{view}" for view in p.export.views]
    for dataset in (*CO_SHARDED, *views):
        if (found := data.shards(dataset)) != expected:
            raise ValueError(
                f"{dataset}: must have the {len(expected)} shards of queries, got {len(found)}. {disk.REBUILD}"
            )
    return {view: dict(zip(expected, data.rows(f"views/{view}"), strict=True)) for view in p.export.views}


def stale(data: Data, p: params.Params) -> str | None:
    """Why the triplets are not those of these params and data; None: they are.

    Raises:
      FileNotFoundError: nothing was mined there.
    """
    footer = _footer(data)
    try:
        check_recipe(footer, footer, p, {name: sum(data.rows(name)) for name in COUNTED if data.exists(name)})
    except ValueError as error:
        return f"the triplets are an earlier run's: {error}"
    return None


def other_models(recipe: Mapping[str, Any], p: params.Params) -> str | None:
    """Which models of these params are not those that triplets with this recipe were made with; None: all are."""
    made = recipe.get("fingerprints", {})
    others = [
        f"{section}.{name}.model ({every[name].model})"
        for section, every in (("encoders", p.encoders), ("scorers", p.scorers))
        for name in configured.changed(every, made)
    ]
    if not others:
        return None
    return (
        f"the triplets are of an earlier content of {' and '.join(others)}, which changed since. Mine again:"
        " gangue mine, or dvc repro --force"
    )


def check_mined(data: Data, p: params.Params, path: str) -> None:
    """Check that all that was mined is of one run, and its pairs and their scores of the params at ``path``.

    Raises:
      FileNotFoundError: nothing was mined.   ValueError: it was by others, or a later run did not come to its end.
    """
    made, now = recipe(data).get("params", {}), of_params(p)
    others = [
        f"which knows no {section}.{name}"
        for section in ("retrievers", "scorers")
        for name in now.get(section, {}).keys() - made.get(section, {}).keys()
    ]
    changed = _changed(made, now)
    others += [f"where {section} was {json.dumps(made.get(section))}" for section in _OF_PAIRS if section in changed]
    if p.filter.asks_to_learn and not data.rows("relevance"):
        others.append("where nothing was learned (filter.kind: learned, or a budget)")
    if others:
        raise ValueError(
            f"{path}: must name what {data.root} was mined with, {others[0]}. Name the params of that job: --params, or"
            " mine with these first"
        )
    there = {dataset: found for dataset in _MADE if (found := data.manifest(dataset)) is not None}
    for dataset, found in there.items():
        for origin, version in found.derived_from.items():
            if origin in _MADE and (origin not in there or there[origin].checksum != version):
                raise ValueError(
                    f"{data.shown(dataset)}: must be of the {origin} that are there, but these are of a run that did"
                    " not come to its end. Mine again: gangue mine, or dvc repro"
                )


def _changed(made: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The sections of the params in which two recipes differ, by name."""
    return [section for section in sorted({*made, *now}) if made.get(section) != now.get(section)]


def audited(data: Data, reports: Data) -> tuple[dict[str, Any], str | None]:
    """All numbers of the audit, none where they are not of these triplets; and then why."""
    numbers, triplets = _numbers(reports), data.checksum("triplets")
    found = numbers.get("checksum_of_triplets")
    if found == triplets:
        return numbers, None
    what = "there is no report of these triplets" if found is None else "the report is of other triplets"
    if _audited(data) == triplets:
        return {}, (
            f"{what}, in {reports.root}: theirs is in another folder, or another job wrote its own there since. Name"
            " their folder (--reports), or mine again with one of its own"
        )
    return {}, f"{what}: audit did not run after them, or failed. Mine again: gangue mine, or dvc repro"


def of_another_job(data: Data, reports: Data) -> bool:
    """Whether the report is neither of the triplets that are there nor of those that were audited last."""
    found = _numbers(reports).get("checksum_of_triplets")
    there = data.manifest("triplets")
    return found is not None and found not in (there.checksum if there else None, _audited(data))


def _numbers(reports: Data) -> dict[str, Any]:
    try:
        numbers: dict[str, Any] = reports.read_json(NUMBERS)
    except FileNotFoundError:
        return {}
    return numbers


def _audited(data: Data) -> str | None:
    """Checksum of the triplets that an audit found good last."""
    found = data.manifest("audit")
    return found.derived_from.get("triplets") if found else None


def recipe(data: Data) -> dict[str, Any]:
    """The recipe of the triplets, by their first shard; empty where there is none."""
    found: dict[str, Any] = json.loads(_footer(data) or b"{}")
    return found


def _footer(data: Data) -> bytes | None:
    return data.metadata("triplets", "query_id").get(RECIPE)


def check_rejected_texts(data: Data, encoders: Iterable[str]) -> None:
    """Every text without a usable vector is named in its encoder's dataset of them, and no other.

    Raises:
      ValueError: the numbers differ; names the encoder and both.
    """
    for name in encoders:
        if not data.exists(vector_store.rejected(name)):  # vectors of an earlier version: none was named
            continue
        noted = sum(data.rows(vector_store.rejected(name)))
        found = sum(
            int((~lookup.vectors(data, f"vectors/{name}/{dataset}").present).sum())
            for dataset in ("documents", "queries")
        )
        if noted != found:
            raise ValueError(
                f"{vector_store.rejected(name)}: must name the {found} texts that have no usable vector, got {noted}."
                " Embed again: gangue mine, or dvc repro --force"
            )


def rejected_texts(data: Data, encoders: Iterable[str], count: int | None = None) -> list[dict[str, str]]:
    """The texts of which an encoder makes no usable vector, the first ``count`` of each encoder or all.

    Returns:
      ``encoder``, ``dataset``, ``id``, ``reason``, ``cure``, ``text`` of each.
    """
    return [
        {"encoder": name, **row}
        for name in encoders
        if data.exists(dataset := vector_store.rejected(name))
        for row in data.read_all(dataset).slice(0, count).to_pylist()
    ]


def check_recipe(found: bytes | None, first: bytes | None, p: params.Params, rows: Mapping[str, int]) -> dict[str, Any]:
    """The recipe of a shard, if it is that of the first shard, of these params and of these data.

    Args:
      found: as in the shard's footer.
      first: as in the first shard's.
      p: params.
      rows: dataset -> rows it has now.

    Raises:
      ValueError: it is missing, differs, or is of other params or data; names where.
    """
    where = f"triplets: footer {RECIPE.decode()}"
    cure = "Export them again: gangue mine, or dvc repro"
    if found is None:
        raise ValueError(f"{where} must be there, got none. {cure}")
    if found != first:
        raise ValueError(f"{where} must be equal in all shards, and differs from the first one's. {cure}")
    try:
        recipe: dict[str, Any] = json.loads(found)
        made, noted = recipe["params"], recipe["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where} must be JSON with params and rows: {error!r}. {cure}") from error
    wanted = of_params(p)
    for section in _changed(made, wanted):
        now, before = json.dumps(wanted.get(section)), json.dumps(made.get(section))
        raise ValueError(f"{where} must hold the current params, but {section} is {now} and was {before}. {cure}")
    for dataset, count in noted.items():
        if dataset in rows and rows[dataset] != count:
            raise ValueError(
                f"{where} must be of the current data, but {dataset} had {count} rows, has {rows[dataset]}. {cure}"
            )
    return recipe
