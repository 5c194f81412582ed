"""The first example of the README on CSV files of 500, 40, 3 and 1 rows: what is typed, said, and how long it takes.

Usage: python -m benchmarks.first_hour [--rows 500 40 3 1] [--gangue PROGRAM] [--output]

The rows are docstrings and functions of Python's standard library. One JSON line per file: ``rows``, ``seconds`` of
``gangue mine``, ``triplets``, ``exit``, ``said``: what it printed but for the times. ``--gangue``: of another
environment, such as one that has the wheel alone. The report is benchmarks/results/first_hour.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import pathlib
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from typing import Any

from benchmarks.frontier import RESULTS
from gangue.pipeline import params
from gangue.transforms.datasets.storage import Data

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"
PACKAGES = ("asyncio", "collections", "http", "json", "random.py", "shutil.py", "statistics.py", "tarfile.py", "xml")
TYPED = "gangue mine --params mine.yaml --data mined --reports mined/reports"


def example() -> str:
    """The params of the README's first example."""
    (found,) = re.findall(r"```yaml\n(# mine\.yaml\n.*?)```", README.read_text(), re.S)
    return str(found)


def pairs(count: int) -> list[tuple[str, str]]:
    """So many docstrings and functions, spread over the packages."""
    source = params.PythonCode(kind="python_code", path=sysconfig.get_path("stdlib"), packages=PACKAGES)
    texts: dict[str, dict[str, str]] = {"documents": {}, "queries": {}}
    found = []
    for record in source.records():
        if record.dataset in texts:
            texts[record.dataset][record.values[0]] = next(v for v in record.values[1:] if isinstance(v, str) and v)
        elif record.dataset == "positives":
            found.append(record.values[:2])
    every = [(texts["queries"][query], texts["documents"][document]) for query, document in dict.fromkeys(found)]
    return every[:: max(1, len(every) // count)][:count]


def mined(folder: pathlib.Path, rows: int, gangue: str) -> dict[str, Any]:
    """Type the example in a folder; what came of it."""
    with open(folder / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "answer"), *pairs(rows)])
    (folder / "mine.yaml").write_text(example())
    started = time.monotonic()
    command = [gangue, *TYPED.split()[1:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    lines = [re.sub(r" \([\d.]+ s\)$", "", line) for line in (done.stderr + done.stdout).splitlines()]
    data = Data(str(folder / "mined"))
    return {
        "rows": rows,
        "seconds": round(time.monotonic() - started, 1),
        "exit": done.returncode,
        "triplets": sum(data.rows("triplets")) if data.exists("triplets") else 0,
        "said": [line.replace(str(folder), "") for line in lines if " left" not in line],
    }


def main() -> int:
    """Mine each file."""
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m benchmarks.first_hour", formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 40, 3, 1], help="of the CSV files")
    parser.add_argument("--gangue", default=str(pathlib.Path(sys.executable).with_name("gangue")), help="the program")
    parser.add_argument("--output", action="store_true", help="also write benchmarks/results/first_hour.json")
    asked = parser.parse_args()
    found = []
    for rows in asked.rows:
        with tempfile.TemporaryDirectory() as folder:
            found.append(mined(pathlib.Path(folder).resolve(), rows, asked.gangue))
        print(json.dumps(found[-1]), flush=True)
    if asked.output:
        (RESULTS / "first_hour.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
