"""Where every record goes: to which shard and row, or why not. Holds ids and hashes, never texts."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays, text
from gangue.transforms.datasets import schema, sharding
from gangue.transforms.records import admission, corpus, duplicates, tasks
from gangue.transforms.records.admission import Named
from gangue.transforms.records.corpus import Admitted
from gangue.transforms.records.rejection import (
    BOTH,
    CONTRADICTORY,
    UNANSWERED,
    UNKNOWN_DOCUMENT,
    UNKNOWN_QUERY,
    UNPAIRED,
    Fall,
    nothing_left,
    rejected_records,
)
from gangue.transforms.records.runs import Runs, hash_column, sketches
from gangue.transforms.running.counts import Counts


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
    queries = _named_queries(found)
    asked = found.column("positives", "document_id").cast(pa.large_string())
    also = found.column("judged", "document_id").cast(pa.large_string())
    wanted = pa.chunked_array([*asked.chunks, *also.chunks], pa.large_string()).unique()
    wanted = wanted.take(pc.sort_indices(wanted))
    documents, document_rows, names = _documents(found, cut, wanted)
    query_places = admission.places(found.column("positives", "query_id"), queries)
    document_places = arrays.one_array(pc.index_in(asked, value_set=wanted)).to_numpy()
    grades = arrays.one_array(found.column("positives", "grade")).to_numpy()
    unasked, homeless = query_places < 0, document_rows[document_places] < 0
    valid = np.flatnonzero(~unasked & ~homeless)
    best = valid[admission.best_grades(query_places[valid], document_places[valid], grades[valid])]

    answered, named = np.zeros((2, len(queries.ids)), np.bool_)
    answered[query_places[best]] = True
    named[query_places[~unasked]] = True
    lost = (queries.record >= 0) & ~answered
    at = (query_places[best], document_places[best])
    judged = _judged(found, queries, wanted, document_rows, answered, at)
    falls = (
        Fall("documents", documents.contradictory, CONTRADICTORY),
        Fall("queries", queries.contradictory, CONTRADICTORY),
        Fall("queries", queries.record[lost & named], UNANSWERED),
        Fall("queries", queries.record[lost & ~named], unnamed),
        Fall("positives", np.flatnonzero(unasked), UNKNOWN_QUERY),
        Fall("positives", np.flatnonzero(~unasked & homeless), UNKNOWN_DOCUMENT),
        *judged.falls,
    )
    rejected = rejected_records(found, falls)
    left = {
        "documents": documents.count,
        "queries": int(np.count_nonzero(queries.record >= 0)),
        "positives": len(best),
    }
    for dataset, count in left.items():
        if not count:
            raise ValueError(nothing_left(dataset, rejected, unnamed))

    shard_of, more = _query_tasks(found, queries, answered, cut)
    names += more
    ids = (queries.ids, wanted)
    names += _pair_tasks(found, "positives", ids, at, {"grade": grades[best]}, document_rows, shard_of, cut)
    names += _pair_tasks(found, "judged", ids, judged.places, judged.columns, document_rows, shard_of, cut)
    shards = sharding.shard_count(len(rejected), cut.documents_per_shard)
    shard = np.arange(len(rejected)) * shards // max(1, len(rejected))
    rejected = rejected.append_column("shard", pa.array(shard, pa.int64()))
    names += tasks.write_all(found.data, "rejected", rejected, shards, cut.documents_per_shard)
    tasks.save_names(found.data, names)
    return Counts({"out:merged": documents.merged + queries.merged + len(valid) - len(best) + judged.merged})


@dataclasses.dataclass(frozen=True)
class Judged:
    """What became of the records of judged pairs.

    Attributes:
      places: (k,) query and (k,) document of each that is kept, sorted, each pair once.
      columns: its ``grade`` and ``source``.   merged: number of records that repeat another.
    """

    falls: tuple[Fall, ...]
    places: tuple[np.ndarray, np.ndarray]
    columns: dict[str, Any]
    merged: int


def _judged(
    found: Runs,
    queries: Named,
    wanted: pa.Array[Any],
    document_rows: np.ndarray,
    answered: np.ndarray,
    positives: tuple[np.ndarray, np.ndarray],
) -> Judged:
    """Sort out the judged pairs: who judges a positive to be none, of the source or of another judge, contradicts."""
    query = admission.places(found.column("judged", "query_id"), queries)
    asked = found.column("judged", "document_id").cast(pa.large_string())
    document = arrays.one_array(pc.index_in(asked, value_set=wanted)).to_numpy()
    grade = arrays.one_array(found.column("judged", "grade")).to_numpy()
    source = found.column("judged", "source")
    unasked = query < 0
    unpaired = ~unasked & ~np.append(answered, False)[query]
    homeless = ~unasked & ~unpaired & (document_rows[document] < 0)
    usable = ~unasked & ~unpaired & ~homeless
    keys, labelled = arrays.pair_numbers((query, document), (positives[0], positives[1]))
    judge = pc.index_in(source, pa.array(schema.JUDGES)).to_numpy()
    by_grade = judge == schema.JUDGES.index("grade")
    partly, none = usable & by_grade & (grade > 0), usable & (grade <= 0)
    others = np.concatenate([labelled, keys[usable & ~partly & (grade > 0)]])
    contradicts = none & (np.isin(keys, others) | (by_grade & np.isin(keys, keys[partly])))
    # A lower grade stands unless somebody else says that the document is none at all.
    judge = np.where(partly, np.where(np.isin(keys, keys[none & ~by_grade]), len(schema.JUDGES), -1), judge)
    rows = np.flatnonzero(usable & ~contradicts)
    rows = rows[np.lexsort((judge[rows], keys[rows]))]
    first = np.ones(len(rows), bool)
    first[1:] = np.diff(keys[rows]) != 0
    kept = rows[first]
    return Judged(
        (
            Fall("judged", np.flatnonzero(unasked), UNKNOWN_QUERY),
            Fall("judged", np.flatnonzero(unpaired), UNPAIRED),
            Fall("judged", np.flatnonzero(homeless), UNKNOWN_DOCUMENT),
            Fall("judged", np.flatnonzero(contradicts), BOTH),
        ),
        (query[kept], document[kept]),
        {"grade": grade[kept], "source": arrays.one_array(source.take(pa.array(kept)))},
        len(rows) - len(kept),
    )


def _documents(found: Runs, cut: Cut, wanted: pa.Array[Any]) -> tuple[Admitted, np.ndarray, list[str]]:
    """Write the tasks of the documents; returns what became of them, the rows of the wanted ids, the tasks' names."""
    admitted = corpus.admit(found)
    shards = sharding.shard_count(admitted.count, cut.documents_per_shard)
    every = tasks.of("documents", shards, cut.documents_per_shard, found.bytes // max(1, found.count("documents")))
    groups = corpus.near_groups(found, admitted, every, cut.near_duplicate)
    rows = corpus.write_tasks(found, admitted, every, groups, wanted)
    return admitted, rows, [task.name for task in every]


def _named_queries(found: Runs) -> Named:
    ids = found.column("queries", found.id_column("queries"))
    return admission.named(ids, found.hashes("queries", "text_hash"), found.hashes("queries", "content_hash"))


def _query_tasks(found: Runs, queries: Named, answered: np.ndarray, cut: Cut) -> tuple[np.ndarray, list[str]]:
    """Write the tasks of the queries; returns the shard of each id, and the tasks' names."""
    kept = np.flatnonzero(answered)
    records = queries.record[kept]
    hashes = found.hashes("queries", "text_hash")[records]
    groups = _near_groups(found, kept, records, hashes, cut.near_duplicate)
    shards = sharding.shard_count(len(kept), cut.queries_per_shard)
    # By group and not by query, so that no fold of whole shards separates queries that ask the same.
    heads, (head,) = arrays.places(groups)
    of_groups = text.hash_numbers(text.hashes(str(name) for name in queries.ids.take(heads).to_pylist()))
    shard = sharding.shard_numbers(of_groups, shards)[head]
    order = np.argsort(shard, kind="stable")
    run, row = found.located("queries", records[order])
    columns: dict[str, Any] = {
        "shard": shard[order],
        "run": run,
        "row": row,
        "text_hash": hash_column(hashes[order]),
        "near_group": queries.ids.take(groups[order]),
    }
    shard_of = np.full(len(queries.ids), -1)
    shard_of[kept] = shard
    return shard_of, tasks.write_all(found.data, "queries", pa.table(columns), shards, cut.queries_per_shard)


def _pair_tasks(
    found: Runs,
    dataset: str,
    ids: tuple[pa.Array[Any], pa.Array[Any]],
    places: tuple[np.ndarray, np.ndarray],
    values: dict[str, Any],
    document_rows: np.ndarray,
    shard_of: np.ndarray,
    cut: Cut,
) -> list[str]:
    """Write the tasks of pairs of queries and documents, which hold all there is to write; returns the tasks' names."""
    shard = shard_of[places[0]]
    order = np.lexsort((places[1], places[0], shard))
    query, document = places[0][order], places[1][order]
    columns: dict[str, Any] = {
        "shard": shard[order],
        "query_id": ids[0].take(query),
        "document_id": ids[1].take(document),
        **{name: pa.array(column).take(pa.array(order)) for name, column in values.items()},
        "document_row": document_rows[document],
    }
    shards = sharding.shard_count(int(np.count_nonzero(shard_of >= 0)), cut.queries_per_shard)
    return tasks.write_all(found.data, dataset, pa.table(columns), shards, cut.queries_per_shard)


def _near_groups(
    found: Runs, places: np.ndarray, records: np.ndarray, hashes: np.ndarray, threshold: float | None
) -> np.ndarray:
    """Place of the smallest id among the near-duplicates of each query."""
    texts = duplicates.numbered(hashes)
    if threshold is None:
        return duplicates.near_groups(places, texts, None, None)
    with sketches(found.data, texts.max(initial=-1) + 1) as room:
        found.copy_sketches(*found.located("queries", records), room, texts)
        return duplicates.near_groups(places, texts, room, threshold)
