"""Datasets on disk: whole or absent, and damage is named."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import versions
import xxhash
from fsspec.implementations.memory import MemoryFileSystem

from gangue.transforms import text
from gangue.transforms.datasets import disk, lookup, schema, sharding, storage, tables
from gangue.transforms.datasets.names import shard_names, staged
from gangue.transforms.datasets.scratch import scratch
from gangue.transforms.datasets.storage import Data

TABLE = pa.table({"document_id": ["a", "b", "c"], "n": [1, 2, 3]})


@pytest.fixture(params=["local", "memory"])
def data(request, tmp_path):
    return Data(f"{'memory:/' if request.param == 'memory' else ''}{tmp_path}")


def test_a_missing_shard_is_named(data):
    data.write("things", "part-00000-of-00002", TABLE)
    with pytest.raises(FileNotFoundError, match=r"part-00001-of-00002 .*is missing.*dvc repro"):
        data.commit("things")


def test_shards_of_two_counts_are_refused(data):
    data.write("things", "part-00000-of-00001", TABLE)
    data.write("things", "part-00000-of-00002", TABLE)
    with pytest.raises(FileNotFoundError, match="of another count"):
        data.commit("things")


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"junk" * 40])
def test_a_damaged_shard_is_named(tmp_path, suffix, damage):
    data = Data(str(tmp_path))
    data.write("things", "part-00000-of-00001", TABLE, suffix=suffix)
    data.commit("things")
    path = tmp_path / "things" / data.files("things")[0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"things/part-00000-of-00001.*must be readable and whole.*dvc repro"):
        data.read("things", "part-00000-of-00001")


def test_a_folder_of_temporary_files_may_have_any_name(tmp_path, monkeypatch):
    (tmp_path / "tmp[1]").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp[1]"))
    data = Data(f"memory:/{tmp_path}")
    versions.write(data, 0, 2)
    data.publish("things")
    assert versions.seen(data) == 0


def test_copies_that_a_killed_process_left_go_and_those_of_one_that_lives_stay(tmp_path):
    code = (
        "import sys\n"
        "from gangue.transforms.datasets import disk\n"
        "folder = disk._copies()\n"
        "print(folder.path, flush=True)\n"
        "sys.stdin.read()"
    )

    def started():
        command, pipes = [sys.executable, "-c", code], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, text=True, **pipes)

    (tmp_path / "gangue-0badf00d-1-other").mkdir()  # of another machine
    with started() as killed, started() as living:
        left, kept = (pathlib.Path(process.stdout.readline().strip()) for process in (killed, living))
        assert left.is_dir()
        killed.kill()
        killed.wait()
        with started() as third:
            new = pathlib.Path(third.stdout.readline().strip())
            assert set(tmp_path.iterdir()) == {kept, new, tmp_path / "gangue-0badf00d-1-other"}
            third.stdin.close()
        living.stdin.close()


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    data = Data(str(tmp_path))
    monkeypatch.setattr(tables, "write", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        data.write("things", "part-00000-of-00001", TABLE)
    assert os.listdir(tmp_path / "things") == []


def test_rows_are_fetched_across_shards_in_the_order_asked(data):
    for number, name in enumerate(shard_names(2)):
        data.write("things", name, TABLE.slice(number * 2, 2 - number))
    data.commit("things")
    rows = lookup.Rows(data, "things", ["document_id"])
    assert rows.take(np.array([2, 0, 2, 1]))["document_id"].to_pylist() == ["c", "a", "c", "b"]
    assert rows.take(np.array([], int))["document_id"].to_pylist() == []
    with pytest.raises(IndexError, match=r"rows must be in \[0, 3\), got 0..3"):
        rows.take(np.array([0, 3]))


def test_rows_that_are_held_are_taken_as_all_are(data):
    data.write("things", shard_names(1)[0], TABLE)
    data.commit("things")
    rows = lookup.Rows(data, "things", ["document_id", "n"])
    held = rows.held(np.array([2, 0, 2]), np.array([0, 7, -1]))
    assert len(held) == len(rows) == 3
    assert held.take(np.array([2, 0, 2])) == rows.take(np.array([2, 0, 2]))
    for missing in (1, 7, -1):
        with pytest.raises(IndexError, match=f"things: row {missing} is not among the 2 held"):
            held.take(np.array([0, missing]))


def test_shards_without_compression_are_opened_once_however_large(data, monkeypatch):
    monkeypatch.setattr(lookup, "CACHE_BYTES", 1)
    for number, name in enumerate(shard_names(3)):
        data.write("things", name, TABLE.slice(number, 1), suffix=".arrow")
    data.commit("things")
    opened, read = [], storage.Data.mapped
    monkeypatch.setattr(storage.Data, "mapped", lambda *given: opened.append(given[2]) or read(*given))
    rows = lookup.mapped_rows(data, "things", ("n",))
    for wanted in ([2, 0, 1], [1], [0, 2]):
        assert rows.take(np.array(wanted))["n"].to_pylist() == [number + 1 for number in wanted]
    assert sorted(opened) == shard_names(3)


def test_texts_that_differ_in_case_or_blanks_only_are_the_same():
    one, other = text.hashes(text.normalise(pa.chunked_array([["P ", "p"]])))
    assert one == other


def test_twice_the_shards_split_each_shard_in_two():
    words = np.random.default_rng(0).integers(0, 2**64, (1000, 2), np.uint64, endpoint=False)
    assert (sharding.shard_numbers(words, 8) // 2 == sharding.shard_numbers(words, 4)).all()


def test_rows_are_counted_once_and_without_reading_the_vectors(monkeypatch):
    data, read = Data("memory://counted"), [0]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(384 * 4000, np.float32)), 384)
    table = pa.table([pa.array([b"0" * 16] * 4000, pa.binary(16)), vectors], names=["content_hash", "vector"])
    data.write("vectors", "part-00000-of-00001", table, suffix=".arrow")
    original = MemoryFileSystem.cat_file

    def counting(self, path, start=None, end=None, **settings):
        content = original(self, path, start, end, **settings)
        read[0] += len(content)
        return content

    monkeypatch.setattr(MemoryFileSystem, "cat_file", counting)
    data.commit("vectors")
    assert 0 < read[0] < 0.03 * table.nbytes
    read[0] = 0
    monkeypatch.setattr(tables, "footer", None)
    assert data.rows("vectors") == [4000]
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
    for number, name in enumerate(shard_names(2)):
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
    for number, name in enumerate(shard_names(2)):
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
    for name in shard_names(2):
        with data.adding(staged("things"), f"{name}.jsonl") as path, open(path, "w") as file:
            file.write(f'{{"shard": "{name}"}}\n')
    data.publish("things")
    assert data.shards("things") == shard_names(2)
    found = [json.loads(pathlib.Path(data.fetched("things", name)).read_text()) for name in data.shards("things")]
    assert found == [{"shard": name} for name in shard_names(2)]


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


def test_files_that_are_linked_to_a_cache_are_never_written_into(tmp_path):
    data, cache = Data(str(tmp_path / "data")), tmp_path / "cache"
    for version in (0, 1):
        versions.write(data, version, 2)
        data.publish("things")
        if not version:
            cache.mkdir()
            for path in [*(tmp_path / "data" / "things").rglob("*")]:
                if path.is_file():
                    path.chmod(0o444)
                    os.link(path, cache / path.name)
            before = {path.name: path.read_bytes() for path in cache.iterdir()}
    assert versions.seen(data) == 1
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
        versions.write(data, 1, 2)
    data.publish("things")
    assert versions.seen(data) == 1
    assert len(os.listdir(tmp_path / "things")) == 5


def test_a_killed_run_s_token_goes_with_the_next_one_and_nothing_else(tmp_path):
    left, other = tmp_path / f".{'0a' * 16}.tmp", tmp_path / ".notes.tmp"
    left.touch(), other.touch()
    with disk.token(str(tmp_path)) as (path, content):
        assert pathlib.Path(path).read_bytes() == content
    assert [*tmp_path.iterdir()] == [other]


def test_what_was_copied_to_this_machine_is_not_copied_again(tmp_path):
    data, shards = Data("memory://copied"), shard_names(20)
    for shard in shards:
        data.write("things", shard, pa.table({"n": [1]}), suffix=".arrow")
    data.commit("things")
    first, again = ([lookup.fetched(data, "things", shard) for shard in shards] for _ in range(2))
    assert first == again
    assert all(map(os.path.exists, first))
