"""Datasets on disk: whole or absent, and damage is named."""

import contextlib
import io
import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from gangue.transforms import text
from gangue.transforms.datasets import disk, lookup, schema, storage
from gangue.transforms.datasets.scratch import scratch
from gangue.transforms.datasets.storage import Data, staged

TABLE = pa.table({"document_id": ["a", "b", "c"], "n": [1, 2, 3]})


def root(request, tmp_path):
    """Of a kind: a local folder, one of fsspec's in memory, or a bucket, where there are no folders."""
    kind = request.param
    return (
        str(tmp_path)
        if kind == "local"
        else f"{request.getfixturevalue('s3') if kind == 's3' else 'memory:/'}{tmp_path}"
    )


@pytest.fixture(params=["local", "memory", "s3"])
def data(request, tmp_path):
    return Data(root(request, tmp_path))


@pytest.mark.parametrize("suffix", storage.SUFFIXES)
def test_a_shard_comes_back_as_it_was_written(data, suffix):
    data.write("things", "part-00000-of-00001", TABLE, suffix=suffix)
    data.commit("things")
    assert data.shards("things") == ["part-00000-of-00001"]
    assert data.rows("things") == [3]
    assert data.read("things", "part-00000-of-00001").equals(TABLE)
    assert data.read("things", "part-00000-of-00001", ["n"]).column_names == ["n"]


def test_an_empty_shard_comes_back_empty(data):
    for suffix in storage.SUFFIXES:
        data.write(f"empty{suffix}", "part-00000-of-00001", TABLE.slice(0, 0), suffix=suffix)
        data.commit(f"empty{suffix}")
        assert data.read(f"empty{suffix}", "part-00000-of-00001").equals(TABLE.slice(0, 0))


def test_a_missing_shard_is_named(data):
    data.write("things", "part-00000-of-00002", TABLE)
    with pytest.raises(FileNotFoundError, match=r"part-00001-of-00002 .*is missing.*dvc repro"):
        data.commit("things")


def test_shards_of_two_counts_are_refused(data):
    data.write("things", "part-00000-of-00001", TABLE)
    data.write("things", "part-00000-of-00002", TABLE)
    with pytest.raises(FileNotFoundError, match="of another count"):
        data.commit("things")


def test_no_dataset_is_an_error_with_a_cure(data):
    with pytest.raises(FileNotFoundError, match=r"found none\. Build it: dvc repro"):
        data.shards("nothing")


@pytest.mark.parametrize("suffix", storage.SUFFIXES)
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"junk" * 40])
def test_a_damaged_shard_is_named(tmp_path, suffix, damage):
    data = Data(str(tmp_path))
    data.write("things", "part-00000-of-00001", TABLE, suffix=suffix)
    data.commit("things")
    path = tmp_path / "things" / data.files("things")[0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"things/part-00000-of-00001.*must be readable and whole.*dvc repro"):
        data.read("things", "part-00000-of-00001")


def test_a_reader_sees_the_old_dataset_until_the_new_one_is_published(data):
    data.write("things", "part-00000-of-00001", TABLE)
    data.commit("things")
    data.begin("things")
    data.write(staged("things"), "part-00000-of-00001", TABLE.slice(1))
    assert data.rows("things") == [3]
    data.publish("things")
    assert data.rows("things") == [2]
    assert not data.exists(staged("things"))


def test_begin_removes_what_an_interrupted_run_staged(data):
    data.write(staged("things"), "part-00000-of-00001", TABLE)
    data.begin("things")
    assert not data.exists(staged("things"))


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    data = Data(str(tmp_path))
    monkeypatch.setattr(storage, "_serialise", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        data.write("things", "part-00000-of-00001", TABLE)
    assert os.listdir(tmp_path / "things") == []


def test_rows_are_fetched_across_shards_in_the_order_asked(data):
    for number, name in enumerate(storage.shard_names(2)):
        data.write("things", name, TABLE.slice(number * 2, 2 - number))
    data.commit("things")
    rows = lookup.Rows(data, "things", ["document_id"])
    assert rows.take(np.array([2, 0, 2, 1]))["document_id"].to_pylist() == ["c", "a", "c", "b"]
    assert rows.take(np.array([], int))["document_id"].to_pylist() == []
    with pytest.raises(IndexError, match=r"rows must be in \[0, 3\), got 0..3"):
        rows.take(np.array([0, 3]))


def test_texts_that_differ_in_case_or_blanks_only_are_the_same():
    one, other = text.hashes(text.normalise(pa.chunked_array([["P ", "p"]])))
    assert one == other


def test_twice_the_shards_split_each_shard_in_two():
    words = np.random.default_rng(0).integers(0, 2**64, (1000, 2), np.uint64, endpoint=False)
    assert (text.shard_numbers(words, 8) // 2 == text.shard_numbers(words, 4)).all()


def test_rows_are_counted_once_and_without_reading_the_vectors(monkeypatch):
    data, read = Data("memory://counted"), [0]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(384 * 1000, np.float32)), 384)
    table = pa.table([pa.array([b"0" * 16] * 1000, pa.binary(16)), vectors], names=["content_hash", "vector"])
    data.write("vectors", "part-00000-of-00001", table, suffix=".arrow")

    def counting(self, size=-1):
        content = io.BytesIO.read(self, size)
        read[0] += len(content)
        return content

    monkeypatch.setattr(MemoryFile, "read", counting)
    data.commit("vectors")
    assert 0 < read[0] < 0.02 * table.nbytes
    read[0] = 0
    monkeypatch.setattr(storage, "_footer", None)
    assert data.rows("vectors") == [1000]
    assert read[0] < 1000, "the manifest, and nothing else"


@pytest.mark.parametrize("suffix", ["", ".faiss"])
def test_a_file_that_a_library_writes_to_disk_ends_among_the_datasets(data, suffix):
    with data.adding("things", f"index{suffix}") as path, open(path, "w") as file:
        file.write("one")
    data.commit("things")
    with open(data.fetched("things", f"index{suffix}")) as file:
        assert file.read() == "one"


def test_a_file_whose_writer_failed_is_not_among_the_datasets(data):
    with pytest.raises(OSError, match="disk full"), data.adding("things", "index"):
        raise OSError("disk full")
    assert data.listed("things") == []
    data.commit("things")
    with pytest.raises(FileNotFoundError, match=r"things: a dataset must have shards, found none"):
        data.fetched("things", "index")


def test_an_array_on_disk_has_no_name_and_starts_with_zeros(tmp_path):
    with scratch(Data(str(tmp_path)), "area", (3, 2), np.float32) as matrix:
        assert os.listdir(tmp_path / "area") == [], "nothing is left behind by a killed run"
        assert (matrix.shape, matrix.dtype, matrix.sum()) == ((3, 2), np.float32, 0)
        matrix[1] = 7
        assert matrix[:2].tolist() == [[0, 0], [7, 7]]
    with scratch(Data("memory://scratch"), "area", (0, 2), np.float32) as matrix:
        assert matrix.shape == (0, 2)


# ---- a dataset commits itself


def test_a_manifest_says_all_that_there_is_to_know(data):
    table = TABLE.replace_schema_metadata({schema.RECIPE: json.dumps({"rows": {"queries": 3}})})
    for number, name in enumerate(storage.shard_names(2)):
        data.write(staged("things"), name, table.slice(number, 2 - number))
    data.write_note(staged("things"), "note.json", "{}")
    data.write_note(staged("things"), "note.json", "[1]")
    data.publish("things")
    filesystem, _ = disk.filesystem_of(data.root)
    content = filesystem.cat_file(data.path("things", ".manifest.json"))
    found = json.loads(content)
    assert found.keys() == {"version", "shards", "files", "schema", "recipe", "checksum"}
    assert found["recipe"] == {"rows": {"queries": 3}}
    assert found["shards"] == 2
    kinds = [(name.rsplit("-", 1)[0], file["rows"]) for name, file in found["files"].items()]
    assert kinds == [("note", None), ("part-00000-of-00002", 2), ("part-00001-of-00002", 1)]
    for name, file in found["files"].items():
        here = filesystem.cat_file(data.path("things", name))
        assert file["bytes"] == len(here)
        assert file["checksum"] == xxhash.xxh3_64_hexdigest(here) == name.rsplit("-", 1)[1].split(".")[0]
    assert sorted(found["files"]) == sorted(data.listed("things"))
    assert data.read_note("things", "note.json") == [1]
    for number, name in enumerate(storage.shard_names(2)):
        data.write(staged("things"), name, table.slice(number, 2 - number))
    data.write_note(staged("things"), "note.json", "[1]")
    data.publish("things")
    assert filesystem.cat_file(data.path("things", ".manifest.json")) == content


def test_a_dataset_changes_with_what_it_is_derived_from_and_with_nothing_else(data):
    def written(dataset, rows, *origins):
        through = data.deriving_from(*origins)
        through.write(staged(dataset), "part-00000-of-00001", TABLE.slice(rows))
        through.publish(dataset)
        return data.checksum(dataset)

    first = written("origins", 0)
    names = [written("things", 0, "origins", "not there"), written("others", 0, "things"), written("alone", 0)]
    assert data.manifest("things").derived_from == {"origins": first}
    assert first == written("origins", 0) != written("origins", 1) == data.checksum("origins")
    again = [written("things", 0, "origins", "not there"), written("others", 0, "things"), written("alone", 0)]
    assert [one == other for one, other in zip(names, again, strict=True)] == [False, False, True]
    assert data.read("things", "part-00000-of-00001").equals(TABLE)


def test_a_manifest_does_not_ask_what_format_a_file_has(data):
    for name in storage.shard_names(2):
        with data.adding(staged("things"), f"{name}.jsonl") as path, open(path, "w") as file:
            file.write(f'{{"shard": "{name}"}}\n')
    data.publish("things")
    assert data.shards("things") == storage.shard_names(2)
    found = [json.loads(pathlib.Path(data.fetched("things", name)).read_text()) for name in data.shards("things")]
    assert found == [{"shard": name} for name in storage.shard_names(2)]


def test_shards_with_other_columns_are_no_dataset(data):
    data.write("things", "part-00000-of-00002", TABLE)
    data.write("things", "part-00001-of-00002", TABLE.select(["n"]))
    with pytest.raises(ValueError, match=r"part-00001.* must have the columns of part-00000.*, got n: int64\. Rebuild"):
        data.commit("things")


@pytest.mark.parametrize("damage", [lambda b: b[:99], lambda b: b"", lambda b: b.replace(b'"rows": 3', b'"rows": 2')])
def test_a_damaged_manifest_is_named_and_written_anew(data, damage):
    data.write("things", "part-00000-of-00001", TABLE)
    data.commit("things")
    filesystem, _ = disk.filesystem_of(data.root)
    path = data.path("things", ".manifest.json")
    content = filesystem.cat_file(path)
    filesystem.pipe_file(path, damage(content))
    with pytest.raises(ValueError, match=r"things/\.manifest.json: must be whole .*dvc repro --force"):
        data.rows("things")
    data.check_ours("things")
    data.commit("things")
    assert filesystem.cat_file(path) == content


def test_a_reader_goes_on_with_the_new_version_when_the_old_one_is_gone(data):
    for version in (TABLE, TABLE.slice(1)):
        data.write(staged("things"), "part-00000-of-00001", version)
        data.publish("things")
        elsewhere = dict(storage._NAMES)
        assert data.read("things", "part-00000-of-00001").equals(version)
        data.write(staged("things"), "part-00000-of-00001", TABLE.slice(2))
        data.publish("things")
        storage._NAMES.update(elsewhere)  # as in a process that did not publish
        assert data.read("things", "part-00000-of-00001").equals(TABLE.slice(2))


class Killed(Exception):
    """As a kill, but for the process."""


class Operations:
    """Lets so many operations on files happen, and then none, as if the process were killed."""

    def __init__(self):
        self.left = math.inf
        self.done = 0

    def step(self):
        if self.left <= 0:
            raise Killed
        self.left -= 1
        self.done += 1

    def counted(self, original):
        def operation(*arguments, **settings):
            self.step()
            return original(*arguments, **settings)

        return operation

    def audit(self, event, arguments):
        """Of Python itself: whatever calls it, however deep."""
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if self.left != math.inf and (writes or event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir")):
            self.step()

    @contextlib.contextmanager
    def at_most(self, count):
        self.left, self.done = count, 0
        try:
            yield
        finally:
            self.left = math.inf


OPERATIONS = Operations()


@pytest.fixture(scope="session")
def audited():
    sys.addaudithook(OPERATIONS.audit)  # for ever: there is no way to take it back


@pytest.fixture
def operations(request, data, audited, monkeypatch):
    if data.root.startswith("memory"):
        for name in ("cp_file", "pipe_file", "rm_file", "rmdir", "makedirs"):
            monkeypatch.setattr(MemoryFileSystem, name, OPERATIONS.counted(getattr(MemoryFileSystem, name)))
    elif data.root.startswith("s3"):
        import s3fs

        original = s3fs.S3FileSystem._call_s3

        async def asked(self, method, *arguments, **settings):
            if method not in ("list_objects_v2", "head_object", "get_object", "head_bucket"):
                OPERATIONS.step()
            return await original(self, method, *arguments, **settings)

        monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", asked)
    return OPERATIONS


def stage(data, version, shards):
    """A version of a dataset with all kinds of files: shards, the first the same in all versions, a note, a model."""
    for number, name in enumerate(storage.shard_names(shards)):
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


@pytest.mark.parametrize("shards", [2, 3])
def test_whatever_publishing_is_killed_after_readers_see_the_old_version_or_the_new(data, operations, shards):
    if data.root.startswith("s3") and shards == 2:
        pytest.skip("it takes half a minute, and the other one does the same")
    for version in (0, 1):
        count, reached = 0, set()
        while True:
            data.begin("things")
            if version:
                stage(data, 0, 2)
                data.publish("things")
            else:
                filesystem, _ = disk.filesystem_of(data.root)
                if filesystem.exists(data.path("things")):
                    filesystem.rm(data.path("things"), recursive=True)
            stage(data, version, shards)
            try:
                with operations.at_most(count):
                    data.publish("things")
                ended = True
            except Killed:
                ended = False
            for known in (storage._NAMES.copy(), {}):  # a process that has read it before, and a new one
                storage._NAMES.clear()
                storage._NAMES.update(known)
                reached.add(seen(data))
            assert not ended or seen(data) == version
            data.check_ours("things")
            with data.staging("things"):
                stage(data, version, shards)
            data.publish("things")
            assert seen(data) == version
            there = disk.filesystem_of(data.root)[0].ls(data.path("things"), detail=False)
            assert len(there) == shards + 3, "what the killed one left is gone"
            assert data.listed(staged("things")) == []
            if ended:
                break
            count += 1
        assert reached == {version - 1, version}
        assert count > 2 * shards, "the test kills nothing"


def test_whatever_committing_in_place_is_killed_after_readers_see_the_old_version_or_the_new(data, operations):
    new = storage.shard_names(3)
    for count in range(100):
        for name in storage.shard_names(2):
            data.write("things", name, TABLE)
        data.commit("things", data.describe("things", storage.shard_names(2)))
        try:
            with operations.at_most(count):
                for name in new:
                    data.write("things", name, TABLE.slice(1), anew=True)
                data.commit("things", data.describe("things", new))
            break
        except Killed:
            assert data.rows("things") in ([3, 3], [2, 2, 2])
            assert len(data.read_all("things")) == 6
    assert data.rows("things") == [2, 2, 2]
    assert count >= 5, "the test kills nothing"
    assert len(data.listed("things")) == 3


PUBLISHING = """
import sys
import pyarrow as pa
from gangue.transforms.datasets.storage import Data, shard_names, staged
data = Data(sys.argv[1])
for version in range(int(sys.argv[2])):
    for name in shard_names(2 + version % 2):
        data.write(staged("things"), name, pa.table({"n": [version] * 3}))
    data.publish("things")
"""


def test_a_reader_beside_one_who_publishes_always_sees_one_whole_version(data):
    versions = 10 if data.root.startswith("s3") else 200
    if data.root.startswith("memory"):
        pytest.skip("another process does not see it")
    command = [sys.executable, "-c", PUBLISHING, data.root, str(versions)]
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


def test_files_that_are_linked_to_a_cache_are_never_written_into(tmp_path):
    data, cache = Data(str(tmp_path / "data")), tmp_path / "cache"
    for version in (0, 1):
        stage(data, version, 2)
        data.publish("things")
        if not version:
            cache.mkdir()
            for path in [*(tmp_path / "data" / "things").rglob("*")]:
                if path.is_file():
                    path.chmod(0o444)
                    os.link(path, cache / path.name)
            before = {path.name: path.read_bytes() for path in cache.iterdir()}
    assert seen(data) == 1
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == before


def test_a_folder_of_an_earlier_version_is_one_line_and_gives_way(tmp_path):
    data = Data(str(tmp_path))
    (tmp_path / "things").mkdir()
    with pa.ipc.new_file(tmp_path / "things/part-00000-of-00001.arrow", TABLE.schema,
                         metadata={b"checksum": b"gangue.crc32=0badf00d"}) as writer:  # fmt: skip
        writer.write_table(TABLE)
    (tmp_path / "things" / "cut.json").write_text("{}")
    assert not data.exists("things")
    with pytest.raises(
        FileNotFoundError, match=r"things: must have a .manifest.json, .*dvc repro --force, or gangue mine"
    ):
        data.shards("things")
    with data.staging("things"):
        stage(data, 1, 2)
    data.publish("things")
    assert seen(data) == 1
    assert len(os.listdir(tmp_path / "things")) == 5
