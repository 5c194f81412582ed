"""Does any file make a source's reader fail otherwise than it says? Arbitrary and damaged files, read to the end.

Usage: python -m benchmarks.fuzz [--inputs 10000] [--seed 1] [--output FILE]

Each input is a small source of some kind and format, good at first, in which bytes are changed, cut, doubled or put
in, or values are replaced by others of any type. It must end in records, in ``rejected``, or in an error that says
where, rule, value and cure. Prints one JSON line: how many ended how, and every other end with the seed that makes it
again. A process reads 500 inputs, so that one that dies is noticed; memory is limited to 8 GB each.
"""

from __future__ import annotations

import argparse
import collections
import csv
import io
import json
import pathlib
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import params
from transforms import sources

PART = 500  # inputs of one process
_CURE = re.compile(r"^(source\.|/).*: .*\. [A-Z][^.]+", re.S)
_WORDS = ("lift", "of a wing", "Ölfilm", "drag\tand\nheat", '"quoted"', "", "  ", "7", "日本", "\u2028", "a,b;c")
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
        writer = csv.writer(memory, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([names, *(row.values() for row in rows)])
        path.write_bytes(memory.getvalue().encode(errors="surrogatepass"))


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


def end(seed: int) -> tuple[str, str]:
    """How reading the input of a seed ends: rows, rejected, error, or what it should not have come to and why."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        given = source(pathlib.Path(folder), rng)
        files = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
        for path in rng.sample(files, rng.randint(0, len(files))):
            path.write_bytes(damage(path.read_bytes(), rng))
            if rng.random() < 0.02:
                path.unlink()
                path.symlink_to(rng.choice(("nowhere", path.name, "/")))
        found = set()
        try:
            for block in sources.read(given):
                block.table.validate(full=True)
                found.add(block.dataset)
        except (ValueError, OSError) as error:
            shown = str(error).replace(folder, "/source")
            form = not isinstance(error, UnicodeError) and _CURE.match(shown)
            return ("error", "") if form else ("not in form", f"{type(error).__name__}: {shown[:300]}")
        except Exception as error:
            return "traceback", f"{type(error).__name__}: {str(error)[:300]}"
    return ("rejected" if "rejected" in found else "rows"), ""


def ends(seeds: range) -> tuple[collections.Counter[str], list[dict[str, Any]]]:
    """How many inputs ended how, and those that ended otherwise than they may."""
    counts: collections.Counter[str] = collections.Counter()
    bad = []
    for seed in seeds:
        how, why = end(seed)
        counts[how] += 1
        if why:
            bad.append({"seed": seed, "end": how, "why": why})
    return counts, bad


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first input; the others follow")
    parser.add_argument("--part", action="store_true", help="read them in this process")
    parser.add_argument("--output", help="JSON file for the result")
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.inputs)
    if arguments.part:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        print(json.dumps(ends(seeds)))
        return
    started = time.monotonic()
    counts: collections.Counter[str] = collections.Counter()
    bad = []
    for first in seeds[::PART]:
        inputs = min(PART, seeds.stop - first)
        command = [sys.executable, "-m", "benchmarks.fuzz", "--part", "--seed", str(first), "--inputs", str(inputs)]
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
