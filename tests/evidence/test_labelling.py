"""A labelled sample of the mined negatives: what is drawn, what is read back, and whether the interval holds."""

import csv
import json
import re
import shutil
import types

import fsspec
import numpy as np
import planted
import pytest
import scipy.special
import whole_path
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gangue.pipeline import params
from gangue.pipeline.command import cli
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import labelling, other_cuts


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job that lets planted false negatives through, and knows them."""
    folder = tmp_path_factory.mktemp("labelling")
    false = planted.write(folder)
    stack = {"kind": "learned", "p_false": 1.0}
    p = params.parse(planted.sections(folder, filter=stack, sample={"kind": "top", "score": "dense", "negatives": 8}))
    data = Data(str(folder / "data"))
    whole_path.run(data, p)
    return types.SimpleNamespace(folder=folder, data=data, false=false, p=p)


def drawn(job, tmp_path, pairs=60, seed=1):
    labelling.draw(job.data, job.p, Data(str(tmp_path)), pairs, seed)
    return [json.loads(line) for line in (tmp_path / "to_label.jsonl").read_text().splitlines()]


def answered(job, rows):
    return [{**row, "label": int((row["query_id"], row["document_id"]) in job.false)} for row in rows]


def written(tmp_path, rows, name="labels.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_half_of_what_is_drawn_are_mined_negatives_each_once_with_texts_and_no_label(job, tmp_path):
    rows = drawn(job, tmp_path, 120)
    mined = {(r["query_id"], r["negative_id"]): r for r in job.data.read_all("triplets").to_pylist()}
    keys = [(row["query_id"], row["document_id"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {(row["pairs"], row["seed"], row["drawn"]) for row in rows} == {(60, 1, len(rows))}
    of_mined = [(key, row) for key, row in zip(keys, rows, strict=True) if row["mined"]]
    assert abs(len(of_mined) - 60) < 25
    for key, row in of_mined:
        assert (row["query"], row["document"]) == (mined[key]["query"], mined[key]["negative"])
        assert row["p_false"] == pytest.approx(mined[key]["p_false"], abs=1e-6)
        assert mined[key]["positive"] in row["positives"]
        assert row["label"] is None
    assert keys != sorted(keys), "their order says nothing"
    with (tmp_path / "to_label.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["query_id"], row["document_id"]) for row in table] == keys


def test_the_other_half_is_what_other_cuts_would_mine_from_surely_right_to_surely_false(job, tmp_path):
    rows = [row for row in drawn(job, tmp_path, 120) if not row["mined"]]
    assert abs(len(rows) - 60) < 25
    mined = {(r["query_id"], r["negative_id"]) for r in job.data.read_all("triplets").to_pylist()}
    known = {(r["query_id"], r["document_id"]) for r in job.data.read_all("positives").to_pylist()}
    texts = {
        name: {r[f"{name}_id"]: r["text"] for r in job.data.read_all(dataset).to_pylist()}
        for name, dataset in (("query", "queries"), ("document", "documents"))
    }
    for row in rows:
        assert (row["query_id"], row["document_id"]) not in mined | known
        assert texts["query"][row["query_id"]] == row["query"]
        assert row["document"].endswith(texts["document"][row["document_id"]])
        ends = [texts["document"][document] for query, document in known if query == row["query_id"]]
        assert sorted(row["positives"]) == sorted(set(row["positives"]))
        assert all(any(found.endswith(end) for end in ends) for found in row["positives"])
        assert len(row["positives"]) == len(set(ends))
    odds = scipy.special.logit([row["p_false"] for row in rows])
    assert np.ptp(odds) > 4.0
    per_quarter = np.histogram(odds, 4)[0]
    assert per_quarter.min() >= 3, per_quarter


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 80))
def test_pairs_of_other_cuts_are_spread_as_evenly_as_there_are(p_false, count):
    chance = other_cuts.spread(np.array(p_false), count)
    assert ((chance > 0) & (chance <= 1)).all()
    assert chance.sum() == pytest.approx(min(count, len(p_false)))


def test_the_interval_covers_the_true_share_and_narrows_with_more_labels(job, tmp_path):
    pairs = {(r["query_id"], r["negative_id"]) for r in job.data.read_all("triplets").to_pylist()}
    truth = np.mean([pair in job.false for pair in pairs])
    assert truth > 0.1, "the corpus must be hard"
    covered, widths = [], []
    for count in (60, 200):
        of_count = []
        for seed in range(12):
            rows = answered(job, drawn(job, tmp_path, count, seed))
            found = labelling.measure(job.data, written(tmp_path, rows))
            assert found["negatives"] == len(pairs)
            assert found["labelled"] == sum(row["mined"] for row in rows)
            covered.append(found["low"] <= truth <= found["high"])
            of_count.append(found["high"] - found["low"])
        widths.append(np.mean(of_count))
    assert np.mean(covered) > 0.9
    assert widths[1] < widths[0]


def test_labels_come_back_from_a_csv_as_people_write_them(job, tmp_path):
    rows = answered(job, drawn(job, tmp_path))
    plain = labelling.measure(job.data, written(tmp_path, rows))
    with (tmp_path / "to_label.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for said in (("1", "0"), ("Yes", "no"), ("TRUE", "False")):
        with (tmp_path / "filled.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(
                {**line, "label": said[0] if row["label"] else said[1]} for line, row in zip(table, rows, strict=True)
            )
        assert labelling.measure(job.data, str(tmp_path / "filled.csv")) == plain


def test_labels_come_back_from_a_store(job, tmp_path):
    path = written(tmp_path, answered(job, drawn(job, tmp_path)))
    place = f"memory://{path}"
    with pytest.raises(FileNotFoundError, match=f"^{place}: no such file"):
        labelling.measure(job.data, place)
    fsspec.filesystem("memory").put_file(path, path)
    assert labelling.measure(job.data, place) == labelling.measure(job.data, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: [{**rows[0], "label": "perhaps"}, *rows[1:]],
            r":1: label must be 1 .* or 0, got 'perhaps'; 1 of the \d+ ",
        ),
        (
            lambda rows: [*rows[:-3], *({**row, "label": None} for row in rows[-3:])],
            r"label must be 1 .* got None; 3 of the \d+ pairs that were drawn have no label. Leave no pair out",
        ),
        (lambda rows: rows[1:], r"1 of \d+ lack, such as"),
        (lambda rows: [*rows, {**rows[0], "document_id": "other"}], r"were not asked for, such as .*other"),
        (
            lambda rows: [*rows, {**rows[0], "label": 1 - rows[0]["label"]}],
            r"a pair must have one label, .* has \d here and \d in line 1. Settle it",
        ),
        (
            lambda rows: [*rows, *({**row, "label": 1 - row["label"]} for row in rows if not row["mined"])],
            r"a pair must have one label, .* Settle it",
        ),
        (
            lambda rows: [{k: v for k, v in row.items() if k != "mined"} for row in rows],
            r"with its columns pairs and seed, drawn and mined, as it wrote them",
        ),
        (
            lambda rows: [{k: v for k, v in row.items() if k != "seed"} for row in rows],
            r"with its columns pairs and seed",
        ),
        (lambda rows: [], r"must hold labelled pairs, holds none"),
        (
            lambda rows: [{**row, "seed": 99} for row in rows],
            r"must label the pairs that were drawn from these triplets",
        ),
    ],
)
def test_labels_that_cannot_be_used_are_refused_with_the_line(job, tmp_path, change, message):
    rows = answered(job, drawn(job, tmp_path))
    with pytest.raises(ValueError, match=message):
        labelling.measure(job.data, written(tmp_path, change(rows)))


def test_a_sample_that_is_not_labelled_whole_is_no_labels_of_a_job_either(job, tmp_path):
    rows = drawn(job, tmp_path)
    labels = answered(job, rows)
    told = params.Labels(path=str(tmp_path / "labels"))

    def read(*files):
        shutil.rmtree(told.path, ignore_errors=True)
        (tmp_path / "labels").mkdir()
        for number, of_file in enumerate(files):
            written(tmp_path / "labels", of_file, f"{number}.jsonl")
        found = list(told.records())
        assert {record.dataset for record in found} <= {"judged", "positives"}
        return [record for record in found if record.dataset == "judged"]

    gaps = [{**row, "label": float("nan")} for row in rows]  # as pandas writes them
    lack = f"; {len(rows) - 9} of the {len(rows)} pairs that were drawn have no label. Leave no pair out"
    assert len(read(labels)) == len(rows)
    assert len(read([*labels[:9], *rows[9:]], [*rows[:9], *labels[9:]])) == len(rows), "of two people"
    for files, message in (
        ([[*labels[:9], *rows[9:]]], rf"0\.jsonl:10: label must be 1 .* got None{lack}"),
        ([[*labels[:9], *gaps[9:]]], rf"0\.jsonl:10: label must be 1 .* got nan{lack}"),
        ([labels[:9]], rf"labels must hold every row of a sample that was drawn{lack}"),
        ([labels[:9], [{**row, "seed": 2} for row in labels[9:]]], f"every row of a sample that was drawn{lack}"),
        ([rows], r"0\.jsonl:1: label must be 1"),
    ):
        with pytest.raises(ValueError, match=message):
            read(*files)


def test_pairs_of_a_list_that_was_not_drawn_may_have_no_label(job, tmp_path, capfd):
    rows = [{name: row[name] for name in ("query_id", "document_id", "label")} for row in drawn(job, tmp_path)]
    path = written(tmp_path, [*({**row, "label": 1} for row in rows[:9]), *rows[9:]], "own.jsonl")
    found = list(params.Labels(path=path).records())
    assert [record.dataset for record in found] == ["judged", "positives"] * 9
    assert f"{len(rows) - 9} of {len(rows)} pairs in own.jsonl have no label" in capfd.readouterr().err


def test_files_that_are_none_are_refused(job, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file. gangue sample-for-labels writes one"):
        labelling.measure(job.data, str(tmp_path / "none.jsonl"))
    (tmp_path / "list.jsonl").write_text("[1]\n")
    with pytest.raises(ValueError, match=r"list\.jsonl:1: must be a labelled pair, but is not a JSON object"):
        labelling.measure(job.data, str(tmp_path / "list.jsonl"))
    (tmp_path / "half.jsonl").write_text('{"a"')
    with pytest.raises(ValueError, match=r"half\.jsonl:1: must be a labelled pair, but is invalid JSON"):
        labelling.measure(job.data, str(tmp_path / "half.jsonl"))


def test_the_commands_draw_and_measure(job, tmp_path):
    places = [f"--data={job.folder / 'data'}", f"--reports={tmp_path}"]
    (tmp_path / "params.yaml").write_text(job.p.model_dump_json(exclude_unset=True))
    ask = ["sample-for-labels", "--pairs", "40", f"--params={tmp_path / 'params.yaml'}", *places]
    done = CliRunner().invoke(cli.app, ask)
    assert done.exit_code == 0, done.output
    assert "Fill in label" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "to_label.jsonl").read_text().splitlines()]
    done = CliRunner().invoke(cli.app, ["labels", written(tmp_path, answered(job, rows)), *places])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "labels.json").read_text())
    assert f"{found['share']:.1%} of the {found['negatives']} negatives are false" in done.stdout
    assert f"by {sum(row['mined'] for row in rows)} labels" in done.stdout
    assert labelling.measured(job.data, Data(str(tmp_path))) == found
    (tmp_path / "labels.json").write_text(json.dumps({**found, "of": "other negatives"}))
    assert labelling.measured(job.data, Data(str(tmp_path))) is None, "of a run before"


def test_a_sheet_with_empty_rows_is_read_and_one_that_lacks_something_is_refused_by_what_it_lacks(job, tmp_path):
    rows = answered(job, drawn(job, tmp_path))
    expected = labelling.measure(job.data, written(tmp_path, rows))
    path = tmp_path / "sheet.csv"

    def measured(rows, columns, *, after=""):
        with path.open("w", newline="") as file:
            sheet = csv.DictWriter(file, columns, extrasaction="ignore")
            sheet.writeheader()
            sheet.writerows({**row, "positives": "; ".join(row["positives"])} for row in rows)
            file.write(after)
        return labelling.measure(job.data, str(path))

    columns = list(rows[0])
    assert measured(rows, columns, after="," * (len(columns) - 1) + "\n") == expected
    for name in ("mined", "pairs", "seed", "drawn"):
        with pytest.raises(
            ValueError, match=r"must be one file .* columns pairs and seed, drawn and mined, as it wrote them$"
        ):
            measured(rows, [column for column in columns if column != name])
    others = [{**row, "seed": row["seed"] + (number > 4)} for number, row in enumerate(rows)]
    with pytest.raises(ValueError, match=r"as it wrote them; lines 2 and 7 differ"):
        measured(others, columns)
    mined = [row for row in rows if row["mined"]]
    with pytest.raises(
        ValueError, match=rf"must hold every row that was drawn; {len(rows) - len(mined)} of the {len(rows)}"
    ):
        measured(mined, columns)


@pytest.mark.parametrize("command", ["sample-for-labels", "frontier"])
def test_params_of_another_job_are_named_in_a_line(job, tmp_path, command):
    path = tmp_path / "params.yaml"
    values = json.loads(job.p.model_dump_json(exclude_unset=True))
    values["retrievers"]["other"] = values["retrievers"]["dense"]
    path.write_text(json.dumps(values))
    places = [f"--params={path}", f"--data={job.folder / 'data'}", f"--reports={tmp_path}"]
    done = CliRunner().invoke(cli.app, [command, *places])
    assert done.exit_code == 1
    assert (
        f"{path}: must name what {job.folder / 'data'} was mined with, which knows no retrievers.other" in done.output
    )


@pytest.mark.parametrize("command", ["sample-for-labels", "frontier"])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ingest": {"near_duplicate": 0.6}}, r"was mined with, where ingest was \{"),
        ({"labels": {"wrong": 0.1}}, r"was mined with, where labels was \{"),
        ({"retrievers": {"bm25": {"kind": "bm25", "depth": 7}}}, r"was mined with, where retrievers was \{"),
    ],
)
def test_params_of_another_job_by_the_same_names_are_named_in_a_line(job, tmp_path, command, changed, said):
    path = tmp_path / "params.yaml"
    values = json.loads(job.p.model_dump_json(exclude_unset=True))
    path.write_text(json.dumps(values | {name: values.get(name, {}) | more for name, more in changed.items()}))
    places = [f"--params={path}", f"--data={job.folder / 'data'}", f"--reports={tmp_path}"]
    done = CliRunner().invoke(cli.app, [command, *places])
    assert done.exit_code == 1
    assert re.search(said, done.output), done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("command", ["sample-for-labels", "frontier"])
def test_what_two_runs_left_together_is_named_in_a_line(job, tmp_path, command):
    shutil.copytree(job.folder / "data", tmp_path / "data")
    data, path = Data(str(tmp_path / "data")), tmp_path / "params.yaml"
    path.write_text(job.p.model_dump_json(exclude_unset=True))
    shard = data.shards("pairs")[0]
    data.write("pairs", shard, data.read("pairs", shard).slice(1), intermediate=True, anew=True)  # as pool would have
    data.commit("pairs")
    done = CliRunner().invoke(cli.app, [command, f"--params={path}", f"--data={data.root}", f"--reports={tmp_path}"])
    assert done.exit_code == 1
    assert re.search(r"relevance: must be of the pairs that are there, .*Mine again", done.output), done.output


def test_what_each_cut_lets_through_is_printed_for_the_cut_that_was_chosen_too(tmp_path):
    planted.write(tmp_path, topics=30, labelled=1)
    stack = {"kind": "learned", "max_false_negatives": 0.2}
    values = planted.sections(tmp_path, filter=stack, sample={"kind": "top", "score": "dense", "negatives": 2})
    p, data, path = params.parse(values), Data(str(tmp_path / "data")), tmp_path / "params.yaml"
    whole_path.run(data, p)
    cut = data.read_note("calibration", "cut.json")["cut"]
    command = ["frontier", f"--params={path}", f"--data={data.root}", f"--reports={tmp_path}"]
    path.write_text(p.model_dump_json(exclude_unset=True))
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    printed = [line.split() for line in done.stdout.splitlines()]
    assert f"{cut:.4g}" in {row[1] for row in printed if row[:1] == ["learned"]}
    budgeted = p.model_dump_json(exclude_unset=True)
    for other in (
        {"kind": "learned", "p_false": 0.1},
        {"kind": "margin", "score": "dense", "max_false_negatives": 0.2},
    ):
        path.write_text(json.dumps(json.loads(budgeted) | {"filter": other}))
        done = CliRunner().invoke(cli.app, command)
        assert done.exit_code == 0, done.output
        assert not any(line.startswith("margin") for line in done.stdout.splitlines())
    whole_path.run(data, params.parse(json.loads(budgeted) | {"filter": {"kind": "learned", "p_false": 0.1}}))
    path.write_text(budgeted)
    assert "is known when it was mined with this budget" in CliRunner().invoke(cli.app, command).stdout


def test_a_job_without_p_false_says_what_to_mine_with(tmp_path):
    planted.write(tmp_path, topics=8)
    p = params.parse(planted.sections(tmp_path, filter={"kind": "naive"}))
    data = Data(str(tmp_path / "data"))
    whole_path.run(data, p)
    with pytest.raises(ValueError, match=r"triplets: must carry p_false.*filter\.kind: learned"):
        labelling.draw(data, p, Data(str(tmp_path)), 10, 1)


def test_a_sheet_as_a_spreadsheet_saves_it_is_read(job, tmp_path):
    rows = answered(job, drawn(job, tmp_path))
    expected = labelling.measure(job.data, written(tmp_path, rows))
    path = tmp_path / "sheet.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        sheet = csv.DictWriter(file, list(rows[0]), delimiter=";", lineterminator="\r\n")
        sheet.writeheader()
        sheet.writerows({**row, "positives": "; ".join(row["positives"])} for row in rows)
    assert labelling.measure(job.data, str(path)) == expected


def test_of_other_negatives_another_sample_is_drawn(job):
    every = labelling.negatives_of(job.data)
    fewer = labelling.Negatives(every.table[1:], every.predicted[1:])
    one, other = every.drawn(60, 13)[1][1:], fewer.drawn(60, 13)[1]
    assert 0 < (one & other).sum() < min(one.sum(), other.sum())


@pytest.mark.parametrize("changed", [{"seed": 10**30}, {"seed": -1}, {"pairs": 0}])
def test_a_draw_that_none_was_is_refused(job, tmp_path, changed):
    rows = answered(job, drawn(job, tmp_path))
    with pytest.raises(ValueError, match=r"labels.jsonl: (must be one file|pairs must be at least 1)"):
        labelling.measure(job.data, written(tmp_path, [{**row, **changed} for row in rows]))
