"""What datasets need of the store they are in: a check each, which ``test_stores.py`` runs on every store.

A check is given a root in the store with nothing in it, and a ``Cut``.
"""

import contextlib
import json
import math
import os
import pathlib
import subprocess
import sys
import threading

import pyarrow as pa
import pytest
from versions import seen, write

from gangue.transforms.datasets import disk, remote, schema, storage, tables
from gangue.transforms.datasets.names import shard_name, shard_names, staged

TABLE = pa.table({"document_id": ["a", "b", "c"], "n": [1, 2, 3]})


class Killed(Exception):
    """As a kill, but for the process."""


class Cut:
    """Lets so many operations that change a store happen, and then none, as if the process were killed."""

    def __init__(self):
        self.left, self.done = math.inf, 0

    def step(self):
        if self.left <= 0:
            raise Killed
        self.left -= 1
        self.done += 1

    @contextlib.contextmanager
    def after(self, count):
        """Yields a list with ``True`` in it, once the block was cut short."""
        self.left, self.done, cut = count, 0, []
        try:
            yield cut
        except Exception:  # a client may turn it into one of its own
            if self.left > 0:
                raise
            cut.append(True)
        finally:
            self.left = math.inf


def publish(data, version, shards):
    with data.staging("things"):
        write(data, version, shards)
    data.publish("things")


def files(data):
    """All objects under the root, by name."""
    filesystem, root = disk.filesystem_of(data.root)
    filesystem.invalidate_cache()
    return {name[len(root) :].lstrip("/"): entry for name, entry in filesystem.find(root, detail=True).items()}


def check_nothing_is_left(data, shards):
    """The manifest, its shards, a note and the two files of a model; nothing that stands for a folder."""
    names = files(data)
    assert len(names) == 1 + shards + 1 + 2, names
    assert all(entry["type"] == "file" and entry["size"] for entry in names.values()), names
    assert data.listed(staged("things")) == []
    data.check_ours("things")


def what_is_written_is_read(data, cut):
    table = TABLE.replace_schema_metadata({schema.RECIPE: json.dumps({"rows": {"queries": 3}})})
    for suffix in tables.SUFFIXES:
        name = f"things{suffix}"
        data.begin(name)
        for number, shard in enumerate(shard_names(2)):
            data.write(staged(name), shard, table.slice(3 * number), suffix=suffix)  # the second has no rows
        assert data.files(name) == []
        with pytest.raises(FileNotFoundError, match=r"found none\. Build it: gangue mine, or dvc repro"):
            data.shards(name)
        data.publish(name)
        assert data.shards(name) == shard_names(2)
        assert data.rows(name) == [3, 0]
        assert data.read_all(name).equals(TABLE)
        assert data.read(name, shard_name(0, 2), ["n"]).column_names == ["n"]
        assert data.manifest(name).recipe == {"rows": {"queries": 3}}
        assert {name for name in data.listed(name)} == set(data.manifest(name).files)


def any_range_of_a_file_is_read(data, cut):
    filesystem, root = disk.filesystem_of(data.root)
    content = bytes(range(256)) * 1000
    remote.make_folder(filesystem, root)
    filesystem.pipe_file(f"{root}/bytes", content)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(remote, "_PART", 40_000)  # seven parts
        assert remote.content(filesystem, f"{root}/bytes", size=len(content)) == content
        file = remote.Ranges(filesystem, f"{root}/bytes", len(content))
        for start, stop in ((0, 9), (100_000, 190_001), (len(content) - 70_000, len(content)), (255_990, None)):
            file.seek(start)
            assert file.read(-1 if stop is None else stop - start) == content[start:stop]
        local = disk.local_copy(f"{data.root}/bytes")
        assert pathlib.Path(local).read_bytes() == content
        with pytest.raises(ValueError, match=r"bytes must follow byte \d+, got"):
            remote.content(filesystem, f"{root}/bytes", size=len(content) + 9)
    assert remote.content(filesystem, f"{root}/bytes") == content
    with pytest.raises(FileNotFoundError):
        remote.content(filesystem, f"{root}/none")
    with pytest.raises(FileNotFoundError, match="must exist, found nothing"):
        disk.local_copy(f"{data.root}/none")


def a_writer_killed_between_any_two_requests_leaves_one_whole_version(data, cut):
    step = 1 if not data.root.startswith(("s3", "gs", "az")) or os.environ.get("GANGUE_WHOLE") else 5
    reached, count, ended = set(), 0, False
    while not ended:
        publish(data, 0, 2)
        with cut.after(count) as stopped, data.staging("things"):
            write(data, 1, 3)
            data.publish("things")
        ended, count = not stopped, count + step
        for known in (storage._NAMES.copy(), {}):  # a process that has read it before, and a new one
            storage._NAMES.clear()
            storage._NAMES.update(known)
            reached.add(seen(data))
        assert not ended or seen(data) == 1
        publish(data, 1, 3)
        assert seen(data) == 1
        check_nothing_is_left(data, 3)
    assert reached == {0, 1}
    assert count > 10, "the check kills nothing"


def so_does_one_that_commits_in_place(data, cut):
    new, count, stopped = shard_names(3), 0, [True]
    while stopped:
        for name in shard_names(2):
            data.write("things", name, TABLE)
        data.commit("things", data.describe("things", shard_names(2)))
        with cut.after(count) as stopped:
            for name in new:
                data.write("things", name, TABLE.slice(1), anew=True)
            data.commit("things", data.describe("things", new))
        count += 1
        assert data.rows("things") in ([3, 3], [2, 2, 2])
        assert len(data.read_all("things")) == 6
    assert data.rows("things") == [2, 2, 2]
    assert count > 5, "the check kills nothing"
    assert len(files(data)) == 4


def what_an_earlier_run_left_goes(data, cut):
    write(data, 7, 4)  # staged, and never published
    for name in shard_names(2):
        data.write("things", name, TABLE)  # copied, and not in a manifest
    assert seen(data) == -1
    assert data.unlisted("things")
    publish(data, 0, 2)
    assert seen(data) == 0
    check_nothing_is_left(data, 2)


PUBLISHING = """
import sys
import pyarrow as pa
from gangue.transforms.datasets.names import shard_name, shard_names, staged
from gangue.transforms.datasets.storage import Data
data = Data(sys.argv[1])
for version in range(int(sys.argv[2])):
    for name in shard_names(2 + version % 2):
        data.write(staged("things"), name, pa.table({"n": [version] * 3}))
    data.publish("things")
"""


def a_reader_beside_one_who_publishes_always_sees_one_whole_version(data, cut):
    if data.root.startswith("memory"):
        pytest.skip("another process does not see it")
    command = [sys.executable, "-c", PUBLISHING, data.root, "40" if data.local else "8"]
    with subprocess.Popen(command, cwd=pathlib.Path(__file__).parents[2]) as process:
        found = []
        while process.poll() is None:
            if data.exists("things"):
                table = data.read_all("things")
                (version,) = set(table["n"].to_pylist())
                assert len(table) == 3 * (2 + version % 2)
                found.append(version)
    assert process.returncode == 0
    assert len(set(found)) > 3
    assert found == sorted(found)


def of_two_writers_at_once_one_version_is_seen_whole(data, cut):
    """Both do the same work, as when an engine runs a job twice; one may fail, and says why."""
    if data.local or data.root.startswith("memory"):
        pytest.skip("one job at a time: datasets/occupancy.py, and what is in memory is of one process")
    faults = []

    def published():
        for _ in range(3):
            try:
                publish(data, 1, 3)
            except FileNotFoundError as error:  # what the other one removed
                faults.append(str(error))

    publish(data, 0, 2)
    writers = [threading.Thread(target=published) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert data.read_all("things")["n"].to_pylist() in ([0, 0], [0, 1, 1])
    assert all("things" in fault for fault in faults), faults
    publish(data, 1, 3)
    assert seen(data) == 1
    check_nothing_is_left(data, 3)


def of_two_writers_of_the_same_both_end_well(data, cut):
    """A shard's work done twice, by whichever engine: what one has published already the other finds there."""
    write(data, 1, 2)
    new = data.describe(staged("things"))
    data.publish("things")
    if data.local:
        write(data, 1, 2)  # only a file that is there can be moved
    data.publish("things", new)
    if not data.local:
        with pytest.raises(FileNotFoundError, match=r"not all is: another job writes here\. Let one job at a time"):
            data.publish("things")  # by one whose staged files the other one removed
    assert seen(data) == 1
    check_nothing_is_left(data, 2)


def a_name_is_no_pattern(data, cut):
    """Beside each root lies one that it would match as a pattern, and keeps all its files."""
    beside = storage.Data(f"{data.root}/jobx1")
    publish(beside, 0, 2)
    write(beside, 1, 3)  # staged
    kept = sorted(files(beside))
    for name in ("job?1", "job*1", "job[x]1"):
        other = storage.Data(f"{data.root}/{name}")
        for version in (0, 1):
            write(other, 7, 4)
            publish(other, version, 2 + version)
            assert seen(other) == version
            check_nothing_is_left(other, 2 + version)
        assert other.prune("", []) == ["things"]
        assert files(other) == {}
    assert sorted(files(beside)) == kept


CHECKS = (
    what_is_written_is_read,
    any_range_of_a_file_is_read,
    a_writer_killed_between_any_two_requests_leaves_one_whole_version,
    so_does_one_that_commits_in_place,
    what_an_earlier_run_left_goes,
    a_name_is_no_pattern,
    a_reader_beside_one_who_publishes_always_sees_one_whole_version,
    of_two_writers_at_once_one_version_is_seen_whole,
    of_two_writers_of_the_same_both_end_well,
)
