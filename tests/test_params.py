"""Params: every mistake is one line that says where, what rule and what value."""

import copy

import pytest
import yaml

from pipeline import params

GOOD = yaml.safe_load("""
source: {kind: beir, path: corpus}
encoders: {e: {model: m}}
retrievers: {dense: {kind: dense, encoder: e}, bm25: {kind: bm25}}
scorers: {ce: {model: x}}
filter: {kind: perc, score: dense, perc: 0.95, also: [{kind: denoise, score: ce, max: 0.9}]}
sample: {kind: top, score: dense}
""")


def changed(path, value):
    values = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    section = values
    for key in parents:
        section = section[int(key) if key.isdigit() else key]
    section[last] = value
    return values


def test_the_projects_own_params_are_good(pytestconfig):
    assert params.load(str(pytestconfig.rootpath / "params.yaml")).source.kind == "python_code"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sampel", {}, r"sampel: unknown key"),
        ("filter.relative_margin", 0.1, r"filter.*relative_margin"),
        ("filter.margin", 0.1, r"filter: kind perc does not read margin; it takes perc, score, positive"),
        ("filter.perc", None, r"filter: kind perc needs perc"),
        ("filter.perc", -1, r"filter.perc: input should be greater than 0, got -1"),
        ("filter.score", "colbert", r"filter.score must be one of bm25, ce, dense, got colbert"),
        ("filter.kind", "magic", r"filter.kind: input should be 'naive'.* got 'magic'"),
        ("filter.also.0.kind", "rank_window", r"filter.also.0: kind rank_window does not read max"),
        ("sample.score", "x", r"sample.score must be one of bm25, ce, dense, got x"),
        ("sample.negatives", 0, r"sample.negatives: input should be greater than or equal to 1, got 0"),
        ("sample.random", 1, r"sample: random belongs to kind mixed and only there, got kind top"),
        ("retrievers.dense.encoder", "f", r"retrievers.dense.encoder must be one of e, got f"),
        ("retrievers.dense.kind", "colbert", r"retrievers.dense"),
        ("scorers.ce.teach", {"encoder": "e"}, r"scorers.ce: must have either model or teach"),
        ("scorers.idle", {"model": "y"}, r"scorers.idle must be read by filter or sample"),
        ("scorers.bm25", {"model": "y"}, r"a retriever and a scorer must not share a name, got bm25"),
        ("pool", {"random": 3}, r"pool.random is read by sample.kind mixed only, got kind top"),
        ("encoders.e.dtype", "int3", r"encoders.e.dtype: input should be 'float32'"),
        ("beam", {"runner": "DaskRunner"}, r"beam.runner: input should be"),
        ("source.splits", "train", r"source.splits"),
    ],
)
def test_a_mistake_is_refused_by_name(path, value, message):
    with pytest.raises(ValueError, match=message):
        params.parse(changed(path, value))


def test_all_mistakes_are_told_at_once():
    values = changed("sample.negatives", 0)
    values["filter"]["perc"] = -1
    with pytest.raises(ValueError, match=r"(?s)filter.perc.*sample.negatives"):
        params.parse(values)


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [", "must be YAML"), ("- 1", "must be a mapping"), ("", "must be a mapping")],
)
def test_a_file_that_is_no_params_file_is_refused(tmp_path, content, message):
    path = tmp_path / "p.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        params.load(str(path))


def test_a_missing_params_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml: params file must exist"):
        params.load(str(tmp_path / "none.yaml"))
