"""Params: every mistake is one line that says where, what rule and what value."""

import copy

import pytest
import yaml

from gangue.pipeline import params

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
        ("sampel", {}, r"sampel: unknown key. Did you mean sample\?"),
        ("filter.relative_margin", 0.1, r"filter.*relative_margin"),
        ("filter.margin", 0.1, r"filter: kind perc does not read margin; it takes score, positive, perc"),
        ("filter.perc", None, r"filter: kind perc needs perc, or max_false_negatives, which chooses it"),
        ("filter.also", [{"kind": "abs", "score": "ce"}], r"filter.also.0: kind abs needs abs$"),
        ("filter.rule", {"kind": "naive"}, r"filter: kind perc does not read rule; it takes score, positive, perc"),
        ("filter.fallbak", {"kind": "naive"}, r"filter.fallbak: unknown key. Did you mean fallback\?"),
        ("filter.perc", -1, r"filter.perc must be > 0, got -1\. See docs"),
        ("filter.score", "colbert", r"filter.score must be one of bm25, ce, dense, got colbert"),
        ("filter.kind", "magic", r"filter.kind must be one of naive, .*, got 'magic'"),
        ("filter.also.0.kind", "rank_window", r"filter.also.0: kind rank_window does not read max"),
        ("sample.score", "x", r"sample.score must be one of bm25, ce, dense, got x"),
        ("sample.negatives", 0, r"sample.negatives must be >= 1, got 0"),
        ("sample.random", 6, r"random and next_cluster must be <= negatives, got 6 \+ 0 > 5"),
        ("sample.random", 1, r"pool.random must be >= sample.random, got 0 < 1"),
        ("sample.keep_first", 1, r"sample: kind top does not read keep_first"),
        (
            "sample",
            {"kind": "random", "score": "bm25", "keep_first": 6},
            r"keep_first must be <= the hard.*, got 6 > 5",
        ),
        ("sample.softmax", {}, r"sample: softmax belongs to kind softmax and only there, got kind top"),
        ("sample.simans", {}, r"sample: simans belongs to kind simans and only there, got kind top"),
        ("sample.band", {}, r"sample: band belongs to kind band and only there, got kind top"),
        ("sample.nearest", {"b": 1}, r"sample: nearest belongs to kind nearest and only there, got kind top"),
        (
            "sample",
            {"kind": "band", "score": "bm25", "band": {"low": 1, "high": 1}},
            r"sample.band: low must be < high",
        ),
        (
            "sample",
            {"kind": "simans", "score": "bm25", "simans": {"against": "document"}},
            r"sample.score must be a dense retriever, got bm25: simans.against: document compares documents",
        ),
        ("sample.sampler", {"kind": "top"}, r"sample: sampler is no key: kind says which it is"),
        ("sample", {"kind": "simans", "score": "bm25", "simans": 5}, r"sample: simans must be a mapping .*, got 5"),
        (
            "sample",
            {"kind": "simans", "score": "bm25", "simans": {"laws": "gauss"}},
            r"sample.simans.laws: unknown key. Did you mean law\?",
        ),
        ("sample", {"kind": "simans", "score": "bm25", "simans": {"a": -1}}, r"sample.simans.a must be > 0, got -1"),
        (
            "sample",
            {
                "kind": "simans",
                "score": "dense",
                "simans": {"against": "document"},
                "ensemble": {"kind": "cross", "scores": ["dense", "bm25"]},
            },
            r"sample: kind simans does not read ensemble: against: document compares documents",
        ),
        (
            "sample",
            {
                "kind": "top",
                "score": "dense",
                "diverse": {"kind": "cluster", "encoder": "e"},
                "ensemble": {"kind": "intra", "scores": ["dense", "bm25"]},
            },
            r"sample: diverse does not go with ensemble intra: it chooses in its own order",
        ),
        ("sample.joint", {}, r"sample: joint belongs to kind joint and only there, got kind top"),
        ("sample.ensemble", {"kind": "cross", "scores": ["dense", "dense"]}, r"sample.ensemble: scores must differ"),
        ("sample.ensemble", {"kind": "cross", "scores": ["dense", "x"]}, r"sample.ensemble.scores must be one of"),
        (
            "sample.ensemble",
            {"kind": "cross", "scores": ["dense", "bm25"], "deduplicate": True},
            r"sample.ensemble: deduplicate belongs to kind intra and only there",
        ),
        (
            "sample",
            {"kind": "random", "score": "bm25", "ensemble": {"kind": "intra", "scores": ["dense", "bm25"]}},
            r"sample: ensemble intra takes the best of each score, so kind must be top, got random",
        ),
        (
            "sample",
            {"kind": "joint", "score": "bm25", "joint": {"k": 3}},
            r"sample.joint: k belongs to mode rrf and only there, got mode union",
        ),
        (
            "sample",
            {"kind": "joint", "score": "bm25", "joint": {"mode": "mixture", "weights": {"x": 1}}},
            r"sample.joint.weights must be one of bm25, dense, got x",
        ),
        (
            "sample",
            {"kind": "joint", "score": "bm25", "joint": {"quotas": {"bm25": 1}, "max_share": 0.6}},
            r"sample.joint.quotas and max_share must leave room for the 5 hard negatives, got dense 3, bm25 1",
        ),
        ("sample.weight", {"kind": "phi", "score": "dense"}, r"sample.weight.score must be of another model than"),
        ("sample.weight", {"kind": "asl", "score": "dense"}, r"sample.weight.score must be one of ce, got dense"),
        ("sample.weight", {"kind": "cet", "pool": "ce"}, r"sample.weight.pool must be one of bm25, dense, got ce"),
        (
            "sample.weight",
            {"kind": "cet", "pool": "bm25", "phi": 1},
            r"sample.weight: kind cet does not read phi; it takes pool, temperature, clip. Remove it",
        ),
        ("filter.also", [{"kind": "same_cluster", "encoder": "f"}], r"filter.also.0.encoder must be one of e, got f"),
        ("filter.also", [{"kind": "answer"}], r"filter.also.0: kind answer needs source.answers"),
        ("filter.also", [{"kind": "answer", "score": "ce"}], r"filter.also.0: kind answer does not read score"),
        ("filter.also", [{"kind": "same_cluster"}], r"filter.also.0.encoder must be given, found none"),
        ("sample.next_cluster", 1, r"pool.next_cluster.documents must be >= sample.next_cluster, got None and 1"),
        ("pool", {"next_cluster": {"encoder": "e"}}, r"pool.next_cluster is read by sample.next_cluster only"),
        ("sample.reuse", 0, r"sample.reuse must be >= 1, got 0"),
        ("sample.diverse", {"kind": "mmr", "encoder": "f"}, r"sample.diverse.encoder must be one of e, got f"),
        (
            "sample",
            {"kind": "random", "score": "bm25", "diverse": {"kind": "mmr", "encoder": "e"}},
            r"sample: diverse mmr weighs the score itself, so kind must be top, got random",
        ),
        (
            "sample",
            {"kind": "joint", "score": "bm25", "diverse": {"kind": "cluster", "encoder": "e"}},
            r"sample: kind joint does not read diverse: it chooses in its own order",
        ),
        ("retrievers.dense.encoder", "f", r"retrievers.dense.encoder must be one of e, got f"),
        ("retrievers.dense.kind", "colbert", r"retrievers.dense"),
        ("scorers.ce.teach", {"encoder": "e"}, r"scorers.ce: must have either model or teach"),
        ("scorers.idle", {"model": "y"}, r"scorers.idle must be read by filter, sample or export"),
        ("export", {"views": ["scored_list"], "score": "desne"}, r"export.score must be one of .* Did you mean dense"),
        ("export", {"views": ["triplet"], "score": "dense"}, r"export.score is read by scored_ views only, got dense"),
        ("scorers.bm25", {"model": "y"}, r"a retriever and a scorer must not share a name, got bm25"),
        ("pool", {"random": 3}, r"pool.random is read by sample.random only, got 3"),
        ("encoders.e.dtype", "int3", r"encoders.e.dtype must be one of float32, float16, bfloat16, got 'int3'"),
        (
            "beam",
            {"runner": "DaskRunner"},
            r"beam.runner must be one of FnApiRunner, DataflowRunner, .*, got 'DaskRunner'",
        ),
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
    [("a: [", "must be YAML"), ("- 1", "must be a mapping"), ("", "must be a mapping of sections, found nothing")],
)
def test_a_file_that_is_no_params_file_is_refused(tmp_path, content, message):
    path = tmp_path / "p.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        params.load(str(path))


def test_a_missing_params_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml: params file must exist"):
        params.load(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(("section", "what"), [("encoders", "an encoder"), ("retrievers", "a retriever")])
def test_a_scorer_must_have_a_name_of_its_own(section, what):
    values = {
        "source": {"kind": "beir", "path": "x"},
        "encoders": {"one": {"model": "m"}},
        "retrievers": {"dense": {"kind": "dense", "encoder": "one"}},
        "filter": {"kind": "naive"},
        "sample": {"kind": "top", "score": "dense"},
    }
    name = next(iter(values[section]))
    with pytest.raises(ValueError, match=f"{what} and a scorer must not share a name, got {name}"):
        params.parse(values | {"scorers": {name: {"model": "m"}}})
