"""Do the same params and source give the same triplets, however they are computed?

Usage: python -m benchmarks.determinism [--params FILE] [--work DIR] [--packages NAME ...] [--variants NAME ...]

Runs ``gangue mine`` once for each variant, each in a new process and an empty folder, and prints a table of two
digests of its triplets: of the files' bytes, and of the rows alone (ids, texts, kinds, in their order; no float).
Exits with 1 where they differ though they must not.

  plain             one process, PYTHONHASHSEED=0
  workers 4         beam.workers: 4
  hash seed 12345   PYTHONHASHSEED=12345
  both              these two in one run: the cheapest proof that neither changes a byte
  1 thread          OMP_NUM_THREADS=1, where ``plain`` has one for every core
  shards            a third of the documents and queries in a shard: another recipe, so the rows must be equal
  1 file, 16 files  the rows that ``plain`` ingested, as a source of kind tables, shuffled into so many files: the
                    bytes must be equal between the two, the rows also to those of ``plain``

Without --params it takes the project's, of which a source of kind python_code is cut to a few packages, and gets
functions in Chinese, Japanese, Thai, German and Arabic; --packages leaves those out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from benchmarks import languages
from gangue.transforms.datasets.storage import Data

PACKAGES = ("heapq.py", "statistics.py", "textwrap.py")
VARIANTS = ("plain", "workers 4", "hash seed 12345", "both", "1 thread", "shards", "1 file", "16 files")
BYTES_AS = dict.fromkeys(("workers 4", "hash seed 12345", "both", "1 thread"), "plain") | {"16 files": "1 file"}
TABLES = {
    "documents": {"document_id": "document_id", "title": "title", "text": "text"},
    "queries": {"query_id": "query_id", "text": "text", "answers": "answers"},
    "positives": {"query_id": "query_id", "document_id": "document_id", "grade": "grade"},
}


class Outcome(NamedTuple):
    """The triplets of one variant: number, digest of bytes, digest of rows, seconds."""

    triplets: int
    bytes: str
    rows: str
    seconds: float


def outcome(data: Data, seconds: float = 0.0) -> Outcome:
    """Digests of the triplets.

    Which shard a query is in depends on how many there are; the order of its own rows must not. Floats are left out of
    the rows: their low bits depend on which texts shared a batch (docs/determinism.md).
    """
    digest, queries = hashlib.blake2b(digest_size=8), []
    for name in data.files("triplets"):
        digest.update(pathlib.Path(data.path("triplets", name)).read_bytes())
    for shard in data.shards("triplets"):
        table = data.read("triplets", shard)
        exact = [name for name in table.column_names if str(table.schema.field(name).type) == "string"]
        queries += [(row["query_id"], json.dumps(row, ensure_ascii=False)) for row in table.select(exact).to_pylist()]
    rows = "\n".join(row for _, row in sorted(queries, key=lambda query: query[0]))  # stable
    of_rows = hashlib.blake2b(rows.encode(), digest_size=8).hexdigest()
    return Outcome(len(queries), digest.hexdigest(), of_rows, seconds)


def differences(found: Mapping[str, Outcome]) -> list[str]:
    """What differs though it must not: a sentence each.

    >>> one, other = Outcome(2, "a", "r", 0), Outcome(2, "b", "r", 0)
    >>> differences({"plain": one, "shards": other})
    []
    >>> differences({"plain": one, "workers 4": other})
    ['workers 4: the bytes of the triplets must be those of plain']
    """
    wrong = [
        f"{name}: the bytes of the triplets must be those of {BYTES_AS[name]}"
        for name, result in found.items()
        if name in BYTES_AS and BYTES_AS[name] in found and result.bytes != found[BYTES_AS[name]].bytes
    ]
    first = next(iter(found))
    return wrong + [
        f"{name}: the rows of the triplets must be those of {first}"
        for name, result in found.items()
        if result.rows != found[first].rows
    ]


def changed(name: str, values: Mapping[str, Any], work: pathlib.Path, seed: int = 3) -> dict[str, Any]:
    """The params of a variant."""
    result = dict(values)
    if name in ("workers 4", "both"):
        result["beam"] = {**result.get("beam", {}), "workers": 4}
    elif name == "shards":
        plain = Data(str(work / "plain" / "data"))
        sizes = {f"{table}_per_shard": max(1, sum(plain.rows(table)) // 3) for table in ("documents", "queries")}
        result["ingest"] = {**result.get("ingest", {}), **sizes}
    elif name.endswith(("file", "files")):
        result["source"] = as_tables(Data(str(work / "plain" / "data")), work / f"source {name}", int(name.split()[0]))
    return result


def as_tables(data: Data, folder: pathlib.Path, files: int) -> dict[str, Any]:
    """Write what was ingested as a source of kind tables, shuffled into some files of each table; its params."""
    for table, columns in TABLES.items():
        rows = data.read_all(table, list(columns)).to_pylist()
        random.Random(files).shuffle(rows)
        (folder / table).mkdir(parents=True, exist_ok=True)
        for number in range(files):
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows[number::files])
            (folder / table / f"{number:02}.jsonl").write_text("".join(lines), encoding="utf-8")
    names = {table: table for table in TABLES}
    optional = {"document_title": "title", "answers": "answers", "grade": "grade"}
    return {"kind": "tables", "path": str(folder), **names, **optional}


def mine(name: str, values: Mapping[str, Any], folder: pathlib.Path) -> Outcome:
    """Run the whole job in a new process.

    Raises:
      RuntimeError: it failed; with what it said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(json.dumps(values))
    data = Data(str(folder / "data"))
    program = pathlib.Path(sys.executable).with_name("gangue")  # whose workers are forked, as a user's are
    places = ["--params", str(folder / "params.yaml"), "--data", data.root, "--reports", str(folder / "reports")]
    root = str(pathlib.Path(__file__).parents[1])
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    seed = {"PYTHONHASHSEED": "12345" if name in ("hash seed 12345", "both") else "0"}
    threads = {"OMP_NUM_THREADS": "1"} if name == "1 thread" else {}
    started = time.monotonic()
    environment = {**os.environ, **paths, **seed, **threads}
    done = subprocess.run([str(program), "mine", *places], env=environment, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"variant {name} failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return outcome(data, time.monotonic() - started)


def job(path: pathlib.Path, packages: Sequence[str] | None) -> dict[str, Any]:
    """The params of a file; a source of kind python_code cut to some packages."""
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    source = values["source"]
    values["source"] = {**source, "path": os.path.abspath(path.parent / source["path"])}
    if packages is not None and source["kind"] == "python_code":
        values["source"]["packages"] = list(packages)
    return values


def with_languages(source: Mapping[str, Any], folder: pathlib.Path) -> dict[str, Any]:
    """Write a few packages of a source of kind python_code, and functions in other languages; its params."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        shutil.copy(os.path.join(source["path"], package), folder)
    (folder / "languages.py").write_text(in_other_languages(), encoding="utf-8")
    return {**source, "path": str(folder), "packages": [*PACKAGES, "languages.py"]}


def in_other_languages(places: int = 6) -> str:
    """A Python file with functions in five languages: each asks for two things of a place, and returns three."""
    functions = []
    for language in languages.MADE_UP:
        corpus, several = languages.made_up(language), len(languages.MADE_UP[language][1])
        asked, said = list(corpus.queries.values()), list(corpus.documents.values())
        for place in range(places):
            facts = [place * several + (place + turn) % several for turn in range(3)]
            question, known = " ".join(asked[i] for i in facts[:2]), ". ".join(said[i] for i in facts)
            functions.append(f'def {language.lower()}_{place}():\n    """{question}"""\n    return {known!r}\n')
    return "\n\n".join(functions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the variants and print the table; 1 where they differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.determinism", description=__doc__)
    parser.add_argument("--params", type=pathlib.Path, help="params file; none: the project's, with fewer packages")
    parser.add_argument("--packages", nargs="+", help="of a source of kind python_code: only these")
    parser.add_argument("--work", type=pathlib.Path, help="folder for the jobs, kept; none: a temporary one")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    own = parser.parse_args(arguments)
    values = job(own.params or pathlib.Path(__file__).parents[1] / "params.yaml", own.packages)
    with tempfile.TemporaryDirectory() as temporary:
        work = own.work or pathlib.Path(temporary)
        if not (own.params or own.packages) and values["source"]["kind"] == "python_code":
            values["source"] = with_languages(values["source"], work / "source")
        found: dict[str, Outcome] = {}
        print(f"{'variant':<18}{'triplets':>9}  {'bytes':<18}{'rows':<18}{'seconds':>8}", flush=True)
        for name in dict.fromkeys(("plain", *own.variants)):
            found[name] = mine(name, changed(name, values, work), work / name)
            n = found[name]
            print(f"{name:<18}{n.triplets:>9}  {n.bytes:<18}{n.rows:<18}{n.seconds:>8.1f}", flush=True)
    wrong = differences(found)
    print("\n".join(wrong) or "Equal where they must be.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
