"""Text formats as they are in the wild: nothing is lost in silence, and no file ends in a library's words."""

import bz2
import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gangue.pipeline import params
from gangue.transforms import sources
from gangue.transforms.datasets.storage import Data
from gangue.transforms.records import reading
from gangue.transforms.sources import blocks, delimited, files, rows


def read(source, told=None):
    """Records by dataset, each a list of dictionaries."""
    found = {dataset: [] for dataset in blocks.RECORDS}
    for dataset, table in sources.read(source, told):
        found[dataset] += table.to_pylist()
    return found


def named(tmp_path, source):
    """Ids of the documents of all positives, as they are joined with those of the documents."""
    found = reading.read(Data(str(tmp_path / "data")), source)
    return found.column("positives", "document_id").to_pylist()


def texts(found):
    return {row["document_id"]: row["text"] for row in found["documents"]}


def faults(found):
    return [(row["line"], row["reason"].split(":")[0]) for row in found["rejected"]]


def tables(folder, documents, suffix=".csv", positives="query_id,document_id\nq1,1\n"):
    """A source of kind tables whose documents are this content, str or bytes."""
    folder.mkdir(exist_ok=True)
    content = documents if isinstance(documents, bytes) else documents.encode()
    (folder / f"documents{suffix}").write_bytes(content)
    (folder / "queries.csv").write_text("query_id,text\nq1,why\n")
    (folder / "positives.csv").write_text(positives)
    return params.Tables(
        kind="tables",
        path=str(folder),
        documents=f"documents{suffix}",
        queries="queries.csv",
        positives="positives.csv",
    )


# ---- quotes in a TSV


def numbered(changed, header="document_id\ttext", count=40, separator="\t"):
    body = [f"{i}{separator}{changed.get(i, f'river stone number {i}')}" for i in range(count)]
    return "\n".join([header, *body]) + "\n"


@pytest.mark.parametrize(
    "changed",
    [
        {5: '"To be or not to be, begins document five', 12: 'and document twelve ends so."'},
        {5: '"To be', 12: 'a "quote" within', 20: 'ends so."'},
        {5: '"To be', 6: 'not."', 7: '"Once" upon a time'},
        {39: '"never closed'},
        {0: '"', 1: '""" three', 2: 'an inch is 1"', 3: '"a" and "b"'},
        {3: '"opens ""doubled"" and never closes', 20: 'and "ends"'},
    ],
)
def test_a_quote_in_a_tsv_is_a_character(tmp_path, changed):
    found = read(tables(tmp_path, numbered(changed), ".tsv"))
    assert texts(found) == {str(i): changed.get(i, f"river stone number {i}") for i in range(40)}
    assert found["rejected"] == []


def test_a_tsv_that_was_written_as_csv_writes_it_is_unquoted(tmp_path):
    changed = {
        1: '"wholly quoted"',
        2: '"he said ""hi"""',
        3: '"a tab\there"',
        4: '"two\nlines"',
        5: '"def f():\n\treturn 1\n\nx = 2"',
        6: '""',
    }
    found = read(tables(tmp_path, numbered(changed), ".tsv"))
    said = {
        2: 'he said "hi"',
        3: "a tab\there",
        4: "two\nlines",
        5: "def f():\n\treturn 1\n\nx = 2",
        1: "wholly quoted",
    }
    wanted = {str(i): said.get(i, f"river stone number {i}") for i in range(40) if i != 6}
    assert texts(found) == wanted
    assert faults(found) == [(12, "text is empty")]


def test_every_line_of_a_tsv_that_cannot_be_used_is_rejected_by_its_own_number(tmp_path):
    changed = {5: '"To be', 7: "a tab\ttoo many", 12: 'ends so."'}
    found = read(tables(tmp_path, numbered(changed), ".tsv"))
    assert faults(found) == [(9, "number of fields differs from the header's")]
    assert texts(found)["5"] == '"To be'
    assert len(found["documents"]) == 39


def test_a_tsv_of_one_column_loses_no_line(tmp_path):
    content = "text\n" + "".join(f"{c}stone {i}\n" for i, c in enumerate(["", '"', "", "", 'x"', ""]))
    (tmp_path / "corpus.tsv").write_text(content)
    (tmp_path / "p.csv").write_text("anchor,positive\na,b\n")
    found = read(params.Pairs(kind="pairs", path=str(tmp_path), pairs="p.csv", corpus="corpus.tsv"))
    assert [row["text"] for row in found["documents"]] == [*content.splitlines()[1:], "b"]


# ---- quotes in a CSV


def test_a_stray_quote_in_a_csv_costs_its_own_line(tmp_path):
    changed = {5: '"To be or not', 12: '"quoted, well"', 20: '"Quoted" and more'}
    found = read(tables(tmp_path, numbered(changed, "document_id,text", separator=",")))
    assert faults(found) == [(7, "invalid CSV"), (22, "invalid CSV")]
    assert texts(found)["12"] == "quoted, well"
    assert len(found["documents"]) == 38


def test_a_csv_field_that_swallows_whole_rows_is_rejected_where_it_opens(tmp_path):
    changed = {5: '"To be or not', 12: 'ends so."'}
    found = read(tables(tmp_path, numbered(changed, "document_id,text", separator=",")))
    assert faults(found) == [(7, "a quote is opened in this line and closed after whole rows only")]
    assert texts(found)["12"] == 'ends so."'
    assert len(found["documents"]) == 39


@pytest.mark.parametrize("opened", [0, 20, 39])
def test_a_csv_quote_that_is_never_closed_costs_its_own_line(tmp_path, opened):
    found = read(tables(tmp_path, numbered({opened: '"To be'}, "document_id,text", separator=",")))
    assert faults(found) == [(opened + 2, "a quote is opened in this line and never closed")]
    assert len(found["documents"]) == 39


def test_prose_with_commas_over_lines_stays_one_field(tmp_path):
    said = "Dear Sir,\nthank you, and bye,\n\nyours, J.\nand, still"
    found = read(tables(tmp_path, f'document_id,text\n1,"{said}"\n2,"short\nfield, here"\n'))
    assert texts(found) == {"1": said, "2": "short\nfield, here"}


FIELD = st.text(st.sampled_from('ab"\t,\n \r'), max_size=8)


@given(st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=8), st.sampled_from([",", "\t"]))
@settings(max_examples=200, deadline=None)
def test_what_quotes_all_its_fields_is_read_back(written, delimiter):
    quoted = [delimiter.join('"' + field.replace('"', '""') + '"' for field in row) for row in written]
    for row, line in zip(written, quoted, strict=True):
        first, *more = line.splitlines(keepends=True) if "\n" not in line else [p + "\n" for p in line.split("\n")]
        following = iter(more)
        assert delimited.fields_of(first, delimiter, lambda: next(following, None)) == list(row)  # noqa: B023


@given(st.lists(st.text(st.sampled_from('ab"\t, \r'), max_size=9), max_size=12), st.sampled_from([".csv", ".tsv"]))
@settings(max_examples=300, deadline=None)
def test_every_line_is_a_row_or_within_one_or_rejected(tmp_path_factory, written, suffix):
    path = tmp_path_factory.mktemp("any") / f"x{suffix}"
    delimiter = "\t" if suffix == ".tsv" else ","
    path.write_text("a" + delimiter + "b\n" + "".join(f"{line}\n" for line in written), newline="")
    seen = set()
    for row in rows.rows(files.File(path, path.name), {"a": "text", "b": "text"}):
        seen |= set(range(row.line, row.line + max(1, row.raw.count("\n"))))
    blank = {number for number, line in enumerate(written, 2) if line in ("", "\r")}
    assert seen | blank == set(range(2, len(written) + 2))


# ---- what separates


@pytest.mark.parametrize(
    ("delimiter", "suffix", "named"),
    [(";", ".csv", "';'"), ("\t", ".csv", "tabs"), ("|", ".csv", "'|'"), (",", ".tsv", "','"), (";", ".tsv", "';'")],
)
def test_another_delimiter_is_read_and_said(tmp_path, capsys, delimiter, suffix, named):
    content = f"document_id{delimiter}text\n1{delimiter}a stone\n2{delimiter}a river\n"
    found = read(tables(tmp_path, content, suffix))
    assert texts(found) == {"1": "a stone", "2": "a river"}
    assert capsys.readouterr().err.count(f"read as separated by {named}, as its first line is\n") == 1


def test_a_delimiter_within_the_names_of_columns_is_none(tmp_path, capsys):
    found = read(tables(tmp_path, "document_id,text,a;b|c\n1,x;y,z\n"))
    assert texts(found) == {"1": "x;y"}
    assert capsys.readouterr().err == ""


def test_a_file_without_a_header_is_told_by_its_first_line(tmp_path):
    with pytest.raises(ValueError, match=r"found 1, a stone in its first line.*or put a header there if that is a row"):
        read(tables(tmp_path, "1,a stone\n2,a river\n"))


def test_a_column_that_is_nearly_there_is_proposed(tmp_path):
    with pytest.raises(ValueError, match=r"column document_id must be there.* Did you mean document_ids\?"):
        read(tables(tmp_path, "document_ids,text\n1,a stone\n"))


# ---- compressed


def zstd(content):
    return pa.Codec("zstd").compress(content, asbytes=True)


PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd}


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json"])
def test_text_is_read_compressed(tmp_path, packed, suffix):
    lines = [{"document_id": str(i), "text": f'a stone "{i}"'} for i in range(3000)]
    if suffix in (".csv", ".tsv"):
        separator = "\t" if suffix == ".tsv" else ","
        content = numbered({}, f"document_id{separator}text", 3000, separator)
    else:
        content = "".join(json.dumps(line) + "\n" for line in lines)
    plain = read(tables(tmp_path / "plain", content, suffix))
    found = read(tables(tmp_path / "packed", PACKERS[packed](content.encode()), suffix + packed))
    assert texts(found) == texts(plain)
    assert len(texts(found)) == 3000
    assert {row["origin"] for row in found["documents"]} == {f"documents{suffix}{packed}"}


@pytest.mark.parametrize("packed", PACKERS)
def test_a_beir_folder_may_be_compressed(tmp_path, packed):
    (tmp_path / "qrels").mkdir()
    for name, content in {
        "corpus.jsonl": '{"_id": "d1", "text": "a stone"}\n',
        "queries.jsonl": '{"_id": "q1", "text": "why"}\n',
        "qrels/train.tsv": "q1\td1\t1\n",
        "qrels/train.judged_zero.tsv": "q1\td2\t0\n",
    }.items():
        (tmp_path / f"{name}{packed}").write_bytes(PACKERS[packed](content.encode()))
    found = read(params.Beir(kind="beir", path=str(tmp_path)))
    assert {name: len(found[name]) for name in found} == {
        "documents": 1,
        "queries": 1,
        "positives": 1,
        "judged": 1,
        "rejected": 0,
    }


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("damage", ["cut", "not"])
def test_a_damaged_archive_is_named(tmp_path, packed, damage):
    content = numbered({}, count=3000).encode()
    content = PACKERS[packed](content)[:-9] if damage == "cut" else content
    with pytest.raises(ValueError, match=rf"documents.tsv{packed}: must be a whole {packed} file: .* Copy or compress"):
        read(tables(tmp_path, content, f".tsv{packed}"))


# ---- what is no text, or not UTF-8


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04rest", "a zip archive or an Excel file. Unpack it, or save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0rest", "an Excel file. Save the sheet as CSV"),
        (gzip.compress(b"document_id,text\n", mtime=0), "compressed by gzip. Let its name end in .gz"),
        (bz2.compress(b"document_id,text\n"), "compressed by bzip2. Let its name end in .bz2"),
        (zstd(b"document_id,text\n"), "compressed by zstd. Let its name end in .zst"),
        (b"PAR1\0\0", "a Parquet file. Name it .parquet"),
        (b"%PDF-1.7", "a PDF. Extract its text first"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS. Fetch the file: git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html>", "a page of HTML. Download the file itself"),
        ("document_id,text\n1,a\n".encode("utf-16"), "UTF-16 text. Convert it: iconv -f UTF-16 -t UTF-8"),
        ("document_id,text\n1,a\n".encode("utf-16-le"), "UTF-16 text without a mark, or no text"),
        ("document_id,text\n1,a\n".encode("utf-16-be"), "UTF-16 text without a mark, or no text"),
        (b"document_id,text\r1,a\r2,b\r", r"text whose lines end in CR alone. Convert it: tr '\\r' '\\n'"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_file_of_another_format_is_named(tmp_path, content, what, suffix):
    with pytest.raises(ValueError, match=f"must be text in UTF-8, as {suffix} is, found {what}"):
        read(tables(tmp_path, content, suffix))


def test_lines_of_latin_1_are_rejected_by_their_number_and_encoding(tmp_path):
    found = read(tables(tmp_path, "document_id,text\n1,stein\n2,kühl\n".encode("latin-1")))
    assert texts(found) == {"1": "stein"}
    assert [(row["line"], row["reason"]) for row in found["rejected"]] == [
        (3, "not UTF-8, perhaps Latin-1 or Windows-1252")
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_line_ends_of_windows_and_a_missing_last_one_are_read(tmp_path, end, suffix):
    lines = {
        ".csv": ["document_id,text", "1,a", '2,"b"'],
        ".tsv": ["document_id\ttext", "1\ta", '2\t"b"'],
        ".jsonl": ['{"document_id": 1, "text": "a"}', '{"document_id": 2, "text": "b"}'],
    }[suffix]
    for last in ("", end):
        assert texts(read(tables(tmp_path, end.join(lines) + last, suffix))) == {"1": "a", "2": "b"}


@pytest.mark.parametrize("content", ['[{"document_id": 1, "text": "a"}]', '[\n{"document_id": 1, "text": "a"}\n]\n'])
def test_a_json_array_is_told_how_to_become_lines(tmp_path, content):
    with pytest.raises(ValueError, match=r"but no line has: it is one JSON array. Convert it: jq -c '.\[\]'"):
        read(tables(tmp_path, content, ".json"))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_file_without_rows_has_none(tmp_path, suffix):
    header = {".csv": "document_id,text\n", ".tsv": "document_id\ttext", ".jsonl": ""}[suffix]
    assert read(tables(tmp_path, header, suffix))["documents"] == []


# ---- columns


def test_a_column_name_twice_is_refused_in_every_format(tmp_path):
    twice = pa.Table.from_arrays([pa.array(["1"]), pa.array(["a"]), pa.array(["b"])], ["document_id", "text", "text"])
    (tmp_path / "parquet").mkdir()
    pq.write_table(twice, tmp_path / "parquet" / "d.parquet")
    contents = {
        ".parquet": (tmp_path / "parquet" / "d.parquet").read_bytes(),
        ".csv": "document_id,text,text\n1,a,b\n",
        ".tsv": "document_id\ttext\ttext\n1\ta\tb\n",
    }
    for suffix, content in contents.items():
        with pytest.raises(ValueError, match=r"column names must differ, but text comes twice. Rename one"):
            read(tables(tmp_path / "parquet", content, suffix))
    found = read(
        tables(tmp_path, '{"document_id": 1, "text": "a", "text": "b"}\n{"document_id": 2, "text": "c"}', ".json")
    )
    assert faults(found) == [(1, "a JSON object has a key twice")]


def test_an_unread_column_may_come_twice(tmp_path):
    twice = pa.Table.from_arrays(
        [pa.array(["1"]), pa.array(["a"]), *[pa.array(["b"])] * 2], ["document_id", "text", "x", "x"]
    )
    pq.write_table(twice, tmp_path / "d.parquet")
    assert texts(read(tables(tmp_path, (tmp_path / "d.parquet").read_bytes(), ".parquet"))) == {"1": "a"}


# ---- what lies at a path


def test_what_is_no_file_is_named(tmp_path):
    source = tables(tmp_path, "document_id,text\n1,a\n")
    path = tmp_path / "documents.csv"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"source.documents: .*documents.csv must be a file, got a pipe or a device"):
        read(source)
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(
        OSError, match=r"documents.csv: must be a file that can be read: No such file.* Correct its link"
    ):
        read(source)
    path.unlink()
    path.mkdir()
    with pytest.raises(FileNotFoundError, match=r"source.documents: .*documents.csv must hold a file .*found none"):
        read(source)


@pytest.mark.parametrize("name", ["a b.csv", "ünïcode.csv", "DATA.CSV", "[x].csv", "a.b.csv"])
def test_odd_names_are_names(tmp_path, name):
    source = tables(tmp_path, "document_id,text\n1,a\n")
    (tmp_path / "documents.csv").rename(tmp_path / name)
    assert texts(read(source.model_copy(update={"documents": name}))) == {"1": "a"}


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "a\0b.csv", "", "~", "**", "\n.csv"])
def test_impossible_names_are_refused_with_a_cure(tmp_path, name):
    source = tables(tmp_path / "s", "document_id,text\n1,a\n").model_copy(update={"documents": name})
    (tmp_path / "s" / "documents.csv").rename(tmp_path / "s" / "x.txt")
    with pytest.raises((ValueError, OSError)) as caught:
        read(source)
    assert "[Errno" not in str(caught.value)
    assert ". " in str(caught.value)


# ---- ids


@pytest.mark.parametrize(("documents", "positives"), [("1", "1.0"), ("1.0", "1")])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_ids_that_a_column_of_floats_wrote_are_joined_and_said(tmp_path, capsys, documents, positives, suffix):
    lines = {
        ".csv": f"document_id,text\n{documents},a\n007,b\nx.0,c\n",
        ".tsv": f"document_id\ttext\n{documents}\ta\n007\tb\nx.0\tc\n",
        ".jsonl": "".join(json.dumps({"document_id": i, "text": i}) + "\n" for i in (documents, "x.0")),
    }
    content = lines[suffix].replace("007", "a007") if documents == "1.0" else lines[suffix]
    source = tables(tmp_path, content, suffix, f"query_id,document_id\nq1,{positives}\nq1,x.0\n")
    assert named(tmp_path, source) == [documents, "x.0"]
    said = f"positives.csv: 1 ids are read as {documents} where they are written {positives}, as the files"
    assert said in capsys.readouterr().err


def test_ids_that_are_written_both_ways_stand_for_themselves(tmp_path, capsys):
    both = "document_id,text\n1,a\n1.0,b\n2.0,c\n"
    source = tables(tmp_path, both, positives="query_id,document_id\nq1,1\nq1,1.0\nq1,2\n")
    assert named(tmp_path, source) == ["1", "1.0", "2"]
    assert capsys.readouterr().err == ""


def test_leading_zeros_and_decimals_are_part_of_an_id(tmp_path, capsys):
    positives = "query_id,document_id\nq1,007\nq1,1.1\n"
    source = tables(tmp_path, "document_id,text\n007,a\n1.1,b\n", positives=positives)
    assert named(tmp_path, source) == ["007", "1.1"]
    assert sorted(texts(read(source))) == ["007", "1.1"]
    assert capsys.readouterr().err == ""


def test_a_parquet_column_of_floats_holds_ids_if_they_are_whole(tmp_path):
    table = pa.table({"document_id": [1.0, 2.0, None, float("nan"), 2.5], "text": list("abcde")})
    pq.write_table(table, tmp_path / "d.parquet")
    found = read(tables(tmp_path, (tmp_path / "d.parquet").read_bytes(), ".parquet"))
    assert texts(found) == {"1": "a", "2": "b"}
    assert faults(found) == [
        (3, "document_id is missing"),
        (4, "document_id is missing"),
        (5, "document_id is neither a string nor a whole number"),
    ]


# ---- pairs whose positives are ids


def references(folder, positives, key="_id", pairs="p.jsonl", anchors="what is stone {}", **keys):
    folder.mkdir(exist_ok=True)
    corpus = [{key: f"d{i}", "text": f"a stone of kind {i}"} for i in range(50)]
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    told = [{"anchor": anchors.format(i), "positive": positive} for i, positive in enumerate(positives)]
    if pairs.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(told), folder / pairs)
    else:
        (folder / pairs).write_text("".join(json.dumps(row) + "\n" for row in told))
    return params.Pairs(kind="pairs", path=str(folder), pairs=pairs, corpus="c.jsonl", **keys)


def test_ids_of_a_column_that_is_named_may_be_of_any_letters(tmp_path):
    source = references(tmp_path, [f"dök {i}" for i in range(20)], document_id="_id")
    corpus = (tmp_path / "c.jsonl").read_text().replace('"d', '"dök ')
    (tmp_path / "c.jsonl").write_text(corpus)
    assert [row["document_id"] for row in read(source)["positives"]] == [f"dök {i}" for i in range(20)]


def test_positives_of_which_only_some_are_ids_of_the_column_that_is_named_are_an_error(tmp_path):
    some = [f"d{i}" for i in range(12)] + [f"x{i}" for i in range(8)]
    with pytest.raises(ValueError, match=r"of the first 20 12 are in its column _id, and others, such as x0, are not"):
        read(references(tmp_path, some, document_id="_id"))


@pytest.mark.parametrize("keys", [{}, {"document_id": "_id"}, {"document_id": "_id", "positive_id": "positive"}])
@pytest.mark.parametrize("pairs", ["p.jsonl", "p.parquet"])
def test_positives_that_are_ids_of_the_corpus_are_joined_and_said(tmp_path, capsys, keys, pairs):
    found = read(references(tmp_path, [f"d{i}" for i in range(20)], pairs=pairs, **keys))
    assert texts(found) == {f"d{i}": f"a stone of kind {i}" for i in range(50)}
    assert [row["document_id"] for row in found["positives"]] == [f"d{i}" for i in range(20)]
    assert len(found["queries"]) == 20
    said = f"{pairs}: positive holds ids of the corpus, not texts: 20 of the first 20 are in its column _id"
    assert said in capsys.readouterr().err


def test_lists_numbers_and_floats_of_ids_are_joined(tmp_path):
    source = references(tmp_path, [["d1", "d2"], "d3"], negatives=())
    assert [row["document_id"] for row in read(source)["positives"]] == ["d1", "d2", "d3"]
    corpus = "".join(json.dumps({"_id": i, "text": f"stone {i}"}) + "\n" for i in range(9))
    for number, content in enumerate(("positive,anchor\n3.0,a b\n,c d\n4.0,e f\n", "positive,anchor\n3,a b\n4,e f\n")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "c.jsonl").write_text(corpus)
        (folder / "p.csv").write_text(content)
        source = params.Pairs(kind="pairs", path=str(folder), pairs="p.csv", corpus="c.jsonl")
        assert named(folder, source) == ["3", "4"]
        assert len(read(source)["documents"]) == 9


@pytest.mark.parametrize("key", ["uid", "DocID", "docno", "passage_key"])
def test_a_column_is_one_of_ids_by_its_name(tmp_path, key):
    assert named(tmp_path, references(tmp_path, ["d1", "d7"], key=key)) == ["d1", "d7"]


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_ids_of_which_the_corpus_lacks_some_are_refused_and_not_taken_for_texts(tmp_path, lost):
    positives = [f"d{i}" for i in range(30 - lost)] + [f"d{i + 90}" for i in range(lost)]
    if lost == 1:  # rejected one by one
        assert len(read(references(tmp_path, positives))["positives"]) == 30
    else:
        with pytest.raises(
            ValueError, match=rf"positive must hold texts, or .* {30 - lost} are in its column _id, and"
        ):
            read(references(tmp_path, positives))


@pytest.mark.parametrize("key", ["name", "text2"])
def test_what_looks_like_ids_and_is_nothing_of_the_corpus_is_refused(tmp_path, key):
    with pytest.raises(ValueError, match=r"looks like ids, such as d0, but .*c.jsonl has them in no column of ids"):
        read(references(tmp_path, [f"d{i}" for i in range(20)], key=key))
    source = references(tmp_path, [f"d{i}" for i in range(20)], key=key, document_id=key)
    assert len(read(source)["positives"]) == 20
    texts = references(tmp_path, [str(17 * i) for i in range(20)], document_id="_id")
    assert len(read(texts)["documents"]) == 70, "who names the column says that they are none of it"


def test_what_looks_like_ids_is_said_to_be_read_as_texts_where_there_is_no_corpus(tmp_path, capsys):
    source = references(tmp_path, [f"dog_NN_{i}" for i in range(20)]).model_copy(update={"corpus": None})
    assert len(read(source)["documents"]) == 20
    assert "positive looks like ids, such as dog_NN_0, and is read as texts" in capsys.readouterr().err
    texts = references(tmp_path, [f"a stone of kind {i}" for i in range(20)])
    assert len(read(texts)["documents"]) == 70, "as many records"


def test_texts_that_look_like_ids_and_are_texts_of_the_corpus_stay_texts(tmp_path):
    source = references(tmp_path, [f"dog.n.{i}" for i in range(20)])
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"_id": i, "text": f"dog.n.{i}"}) + "\n" for i in range(50)))
    assert {row["text"] for row in read(source)["documents"]} == {f"dog.n.{i}" for i in range(50)}


@pytest.mark.parametrize("named_by", ["title", "headline", None])
def test_a_title_is_read_where_it_is_named_and_else_said_to_be_left(tmp_path, capsys, named_by):
    source = references(tmp_path, ["d1", "d7"], **({} if named_by is None else {"title": named_by}))
    rows = [{"_id": f"d{i}", "text": f"a stone of kind {i}", named_by or "title": f"Kind {i}"} for i in range(50)]
    rows[3] |= {named_by or "title": None}
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    titles = [row["title"] for row in read(source)["documents"]]
    assert titles == [f"Kind {i}" if named_by and i != 3 else "" for i in range(50)]
    assert ("c.jsonl: columns that are not read: title\n" in capsys.readouterr().err) == (named_by is None)


def test_ids_that_are_made_cover_the_title(tmp_path):
    passages = [{"title": title, "text": body} for title in ("Lift", "Drag", "") for body in ("of a wing", "")][:-1]
    (tmp_path / "p.jsonl").write_text(
        "".join(json.dumps({"anchor": f"what {i}", "positive": one}) + "\n" for i, one in enumerate(passages))
    )
    found = read(params.Pairs(kind="pairs", path=str(tmp_path), pairs="p.jsonl"))
    assert len({row["document_id"] for row in found["documents"]}) == 5
    assert [row["document_id"] for row in found["positives"]] == [row["document_id"] for row in found["documents"]]


def test_an_id_of_0_is_one(tmp_path):
    rows = [{"anchor": f"what {i}", "positive": f"it is {i}", "pid": i} for i in range(3)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(params.Pairs(kind="pairs", path=str(tmp_path), pairs="p.jsonl", positive_id="pid"))
    assert [row["document_id"] for row in found["positives"]] == ["0", "1", "2"]


def test_numbered_columns_are_those_of_all_files_that_hold_documents(tmp_path, capsys):
    (tmp_path / "p").mkdir()
    one = {"anchor": "what", "positive": "it is", "negative": "not so", "negative_9": 0.5}
    (tmp_path / "p" / "a.jsonl").write_text(json.dumps(one) + "\n")
    more = {"anchor": "who", "positive": "she is", "negative_1": "not him", "negative_2": "nor her"}
    (tmp_path / "p" / "b.jsonl").write_text(json.dumps(more) + "\n")
    found = read(params.Pairs(kind="pairs", path=str(tmp_path), pairs="p"))
    assert len(found["judged"]) == 3
    assert "columns that are not read: negative_9\n" in capsys.readouterr().err


@pytest.mark.parametrize("positive_id", [None, "pid"])
def test_passages_are_positives_as_tevatron_writes_them(tmp_path, positive_id):
    passages = [{"docid": "7", "title": "Lift", "text": "of a wing"}, {"docid": "8", "title": "", "text": "drag"}]
    rows = [
        {
            "query": "what lifts",
            "positive_passages": passages,
            "negative_passages": [{"docid": "9", "text": "no answer"}],
        }
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({**row, "pid": None}) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    for name in ("x.jsonl", "x.parquet") if positive_id is None else ("x.jsonl",):
        keys = {"anchor": "query", "positive": "positive_passages", "positive_id": positive_id}
        found = read(params.Pairs(kind="pairs", path=str(tmp_path), pairs=name, **keys))
        assert [(row["title"], row["text"]) for row in found["documents"]] == [
            ("Lift", "of a wing"),
            ("", "drag"),
            ("", "no answer"),
        ]
        if positive_id:
            assert [row["document_id"] for row in found["positives"]] == ["7", "8"]
        assert len(found["positives"]) == 2


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_answers_that_are_lists_written_as_strings_are_refused(tmp_path, suffix):
    between = "," if suffix == ".csv" else "\t"
    header = between.join(("query_id", "text", "said"))
    rows = [between.join((f"q{i}", f"who was {i}", f"\"['gold {i}', 'old {i}']\"")) for i in range(9)]
    (tmp_path / f"queries{suffix}").write_text("\n".join([header, *rows]) + "\n")
    for name in ("documents", "positives"):
        (tmp_path / f"{name}.csv").write_text("query_id,document_id,text\n")
    files_of = {"documents": "documents.csv", "queries": f"queries{suffix}", "positives": "positives.csv"}
    with pytest.raises(
        ValueError, match=r"column said must hold texts, .* lists written as strings.*JSON Lines or Parq"
    ):
        params.Tables(kind="tables", path=str(tmp_path), answers="said", **files_of).readings()
    (tmp_path / "p.csv").write_text("anchor,positive,said\n" + "".join(f"a {i},b {i},\"['{i}']\"\n" for i in range(9)))
    with pytest.raises(ValueError, match=r"column said must hold texts"):
        params.Pairs(kind="pairs", path=str(tmp_path), pairs="p.csv", answers="said").readings()


def test_a_dataset_that_was_saved_to_disk_is_told_for_what_it_is(tmp_path):
    from datasets import Dataset

    Dataset.from_dict({"anchor": ["a b"], "positive": ["c d"]}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match=r"is what save_to_disk of datasets wrote\. Write Parquet: load_from_disk"):
        params.Pairs(kind="pairs", path=str(tmp_path), pairs="saved").readings()


def test_negatives_beside_ids_are_ids_too(tmp_path):
    source = references(tmp_path, ["d1", "d2"])
    rows = [{"anchor": "what is it", "positive": "d1", "negatives": ["d7", "d8"]}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(source)
    assert [row["document_id"] for row in found["judged"]] == ["d7", "d8"]
    assert len(found["documents"]) == 50


def test_texts_stay_texts_where_few_are_ids(tmp_path, capsys):
    found = read(references(tmp_path, ["d1", "granite", "basalt", "flint"]))
    assert len(found["documents"]) == 54
    assert capsys.readouterr().err == ""


def test_anchors_that_are_ids_too_are_refused_with_the_kind_for_them(tmp_path):
    with pytest.raises(ValueError, match=r"column anchor must hold texts, found ids such as q0, .*kind: tables"):
        read(references(tmp_path, [f"d{i}" for i in range(20)], anchors="q{}"))


def test_a_path_that_is_a_file_is_told_from_none(tmp_path):
    source = tables(tmp_path, "document_id,text\n1,a\n")
    with pytest.raises(
        FileNotFoundError, match=r"source.path: .* must be a folder, found a file. Set source.path to its"
    ):
        read(source.model_copy(update={"path": str(tmp_path / "documents.csv")}))


def test_a_name_with_a_line_end_stands_in_one_line(tmp_path):
    (tmp_path / "a\nb.csv").write_text("anchor,positive\n,x\n")
    source = params.Pairs(kind="pairs", path=str(tmp_path), pairs="a\nb.csv")
    found = read(source)
    assert [row["origin"] for row in found["rejected"]] == ["a\\nb.csv"]


@pytest.mark.parametrize(
    "keys",
    [
        {"anchor": "q", "positive": "q"},
        {"negatives": ["n", "n"]},
        {"positive": "n", "negatives": ["n"]},
        {"text": "a", "document_id": "a"},
    ],
)
def test_a_column_that_is_named_twice_is_refused(keys):
    with pytest.raises(ValueError, match=r"must name each column of a file once, but [qna] comes twice"):
        params.Pairs(kind="pairs", path=".", pairs="p.csv", **keys)


@pytest.mark.parametrize("negatives", ["", ',"[""no"", ""never""]"'])
def test_positives_that_are_lists_written_as_strings_are_refused(tmp_path, negatives):
    header = "anchor,positive" + (",negative" if negatives else "")
    (tmp_path / "p.csv").write_text(
        f"{header}\n" + "".join(f'why {i},"[""so {i}"", ""and"" ]"{negatives}\n' for i in range(9))
    )
    with pytest.raises(ValueError, match=r"column positive must hold texts, .* 9 are lists written as .*JSON Lines"):
        params.Pairs(kind="pairs", path=str(tmp_path), pairs="p.csv").readings()
