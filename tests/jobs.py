"""A small job with everything in it: two retrievers, a taught cross-encoder, all views, report."""

import json
import random

from models import WORDS, cross_encoder, static_encoder


def write(folder, *, queries=24, documents=80, seed=3, model=None):
    """Source files, models and params under ``folder``; returns the params as a mapping."""
    rng = random.Random(seed)
    source = folder / "source"
    source.mkdir(parents=True, exist_ok=True)
    texts = {f"d{i:03d}": " ".join(rng.choices(WORDS, k=6)) + f" n{i}" for i in range(documents)}
    asked = {f"q{i:02d}": " ".join(rng.choices(WORDS, k=3)) + f" m{i}" for i in range(queries)}
    positives = [(q, d) for q in asked for d in rng.sample(sorted(texts), rng.choice([1, 2, 3]))]
    _lines(source / "documents.jsonl", [{"document_id": d, "text": t} for d, t in texts.items()])
    _lines(source / "queries.jsonl", [{"query_id": q, "text": t} for q, t in asked.items()])
    _lines(source / "positives.jsonl", [{"query_id": q, "document_id": d} for q, d in positives])
    encoder = static_encoder(folder / "encoder")
    start = cross_encoder(folder / "cross_encoder")
    scorer = {"model": model} if model else {"teach": {"encoder": "start", "layers": 1, "negatives": 2}}
    values = {
        "source": {
            "kind": "tables",
            "path": str(source),
            "documents": "documents.jsonl",
            "queries": "queries.jsonl",
            "positives": "positives.jsonl",
        },
        "ingest": {"documents_per_shard": 32, "queries_per_shard": 8},
        "encoders": {"tiny": {"model": encoder}, "start": {"model": start, "max_length": 32}},
        "cluster": {"clusters": 4},
        "retrievers": {
            "dense": {"kind": "dense", "encoder": "tiny", "depth": 12, "max_depth": 60},
            "bm25": {"kind": "bm25", "depth": 12},
        },
        "pool": {"random": 3},
        "scorers": {"taught": {**scorer, "depth": 10, "max_length": 32}},
        "learn": {"labelled": 0.5},
        "filter": {
            "kind": "perc",
            "score": "dense",
            "perc": 0.99,
            "positive": "max",
            "also": [{"kind": "denoise", "score": "taught", "max": 0.99}],
        },
        "calibrate": {"rounds": 2},
        "sample": {"kind": "top", "score": "dense", "negatives": 3, "random": 1},
        "export": {
            "views": [
                "triplet",
                "ntuple",
                "labeled_pair",
                "labeled_list",
                "scored_pair",
                "scored_ntuple",
                "scored_list",
            ]
        },
        "audit": {"rounds": 2},
    }
    (folder / "params.yaml").write_text(json.dumps(values))  # JSON is YAML
    return values


def _lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
