"""Where every document goes, without ever holding more than a small part of them.

Records of one id meet in a bucket of ids, documents of one text in a range of the hashes of texts, which is that of
a task. Only one bucket or range is in memory at a time, and of all documents what is near to another or rejected.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays, text
from gangue.transforms.datasets import sharding
from gangue.transforms.records import admission, duplicates, portions, runs, tasks
from gangue.transforms.records.duplicates import Sketches
from gangue.transforms.records.runs import AREA, Runs, hash_column
from gangue.transforms.records.tasks import Task

_ADMITTED = posixpath.join(AREA, "admitted")
_RECORDS_AT_ONCE = 65536  # of a bucket, at least: some 200 bytes each


@dataclasses.dataclass(frozen=True)
class Admitted:
    """What became of the records of documents.

    Attributes:
      count: documents that are admitted.   buckets: files that hold them.
      merged: number of records that repeat another.
      contradictory: the records of ids that have several texts.
    """

    count: int
    buckets: int
    merged: int
    contradictory: np.ndarray


@dataclasses.dataclass(frozen=True)
class Groups:
    """Near-duplicates among different texts, which are numbered in the order of their hashes.

    Attributes:
      members: (m,) numbers of the texts that are near to another, ascending.
      names: (m,) smallest id of the group of each.
    """

    members: np.ndarray
    names: pa.Array[Any]


def admit(found: Runs) -> Admitted:
    """Sort out the records bucket by bucket; what is admitted is written in the order of the texts' hashes."""
    total = found.count("documents")
    buckets = sharding.shard_count(total, portions.at_once(_RECORDS_AT_ONCE, total))
    count, merged, contradictory = 0, 0, []
    for bucket in range(buckets):
        records = found.bucket("documents", bucket, buckets)
        ids, texts, contents = found.identified("documents", records)
        named = admission.named(ids, texts, contents)
        kept = np.flatnonzero(named.record >= 0)
        hashes = texts[named.record[kept]]
        order = np.lexsort((hashes[:, 1], hashes[:, 0]))
        kept, hashes = kept[order], hashes[order]
        run, row = found.located("documents", records[named.record[kept]])
        columns: dict[str, Any] = {
            "prefix": sharding.prefixes(hashes),
            "text_hash": hash_column(hashes),
            "document_id": named.ids.take(kept),
            "run": run,
            "row": row,
        }
        found.data.write(_ADMITTED, _file(bucket), pa.table(columns), suffix=".arrow")
        count += len(kept)
        merged += named.merged
        contradictory.append(records[named.contradictory])
    return Admitted(count, buckets, merged, np.concatenate(contradictory))


def near_groups(found: Runs, admitted: Admitted, every: list[Task], threshold: float | None) -> Groups:
    """Near-duplicates among the documents; none if there is no threshold."""
    if threshold is None:
        return Groups(np.empty(0, np.int64), pa.array([], pa.large_string()))
    members, first = _near_texts(found, admitted, every, threshold)
    stop, parts = 0, [pa.array([], pa.large_string())]
    for heads in _heads(found, admitted, every) if len(members) else ():
        start, stop = stop, stop + len(heads)
        begin, end = np.searchsorted(members, [start, stop])
        parts += heads["document_id"].take(members[begin:end] - start).chunks
    ids = pa.concat_arrays(parts)
    # In the order of ids the first text of a group is the one that names it.
    order = pc.sort_indices(ids).to_numpy().astype(np.int64)
    _, naming, group = np.unique(first[order], return_index=True, return_inverse=True)
    name = np.empty(len(order), np.int64)
    name[order] = order[naming[group]]
    return Groups(members, ids.take(pa.array(name)))


def _near_texts(found: Runs, admitted: Admitted, every: list[Task], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """``duplicates.near_texts`` of the documents' texts, whose sketches lie on disk."""
    stop = 0
    with runs.sketches(found.data, admitted.count) as room:
        for heads in _heads(found, admitted, every):
            start, stop = stop, stop + len(heads)
            run, row = (heads[name].to_numpy() for name in ("run", "row"))
            found.copy_sketches(run, row, room, np.arange(start, stop))
        return duplicates.near_texts(Sketches(room.signatures[:stop], room.bands[:, :stop]), threshold)


def write_tasks(
    found: Runs, admitted: Admitted, every: list[Task], groups: Groups, wanted: pa.Array[Any]
) -> np.ndarray:
    """Write the tasks of the documents; returns the (w,) rows of the wanted ids, -1 where there is no document."""
    rows, row, stop = np.full(len(wanted), -1), 0, 0
    for task in every:
        table = _ordered(found, admitted, task)
        hashes = text.hash_numbers(table["text_hash"])
        first = text.first_of_text(hashes)
        heads = np.flatnonzero(first)
        start, stop = stop, stop + len(heads)
        begin, end = np.searchsorted(groups.members, [start, stop])
        names = pa.concat_arrays([arrays.one_array(table["document_id"].take(heads)), groups.names[begin:end]])
        head = np.arange(len(heads))
        head[groups.members[begin:end] - start] = len(heads) + np.arange(end - begin)
        columns: dict[str, Any] = {
            "shard": sharding.shard_numbers(hashes, task.shards),
            "run": table["run"],
            "row": table["row"],
            "text_hash": table["text_hash"],
            "near_group": names.take(pa.array(head[np.cumsum(first) - 1])),
        }
        tasks.write(found.data, task, pa.table(columns))
        at: Any = pc.index_in(wanted, value_set=arrays.one_array(table["document_id"]))
        place = at.fill_null(-1).to_numpy()
        rows = np.where(place >= 0, row + place, rows)
        row += len(table)
    return rows


def _heads(found: Runs, admitted: Admitted, every: list[Task]) -> Iterator[pa.Table]:
    """The first document of each text, range by range."""
    for task in every:
        table = _ordered(found, admitted, task)
        yield table.filter(pa.array(text.first_of_text(text.hash_numbers(table["text_hash"]))))


def _ordered(found: Runs, admitted: Admitted, task: Task) -> pa.Table:
    """The documents of a task by hash, then id: a document's row is the same for every number of shards."""
    edges = sharding.shard_edges([task.first, task.stop], task.shards)
    parts = []
    for bucket in range(admitted.buckets):
        table = found.data.read(_ADMITTED, _file(bucket))
        begin, end = np.searchsorted(arrays.one_array(table["prefix"]).to_numpy(), edges)
        parts.append(table[int(begin) : int(end)])
    table = pa.concat_tables(parts).combine_chunks()
    by_id = pc.sort_indices(table["document_id"]).to_numpy()
    hashes = text.hash_numbers(table["text_hash"])[by_id]
    return table.take(pa.array(by_id[np.lexsort((hashes[:, 1], hashes[:, 0]))]))


def _file(bucket: int) -> str:
    return f"{bucket:08d}"
