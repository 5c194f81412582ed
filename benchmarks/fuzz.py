"""Does any file make a reader fail otherwise than it says? Arbitrary and damaged files, read to the end.

Usage: python -m benchmarks.fuzz [--inputs 10000] [--seed 1] [--kinds sources params models] [--output FILE]

An input is a source with its files and labels, a params file, or the folder of a model. It is good at first; then bytes
are changed, cut, doubled or put in, values are replaced by others of any type, files get other names, formats and
delimiters, are compressed, left out, or made folders, links and pipes. It must end in records whose number is that of
what ``ingest`` writes, in ``rejected``, in params or a model, or in an error of one line that says where, rule,
value and cure, in no library's words. Prints one JSON line: how many ended how, and every other end with the seed that
makes it again. A process reads 500 inputs, so that one that dies is noticed; memory is limited to 8 GB each.
"""

from __future__ import annotations

import argparse
import atexit
import bz2
import collections
import contextlib
import csv
import functools
import gzip
import io
import json
import os
import pathlib
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from gangue.pipeline import params
from gangue.transforms import at_hand, sources
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.records import planning, reading, runs, tasks
from gangue.transforms.records.gathering import gather
from gangue.transforms.running.shards import Counts
from gangue.transforms.sources import parts

PART = 500  # inputs of one process
KINDS = {"sources": 0.75, "params": 0.24, "models": 0.01}  # and which share of the inputs they are
_CURE = re.compile(r"^\S.*[:,] .*([.?] [A-Z][^.]+|Did you mean .*\?)")
_LIBRARY = re.compile(
    r"\[Errno|Traceback|[Pp]ydantic|Input should|Extra inputs|Field required|Value error|discriminator|codec can't"
)


def _zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": _zstd,
}
_NAMES = ("a b", "ünï", "日本", "x" * 300, "-", "*", "[a]", "..", "", "a\nb", "~", "a\0", "\udcff", "CON", "'q'", "a.b")
_WORDS = (
    "lift",
    '"lift',
    'wing"',
    "1.0",
    "of a wing",
    "Ölfilm",
    "drag\tand\nheat",
    '"quoted"',
    "",
    "  ",
    "7",
    "日本",
    "\u2028",
    "a,b;c",
)
_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 7, 10**30, 1.5, float("nan"), float("inf"), 1e39, "", "\ud800", "\0", "x" * 3000),
    *([], [None], ["a", 1], [["a"]], {}, {"_id": 1}, [[[[[[]]]]]], "1e400", "-0"),
)
_TOKENS = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b'"', b"'", b"\t", b",", b"{", b"}", b"[", b"]", b"\\"),
    *(b"\\ud800", b"NaN", b"1e999", b"\xe2\x80\xa8", b"\x1a", b"PAR1", b"null", b"[" * 3000, b"9" * 5000, b"def f("),
)
_CODE = '''def lift(wing):
    """Lift of a wing in air."""
    total = wing * 2
    for i in range(3):
        total += i
    return total
'''


def source(folder: pathlib.Path, rng: random.Random) -> params.Source:
    """A small source of any kind; some of its values are of other types than they should be."""
    kind = rng.choice(("beir", "pairs", "tables", "python_code"))
    odd = rng.choice((0.0, 0.0, 0.1, 0.5))
    if kind == "python_code":
        for name in ("one.py", "two.py"):
            (folder / name).write_text(_CODE * rng.randint(1, 3), encoding="utf-8")
        return params.PythonCode(kind="python_code", path=str(folder), min_characters=rng.choice((0, 60)))
    answers = rng.choice((None, "answers"))
    if kind == "beir":
        _write(folder / "corpus.jsonl", _rows(rng, odd, _id="d", title="w", text="w"), rng)
        _write(folder / "queries.jsonl", _rows(rng, odd, _id="q", text="w", answers="l"), rng)
        (folder / "qrels").mkdir()
        judged = _rows(rng, odd, **{"query-id": "q", "corpus-id": "d", "score": "g"})
        _write(folder / "qrels" / "train.tsv", judged, rng)
        return params.Beir(kind="beir", path=str(folder), answers=answers)
    suffix = rng.choice((".jsonl", ".csv", ".tsv", ".parquet"))
    if kind == "pairs":
        _write(
            folder / f"pairs{suffix}",
            _rows(rng, odd, anchor="w", positive="w", aid="q", pid="d", answers="l", negative="l"),
            rng,
        )
        _write(folder / f"corpus{suffix}", _rows(rng, odd, text="w", did="d"), rng)
        ids: Any = {"anchor_id": "aid", "positive_id": "pid", "document_id": "did"} if rng.random() < 0.5 else {}
        if rng.random() < 0.1:  # pairs that name their positives
            ids = {"positive": "pid", "document_id": rng.choice(("did", None))}
        corpus = rng.choice((None, f"corpus{suffix}"))
        return params.Pairs(
            kind="pairs", path=str(folder), pairs=f"pairs{suffix}", corpus=corpus, answers=answers, **ids
        )
    _write(folder / f"documents{suffix}", _rows(rng, odd, document_id="d", title="w", text="w"), rng)
    _write(folder / f"queries{suffix}", _rows(rng, odd, query_id="q", text="w", answers="l"), rng)
    _write(folder / f"positives{suffix}", _rows(rng, odd, query_id="q", document_id="d", grade="g"), rng)
    return params.Tables(
        kind="tables",
        path=str(folder),
        answers=answers,
        grade=rng.choice((None, "grade")),
        document_title=rng.choice((None, "title")),
        **{name: f"{name}{suffix}" for name in ("documents", "queries", "positives")},
    )


def _rows(rng: random.Random, odd: float, **columns: str) -> list[dict[str, Any]]:
    def value(kind: str) -> Any:
        if rng.random() < odd:
            return rng.choice(_VALUES)
        if kind == "g":
            return rng.randint(0, 3)
        if kind == "l":
            return [rng.choice(_WORDS) for _ in range(rng.randint(0, 2))]
        return rng.choice(_WORDS) if kind == "w" else f"{kind}{rng.randint(0, 9)}"

    return [{name: value(kind) for name, kind in columns.items()} for _ in range(rng.randint(0, 6))]


def _write(path: pathlib.Path, rows: list[dict[str, Any]], rng: random.Random) -> None:
    if path.suffix == ".parquet":
        pq.write_table(_table(rows, rng), path, compression=rng.choice(("none", "snappy", "zstd")))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        memory = io.StringIO()
        names = list(rows[0]) if rows else ["a"]
        usual = "\t" if path.suffix == ".tsv" else ","
        delimiter = usual if rng.random() < 0.9 else rng.choice(";|,\t")
        writer = csv.writer(memory, delimiter=delimiter, lineterminator=rng.choice(("\r\n", "\n", "\n")))
        writer.writerows([names, *(row.values() for row in rows)])
        written = memory.getvalue() if rng.random() < 0.9 else memory.getvalue().replace('"', "")
        path.write_bytes(written.encode(errors="surrogatepass"))


def _table(rows: list[dict[str, Any]], rng: random.Random) -> pa.Table:
    """A column is of one type: of its first value, or of bytes, of large strings or of a dictionary."""
    columns = {}
    for name in rows[0] if rows else ():
        try:
            column = pa.array([row[name] for row in rows])
            pq.write_table(pa.table({name: column}), io.BytesIO())  # not every type can be written
            if pa.types.is_string(column.type):
                column = rng.choice((column, column.dictionary_encode(), column.cast(pa.large_binary())))
            elif rng.random() < 0.1:
                column = pa.nulls(len(rows))
        except (pa.ArrowException, UnicodeError, OverflowError):
            column = pa.array([repr(row[name]).encode()[:9] + b"\xff" for row in rows])
        columns[name] = column
    return pa.table(columns)


def damage(content: bytes, rng: random.Random) -> bytes:
    """The bytes with some change, or none."""
    how = rng.randint(0, 6)
    place = rng.randint(0, len(content))
    other = rng.randint(place, min(len(content), place + rng.choice((1, 20, 1000))))
    if how == 0 and content:
        flipped = bytearray(content)
        for _ in range(rng.choice((1, 1, 8))):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if how == 1:
        return content[:place]
    if how == 2:
        return content[:place] + rng.choice(_TOKENS) + content[other:]
    if how == 3:
        return content[:place] + content[place:other] * 2 + content[other:]
    if how == 4:
        return content[:place] + content[other:]
    if how == 5:
        return rng.randbytes(rng.choice((0, 1, 30, 500)))
    return content


def end(seed: int, kinds: dict[str, float] = KINDS) -> tuple[str, str]:
    """How the input of a seed ends: in rows, rejected, params, model, error, or what it should not, and why."""
    rng = random.Random(seed)
    [kind] = rng.choices(list(kinds), list(kinds.values()))
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
        folder = pathlib.Path(name)
        try:
            return _ENDS[kind](folder, rng), ""
        except (ValueError, OSError) as error:
            lines = str(error).replace(name, "/source").split("\n")
            form = (kind == "params" or bool(_CURE.match(lines[0]))) and (kind == "params" or len(lines) == 1)
            form = form and not isinstance(error, UnicodeError) and not _LIBRARY.search(str(error))
            return ("error", "") if form else ("not in form", f"{kind}: {type(error).__name__}: {str(error)[:300]}")
        except Exception as error:
            return "traceback", f"{kind}: {type(error).__name__}: {str(error)[:300]}"


def _source_end(folder: pathlib.Path, rng: random.Random) -> str:
    given = source(folder, rng)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in rng.sample(files, rng.randint(0, min(2, len(files)))):
        path.write_bytes(damage(path.read_bytes(), rng))
    given = _misplaced(given, files, rng)
    labels = _labels(folder / "labels", rng)
    found: collections.Counter[str] = collections.Counter()
    for block in sources.read(given, labels):
        block.table.validate(full=True)
        found[block.dataset] += block.table.num_rows
    if rng.random() < 0.3:
        _ingest(folder / "data", given, labels, found, rng)
    return "rejected" if found["rejected"] else "rows"


def _misplaced(given: params.Source, files: list[pathlib.Path], rng: random.Random) -> params.Source:
    """The source, some of whose files are compressed, called otherwise, or no files; or its params name no file."""
    for path in files:
        chance = rng.random()
        if chance < 0.05 and path.suffix != ".py":
            packed = rng.choice(list(_PACKERS))
            content = _PACKERS[packed](path.read_bytes())
            renamed = path.with_name(path.name + packed)
            renamed.write_bytes(damage(content, rng) if rng.random() < 0.3 else content)
            path.unlink()
            given = _renamed(given, path.name, renamed.name)
        elif chance < 0.08:
            with contextlib.suppress(OSError, ValueError):
                renamed = path.with_name(
                    rng.choice(_NAMES) + rng.choice((path.suffix, path.suffix.upper(), "", ".txt"))
                )
                path.rename(renamed)
                given = _renamed(given, path.name, renamed.name)
        elif chance < 0.10:
            path.unlink()
            how = rng.choice(("gone", "folder", "pipe", "nowhere", path.name, "/", "/dev/null"))
            if how == "folder":
                path.mkdir()
            elif how == "pipe":
                os.mkfifo(path)
            elif how != "gone":
                path.symlink_to(how)
    if rng.random() < 0.05:
        key = rng.choice([key for key in ("path", "pairs", "corpus", "documents", "positives") if hasattr(given, key)])
        given = given.model_copy(update={key: rng.choice(_NAMES)})
    return given


def _renamed(given: params.Source, before: str, after: str) -> params.Source:
    keys = ("pairs", "corpus", "documents", "queries", "positives")
    return given.model_copy(update={key: after for key in keys if getattr(given, key, None) == before})


def _labels(folder: pathlib.Path, rng: random.Random) -> params.Labels:
    """Labels of pairs, now and then."""
    if rng.random() < 0.7:
        return params.Labels()
    folder.mkdir()
    odd = rng.choice((0.0, 0.1))
    path = folder / f"labels{rng.choice(('.jsonl', '.csv', '.tsv', '.parquet'))}"
    answers = _rows(rng, odd, query_id="q", document_id="d", label="g")
    for answer in answers:
        if answer["label"] in (2, 3):
            answer["label"] = rng.choice(("1", "yes", "no", "", None, "maybe", 1.0))
    _write(path, answers, rng)
    if rng.random() < 0.3:
        path.write_bytes(damage(path.read_bytes(), rng))
    return params.Labels(path=str(rng.choice((folder, path))), wrong=rng.choice((0.0, 0.1)))


def _ingest(
    root: pathlib.Path,
    given: params.Source,
    labels: params.Labels,
    found: collections.Counter[str],
    rng: random.Random,
) -> None:
    """Run the steps of ``ingest`` after one another, files read in parts, and check that no record is lost."""
    data, cut = Data(str(root)), planning.Cut(3, 2, 0.85)
    readings = given.readings()
    cuts = parts.cut(readings, rng.choice((1, 30, 1000)))
    for name in reading.names(cuts):
        reading.read_part(name, data, given.path, readings, cuts)
    spilled = reading.joined(data, given, labels, readings, cuts)
    counts = Counts()
    for name in spilled.names:
        counts += runs.describe(name, data, sketches=True)
    counts += planning.plan("plan", spilled, cut, given.without_positive)
    for name in tasks.names(data):
        counts += gather(name, spilled)
    written = sum(counts[f"rows:{staged(name)}"] for name in found.keys() | {"rejected"})
    if sum(found.values()) != written + counts["out:merged"]:
        raise AssertionError(f"{dict(found)} read, {dict(counts)} written")


_GOOD = """
source: {kind: tables, path: ., documents: d.csv, queries: q.csv, positives: p.csv}
ingest: &small {documents_per_shard: 10, queries_per_shard: 10}
encoders: {e: {model: m, max_length: 8}}
retrievers:
  dense: {kind: dense, encoder: e, depth: 10}
  bm25: {kind: bm25, depth: 10, stopwords: null}
scorers: {ce: {model: x, depth: 5}}
learn: {labelled: auto}
filter:
  kind: learned
  max_false_negatives: 0.02
  fallback: {kind: perc, score: dense, perc: 0.95}
sample: {kind: top, score: dense, negatives: 5, weight: {kind: asl, score: ce}}
beam: {workers: 1, options: ["--a"]}
"""


def _params_end(folder: pathlib.Path, rng: random.Random) -> str:
    """Params of which some values or keys are others, and some bytes."""
    path = folder / "params.yaml"
    values = yaml.safe_load(_GOOD)
    text = _GOOD
    if rng.random() < 0.6:
        for _ in range(rng.randint(1, 3)):
            _change(values, rng)
        with contextlib.suppress(yaml.YAMLError, UnicodeError):
            text = yaml.safe_dump(values)
    content = text.encode(rng.choice(("utf-8",) * 9 + ("utf-16", "utf-8-sig")))
    if rng.random() < 0.4:
        content = damage(content, rng)
    path.write_bytes(content)
    if rng.random() < 0.1:
        path = rng.choice((folder, folder / "gone.yaml", pathlib.Path("/dev/null"), folder / ("x" * 300)))
    if rng.random() < 0.05:
        params.load(rng.choice(_NAMES))
    params.load(str(path))
    return "params"


def _change(values: Any, rng: random.Random) -> None:
    """Replace, remove, rename or double a value somewhere in a document."""
    section = values
    while True:
        keys = list(section) if isinstance(section, dict) else list(range(len(section)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(section[key], dict | list) and rng.random() < 0.8:
            section = section[key]
            continue
        break
    how = rng.randint(0, 3)
    if how == 0:
        section[key] = rng.choice((*_VALUES, "dense", "learned", "1e3", "auto", "\t"))
    elif how == 1:
        del section[key]
    elif isinstance(section, dict):
        other = (
            rng.choice((f"{key}s", str(key)[1:], 1, None, True, "kind", "\ud800", "a.b", "")) if how == 2 else "more"
        )
        section[other] = section.pop(key) if how == 2 else section[key]


def _model_end(folder: pathlib.Path, rng: random.Random) -> str:
    """A small model some of whose files are missing or damaged."""
    from gangue.transforms.models import encoder, folders

    shutil.copytree(_model(), folder / "model")
    files = sorted(path for path in (folder / "model").rglob("*") if path.is_file())
    for path in rng.sample(files, rng.randint(0, 2)):
        if rng.random() < 0.3:
            path.unlink()
        else:
            path.write_bytes(damage(path.read_bytes(), rng))
    located = folders.locate(str(folder / "model"))
    folders.fingerprint(located)
    try:
        encoder.load(located, None).encode(["ab", "cab ba"], prompt="", normalise=True)
    finally:
        at_hand.forget()
    return "model"


@functools.cache
def _model() -> str:
    """A static embedding over a few words, saved once a process."""
    import numpy as np
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    words = {word: number for number, word in enumerate(("[UNK]", "ab", "ba", "cab"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.random.default_rng(7).normal(size=(len(words), 8)).astype(np.float32)
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu").save(folder, create_model_card=False)
    return folder


_ENDS: dict[str, Callable[[pathlib.Path, random.Random], str]] = {
    "sources": _source_end,
    "params": _params_end,
    "models": _model_end,
}


def ends(seeds: range, kinds: dict[str, float] = KINDS) -> tuple[collections.Counter[str], list[dict[str, Any]]]:
    """How many inputs ended how, and those that ended otherwise than they may."""
    counts: collections.Counter[str] = collections.Counter()
    bad = []
    for seed in seeds:
        how, why = end(seed, kinds)
        counts[how] += 1
        if why:
            bad.append({"seed": seed, "end": how, "why": why})
    return counts, bad


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first input; the others follow")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="of the inputs")
    parser.add_argument("--part", action="store_true", help="read them in this process")
    parser.add_argument("--output", help="JSON file for the result")
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.inputs)
    if arguments.part:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        print(json.dumps(ends(seeds, {kind: KINDS[kind] for kind in arguments.kinds})))
        return
    started = time.monotonic()
    counts: collections.Counter[str] = collections.Counter()
    bad = []
    for first in seeds[::PART]:
        inputs = min(PART, seeds.stop - first)
        command = [sys.executable, "-m", "benchmarks.fuzz", "--part", "--seed", str(first), "--inputs", str(inputs)]
        command += ["--kinds", *arguments.kinds]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            counts["died"] += 1
            bad.append({"seed": first, "end": "died", "why": f"code {done.returncode}: {done.stderr[-300:]}"})
            continue
        some, others = json.loads(done.stdout)
        counts.update(some)
        bad += others
    seconds = round(time.monotonic() - started, 1)
    result = {"inputs": len(seeds), "first_seed": arguments.seed, "seconds": seconds, "ends": dict(counts), "bad": bad}
    print(json.dumps(result), flush=True)
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
