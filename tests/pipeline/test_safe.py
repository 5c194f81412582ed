"""A job on hostile data, without a network: what it writes, shows, connects to and loads."""

import csv
import html.parser
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

import jobs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from models import WORDS, cross_encoder, static_encoder
from safetensors.torch import load_file
from typer.testing import CliRunner

from gangue.pipeline import embed, params, score
from gangue.pipeline.command import cli
from gangue.transforms import at_hand, sources
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import cross_encoder as cross_encoders
from gangue.transforms.models import encoder, folders

HOSTILE = (
    "../../x",
    "/etc/passwd",
    "..",
    "~/x",
    "C:\\x",
    "a/b/c",
    "part-00000-of-00001.parquet",
    "part-00000-of-00001",
    "_SUCCESS",
    "*.parquet",
    "--help",
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "</code></pre><iframe src=//example.org></iframe>",
    '" onmouseover="alert(1)" x="',
    "<svg/onload=alert(1)>",
    "<!-- ",
    "]]>",
    "&lt;b&gt;&amp;",
    "{{7*7}}",
    "{% include '/etc/passwd' %}",
    "${source.path}",
    "$(touch x)`touch x`;touch x",
    "\u202egnp.exe\u202c",
    "\u200f\u2066x",
    "\u2028\u2029x",
    "\ufeffx",
    " x ",
    "x" * 20_000,
    "\U0001f4a5\U0001f9e8",
    "e\u0301",
    "=cmd|' /C calc'!A0",
    "@SUM(1,1)",
    "a,b;c\td".replace("\t", " "),
    "| a | b |",
    "[x](javascript:alert(1))",
    "---",
    "configs: [{config_name: x}]",
    "!!python/object/apply:os.system [x]",
    "null",
    "NaN",
    "1e5",
    "'\"\\",
    "\\u0000",
    "%2e%2e%2f",
    "[/bold][red]",
)
UNUSABLE = ("nul\0", "line\nline", "\x1b]0;title\x07", "tab\tx", "next\x85line")  # as ids
STEERING = "\0\x1b[2J\x1b]0;title\x07\r\n\x9b31m"  # in texts
VIEWS = ("triplet", "ntuple", "labeled_pair", "labeled_list", "scored_pair", "scored_ntuple", "scored_list")
SHARD = re.compile(r"part-\d{5}-of-\d{5}(?=\.)")
TAG = re.compile(r"-[0-9a-f]{16}(?=[./])")


def body(number):
    """A text with something hostile in it, and words to be found by."""
    words = [WORDS[(number * step) % len(WORDS)] for step in (1, 3, 5, 7)]
    return f"{HOSTILE[number]} {STEERING} {' '.join(words)} n{number}"


def write(folder):
    """A job whose every id and text is hostile: source, models and params."""
    values = jobs.write(folder)
    source = folder / "source"
    shutil.rmtree(source)
    source.mkdir()
    numbers = range(len(HOSTILE))
    rows = [{"document_id": HOSTILE[i], "text": body(i)} for i in numbers]
    rows += [{"document_id": name, "text": f"rejected {WORDS[0]}"} for name in UNUSABLE]
    (source / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"query_id": HOSTILE[i], "text": f"{HOSTILE[-1 - i]} {body(i)}"} for i in numbers]
    pq.write_table(pa.Table.from_pylist(asked), source / "queries.parquet")
    positives = {(HOSTILE[i], HOSTILE[(i + step) % len(HOSTILE)]) for i in numbers for step in (0, 7)}
    with open(source / "positives.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("query_id", "document_id"), *sorted(positives)])
    values["source"] |= {"queries": "queries.parquet", "positives": "positives.csv"}
    values["encoders"]["tiny"]["query_prompt"] = "</pre><script>alert(2)</script>{{7*7}}: "
    values["retrievers"]["dense"] |= {"index": "IVF4,Flat", "nprobe": 4}
    values["filter"] = {"kind": "naive", "also": [{"kind": "denoise", "score": "taught", "max": 1e9}]}
    values["audit"] = {"rounds": 1, "examples": 100}
    (folder / "params.yaml").write_text(json.dumps(values))
    texts = {row["document_id"]: row["text"] for row in rows}
    return {row["query_id"]: row["text"] for row in asked}, texts, positives


def cut_off():
    """A command that runs another without any network, where this machine lets us."""
    command = ["unshare", "--map-root-user", "--net"]
    allowed = shutil.which(command[0]) and subprocess.run([*command, "true"], capture_output=True).returncode == 0
    return command if allowed else []


def tree(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


class Job:
    """A finished job, and what it did."""

    def __init__(self, root):
        self.root, self.folder = root, root / "a" / "b" / "job"
        self.asked, self.texts, self.positives = write(self.folder)
        self.before = tree(root)
        watched = pathlib.Path(__file__).parents[1] / "watched.py"
        self.cut_off = cut_off()
        home = {"HOME": str(root / "home"), "XDG_CACHE_HOME": str(root / "home"), "HF_HOME": str(root / "home")}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | home
        done = subprocess.run(
            [*self.cut_off, sys.executable, str(watched), str(root / "found.json"), "mine"],
            cwd=self.folder,
            env=environment | {"PYTHONPATH": str(watched.parents[1])},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        self.log = done.stderr
        self.found = json.loads((root / "found.json").read_text())
        self.data = Data(str(self.folder / "data"))
        self.page = (self.folder / "reports" / "report.html").read_bytes().decode()


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return Job(tmp_path_factory.mktemp("hostile"))


def test_a_whole_job_connects_to_nothing(job):
    assert job.found["addresses"] == []
    if job.cut_off:  # the kernel counts for C and Rust code too
        assert job.found["lost"] == 0


@pytest.mark.parametrize("call", ["create_connection(('192.0.2.1', 80), 1)", "getaddrinfo('example.org', 80)"])
def test_the_watch_sees_a_connection(call, tmp_path):
    code = (
        "import sys, contextlib, socket, watched, gangue.pipeline.command.cli as cli\n"
        "def main():\n"
        f"    with contextlib.suppress(OSError): socket.{call}\n"
        "cli.main = main\n"
        f"sys.argv = ['watched', {str(tmp_path / 'found.json')!r}]\n"
        "watched.main()"
    )
    if not (command := cut_off()):
        pytest.skip("a connection is only tried where it cannot be made: unshare is not allowed here")
    here = pathlib.Path(__file__).parents[1]
    path = os.pathsep.join((str(here), str(here.parent)))
    subprocess.run([*command, sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=True)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["addresses"]
    assert found["lost"] > 0


def test_only_beam_loads_pickles_and_they_are_its_own(job):
    assert set(job.found["pickles"]) == {"apache_beam"}


def test_no_code_of_ours_can_load_a_pickle():
    root = pathlib.Path(__file__).parents[2]
    files = [path for name in ("pipeline", "transforms", "benchmarks") for path in (root / name).rglob("*.py")]
    assert len(files) > 50
    loading = re.compile(
        r"pickle\.loads?\(|Unpickler\(|joblib|np\.load\(|torch\.load\(|allow_pickle|shelve|yaml\.load\("
    )
    loads = {path: [line for line in path.read_text().splitlines() if loading.search(line)] for path in files}
    # Torch's loader of tensors alone, for a training's own checkpoint, which carries the checksum of its files.
    assert [line for lines in loads.values() for line in lines if "weights_only=True" not in line] == []


def test_the_job_leaves_the_expected_files_and_no_other(job):
    left = tree(job.root) - job.before - {"found.json"}
    left = {name for name in left if not name.startswith("home/")}
    assert all(name.startswith(("a/b/job/data/", "a/b/job/reports/")) for name in left)
    parquet = "documents queries positives judged rejected negatives shortfalls triplets audit scores/taught"
    parquet += " indexes/dense/recall indexes/bm25/recall indexes/bm25/vocabulary"
    parquet += " clusters/tiny/documents clusters/start/documents"
    arrow = "clusters/tiny/centroids clusters/start/centroids indexes/bm25/weights vectors/tiny/documents"
    arrow += " indexes/bm25/postings candidates/dense candidates/bm25 pairs verdicts"
    arrow += " vectors/tiny/queries vectors/start/documents vectors/start/queries"
    parquet += " vectors/tiny/rejected vectors/start/rejected"
    others = ".running README.md relevance/model.json calibration/cut.json models/taught/origin.json"
    others += " quotas/dense/quota.json quotas/bm25/quota.json"
    others += " sections/encoders/section.json sections/scorers/section.json"
    others += " indexes/dense/faiss/factory.txt indexes/dense/faiss/SHARD.faiss"
    model = "1_Pooling/config.json 2_Dense/config.json 2_Dense/model.safetensors config.json model.safetensors"
    model += " config_sentence_transformers.json modules.json sentence_bert_config.json tokenizer.json"
    model += " tokenizer_config.json"
    expected = {f"data/{dataset}/SHARD.parquet" for dataset in parquet.split()}
    expected |= {f"data/views/{view}/SHARD.parquet" for view in VIEWS}
    expected |= {f"data/{dataset}/SHARD.arrow" for dataset in arrow.split()} | {
        f"data/{name}" for name in others.split()
    }
    expected |= {f"data/models/taught/fold-{fold}/{name}" for fold in (0, 1) for name in model.split()}
    notes = {"relevance", "calibration", "models/taught", "quotas/dense", "quotas/bm25", "indexes/dense/faiss"}
    notes |= {"sections/encoders", "sections/scorers"}
    datasets = {*parquet.split(), *arrow.split(), *(f"views/{view}" for view in VIEWS), *notes}
    expected |= {f"data/{dataset}/.manifest.json" for dataset in datasets}
    plots = {f"plots/{name}.svg" for name in ("verdicts", "score_dense", "score_bm25", "score_taught")}
    expected |= {f"reports/{name}" for name in ("report.html", "metrics.json", "audit.json", *plots)}
    assert {SHARD.sub("SHARD", TAG.sub("", name.removeprefix("a/b/job/"))) for name in left} == expected
    assert not any((job.root / name).is_symlink() for name in left)


def test_ids_and_texts_come_back_as_they_went_in(job):
    triplets = job.data.read_all("triplets").to_pylist()
    assert {(row["query_id"], row["positive_id"]) for row in triplets} == job.positives
    assert {row["negative_id"] for row in triplets} <= set(HOSTILE)
    assert len({row["negative_id"] for row in triplets}) > len(HOSTILE) / 2
    for row in triplets:
        assert row["query"] == job.asked[row["query_id"]]
        assert row["positive"] == job.texts[row["positive_id"]].strip()
        assert row["negative"] == job.texts[row["negative_id"]].strip()
    triplet_view = job.data.read_all("views/triplet").to_pylist()
    texts = [tuple(row.values()) for row in triplet_view]
    assert sorted(texts) == sorted((row["query"], row["positive"], row["negative"]) for row in triplets)


def test_an_id_that_steers_is_rejected_with_its_place(job):
    rejected = job.data.read_all("rejected").to_pylist()
    assert [row["line"] for row in rejected] == [len(HOSTILE) + 1 + number for number in range(len(UNUSABLE))]
    assert {row["reason"] for row in rejected} == {"document_id has control characters"}


class Page(html.parser.HTMLParser):
    """A page as a browser takes it apart."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text, self.styles = set(), [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_data(self, data):
        (self.styles if self.cdata_elem == "style" else self.text).append(data)


def test_the_report_shows_hostile_ids_and_texts_and_stays_inert(job):
    page = Page(job.page)
    of_page = (
        "html head meta title style body main h1 h2 h3 h4 p span b div table thead tbody tr th td i article header"
    )
    of_page += " code details summary pre"
    of_drawing = "svg g path text defs use rect clippath tspan line"
    assert page.tags <= {*of_page.split(), *of_drawing.split()}
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "action", "data", "formaction", "background", "srcdoc")
        if name in ("href", "xlink:href"):
            assert value.startswith("#")
        assert "url(" not in value.replace("url(#", "")
        if name == "http-equiv":
            assert value == "Content-Security-Policy"
        assert not any(hostile in value for hostile in HOSTILE if len(hostile) > 5), (tag, name, value)
    styles = "".join(page.styles)
    assert "@import" not in styles
    assert "url(" not in styles
    shown = "".join(page.text)
    seen = [hostile for hostile in HOSTILE if hostile.strip() in shown]
    assert len(seen) > 0.8 * len(HOSTILE)
    for needed in ("<script>alert(1)</script>", "{{7*7}}", "</style><img src=x onerror=alert(1)>"):
        assert needed in shown
    assert "</pre><script>alert(2)</script>{{7*7}}: " in shown, "the prompt, in the recipe"


def test_card_and_reports_hold_nothing_of_the_data(job):
    card = (job.folder / "data" / "README.md").read_text(encoding="utf-8")
    _, front, rest = card.split("---\n", 2)
    configs = [{"config_name": "triplets", "data_files": "triplets/*.parquet"}]
    configs += [{"config_name": view, "data_files": f"views/{view}/*.parquet"} for view in VIEWS]
    assert yaml.safe_load(front) == {"configs": configs}
    rest += "".join(path.read_text() for path in (job.folder / "reports").rglob("*.json"))
    for hostile in HOSTILE:
        if len(hostile) > 5 and hostile.isascii():
            assert hostile not in rest
    for path in (job.folder / "reports").rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_texts_cannot_steer_the_terminal(job):
    shown = CliRunner().invoke(cli.app, ["show", "--data", str(job.folder / "data"), "--rows", "1000"])
    assert shown.exit_code == 0, shown.output
    lines = shown.output.split("\n")
    assert len([line for line in lines if line.startswith("negative ")]) == sum(job.data.rows("triplets"))
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/b", "x\n", "x;touch y", "", "a b", "é", "{{x}}", ".x", "a\0", "${x}"]
)
@pytest.mark.parametrize("section", ["encoders", "retrievers", "scorers"])
def test_a_name_that_is_no_plain_word_is_refused(section, name, job):
    values = json.loads((job.folder / "params.yaml").read_text())
    values[section][name] = next(iter(values[section].values()))
    with pytest.raises(ValueError, match=rf"(?s)params.yaml: {section}\..*must be a name of letters"):
        params.parse(values)


# Models: tensors and known code only, from their folder only.


class Touch:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def as_pickle(folder, **more):
    """Turn a model's safetensors into ``pytorch_model.bin``."""
    weights = pathlib.Path(folder) / "model.safetensors"
    torch.save(load_file(weights) | more, weights.with_name("pytorch_model.bin"))
    weights.unlink()


def vectors(folder, trust=False):
    at_hand.forget()
    model = encoder.load(str(folder), None, trust_remote_code=trust)
    return model.encode(["ab ba", "cab"], prompt="", normalise=True, tokens=64)


def scores(folder, trust=False):
    at_hand.forget()
    return cross_encoders.load(str(folder), 32, trust_remote_code=trust).score(["ab", "ba"], ["cab", "dab"], tokens=64)


@pytest.mark.parametrize(
    ("make", "use"), [(static_encoder, vectors), (cross_encoder, vectors), (cross_encoder, scores)]
)
def test_a_pickle_of_tensors_gives_the_same_and_one_of_more_is_refused_unread(make, use, tmp_path):
    folder, touched = make(tmp_path / "model"), tmp_path / "touched"
    safe = use(folder)
    as_pickle(folder)
    assert (use(folder) == safe).all()
    make(tmp_path / "model")
    as_pickle(folder, bias=Touch(touched))
    with pytest.raises(ValueError, match=r"model .*: its weights must be tensors only.*model\.safetensors"):
        use(folder)
    assert not touched.exists()
    torch.load(pathlib.Path(folder) / "pytorch_model.bin", weights_only=False)
    assert touched.exists(), "it would have"


def test_a_parquet_column_that_says_it_is_a_pickle_is_read_as_what_it_holds(tmp_path):
    import pickle

    hostile = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    hostile[b"ARROW:extension:metadata"] = pickle.dumps(Touch(tmp_path / "touched"))
    of_schema = pa.schema([pa.field("anchor", pa.string(), metadata=hostile), ("positive", pa.string())])
    table = pa.table([["a question"], ["an answer"]], schema=of_schema)
    pq.write_table(table, tmp_path / "pairs.parquet")
    source = params.Pairs(kind="pairs", path=str(tmp_path), pairs="pairs.parquet")
    found = {dataset: block.num_rows for dataset, block in sources.read(source)}
    assert found == {"documents": 1, "queries": 1, "positives": 1}
    assert not (tmp_path / "touched").exists()


def edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def with_own_module(folder, touched):
    """A static encoder whose module is code in its folder."""
    static_encoder(folder)
    (folder / "own.py").write_text(
        "import os\nfrom sentence_transformers.models import StaticEmbedding\n"
        f"os.makedirs({str(touched)!r}, exist_ok=True)\nclass Own(StaticEmbedding):\n    pass\n"
    )
    edit(folder / "modules.json", lambda modules: modules[0].update(type="own.Own"))


def with_own_architecture(folder, touched):
    """A cross-encoder whose network is code in its folder."""
    cross_encoder(folder)
    (folder / "own.py").write_text(
        "import os\nfrom transformers import BertConfig, BertForSequenceClassification\n"
        f"os.makedirs({str(touched)!r}, exist_ok=True)\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own'\n"
        "class Own(BertForSequenceClassification):\n    config_class = OwnConfig\n"
    )
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.Own"}
    edit(folder / "config.json", lambda config: config.update(model_type="own", auto_map=own))


@pytest.mark.parametrize(("make", "use"), [(with_own_module, vectors), (with_own_architecture, scores)])
def test_a_models_own_code_runs_only_if_it_is_trusted(make, use, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    make(tmp_path / "model", tmp_path / "touched")
    with pytest.raises(ValueError, match=r"model .*: needs code of its own.*set trust_remote_code: true"):
        use(tmp_path / "model")
    assert not (tmp_path / "touched").exists()
    assert len(use(tmp_path / "model", True)) == 2
    assert (tmp_path / "touched").exists()


def test_a_function_that_is_not_trusted_is_not_silently_left_out(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense

    tiny = SentenceTransformer(static_encoder(tmp_path / "tiny"), device="cpu")
    tiny.append(Dense(16, 8, activation_function=torch.nn.GELU()))
    tiny.save(str(tmp_path / "model"), create_model_card=False)
    assert vectors(tmp_path / "model").shape == (2, 8)
    (config,) = (path for path in (tmp_path / "model").rglob("config.json") if "Dense" in path.parent.name)
    edit(config, lambda values: values.update(activation_function="own.Sigmoid"))
    with pytest.raises(ValueError, match=r"needs code of its own.*own\.Sigmoid"):
        vectors(tmp_path / "model")


def test_trusted_code_is_named_in_the_log_and_its_vectors_are_not_taken_for_others(job, tmp_path, capsys):
    p, data = params.load(str(job.folder / "params.yaml")), Data(str(tmp_path / "data"))
    shutil.copytree(job.data.root, data.root)
    trusting = p.encoders["tiny"].model_copy(update={"trust_remote_code": True})
    capsys.readouterr()
    assert embed.run(data, p, "tiny")["encoded"] == 0
    assert "code" not in capsys.readouterr().err
    assert embed.run(data, p.model_copy(update={"encoders": {"tiny": trusting}}), "tiny")["encoded"] > 0
    line = f"embed@tiny: runs the code that comes with {trusting.model}, since trust_remote_code is true\n"
    assert capsys.readouterr().err.count(line) == 1
    scorer = p.scorers["taught"].model_copy(update={"trust_remote_code": True})
    assert score.run(data, p.model_copy(update={"scorers": {"taught": scorer}}), "taught")["predicted"] > 0
    assert "score@taught: runs the code that comes with models/taught" in capsys.readouterr().err


@pytest.fixture
def asked(monkeypatch):
    """No name resolves; the names that were asked for."""
    names = []

    def refuse(host, *_, **__):
        names.append(host)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return names


def test_a_folder_that_names_a_hub_id_is_not_followed_there(tmp_path, asked):
    folder = pathlib.Path(cross_encoder(tmp_path / "model"))
    settings = {"tokenizer_name_or_path": "nobody/gangue-has-no-such-model"}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    (folder / "modules.json").write_text(json.dumps([module]))
    with pytest.raises(FileNotFoundError, match=r"model .*: its folder must hold all that it needs"):
        vectors(folder)
    assert asked == []


def test_a_hub_id_without_a_network_ends_soon_and_before_any_work(job, tmp_path, asked):
    values = json.loads((job.folder / "params.yaml").read_text())
    values["encoders"]["start"]["model"] = "nobody/gangue-has-no-such-model"
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    places = ["--data", str(tmp_path / "data"), "--reports", str(tmp_path / "reports")]
    started = time.monotonic()
    done = CliRunner().invoke(cli.app, ["mine", "--params", str(tmp_path / "params.yaml"), *places])
    assert time.monotonic() - started < 20
    assert done.exit_code == 1
    assert "gangue: model nobody/gangue-has-no-such-model: must be a folder, or on the model hub" in done.stderr
    assert "hf download nobody/gangue-has-no-such-model" in done.stderr
    assert set(asked) == {"huggingface.co"}
    assert os.listdir(tmp_path) == ["params.yaml"]


def test_a_folder_that_a_package_lacks_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model package:json/nowhere: .*nowhere must be a folder"):
        folders.locate("package:json/nowhere")
