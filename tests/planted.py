"""A corpus with planted false negatives: documents of a query's topic that nobody labelled.

Every topic has a query word, which its query, its answers and its decoys hold alike, and answer words, which only its
answers hold. So the score of the query cannot tell answers from decoys, but likeness to the known answers can.
"""

import json
import random

from models import static_encoder

COMMON = tuple(f"w{chr(97 + i // 10)}{chr(97 + i % 10)}" for i in range(40))


def write(folder, *, topics=60, labelled=3, unlabelled=3, decoys=8, single=0, shy=False, seed=5):
    """Source files and the encoder under ``folder``; returns (query, document) of the planted false negatives.

    ``single`` of the topics have one labelled answer only, all the others ``labelled``. ``shy``: the later answers name
    what is asked but once among other words, so that retrievers find them late, and are labelled one in four times,
    the others four in five times.
    """
    rng = random.Random(seed)
    words = [f"{kind}{topic:03}" for topic in range(topics) for kind in ("ask", "one", "two")]
    documents, queries, positives, planted = {}, {}, [], set()
    for topic in range(topics):
        ask, one, two = (f"{kind}{topic:03}" for kind in ("ask", "one", "two"))
        queries[f"q{topic:03}"] = f"{ask} {ask} {rng.choice(COMMON)}"
        known = 1 if topic < single else labelled
        for number in range(labelled + unlabelled + decoys):
            answers = number < labelled + unlabelled
            body = [ask, ask, one, two] if answers else [ask, ask, *rng.sample(COMMON, 2)]
            late = shy and known <= number < labelled + unlabelled
            if late:
                body = [ask, one, two, rng.choice(COMMON)]
            name = f"d{rng.randrange(10**6):06}x{topic:03}x{number:02}"
            documents[name] = " ".join(rng.sample(body, len(body)) + rng.sample(COMMON, 2))
            if number < known if not shy else answers and rng.random() < (0.25 if late else 0.8):
                positives.append((f"q{topic:03}", name))
            elif answers:
                planted.add((f"q{topic:03}", name))
    source = folder / "source"
    source.mkdir(parents=True, exist_ok=True)
    rows = {
        "documents": [{"document_id": name, "text": text} for name, text in documents.items()],
        "queries": [{"query_id": name, "text": text} for name, text in queries.items()],
        "positives": [{"query_id": query, "document_id": document} for query, document in positives],
    }
    for name, of_table in rows.items():
        rng.shuffle(of_table)
        (source / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of_table))
    if not (folder / "encoder").exists():
        static_encoder(folder / "encoder", words=(*words, *COMMON), dimensions=48)
    return planted


def beir(folder, **corpus):
    """The planted corpus as a BEIR folder: all answers are known, the benchmark hides some."""
    write(folder, **corpus)
    rows = {
        name: [json.loads(line) for line in (folder / "source" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("documents", "queries", "positives")
    }
    (folder / "qrels").mkdir()
    records = {
        "corpus": [{"_id": row["document_id"], "title": "", "text": row["text"]} for row in rows["documents"]],
        "queries": [{"_id": row["query_id"], "text": row["text"]} for row in rows["queries"]],
    }
    for name, found in records.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in found))
    judged = [f"{row['query_id']}\t{row['document_id']}\t1\n" for row in rows["positives"]]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))


def sections(folder, **changes):
    """The params of a job on it."""
    return {
        "source": {
            "kind": "tables",
            "path": str(folder / "source"),
            **{name: f"{name}.jsonl" for name in ("documents", "queries", "positives")},
        },
        "ingest": {"queries_per_shard": 16},
        "encoders": {"static": {"model": str(folder / "encoder")}},
        "cluster": {"clusters": 4},
        "retrievers": {
            "dense": {"kind": "dense", "encoder": "static", "depth": 24},
            "bm25": {"kind": "bm25", "depth": 12},
        },
        "filter": {
            "kind": "learned",
            "p_false": 0.3,
            "fallback": {"kind": "perc", "score": "dense", "perc": 0.95},
        },
        "sample": {"kind": "top", "score": "dense", "negatives": 3},
        "audit": {"rounds": 2},
        **changes,
    }
