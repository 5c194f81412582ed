"""A labelled sample settles how many negatives are false, whatever ``p_false`` or the labelling was worth.

``draw`` writes pairs for a person or a language model to label: half of them mined negatives, each drawn with a known
probability, half what other cuts would mine (``other_cuts``). ``measure`` reads the labels of the former back and gives
the share of false negatives with a 95 % interval, by prediction-powered inference (``prediction_powered.py``).
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays, randomness, text
from gangue.transforms.candidates import rules
from gangue.transforms.datasets import lookup, remote
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import other_cuts, prediction_powered
from gangue.transforms.sources import files, rows
from gangue.transforms.sources.files import File
from gangue.transforms.sources.labels import DRAW, as_label, incomplete
from gangue.transforms.sources.row import Kind
from gangue.transforms.sources.values import Fault, as_id, is_missing

if TYPE_CHECKING:
    from gangue.pipeline import params

NAME, MEASURED = "to_label", "labels.json"
_OPTIONAL = ("mined", *DRAW)
_READ = ("query_id", "document_id", "label", *_OPTIONAL)
_COLUMNS = ("query_id", "document_id", "query", "positives", "document", "p_false", "label", "mined")

# (query id, document id) -> texts of both; query id -> texts of its labelled positives
_Texts = tuple[dict[tuple[str, str], tuple[str, str]], dict[str, dict[str, None]]]


@dataclasses.dataclass(frozen=True)
class Negatives:
    """The mined negatives of a job, each (query, document) once, in the order of their ids.

    Attributes:
      table: ``query_id`` and ``negative_id``.
      predicted: (n,) how likely each is false.
    """

    table: pa.Table
    predicted: np.ndarray

    @functools.cached_property
    def hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) hashes of the ids of query and document."""
        query, document = (randomness.id_hashes(self.table[name]) for name in ("query_id", "negative_id"))
        return query, document

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the pairs, whatever else changes."""
        return f"{int(np.bitwise_xor.reduce(randomness.mix(0, *self.hashes), initial=0)):016x}"

    def drawn(self, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(n,) probability of each to be drawn, and (n,) bool, whether it is."""
        inclusion = prediction_powered.inclusion(self.predicted, pairs)
        # Of other negatives another draw: one of what an earlier draw's labels left would be none.
        drawn = randomness.mix(seed, *(hashes ^ np.uint64(int(self.fingerprint, 16)) for hashes in self.hashes))
        return inclusion, randomness.uniforms(drawn) < inclusion


def negatives_of(data: Data) -> Negatives:
    """The negatives that were mined.

    Raises:
      ValueError: they carry no ``p_false``.
    """
    columns = ["query_id", "negative_id"]
    if rules.P_FALSE not in data.read("triplets", data.shards("triplets")[0]).column_names:
        raise ValueError(
            f"{data.shown('triplets')}: must carry {rules.P_FALSE}, which says what labels would tell most. Mine with"
            " filter.kind: learned, or with filter.max_false_negatives"
        )
    table = data.read_all("triplets", [*columns, rules.P_FALSE]).combine_chunks()
    query, document = arrays.codes(table["query_id"])[0], arrays.codes(table["negative_id"])[0]
    keys = query * np.int64(len(table) + 1) + document
    table = table.take(pa.array(np.unique(keys, return_index=True)[1]))
    table = table.sort_by([("query_id", "ascending"), ("negative_id", "ascending")])
    return Negatives(
        table.select(columns), np.nan_to_num(arrays.floats(table, rules.P_FALSE).astype(np.float64), nan=0.5)
    )


def draw(data: Data, p: params.Params, reports: Data, pairs: int, seed: int) -> int:
    """Write about so many pairs to label, as JSON Lines and CSV; returns how many there are.

    Column ``mined`` says of which half each is, ``pairs`` how many of the negatives were asked for.

    Raises:
      ValueError: there are no negatives, or the files are there and somebody has filled in labels.
    """
    for suffix in (".jsonl", ".csv"):
        if _filled_in(reports, NAME + suffix):
            raise ValueError(
                f"{reports.shown(NAME + suffix)}: must hold no labels, since it would be replaced, and holds some. Move"
                " it to where labels.path of the params names it, or name another folder: --reports"
            )
    negatives = negatives_of(data)
    if not len(negatives.table):
        raise ValueError(f"{data.shown('triplets')}: must hold negatives to label, holds none")
    others = other_cuts.drawn(data, p, negatives.table, pairs // 2, seed)
    pairs -= min(pairs // 2, len(others))
    _, drawn = negatives.drawn(pairs, seed)
    chosen = negatives.table.filter(pa.array(drawn))
    rows = [
        *_rows(chosen, negatives.predicted[drawn], *_texts(data, chosen), mined=1),
        *_rows(others, others["p_false"].to_numpy(), *_other_texts(data, others), mined=0),
    ]
    ids = ([row[key] for row in rows] for key in ("query_id", "document_id"))
    order = np.argsort(randomness.mix(seed + 1, *(randomness.id_hashes(pa.array(some, pa.string())) for some in ids)))
    rows = [rows[place] for place in order]
    note = dict(zip(DRAW, (pairs, seed, len(rows)), strict=True))
    reports.write_text(f"{NAME}.jsonl", "".join(json.dumps({**row, **note}, ensure_ascii=False) + "\n" for row in rows))
    table = io.StringIO()
    writer = csv.DictWriter(table, [*_COLUMNS, *note], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "positives": "\n\n".join(row["positives"]), "label": "", **note} for row in rows)
    reports.write_text(f"{NAME}.csv", table.getvalue())
    return len(rows)


def _rows(
    chosen: pa.Table,
    predicted: np.ndarray,
    texts: Mapping[tuple[str, str], tuple[str, str]],
    positives: Mapping[str, Mapping[str, None]],
    mined: int,
) -> list[dict[str, Any]]:
    """Pairs as they are written; the first two columns of ``chosen`` are their ids."""
    return [
        {
            "query_id": query,
            "document_id": document,
            "query": texts[query, document][0],
            "positives": list(positives[query]),
            "document": texts[query, document][1],
            "p_false": round(float(likely), 6),
            "label": None,
            "mined": mined,
        }
        for query, document, likely in zip(
            *(column.to_pylist() for column in chosen.columns[:2]), predicted, strict=True
        )
    ]


def _filled_in(reports: Data, name: str) -> bool:
    """Whether a file that ``draw`` would write is there and has a label, or is nothing that ``draw`` wrote."""
    try:
        answers = _read(reports.local_copy(name))
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return any(not is_missing(row["label"]) or is_missing(row["seed"]) for _, row in answers)


def _texts(data: Data, chosen: pa.Table) -> _Texts:
    """Of these negatives, from the triplets."""
    queries = pc.unique(chosen["query_id"])
    texts: dict[tuple[str, str], tuple[str, str]] = {}
    positives: dict[str, dict[str, None]] = {}
    for shard in data.shards("triplets"):
        table = data.read("triplets", shard, ["query_id", "negative_id", "query", "negative", "positive"])
        for row in table.filter(pc.is_in(table["query_id"], value_set=queries)).to_pylist():
            texts.setdefault((row["query_id"], row["negative_id"]), (row["query"], row["negative"]))
            positives.setdefault(row["query_id"], {})[row["positive"]] = None
    return texts, positives


def _other_texts(data: Data, chosen: pa.Table) -> _Texts:
    """Of pairs that are not mined."""
    queries = pc.unique(chosen["query_id"])

    def of_queries(dataset: str, column: str) -> pa.Table:
        parts = (data.read(dataset, shard, ["query_id", column]) for shard in data.shards(dataset))
        return pa.concat_tables(part.filter(pc.is_in(part["query_id"], value_set=queries)) for part in parts)

    known, pairs = of_queries("positives", "document_row"), chosen.select(["query_id", "document_row"])
    rows = [table["document_row"].to_numpy() for table in (known, pairs)]
    documents = lookup.rows(data, "documents", ("title", "text")).held(*rows)
    of_known, of_pairs = (
        text.full_text(block["title"], block["text"]).to_pylist() for block in map(documents.take, rows)
    )
    asked = dict(zip(*(column.to_pylist() for column in of_queries("queries", "text").columns), strict=True))
    ids = (chosen[key].to_pylist() for key in ("query_id", "document_id"))
    texts = {(query, document): (asked[query], found) for query, document, found in zip(*ids, of_pairs, strict=True)}
    positives: dict[str, dict[str, None]] = {}
    for query, positive in zip(known["query_id"].to_pylist(), of_known, strict=True):
        positives.setdefault(query, {})[positive] = None
    return texts, positives


def measure(data: Data, path: str) -> dict[str, Any]:
    """The share of false negatives by the labels of a file that ``draw`` wrote and somebody filled in.

    Returns:
      ``share``, ``low``, ``high``; ``labelled``, ``false``: pairs; ``negatives``: in all; ``predicted``: by p_false;
      ``of``: which negatives these are.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a label is none, pairs are not labelled, contradict each other or are of another run.
    """
    negatives, answers = negatives_of(data), _read(path)
    if not answers:
        raise ValueError(f"{path}: must hold labelled pairs, holds none")
    pairs, seed, written = _draw_of(path, answers)
    if not pairs:
        raise ValueError(f"{path}: pairs must be at least 1, got 0. Take the file as gangue sample-for-labels wrote it")
    labels: dict[tuple[str, str], tuple[int, int]] = {}
    lacking: dict[tuple[str, str], str] = {}
    others: set[tuple[str, str]] = set()
    for line, row in answers:
        key = _id(row["query_id"]), _id(row["document_id"])
        try:
            label = as_label(row["label"])
        except Fault as fault:
            lacking.setdefault(key, f"{path}:{line}: {fault}")
            continue
        if key in labels and labels[key][1] != label:
            raise ValueError(
                f"{path}:{line}: a pair must have one label, {key} has {label} here and {labels[key][1]} in line"
                f" {labels[key][0]}. Settle it"
            )
        labels.setdefault(key, (line, label))
        if _number(row["mined"]) == "0":
            others.add(key)  # its label speaks of other cuts
    if without := [where for key, where in lacking.items() if key not in labels]:
        raise incomplete(without[0], len(without), len({*labels, *lacking}))
    inclusion, drawn = negatives.drawn(pairs, seed)
    ids = negatives.table.select(["query_id", "negative_id"]).to_pydict()
    asked = [key for key, some in zip(zip(*ids.values(), strict=True), drawn, strict=True) if some]
    for wrong, what in ((set(labels) - others - set(asked), "were not asked for"), (set(asked) - set(labels), "lack")):
        if wrong:
            raise ValueError(
                f"{path}: must label the pairs that were drawn from these triplets, {len(wrong)} of {len(asked)}"
                f" {what}, such as {min(wrong)}. If the job ran again, so must gangue sample-for-labels"
            )
    if len(labels) < written:
        raise incomplete(f"{path}: must hold every row that was drawn", written - len(labels), written)
    values = np.array([labels[key][1] for key in asked], np.float64)
    estimate, low, high = prediction_powered.share(negatives.predicted, inclusion, drawn, values)
    return {
        "share": round(estimate, 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "labelled": len(values),
        "false": int(values.sum()),
        "negatives": len(negatives.table),
        "predicted": round(float(negatives.predicted.mean()), 6),
        "of": negatives.fingerprint,
    }


def _draw_of(path: str, answers: Sequence[tuple[int, dict[str, Any]]]) -> tuple[int, ...]:
    """What all rows say of their draw (``DRAW``)."""
    lines = {tuple(_number(row[name]) for name in DRAW): line for line, row in reversed(answers)}
    kinds = {_number(row["mined"]) for _, row in answers}
    numbers = next(iter(lines))
    if len(lines) == 1 and kinds <= {"0", "1"} and all(re.fullmatch(r"\d{1,18}", value) for value in numbers):
        return tuple(map(int, numbers))
    first, *others = sorted(lines.values())
    differ = f"; lines {first} and {others[0]} differ" if others else ""
    raise ValueError(
        f"{path}: must be one file of gangue sample-for-labels, with its columns pairs and seed, drawn and mined, as it"
        f" wrote them{differ}"
    )


def measured(data: Data, reports: Data) -> dict[str, Any] | None:
    """What ``measure`` found last, if it was of the negatives that are there now."""
    try:
        found: Any = reports.read_json(MEASURED)
        negatives = negatives_of(data)
    except (FileNotFoundError, ValueError):  # none was measured, or of negatives that another filter mined
        return None
    return found if isinstance(found, dict) and found.get("of") == negatives.fingerprint else None


def _read(path: str) -> Sequence[tuple[int, dict[str, Any]]]:
    """The records of a file of labels, in any format that a source may have, and the line that each begins on."""
    file = File(files.at(path), os.path.basename(path))
    with remote.answering(path):
        if not file.path.exists():
            raise FileNotFoundError(f"{path}: no such file. gangue sample-for-labels writes one to fill in")
    if not file.format:
        raise ValueError(f"{path}: must be JSON Lines or CSV, and its name end in {files.NAMES}. Rename it")
    columns: dict[str, Kind] = dict.fromkeys(_READ, "any")
    found = []
    for row in rows.rows(file, columns, optional=_OPTIONAL):
        if row.fault:
            raise ValueError(f"{path}:{row.line}: must be a labelled pair, but is {row.fault}. Correct the line")
        if all(map(is_missing, row.values)):  # a spreadsheet's empty rows
            continue
        found.append((row.line, dict(zip(_READ, row.values, strict=True))))
    return found


def _number(value: object) -> str:
    """A whole number as the draw wrote it, however a spreadsheet does."""
    return _id(value).removesuffix(".0")


def _id(value: object) -> str:
    """An id, or a number of those of the draw, however a spreadsheet writes it; of none, what it is instead."""
    try:
        return as_id(value, "")
    except Fault:
        return str(value)
