"""Versions of a dataset that a reader can tell from each other, and from a mixture."""

import json
import os
import pathlib

import pyarrow as pa

from gangue.transforms.datasets.names import shard_names, staged


def write(data, version, shards):
    """A version of a dataset with all kinds of files: shards, the first the same in all versions, a note, a model."""
    for number, name in enumerate(shard_names(shards)):
        data.write(staged("things"), name, pa.table({"n": [version if number else 0], "of": [number]}))
    data.write_note(staged("things"), "note.json", json.dumps(version))
    with data.adding(staged("things"), "fold-0") as folder:
        os.mkdir(folder)
        for name in ("a", "b"):
            pathlib.Path(folder, name).write_text(str(version))


def seen(data):
    """Which version a reader sees, whole; -1: none."""
    if not data.exists("things"):
        return -1
    table = data.read_all("things")
    assert table["of"].to_pylist() == list(range(len(table)))
    assert data.rows("things") == [1] * len(table)
    assert [data.read("things", shard)["of"][0].as_py() for shard in data.shards("things")] == table["of"].to_pylist()
    folder = pathlib.Path(data.fetched("things", "fold-0"))
    versions = {int((folder / name).read_text()) for name in ("a", "b")} | set(table["n"].to_pylist()[1:])
    (version,) = versions | {data.read_note("things", "note.json")}
    return version
