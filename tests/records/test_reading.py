"""A source that workers read in parts is what it is when one process reads it, wherever the parts begin."""

import json
import pickle

import fsspec
import jobs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gangue.pipeline import ingest, params
from gangue.transforms.datasets.storage import Data
from gangue.transforms.records import reading
from gangue.transforms.sources import blocks, lines, parts

GOOD = '{"_id": "d1", "title": "", "text": "granite"}'
LINES = (
    GOOD, '{"_id": 7, "text": "two words"}', '{"_id": "é", "text": "schön 石"}', "", "  ", "[1]", "{", '"text"', "null",
    '{"_id": "x"}', '{"_id": "y", "text": ""}', '{"_id": "z", "text": "' + "long " * 30 + '"}', "{}", "\ufeff" + GOOD,
)  # fmt: skip


def folder_of(path, content):
    path.mkdir(parents=True)
    (path / "qrels").mkdir()
    (path / "corpus.jsonl").write_bytes(content)
    (path / "queries.jsonl").write_text('{"_id": "q1", "text": "which stone"}\n')
    (path / "qrels" / "train.tsv").write_text("q1\td1\t1\nq1\t7.0\t1\n")
    return params.Beir(kind="beir", path=str(path))


def in_parts(data, source, size):
    """The runs of a source read part by part, the last one first."""
    readings = source.readings()
    cut = parts.cut(readings, size)
    for name in reversed(reading.names(cut)):
        reading.read_part(name, data, source.path, readings, cut)
    return reading.joined(data, source, None, readings, cut), cut


def records(found):
    """All records by dataset, with their places."""
    return {
        dataset: [row for number in found.of(dataset) for row in found.read(number).to_pylist()]
        for dataset in blocks.RECORDS
    }


def outcome(call):
    try:
        return records(call())
    except ValueError as error:
        return str(error)


@settings(deadline=None, max_examples=150)
@given(
    drawn=st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(["\n", "\r\n"])), max_size=12),
    ended=st.booleans(),
    mark=st.booleans(),
    bad=st.integers(0, 400),
    size=st.integers(1, 200),
)
def test_json_lines_are_the_same_wherever_the_parts_begin(tmp_path_factory, drawn, ended, mark, bad, size):
    content = "".join(line + end for line, end in drawn).encode()
    content = content if ended else content.rstrip(b"\r\n")
    if bad < len(content):
        content = content[:bad] + b"\xff" + content[bad:]
    folder = tmp_path_factory.mktemp("parts")
    source = folder_of(folder / "source", b"\xef\xbb\xbf" * mark + content)
    whole = outcome(lambda: reading.read(Data(str(folder / "whole")), source))
    assert outcome(lambda: in_parts(Data(str(folder / "parts")), source, size)[0]) == whole


@pytest.mark.parametrize("size", [1, 7, 50, 64, 1000])
def test_a_line_that_is_too_long_is_one_rejected_record_wherever_the_parts_begin(tmp_path, monkeypatch, size):
    monkeypatch.setattr(lines, "LINE_BYTES", 60)
    long = json.dumps({"_id": "long", "text": "x" * 300})
    source = folder_of(tmp_path / "source", f"{GOOD}\n{long}\n{GOOD}\n{long}".encode())
    found = records(in_parts(Data(str(tmp_path / "parts")), source, size)[0])
    assert found == records(reading.read(Data(str(tmp_path / "whole")), source))
    assert [row["line"] for row in found["rejected"]] == [2, 4]
    assert [row["line"] for row in found["documents"]] == [1, 3]


def test_row_groups_of_parquet_are_parts_and_rows_keep_their_numbers(tmp_path):
    rows = [{"document_id": f"d{i}", "text": f"stone {i}" if i % 7 else ""} for i in range(100)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet", row_group_size=9)
    (tmp_path / "q.csv").write_text("query_id,text\nq1,which stone\n")
    (tmp_path / "p.csv").write_text("query_id,document_id\nq1,d1\n")
    source = params.Tables(kind="tables", path=str(tmp_path), documents="d.parquet", queries="q.csv", positives="p.csv")
    whole = records(reading.read(Data(str(tmp_path / "whole")), source))
    for size, several in ((1, 14), (400, 9), (100_000, 1)):
        found, cut = in_parts(Data(str(tmp_path / str(size))), source, size)
        assert records(found) == whole
        assert len(cut) == several


def test_small_files_are_read_together_and_large_ones_alone(tmp_path):
    for name in "abcdefgh":
        size = 10 if name == "c" else 1
        (tmp_path / f"{name}.jsonl").write_text(f'{{"document_id": "{name}", "text": "stone"}}\n' * size)
    (tmp_path / "q.csv").write_text("query_id,text\nq1,which stone\n")
    (tmp_path / "p.csv").write_text("query_id,document_id\nq1,a\n")
    source = params.Tables(kind="tables", path=str(tmp_path), documents="*.jsonl", queries="q.csv", positives="p.csv")
    cut = parts.cut(source.readings(), 150)
    assert [len(each) for each in cut] == [2, 1, 1, 1, 3, 4]
    assert [part.reading for each in cut for part in each] == [0, 1, 2, 2, 2, *range(3, 10)]


def test_a_source_on_a_store_is_read_in_parts_that_can_be_sent_to_workers(tmp_path):
    store, local = fsspec.filesystem("memory"), tmp_path / "source"
    content = "".join(json.dumps({"_id": f"d{i}", "text": f"stone {i}"}) + "\n" for i in range(50)) + "{\n"
    folder_of(local, content.encode())
    store.put(str(local), "/parts", recursive=True)
    source = params.Beir(kind="beir", path="memory://parts")
    readings = pickle.loads(pickle.dumps(source.readings()))
    cut, data = parts.cut(readings, 300), Data(str(tmp_path / "data"))
    for name in reading.names(cut):
        reading.read_part(name, data, source.path, readings, cut)
    found = records(reading.joined(data, source, None, readings, cut))
    assert len(cut) > 5
    assert found == records(reading.read(Data(str(tmp_path / "whole")), params.Beir(kind="beir", path=str(local))))
    assert [row["line"] for row in found["rejected"]] == [51]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nothing\n" * 9, "must have one JSON object per line, but no line has, first: line 1 is invalid JSON"),
        ('{"_id": "d", "body": "x"}\n' * 9, "field text must be there, found _id, body"),
        ('[{"_id": "d"}]\n', "it is one JSON array"),
    ],
)
def test_a_file_that_is_none_is_told_as_by_one_process(tmp_path, content, message):
    source = folder_of(tmp_path / "source", content.encode())
    with pytest.raises(ValueError, match=message) as whole:
        reading.read(Data(str(tmp_path / "whole")), source)
    with pytest.raises(ValueError, match=message) as cut:
        in_parts(Data(str(tmp_path / "parts")), source, 20)
    assert str(cut.value) == str(whole.value)


def test_pairs_are_spelled_as_the_documents_of_all_parts(tmp_path, capsys):
    source = folder_of(tmp_path / "source", b'{"_id": "d1", "text": "granite"}\n{"_id": 7, "text": "basalt"}\n')
    found, _ = in_parts(Data(str(tmp_path / "parts")), source, 1)
    assert found.column("positives", "document_id").to_pylist() == ["d1", "7"]
    assert "train.tsv: 1 ids are read as 7 where they are written 7.0" in capsys.readouterr().err


def test_workers_read_in_parts_and_write_the_bytes_of_one_process(tmp_path, monkeypatch, capfd):
    values = jobs.write(tmp_path / "job")
    values["source"]["path"] = str(tmp_path / "job" / values["source"]["path"])
    found = {}
    for workers in (1, 2):
        p = params.parse({**values, "beam": {"workers": workers}})
        monkeypatch.setattr(parts, "BYTES", 500)
        data = Data(str(tmp_path / str(workers)))
        ingest.run(data, p)
        found[workers] = {
            dataset: [data.checksum(dataset), data.rows(dataset)] for dataset in ingest.WRITES if data.exists(dataset)
        }
    assert found[1] == found[2]
    said = capfd.readouterr().err
    assert said.count("ingest: reading the source: records") == 1
