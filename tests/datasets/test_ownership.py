"""The user's files are never touched, and one job at a time writes into a folder."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from models import static_encoder
from typer.testing import CliRunner

from gangue.pipeline import mine
from gangue.pipeline.command import cli
from gangue.transforms.datasets import occupancy
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data

TABLE = pa.table({"document_id": ["a"], "text": ["x"]})


def write_job(folder, word="river", pairs=6, views=("triplet",), **changes):
    """A job without models: a CSV of pairs and its params."""
    (folder / "source").mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{word} question {i},{word} stone answer {i}\n" for i in range(pairs))
    (folder / "source" / "pairs.csv").write_text("q,p\n" + rows)
    values = {
        "source": {
            "kind": "pairs",
            "path": str(folder / "source"),
            "pairs": "pairs.csv",
            "anchor": "q",
            "positive": "p",
        },
        "retrievers": {"bm25": {"kind": "bm25", "depth": 20}},
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "bm25", "negatives": 2},
        "export": {"views": list(views)},
    } | changes
    (folder / "params.yaml").write_text(json.dumps(values))


def run(folder, *arguments, data="data", reports="reports"):
    places = ["--params", str(folder / "params.yaml"), "--data", str(folder / data), "--reports", str(folder / reports)]
    return CliRunner().invoke(cli.app, ["mine", *places, *arguments])


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(done, *words):
    assert done.exit_code == 1, done.output
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("gangue: ")
    for word in words:
        assert word in last


FOREIGN = {
    "documents/d.csv": b"document_id,text\n",
    "documents/part-00000-of-00001.parquet": None,  # as Beam's own writer names them
    "documents/part-00000-of-00001-0123456789abcdef.parquet": None,
    "triplets/.manifest.json": b'{"name": "an app", "version": 3, "files": []}',
    "triplets/notes.txt": b"mine",
    "views/triplet/train.jsonl": b"{}",
    "candidates/bm25/run.trec": b"q0 Q0 d0 1",
    "quotas/bm25/budget 2026.json": b"{}",
    "queries/.secret": b"of the user",
    "README.md": b"# my notes\n",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_the_users_is_neither_replaced_nor_removed(tmp_path, name):
    write_job(tmp_path)
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True)
    if FOREIGN[name] is None:
        pq.write_table(TABLE, path)
    else:
        path.write_bytes(FOREIGN[name])
    before = tree(tmp_path / "data")
    refused(run(tmp_path), str(path), "must be written by Gangue", "--data")
    assert tree(tmp_path / "data") == before


@pytest.mark.parametrize("name", ["triplets/notes.txt", "vectors.bak/x", "audit/mine.parquet"])
def test_nor_is_one_that_came_between_two_runs(tmp_path, name):
    write_job(tmp_path)
    assert run(tmp_path).exit_code == 0
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("of the user")
    done = run(tmp_path)
    assert done.exit_code == (0 if name.startswith("vectors.bak") else 1)
    assert path.read_text() == "of the user"


@pytest.mark.parametrize("where", ["data", "data/raw", "link/raw"])
def test_a_source_among_the_datasets_is_refused(tmp_path, where):
    write_job(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    shutil.copytree(tmp_path / "source", tmp_path / where, dirs_exist_ok=True)
    write_job(
        tmp_path, source={**json.loads((tmp_path / "params.yaml").read_text())["source"], "path": str(tmp_path / where)}
    )
    before = tree(tmp_path / "data")
    refused(run(tmp_path), "source.path", "must not be in the folder of the datasets")
    assert tree(tmp_path / "data") == before


@pytest.mark.parametrize("written", ["--data", "source", "both"])
def test_a_file_scheme_is_the_plain_path(tmp_path, written):
    write_job(tmp_path)
    values, scheme = json.loads((tmp_path / "params.yaml").read_text()), "file://"
    source = f"{scheme * (written != '--data')}{tmp_path}/source"
    write_job(tmp_path, source={**values["source"], "path": source})
    root = f"{scheme * (written != 'source')}{tmp_path}"
    places = ["--params", f"file://{tmp_path}/params.yaml", "--reports", f"file://{tmp_path}/reports"]
    refused(
        CliRunner().invoke(cli.app, ["mine", "--data", root, *places]),
        f"source.path: {tmp_path}/source must not be in the folder of the datasets, {tmp_path},",
    )
    done = CliRunner().invoke(cli.app, ["mine", "--data", f"{root}/data", *places])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "reports" / "report.html").exists()
    assert Data(str(tmp_path / "data")).exists("triplets")


@pytest.mark.parametrize("option", ["--data", "--reports", "--params", "source.path", "labels.path"])
def test_a_scheme_with_one_slash_makes_no_folder(tmp_path, option, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_job(tmp_path)
    places = {"--params": "params.yaml", "--data": "data", "--reports": "reports"}
    if option in places:
        places[option] = "s3:/bucket/job"
    else:
        values = json.loads((tmp_path / "params.yaml").read_text())
        section, key = option.split(".")
        values.setdefault(section, {})[key] = "s3:/bucket/job"
        write_job(tmp_path, **{section: values[section]})
    done = CliRunner().invoke(cli.app, ["mine", *(word for place in places.items() for word in place)])
    refused(done, "s3:/bucket/job: must have :// after its scheme s3", "Write s3://bucket/job, or ./s3:/bucket/job")
    assert {path.name for path in tmp_path.iterdir()} == {"source", "params.yaml"}


@pytest.mark.parametrize("home", ["~", "./a::b", "a::b"])
def test_a_tilde_is_the_users_home_and_two_colons_may_be_in_a_name(tmp_path, home, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "a::b"))
    static_encoder(tmp_path / "a::b" / "encoder")
    write_job(
        tmp_path / "a::b",
        encoders={"tiny": {"model": f"{home}/encoder"}},
        retrievers={"bm25": {"kind": "bm25"}, "dense": {"kind": "dense", "encoder": "tiny"}},
        source={"kind": "pairs", "path": f"{home}/source", "pairs": "pairs.csv", "anchor": "q", "positive": "p"},
        labels={"path": f"{home}/labels"},
    )
    (tmp_path / "a::b" / "labels").mkdir()
    places = {"--params": f"{home}/params.yaml", "--data": f"{home}/data", "--reports": f"{home}/reports"}
    done = CliRunner().invoke(cli.app, ["mine", *(word for place in places.items() for word in place)])
    assert done.exit_code == 0, done.output
    assert os.listdir(tmp_path) == ["a::b"]
    assert Data(str(tmp_path / "a::b" / "data")).rows("triplets") == [12]


def test_a_scheme_in_capitals_is_the_same_and_an_unknown_one_a_line(tmp_path):
    write_job(tmp_path)
    source = json.loads((tmp_path / "params.yaml").read_text())["source"]
    assert Data("MEMORY://job").root == "memory://job"
    write_job(tmp_path, source={**source, "path": "foo://bucket"})
    refused(run(tmp_path), "foo://bucket: needs a package for such paths: Protocol not known: foo")


def test_a_source_whose_file_lies_among_the_datasets_is_refused(tmp_path):
    write_job(tmp_path)
    source = {
        "kind": "tables",
        "path": str(tmp_path),
        "documents": "data/documents",
        "queries": "q.csv",
        "positives": "p.csv",
    }
    write_job(tmp_path, source=source)
    refused(run(tmp_path), "source.documents", "must not be in the folder of the datasets")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("option", ["data", "reports"])
def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path, option):
    write_job(tmp_path)
    (tmp_path / "taken").write_text("mine")
    refused(run(tmp_path, **{option: "taken"}), f"--{option}", "must be a folder, got a file")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["report.html", "metrics.json", "audit.json", "plots/verdicts.svg", "plots/score_bm25.svg"]
)
def test_a_report_of_the_users_stays(tmp_path, name):
    write_job(tmp_path)
    assert run(tmp_path).exit_code == 0
    path = tmp_path / "reports" / name
    path.write_text("my thesis")
    refused(run(tmp_path), name, "must be written by Gangue", "--reports")
    places = {key: str(tmp_path / value) for key, value in (("params", "params.yaml"), ("data", "data"))}
    alone = ["audit", *(f"--{key}={value}" for key, value in places.items()), f"--reports={tmp_path / 'reports'}"]
    refused(CliRunner().invoke(cli.app, alone), name, "must be written by Gangue", "--reports")
    assert path.read_text() == "my thesis"
    path.unlink()
    assert CliRunner().invoke(cli.app, alone).exit_code == 0
    assert path.exists()


def test_a_card_of_the_users_is_not_replaced_by_export_alone(tmp_path):
    write_job(tmp_path)
    assert run(tmp_path).exit_code == 0
    (tmp_path / "data" / "README.md").write_text("my notes")
    alone = ["export", f"--params={tmp_path / 'params.yaml'}", f"--data={tmp_path / 'data'}"]
    refused(CliRunner().invoke(cli.app, alone), "README.md", "must be written by Gangue", "--data")
    assert (tmp_path / "data" / "README.md").read_text() == "my notes"


def test_what_a_look_at_a_job_writes_replaces_no_file_of_the_users(tmp_path):
    write_job(tmp_path, filter={"kind": "learned", "max_false_negatives": 0.5})
    with (tmp_path / "source" / "pairs.csv").open("a") as file:
        file.write("".join(f"river question {i},river water reply {i}\n" for i in range(6)))  # positives to hide
    assert run(tmp_path).exit_code == 0
    reports = tmp_path / "reports"
    places = [f"--data={tmp_path / 'data'}", f"--reports={reports}"]
    ask = ["sample-for-labels", "--pairs", "5", f"--params={tmp_path / 'params.yaml'}", *places]
    assert CliRunner().invoke(cli.app, ask).exit_code == 0
    rows = [json.loads(line) for line in (reports / "to_label.jsonl").read_text().splitlines()]
    filled = "".join(json.dumps({**row, "label": 0}) + "\n" for row in rows)
    (tmp_path / "filled.jsonl").write_text(filled)
    labels = ["labels", str(tmp_path / "filled.jsonl"), *places]
    frontier = ["frontier", f"--params={tmp_path / 'params.yaml'}", *places]
    for command, name in ((labels, "labels.json"), (frontier, "frontier.json"), (frontier, "frontier.svg")):
        (reports / name).write_text(filled)
        refused(CliRunner().invoke(cli.app, command), name, "must be written by Gangue", "--reports")
        assert (reports / name).read_text() == filled
        (reports / name).unlink()
        for _ in range(2):  # what Gangue wrote is replaced
            done = CliRunner().invoke(cli.app, command)
            assert done.exit_code == 0, done.output
        assert (reports / name).exists()


def test_what_gangue_wrote_may_be_replaced_damaged_or_not(tmp_path):
    data = Data(str(tmp_path))
    data.write("things", "part-00000-of-00001", TABLE)
    data.commit("things")
    path = tmp_path / "things" / data.files("things")[0]
    for content in (path.read_bytes(), path.read_bytes()[:-9], b""):
        path.write_bytes(content)
        with data.staging("things"):
            data.write(staged("things"), "part-00000-of-00001", TABLE)
        data.publish("things")
        assert data.rows("things") == [1]


def test_labels_that_somebody_filled_in_are_not_drawn_over(tmp_path):
    write_job(tmp_path, filter={"kind": "learned", "max_false_negatives": 0.5})
    assert run(tmp_path).exit_code == 0
    places = ["--data", str(tmp_path / "data"), "--reports", str(tmp_path / "reports")]
    ask = ["sample-for-labels", "--pairs", "5", f"--params={tmp_path / 'params.yaml'}", *places]
    assert CliRunner().invoke(cli.app, ask).exit_code == 0
    assert CliRunner().invoke(cli.app, ask).exit_code == 0, "nobody has filled in anything"
    path = tmp_path / "reports" / "to_label.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["label"] = 0
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused(CliRunner().invoke(cli.app, ask), "to_label.jsonl", "must hold no labels")
    assert json.loads(path.read_text().splitlines()[0])["label"] == 0
    path.unlink()
    path.with_suffix(".csv").write_text("sentence,mark\nof the user,3\n")
    refused(CliRunner().invoke(cli.app, ask), "to_label.csv", "must hold no labels")
    assert path.with_suffix(".csv").read_text() == "sentence,mark\nof the user,3\n"


@pytest.mark.parametrize(
    "modules",
    [["pipeline/__init__.py", "transforms/__init__.py", "transforms/text.py", "tests/__init__.py"], ["pipeline.py"]],
)
def test_packages_of_the_users_with_the_same_names_are_not_taken_for_gangues(tmp_path, modules):
    write_job(tmp_path)
    for name in modules:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('this is not Gangue')")
    command = [str(pathlib.Path(sys.executable).with_name("gangue")), "mine", "--params", "params.yaml"]
    for path in (str(tmp_path), "."):
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "12 triplets" in done.stdout


# One job at a time.


def test_a_second_job_in_the_folder_is_refused_by_name_and_the_first_goes_on(tmp_path):
    write_job(tmp_path)
    data = Data(str(tmp_path / "data"))
    with occupancy.occupied(data, "gangue mine"):
        refused(run(tmp_path), "one job at a time", f"process {os.getpid()}", "--data")
        assert occupancy.last_end(data) is None
    assert run(tmp_path).exit_code == 0


def test_a_killed_job_leaves_no_lock_and_is_remembered(tmp_path):
    data = Data(str(tmp_path / "data"))
    code = (
        "import sys, time\nfrom gangue.transforms.datasets import occupancy\n"
        "from gangue.transforms.datasets.storage import Data\n"
        "with occupancy.occupied(Data(sys.argv[1]), 'gangue mine'):\n    print('in', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, data.root], stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout.readline() == "in\n"
        with pytest.raises(ValueError, match=f"gangue mine .process {job.pid}. does"), occupancy.occupied(data, "x"):
            pass
        job.send_signal(signal.SIGKILL)
    assert occupancy.last_end(data) == f"gangue mine (process {job.pid})"
    with occupancy.occupied(data, "gangue mine"):
        pass
    assert occupancy.last_end(data) is None


def test_a_lock_that_may_not_be_written_goes_only_if_no_job_holds_it(tmp_path, monkeypatch):
    data = Data(str(tmp_path / "data"))
    with occupancy.occupied(data, "gangue mine"):
        monkeypatch.setattr(os, "access", lambda *_: False)  # as DVC leaves it, or another user's
        with pytest.raises(ValueError, match="one job at a time"), occupancy.occupied(data, "gangue mine"):
            pass
        assert (tmp_path / "data" / occupancy.NAME).exists()
    with occupancy.occupied(data, "gangue mine"):
        pass


def test_two_jobs_at_once_leave_one_whole_job(tmp_path):
    write_job(tmp_path)
    command = [
        sys.executable,
        "-c",
        "from gangue.pipeline.command.cli import main; main()",
        "mine",
        "--params",
        "params.yaml",
    ]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for _ in range(2)
        if time.sleep(0.3) is None
    ]
    ends = [(job.communicate()[1], job.returncode) for job in both]
    assert sorted(code for _, code in ends) in ([0, 0], [0, 1])
    assert all("one job at a time" in said for said, code in ends if code)
    assert Data(str(tmp_path / "data")).rows("triplets") == [12]


# A second run is never mixed with the first.


def test_views_and_candidates_that_the_params_no_longer_name_go(tmp_path):
    write_job(tmp_path, views=("triplet", "ntuple"))
    assert run(tmp_path).exit_code == 0
    shutil.copytree(tmp_path / "data" / "candidates" / "bm25", tmp_path / "data" / "candidates" / "splade")
    (tmp_path / "data" / "views" / "of_the_user").mkdir()
    (tmp_path / "data" / "views" / "of_the_user" / "a.csv").write_text("a")
    write_job(tmp_path, word="lake", views=("triplet",))
    assert run(tmp_path).exit_code == 0
    assert sorted(os.listdir(tmp_path / "data" / "views")) == ["of_the_user", "triplet"]
    assert os.listdir(tmp_path / "data" / "candidates") == ["bm25"]


def test_drawings_of_scores_that_the_params_no_longer_name_go_and_the_users_stay(tmp_path):
    write_job(tmp_path, retrievers={name: {"kind": "bm25", "depth": 20} for name in ("bm25", "other")})
    assert run(tmp_path).exit_code == 0
    assert sorted(os.listdir(tmp_path / "reports" / "plots")) == ["score_bm25.svg", "score_other.svg", "verdicts.svg"]
    (tmp_path / "reports" / "plots" / "score_mine.svg").write_text("<svg/>")
    write_job(tmp_path)
    assert run(tmp_path).exit_code == 0
    assert sorted(os.listdir(tmp_path / "reports" / "plots")) == ["score_bm25.svg", "score_mine.svg", "verdicts.svg"]


def test_two_jobs_in_one_process_stay_in_their_folders(tmp_path, monkeypatch):
    for word in ("river", "lake"):
        write_job(tmp_path / word, word)
        monkeypatch.chdir(tmp_path / word)
        mine.run("params.yaml", "data", "reports")
    for word in ("river", "lake"):
        data = Data(str(tmp_path / word / "data"))
        assert {row["query"].split()[0] for row in data.read_all("triplets").to_pylist()} == {word}
        assert (tmp_path / word / "reports" / "report.html").exists()


def test_a_relative_folder_is_meant_from_where_it_was_given(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    data = Data("things")
    monkeypatch.chdir(tmp_path / "b")
    data.write("x", "part-00000-of-00001", TABLE)
    assert (tmp_path / "a" / "things" / "x").is_dir()
    assert not list((tmp_path / "b").iterdir())


def summary(folder, data="data", reports="reports"):
    places = [
        "--params",
        str(folder / "params.yaml"),
        "--data",
        str(folder / data),
        "--reports",
        str(folder / reports),
    ]
    return CliRunner().invoke(cli.app, ["summary", *places])


def test_summary_says_whose_numbers_it_shows(tmp_path):
    write_job(tmp_path)
    refused(summary(tmp_path), "no triplets have been mined", "gangue mine")
    assert run(tmp_path).exit_code == 0
    good = summary(tmp_path).output
    assert "12 triplets from 6 queries" in good
    assert "6 of 6 positives have all 2 negatives" in good
    assert "Note" not in good

    write_job(tmp_path, sample={"kind": "top", "score": "bm25", "negatives": 1})
    said = summary(tmp_path).output
    assert "an earlier run's" in said
    assert "all 2 negatives" in said, "what it shows is of the earlier run, and so is the quota"

    write_job(tmp_path)
    (tmp_path / "source" / "pairs.csv").write_text("q,p\n")
    assert run(tmp_path).exit_code == 1
    said = summary(tmp_path).output
    assert "the last run did not end well: gangue mine:" in said
    assert "12 triplets from 6 queries" in said

    write_job(tmp_path, pairs=8)
    assert run(tmp_path).exit_code == 0
    assert "Note" not in summary(tmp_path).output
    (tmp_path / "reports" / "audit.json").unlink()
    assert "there is no report of these triplets" in summary(tmp_path).output


def test_a_report_of_another_job_is_told_when_it_is_replaced_and_when_it_was(tmp_path):
    told = f"gangue mine: {tmp_path}/reports has the report of other triplets than those of {tmp_path}/"
    write_job(tmp_path)
    assert told not in run(tmp_path).stderr
    write_job(tmp_path, sample={"kind": "top", "score": "bm25", "negatives": 1})
    assert told not in run(tmp_path).stderr, "its own, of other params"
    write_job(tmp_path)
    assert told + "second, which will be replaced" in run(tmp_path, data="second").stderr
    assert "Note" not in summary(tmp_path, data="second").output
    said = summary(tmp_path).output
    assert f"the report is of other triplets, in {tmp_path}/reports: theirs is in another folder, or another" in said
    assert "audit did not run" not in said
    assert "there is no report of these triplets, in " in summary(tmp_path, reports="none").output
    assert told + "data, which" in run(tmp_path).stderr
    assert "Note" not in summary(tmp_path).output


def test_a_folder_of_an_earlier_version_is_one_line_and_mined_anew(tmp_path):
    write_job(tmp_path)
    assert run(tmp_path).exit_code == 0
    new = tree(tmp_path / "data")
    for path in (tmp_path / "data").rglob("*"):
        if path.name == ".manifest.json":
            path.unlink()
        elif path.suffix in (".parquet", ".arrow"):  # as they were named, with a checksum in their footers
            path.unlink()
            old = path.with_name(path.name[: len("part-00000-of-00001")] + path.suffix)
            pq.write_table(TABLE.replace_schema_metadata({"checksum": "gangue.crc32=0badf00d"}), old)
        elif path.suffix == ".json" and "-" in path.name and not {"quotas", "sections"} & set(path.parts):
            path.rename(path.with_name(path.name.split("-")[0] + ".json"))
    refused(summary(tmp_path), "triplets: must have a .manifest.json", "dvc repro --force, or gangue mine")
    done = run(tmp_path)
    assert done.exit_code == 0, done.output
    assert tree(tmp_path / "data") == new


def test_summary_after_a_job_that_failed_half_way_counts_no_positives_as_full(tmp_path, monkeypatch):
    write_job(tmp_path)
    from gangue.pipeline import sample

    monkeypatch.setattr(sample, "run", lambda *_, **__: (_ for _ in ()).throw(ValueError("sample: broke")))
    assert run(tmp_path).exit_code == 1
    done = summary(tmp_path)
    refused(done, "no triplets have been mined", "gangue mine: sample: broke")
    assert "positives have all" not in done.output


def test_a_shard_without_rows_has_no_row_group(tmp_path):
    data = Data(str(tmp_path))
    data.write("views/triplet", "part-00000-of-00001", TABLE.slice(0, 0))
    file = pq.ParquetFile(pathlib.Path(data.path("views/triplet", *data.listed("views/triplet"))))
    assert file.metadata.num_row_groups == 0
    assert file.read().schema.equals(TABLE.schema)
