"""Datasets on disk: whole or absent, and damage is named."""

import io
import os

import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFile

from gangue.transforms import text
from gangue.transforms.datasets import lookup, storage
from gangue.transforms.datasets.scratch import scratch
from gangue.transforms.datasets.storage import Data, staged

TABLE = pa.table({"document_id": ["a", "b", "c"], "n": [1, 2, 3]})


@pytest.fixture(params=["local", "memory"])
def data(request, tmp_path):
    return Data(str(tmp_path) if request.param == "local" else f"memory://{tmp_path}")


@pytest.mark.parametrize("suffix", storage.SUFFIXES)
def test_a_shard_comes_back_as_it_was_written(data, suffix):
    data.write("things", "part-00000-of-00001", TABLE, suffix=suffix)
    assert data.shards("things") == ["part-00000-of-00001"]
    assert data.rows("things") == [3]
    assert data.read("things", "part-00000-of-00001").equals(TABLE)
    assert data.read("things", "part-00000-of-00001", ["n"]).column_names == ["n"]


def test_an_empty_shard_comes_back_empty(data):
    for suffix in storage.SUFFIXES:
        data.write(f"empty{suffix}", "part-00000-of-00001", TABLE.slice(0, 0), suffix=suffix)
        assert data.read(f"empty{suffix}", "part-00000-of-00001").equals(TABLE.slice(0, 0))


def test_a_missing_shard_is_named(data):
    data.write("things", "part-00000-of-00002", TABLE)
    with pytest.raises(FileNotFoundError, match=r"part-00001-of-00002 .*is missing.*dvc repro"):
        data.shards("things")


def test_shards_of_two_counts_are_refused(data):
    data.write("things", "part-00000-of-00001", TABLE)
    data.write("things", "part-00000-of-00002", TABLE)
    with pytest.raises(FileNotFoundError, match="of another count"):
        data.shards("things")


def test_no_dataset_is_an_error_with_a_cure(data):
    with pytest.raises(FileNotFoundError, match=r"found none\. Build it: dvc repro"):
        data.shards("nothing")


@pytest.mark.parametrize("suffix", storage.SUFFIXES)
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"junk" * 40])
def test_a_damaged_shard_is_named(tmp_path, suffix, damage):
    data = Data(str(tmp_path))
    data.write("things", "part-00000-of-00001", TABLE, suffix=suffix)
    path = tmp_path / "things" / f"part-00000-of-00001{suffix}"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"things/part-00000-of-00001.*must be readable and whole.*dvc repro"):
        data.read("things", "part-00000-of-00001")


def test_a_reader_sees_the_old_dataset_until_the_new_one_is_published(data):
    data.write("things", "part-00000-of-00001", TABLE)
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


def test_rows_of_remote_vectors_are_counted_without_reading_the_vectors(monkeypatch):
    data, read = Data("memory://counted"), [0]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(384 * 1000, np.float32)), 384)
    table = pa.table([pa.array([b"0" * 16] * 1000, pa.binary(16)), vectors], names=["content_hash", "vector"])
    data.write("vectors", "part-00000-of-00001", table, suffix=".arrow")

    def counting(self, size=-1):
        content = io.BytesIO.read(self, size)
        read[0] += len(content)
        return content

    monkeypatch.setattr(MemoryFile, "read", counting)
    assert data.rows("vectors") == [1000]
    assert 0 < read[0] < 0.02 * table.nbytes


@pytest.mark.parametrize("suffix", ["", ".faiss"])
def test_a_file_that_a_library_writes_to_disk_ends_among_the_datasets(data, suffix):
    with data.local_file(f"things/index{suffix}") as path, open(path, "w") as file:
        file.write("one")
    with open(data.local_copy(f"things/index{suffix}")) as file:
        assert file.read() == "one"


def test_a_file_whose_writer_failed_is_not_among_remote_datasets():
    data = Data("memory://failing")
    with pytest.raises(OSError, match="disk full"), data.local_file("things/index"):
        raise OSError("disk full")
    with pytest.raises(FileNotFoundError, match=r"^memory://failing/things/index: must exist, found nothing$"):
        data.local_copy("things/index")


def test_an_array_on_disk_has_no_name_and_starts_with_zeros(tmp_path):
    with scratch(Data(str(tmp_path)), "area", (3, 2), np.float32) as matrix:
        assert os.listdir(tmp_path / "area") == [], "nothing is left behind by a killed run"
        assert (matrix.shape, matrix.dtype, matrix.sum()) == ((3, 2), np.float32, 0)
        matrix[1] = 7
        assert matrix[:2].tolist() == [[0, 0], [7, 7]]
    with scratch(Data("memory://scratch"), "area", (0, 2), np.float32) as matrix:
        assert matrix.shape == (0, 2)
