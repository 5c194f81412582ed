"""Whatever is wrong with params is a line each: where, the rule, the value, the cure, in no library's words."""

import copy
import re

import pytest
import yaml

from gangue.pipeline import params

WORDS = re.compile(
    r"Input should|Extra inputs|Field required|discriminator|Value error|[Vv]alidation|pydantic|type=|literal\[|"
    r"constrained|\[key\]|input should|valid (string|integer|number|dict|tuple)|function-|\btuple\b|\bdict\b|Errno",
)
BASE = """
source: {kind: beir, path: corpus, splits: [train], min_grade: 1.0, answers: metadata}
labels: {path: labels, wrong: 0.1}
ingest: {documents_per_shard: 10, queries_per_shard: 10, near_duplicate: 0.8}
encoders:
  e: {model: m, max_length: 8, normalise: true, dtype: float32, backend: torch, tokens_per_batch: 9}
  f: {model: n, trust_remote_code: false}
cluster: {clusters: 2, iterations: 3, sample: 10, seed: 1}
retrievers:
  dense: {kind: dense, encoder: e, depth: 10, max_depth: 20, index: Flat, nprobe: 1}
  bm25: {kind: bm25, depth: 10, k1: 1.2, b: 0.7, stopwords: null}
pool: {next_cluster: {encoder: e, documents: 2}, random: 2, seed: 3}
scorers:
  ce: {model: x, depth: 5, max_length: 9, dtype: float16}
  taught: {teach: {encoder: e, layers: 2, negatives: 1, random: 1, epochs: 1, batch_size: 2, learning_rate: 4e-4}}
learn: {examples: 100, candidates: 3, labelled: auto, seed: 1}
filter:
  kind: learned
  max_false_negatives: 0.02
  confidence: 0.9
  also: [{kind: denoise, score: ce, max: 0.9}, {kind: same_cluster, encoder: e}, {kind: answer}]
  fallback: {kind: perc, score: dense, perc: 0.95, positive: mean}
calibrate: {hidden: 0.5, rounds: 2, queries: 10, pool: bm25, seed: 1}
sample: SAMPLE
export: {views: [triplet, ntuple]}
audit: {hidden: 0.5, rounds: 2, examples: 3, seed: 4}
beam: {runner: FnApiRunner, workers: 1, options: [--a], accelerator: "type:t4;count:1", memory: 16GB}
"""
SAMPLES = [
    "{kind: top, score: dense, negatives: 5, price: 0.1, skip_kept: 1, first: 9, random: 1, next_cluster: 1, reuse: 3,"
    " diverse: {kind: mmr, encoder: e, weight: 0.5}, weight: {kind: phi, score: bm25, phi: 0.9}, seed: 1}",
    "{kind: simans, score: dense, keep_first: 1, random: 1, next_cluster: 1,"
    " simans: {a: 0.5, b: 0, law: gauss, scale: raw, against: query},"
    " diverse: {kind: cluster, encoder: e}, weight: {kind: cet, pool: bm25, temperature: 10, clip: 10}}",
    "{kind: joint, score: dense, random: 1, next_cluster: 1, joint: {mode: mixture, depth: 3,"
    " weights: {dense: 1.0, bm25: 2}, quotas: {dense: 3}, max_share: 1.0},"
    " weight: {kind: lambda_rank, retriever: dense, cut: 9}}",
    "{kind: softmax, score: dense, random: 1, next_cluster: 1, softmax: {temperature: 2.0},"
    " ensemble: {kind: cross, scores: [dense, ce]},"
    " weight: {kind: asl, score: ce, gamma_neg: 4, clip: 0.1, form: weight}}",
    "{kind: band, score: dense, random: 1, next_cluster: 1,"
    " band: {low: 0.1, high: 0.5, step: 0.1, patience: 3, least: 2}}",
    "{kind: nearest, score: dense, random: 1, next_cluster: 1, nearest: {b: 0.5}}",
]
WRONG = (
    *("nonsense", "", "a\nb", "naïve", True, None, 0, -1, 10**30, -1.5, 1.5, 7.0, float("nan"), float("inf")),
    *([], [1], ["x"], [[]], {}, {"kind": "x"}, {"kind": None}, {"a": {"b": [1]}}, {1: 2}, "x" * 500),
)


def whole(sample):
    return yaml.safe_load(BASE.replace("SAMPLE", sample))


def places(value, path=()):
    """Every place in a document below its root."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from places(inner, (*path, key))


def changed(document, path, change):
    document = copy.deepcopy(document)
    *parents, last = path
    section = document
    for key in parents:
        section = section[key]
    change(section, last)
    return document


def told(document):
    """The lines that say what is wrong, checked for their form; none if nothing is."""
    try:
        params.parse(document, "p.yaml")
    except ValueError as error:
        lines = str(error).split("\n")
        for line in lines:
            assert line.startswith("p.yaml: "), line
            assert not WORDS.search(line), line
            assert len(line) < 700, line
        return lines
    return []


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_documents_that_are_changed_are_good(sample):
    assert told(whole(sample)) == []


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_wrong_value_at_every_place_is_told_by_its_place(sample):
    document, refused = whole(sample), 0
    for path in places(document):
        for wrong in WRONG:
            lines = told(changed(document, path, lambda section, last, wrong=wrong: section.__setitem__(last, wrong)))
            refused += bool(lines)
    assert refused > 1000


@pytest.mark.parametrize("sample", SAMPLES[:3])
def test_every_key_misspelled_is_unknown_and_the_right_one_is_proposed(sample):
    document, count = whole(sample), 0
    for path in places(document):
        key = path[-1]
        free = path[0] in ("encoders", "retrievers", "scorers") and len(path) == 2
        if not isinstance(key, str) or len(key) < 4 or free or path[-2:-1] in (("weights",), ("quotas",)):
            continue
        wrong = f"{key[:-1]}x{key[-1]}"

        def rename(section, last, wrong=wrong):
            section[wrong] = section.pop(last)

        lines = told(changed(document, path, rename))
        line = next(line for line in lines if wrong in line)
        assert f"Did you mean {key}" in line, line
        count += 1
    assert count > 70


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_key_left_out_is_fine_or_told(sample):
    document, missed = whole(sample), 0
    for path in places(document):
        lines = told(changed(document, path, lambda section, last: section.pop(last)))
        missed += any(f"{'.'.join(map(str, path))} must be given" in line for line in lines)
    assert missed >= 8


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("pool", "random"), True, "pool: random must be a number, got true. See docs/params.md"),
        (("pool", "random"), "two", "pool.random must be a whole number, got 'two'. See docs/params.md"),
        (("filter", "kind"), "lerned", "filter.kind must be one of naive, .*, got 'lerned'. Did you mean learned?"),
        (
            ("retrievers", "bm25", "kind"),
            "bm52",
            "retrievers.bm25.kind must be one of dense, bm25, got 'bm52'. Did you mean bm25?",
        ),
        (("source", "kind"), "table", "source.kind must be one of .*, got 'table'. Did you mean tables?"),
        (("source",), "corpus", "source must be a mapping, got 'corpus'. See docs/params.md"),
        (("sample", "weight"), {"score": "ce"}, "sample.weight.kind must be one of phi, asl, .*, got null. See docs"),
        (("sample", "score"), "desne", "sample.score must be one of .*, got desne. Did you mean dense?"),
        (
            ("retrievers", "dense", "encoder"),
            "ee",
            "retrievers.dense.encoder must be one of e, f, got ee. Did you mean e?",
        ),
        (
            ("learn", "labelled"),
            "atuo",
            "learn.labelled must be a number or one of auto, chosen, got 'atuo'. Did you mean auto?",
        ),
        (("learn", "labelled"), 2, "learn.labelled must be < 1 or one of auto, chosen, got 2. See docs/params.md"),
        (
            ("encoders", "a b"),
            {"model": "m"},
            "encoders.a b must be a name of letters, .*, got 'a b'. See docs/params.md",
        ),
        (("encoders", "e"), "m", "encoders.e must be a mapping, got 'm'. See docs/params.md"),
        (("export", "views"), ["triplets"], "export.views.0 must be one of .*, got 'triplets'. Did you mean triplet?"),
        (
            ("beam", "memory"),
            "lots",
            "beam.memory must be an amount of memory such as 16GB, got 'lots'. See docs/params.md",
        ),
        (
            ("filter", "max_false_negatives"),
            float("nan"),
            "filter.max_false_negatives must be a finite number, got nan",
        ),
        (("retrievers", "bm25", "k1"), -1, "retrievers.bm25.k1 must be >= 0, got -1. See docs/params.md"),
        (("retrievers", "bm25", "max_depth"), 3, r"retrievers\.bm25\.max_depth must be >= depth, got 3 < 10"),
        (("sample", "first"), 1, "sample.first must be >= the hard negatives, or no positive has all, got 1 < "),
        (("retrievers",), {}, "retrievers must be given, 1 at least, got {}. See docs/params.md"),
    ],
)
def test_a_mistake_is_told_in_these_words(path, value, line):
    lines = told(changed(whole(SAMPLES[0]), path, lambda section, last: section.__setitem__(last, value)))
    pattern = "p.yaml: " + line.replace("?", r"\?").replace("{}", r"\{\}")
    assert any(re.match(pattern, each) for each in lines), lines


# ---- the file


GOOD = BASE.replace("SAMPLE", SAMPLES[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a mapping of sections, found nothing. Copy params.yaml"),
        (b"# all gone\n", "must be a mapping of sections, found nothing. Copy params.yaml"),
        (b"just words", "must be a mapping of sections, got 'just words'. See docs/params.md"),
        (GOOD.encode("utf-16"), "must be text in UTF-8, found UTF-16 or no text. Save it as UTF-8"),
        (b"\0\1\2", "must be text in UTF-8, found UTF-16 or no text"),
        ("a: 1\nb: naïve\n".encode("latin-1"), "line 2: must be UTF-8, found byte 0xef, perhaps Latin-1. Save it"),
        (
            b"a: 1\n\tb: 2\n",
            "line 2: must be YAML: found character '.t' that cannot start any token. Indent with spaces",
        ),
        (b"a: 1\na: 2\n", "line 2: must be YAML: key a comes twice, first in line 1. Make one of them"),
        (b"a: {b: 1, c: 2,\n  b: 3}\n", "line 2: must be YAML: key b comes twice, first in line 1"),
        (b"a: b: c\n", "line 1: must be YAML: mapping values are not allowed here. Correct the line"),
        (b"a: *b\n", "line 1: must be YAML: found undefined alias 'b'. Correct"),
        (b"a: !!python/object:os.system {}\n", "line 1: must be YAML: could not determine a constructor"),
        (b"a: 2024-99-99\n", "must be YAML: month must be in 1..12"),
        (b"a: " + b"[" * 5000, "must be YAML: nested too deep"),
        (b"a: \x07\n", "must be YAML: "),
        (b"? [a]\n: 1\n", "line 1: must be YAML: found unhashable key"),
        (b"&a [*a]", "must be a mapping of sections"),
        (b"1: 2\n", "1 must be under a key that is a string, got 1|key"),
    ],
)
def test_a_params_file_that_is_none_is_told_in_one_line(tmp_path, content, message):
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        params.load(str(path))
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).split("\n"))
    assert not WORDS.search(str(caught.value))


def test_a_section_that_comes_twice_is_refused_by_both_lines(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(GOOD + "pool: {random: 1}\n")
    lines = path.read_text().split("\n")
    last, first = len(lines) - 1, 1 + next(i for i, line in enumerate(lines) if line.startswith("pool"))
    with pytest.raises(ValueError, match=f"line {last}: must be YAML: key pool comes twice, first in line {first}"):
        params.load(str(path))


def test_anchors_merge_keys_marks_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "p.yaml"
    merged = GOOD.replace("  e: {model: m,", "  e: &e {model: m,").replace("  f: {model: n,", "  f: {<<: *e, model: n,")
    assert merged.count("*e") == merged.count("&e") == 1
    path.write_bytes(b"\xef\xbb\xbf" + merged.replace("\n", "\r\n").encode())
    loaded = params.load(str(path))
    assert loaded.encoders["f"].max_length == loaded.encoders["e"].max_length == 8
    assert loaded.encoders["f"].model == "n"


@pytest.mark.parametrize("path", ["x" * 300, "a\0b", "gone.yaml", "", "*.yaml", "a?b[c]", "nothing://x", "~nobody/x"])
def test_a_path_that_is_no_file_is_told_in_one_line(path):
    with pytest.raises((ValueError, OSError)) as caught:
        params.load(path)
    assert "Errno" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert re.search(r"\. [A-Z]", str(caught.value))


def test_a_folder_or_a_pipe_is_no_params_file(tmp_path):
    with pytest.raises(ValueError, match=r"must be a params file, found a folder. Name the file in it"):
        params.load(str(tmp_path))
    with pytest.raises(ValueError, match=r"/dev/null: must be a params file, found a pipe or a device"):
        params.load("/dev/null")


@pytest.mark.parametrize("line", ['more: {"\\ud800": 1}', 'filter: {kind: perc, "\\ud800": 0.95}', 'source: "\\ud8ff"'])
def test_half_of_a_character_is_no_text(tmp_path, line):
    path = tmp_path / "p.yaml"
    path.write_text(f"audit: {{}}\n{line}\n")
    with pytest.raises(ValueError, match=r"p.yaml: line 2: must be YAML: half of a character is no text"):
        params.load(str(path))
