"""Where every record goes: to which shard and row, or why not. Holds ids and hashes, never texts."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from typing import Any

import numpy as np
import pyarrow as pa

from transforms import admission, duplicates, tasks, text
from transforms.admission import Named
from transforms.disk import writing
from transforms.rejection import (
    CONTRADICTORY,
    UNANSWERED,
    UNKNOWN_DOCUMENT,
    UNKNOWN_QUERY,
    Fall,
    nothing_left,
    rejected_records,
)
from transforms.runs import AREA, Runs, hash_column
from transforms.shards import Counts
from transforms.sources.blocks import Dataset


@dataclasses.dataclass(frozen=True)
class Cut:
    """How rows are cut into shards, and what a near-duplicate is: the ``ingest`` section of the params."""

    documents_per_shard: int
    queries_per_shard: int
    near_duplicate: float | None


def plan(element: str, found: Runs, cut: Cut, unnamed: str) -> Counts:
    """Decide on every record and write the tasks; counts the records that are merged into others.

    Args:
      element: ignored: there is one plan.
      found: all runs of the source, described.
      cut: how to cut the shards.
      unnamed: why a query is rejected that no positive names.

    Raises:
      ValueError: no document, no query or no positive is left.
    """
    documents, queries = _named(found, "documents"), _named(found, "queries")
    query_places = admission.places(found.column("positives", "query_id"), queries)
    document_places = admission.places(found.column("positives", "document_id"), documents)
    grades = admission.one_array(found.column("positives", "grade")).to_numpy()
    unasked, homeless = query_places < 0, document_places < 0
    valid = np.flatnonzero(~unasked & ~homeless)
    best = valid[admission.best_grades(query_places[valid], document_places[valid], grades[valid])]

    answered, named = np.zeros((2, len(queries.ids)), np.bool_)
    answered[query_places[best]] = True
    named[query_places[~unasked]] = True
    lost = (queries.record >= 0) & ~answered
    falls = (
        Fall("documents", documents.contradictory, CONTRADICTORY),
        Fall("queries", queries.contradictory, CONTRADICTORY),
        Fall("queries", queries.record[lost & named], UNANSWERED),
        Fall("queries", queries.record[lost & ~named], unnamed),
        Fall("positives", np.flatnonzero(unasked), UNKNOWN_QUERY),
        Fall("positives", np.flatnonzero(~unasked & homeless), UNKNOWN_DOCUMENT),
    )
    rejected = rejected_records(found, falls)
    left = {
        "documents": int(np.count_nonzero(documents.record >= 0)),
        "queries": int(np.count_nonzero(queries.record >= 0)),
        "positives": len(best),
    }
    for dataset, count in left.items():
        if not count:
            raise ValueError(nothing_left(dataset, rejected, unnamed))

    document_rows, names = _document_tasks(found, documents, cut)
    shard_of, more = _query_tasks(found, queries, answered, cut)
    names += more
    places = (query_places[best], document_places[best])
    names += _positive_tasks(found, (queries, documents), places, grades[best], document_rows, shard_of, cut)
    shards = text.shard_count(len(rejected), cut.documents_per_shard)
    shard = np.arange(len(rejected)) * shards // max(1, len(rejected))
    rejected = rejected.append_column("shard", pa.array(shard, pa.int64()))
    names += tasks.write(found.data, "rejected", rejected, shards, cut.documents_per_shard)
    tasks.save_names(found.data, names)
    return Counts({"out:merged": documents.merged + queries.merged + len(valid) - len(best)})


def _named(found: Runs, dataset: Dataset) -> Named:
    ids = found.column(dataset, found.id_column(dataset))
    return admission.named(ids, found.hashes(dataset, "text_hash"), found.hashes(dataset, "content_hash"))


def _document_tasks(found: Runs, documents: Named, cut: Cut) -> tuple[np.ndarray, list[str]]:
    """Write the tasks of the documents; returns the row of each id, and the tasks' names."""
    kept = np.flatnonzero(documents.record >= 0)
    records = documents.record[kept]
    hashes = found.hashes("documents", "text_hash")[records]
    groups = _near_groups(found, "documents", kept, records, hashes, cut.near_duplicate)
    shards = text.shard_count(len(kept), cut.documents_per_shard)
    shard = text.shard_numbers(hashes, shards)
    # By hash, then id (they are in order already): a document's row is the same for every number of shards.
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    table = _gather_table(found, "documents", documents, groups[order], hashes[order], shard[order], records[order])
    row = np.full(len(documents.ids), -1)
    row[kept[order]] = np.arange(len(kept))
    return row, tasks.write(found.data, "documents", table, shards, cut.documents_per_shard)


def _query_tasks(found: Runs, queries: Named, answered: np.ndarray, cut: Cut) -> tuple[np.ndarray, list[str]]:
    """Write the tasks of the queries; returns the shard of each id, and the tasks' names."""
    kept = np.flatnonzero(answered)
    records = queries.record[kept]
    hashes = found.hashes("queries", "text_hash")[records]
    groups = _near_groups(found, "queries", kept, records, hashes, cut.near_duplicate)
    shards = text.shard_count(len(kept), cut.queries_per_shard)
    # By group and not by query, so that no fold of whole shards separates queries that ask the same.
    heads, head = np.unique(groups, return_inverse=True)
    words = text.hash_words(text.hashes(str(name) for name in queries.ids.take(heads).to_pylist()))
    shard = text.shard_numbers(words, shards)[head]
    order = np.argsort(shard, kind="stable")
    table = _gather_table(found, "queries", queries, groups[order], hashes[order], shard[order], records[order])
    shard_of = np.full(len(queries.ids), -1)
    shard_of[kept] = shard
    return shard_of, tasks.write(found.data, "queries", table, shards, cut.queries_per_shard)


def _positive_tasks(
    found: Runs,
    named: tuple[Named, Named],
    places: tuple[np.ndarray, np.ndarray],
    grades: np.ndarray,
    document_rows: np.ndarray,
    shard_of: np.ndarray,
    cut: Cut,
) -> list[str]:
    """Write the tasks of the positives, which hold all there is to write; returns the tasks' names."""
    shard = shard_of[places[0]]
    order = np.lexsort((places[1], places[0], shard))
    (queries, documents), (query, document) = named, (places[0][order], places[1][order])
    columns: dict[str, Any] = {
        "shard": shard[order],
        "query_id": queries.ids.take(query),
        "document_id": documents.ids.take(document),
        "grade": grades[order],
        "document_row": document_rows[document],
    }
    shards = text.shard_count(int(np.count_nonzero(shard_of >= 0)), cut.queries_per_shard)
    return tasks.write(found.data, "positives", pa.table(columns), shards, cut.queries_per_shard)


def _gather_table(
    found: Runs,
    dataset: Dataset,
    named: Named,
    groups: np.ndarray,
    hashes: np.ndarray,
    shard: np.ndarray,
    records: np.ndarray,
) -> pa.Table:
    run, row = found.located(dataset, records)
    near_group = named.ids.take(groups)
    columns: dict[str, Any] = {
        "shard": shard,
        "run": run,
        "row": row,
        "text_hash": hash_column(hashes),
        "near_group": near_group,
    }
    return pa.table(columns)


def _near_groups(
    found: Runs,
    dataset: Dataset,
    places: np.ndarray,
    records: np.ndarray,
    hashes: np.ndarray,
    threshold: float | None,
) -> np.ndarray:
    """Place of the smallest id among the near-duplicates of each record."""
    if threshold is None:
        return duplicates.near_groups(places, hashes, None, None)
    # On disk, for they are 512 bytes a record: the only thing here that would not fit.
    with tempfile.TemporaryFile(dir=found.data.path(AREA) if found.data.local else None) as file:
        shape = (len(records), duplicates.PERMUTATIONS)
        if hasattr(os, "posix_fallocate"):  # or a full disk would kill the process where it touches the mapping
            with writing(found.data.path(AREA)):
                os.posix_fallocate(file.fileno(), 0, max(1, 4 * len(records) * duplicates.PERMUTATIONS))
        matrix: np.ndarray = np.memmap(file, np.uint32, "w+", shape=shape)
        run, row = found.located(dataset, records)
        order = np.lexsort((row, run))
        for part in np.split(order, np.flatnonzero(np.diff(run[order])) + 1):
            matrix[part] = found.signatures(int(run[part[0]]))[row[part]]
        return duplicates.near_groups(places, hashes, matrix, threshold)
