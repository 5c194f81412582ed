"""What another backend does to embedding: its time, and which neighbours it changes.

Usage: python -m benchmarks.backends --data FOLDER [--texts 400] [--repeats 3] [--output]

Needs ``pip install 'sentence-transformers[openvino]'``. all-MiniLM-L6-v2 is converted to OpenVINO, and once more with
its weights in int8, then texts of a BEIR folder are embedded with torch and with both of these, in turn. One JSON
object: median seconds, their ratio to torch's, how many of the ten nearest texts stay the same, how far cosines move.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

from sentence_transformers import SentenceTransformer

from benchmarks.stages import LENGTH, MODEL, agreement
from gangue.transforms.models import encoder, folders

RESULTS = pathlib.Path(__file__).parent / "results"
TOKENS, FILE = 2048, "openvino/openvino_model.xml"


def texts_of(folder: pathlib.Path, count: int) -> list[str]:
    """The first documents of a BEIR folder."""
    with open(folder / "corpus.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line, _ in zip(file, range(count), strict=False)]
    return [f"{row.get('title', '')} {row['text']}".strip() for row in rows]


def converted(folder: pathlib.Path, **how: bool) -> str:
    """The model as OpenVINO reads it, saved in a folder."""
    kwargs = {"export": True, **how}
    model = SentenceTransformer(folders.locate(MODEL), backend="openvino", model_kwargs=kwargs)
    model.save_pretrained(str(folder))
    return str(folder)


def compared(texts: list[str], scratch: pathlib.Path, repeats: int) -> dict[str, Any]:
    """Time and neighbours with each backend."""
    exact, small = converted(scratch / "float32"), converted(scratch / "int8", load_in_8bit=True)
    models = {
        "torch": encoder.load(folders.locate(MODEL), LENGTH),
        "openvino": encoder.load(exact, LENGTH, backend="openvino", model_file=FILE),
        "openvino, int8 weights": encoder.load(small, LENGTH, backend="openvino", model_file=FILE),
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    vectors = {}
    for _ in range(repeats):
        for name, model in models.items():
            started = time.monotonic()
            vectors[name] = model.encode(texts, prompt="", normalise=True, tokens=TOKENS)
            seconds[name].append(time.monotonic() - started)
    median = {name: statistics.median(each) for name, each in seconds.items()}

    return {
        name: {
            "seconds": round(median[name], 2),
            "ratio": round(median[name] / median["torch"], 2),
            **agreement(vectors[name], vectors["torch"]),
        }
        for name in models
    }


def main() -> None:
    """Convert, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="BEIR folder")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", action="store_true", help="also write benchmarks/results/backends.json")
    asked = parser.parse_args()
    texts = texts_of(asked.data, asked.texts)
    with tempfile.TemporaryDirectory() as scratch:
        found = compared(texts, pathlib.Path(scratch), asked.repeats)
    result = {"data": asked.data.name, "texts": len(texts), "tokens": LENGTH, "backends": found}
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if asked.output:
        (RESULTS / "backends.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
