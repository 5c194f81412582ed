"""One labelled positive a query, most positives unlabelled: what is promised is true, or refused by name.

Planted topics: several queries ask the same, each has one labelled answer of its own, and the answers of the others are
its unlabelled positives. What was promised on such input was false: 0.2 % where 38 % came back.
"""

import json
import random
import types

import numpy as np
import pytest
from models import static_encoder

from gangue.pipeline import mine
from gangue.transforms.datasets.storage import Data
from gangue.transforms.relevance import learn_note

COMMON = [f"w{chr(97 + i // 10)}{chr(97 + i % 10)}" for i in range(60)]
BUDGET = 0.05
SHAPES = ("pairs alone", "pairs and corpus", "several", "symmetric", "classes", "popular")


def write(folder, shape, *, topics=40, each=4, decoys=4, seed=3):
    """A job of that shape; returns its params and (query text, document text) of all that is true."""
    rng = random.Random(seed)
    topical = [f"{kind}{topic:02}" for topic in range(topics) for kind in ("ask", "one", "two")]
    pairs, corpus, true = [], [], set()
    for topic in range(topics):
        ask, one, two = (f"{kind}{topic:02}" for kind in ("ask", "one", "two"))

        def text(words):
            return " ".join(rng.sample(words, len(words)) + rng.sample(COMMON, 4))

        queries = [text([ask, ask]) for _ in range(each)]
        answers = [text([ask, one, two]) for _ in range(each if shape != "several" else 2 * each)]
        other = [text([ask, rng.choice(COMMON), rng.choice(COMMON)]) for _ in range(decoys)]
        true |= {(query, answer) for query in queries for answer in answers}
        if shape == "symmetric":
            queries = answers[: each // 2]
            answers = answers[each // 2 :]
            pairs += [(b, a) for a, b in zip(queries, answers, strict=True)]
            true |= {(a, b) for a in queries + answers for b in queries + answers if a != b}
        for number, query in enumerate(queries):
            for which in {"several": (number, number + each), "popular": (0,)}.get(shape, (number,)):
                pairs.append((query, answers[which]))
        corpus += answers if shape == "classes" else []
        corpus += other if shape not in ("pairs alone", "symmetric") else []
    folder.mkdir(parents=True, exist_ok=True)
    rng.shuffle(pairs)
    (folder / "pairs.jsonl").write_text("".join(json.dumps({"anchor": a, "positive": b}) + "\n" for a, b in pairs))
    source = {"kind": "pairs", "path": str(folder), "pairs": "pairs.jsonl"}
    if corpus:
        (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in corpus))
        source["corpus"] = "corpus.jsonl"
    encoder = static_encoder(folder / "encoder", words=(*topical, *COMMON), dimensions=48)
    values = {
        "source": source,
        "encoders": {"static": {"model": str(encoder)}},
        "cluster": {"clusters": 4},
        "retrievers": {
            "dense": {"kind": "dense", "encoder": "static", "depth": 40},
            "bm25": {"kind": "bm25", "depth": 40},
        },
        "filter": {"kind": "learned", "max_false_negatives": BUDGET},
        "sample": {"kind": "top", "score": "dense", "negatives": 4},
        "audit": {"rounds": 1},
    }
    (folder / "params.yaml").write_text(json.dumps(values))
    return true


@pytest.fixture(scope="module", params=SHAPES)
def job(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_known")
    true = write(folder / "source", request.param)
    mine.run(str(folder / "source" / "params.yaml"), str(folder / "data"), str(folder / "reports"))
    data = Data(str(folder / "data"))
    rows = data.read_all("triplets", ["query", "negative"]).to_pylist()
    false = [(row["query"], row["negative"]) in true for row in rows]
    metrics = json.loads((folder / "reports" / "audit.json").read_text())
    return types.SimpleNamespace(
        shape=request.param, data=data, false=np.array(false), true=true, metrics=metrics, learned=learn_note.read(data)
    )


def test_a_promise_is_true_or_refused(job):
    budget = job.metrics["budget"]
    if budget["refused"] is None:
        assert len(job.false)
        assert job.false.mean() <= BUDGET, "the promise is kept"
        assert budget["bound"] <= BUDGET
    else:
        assert budget["bound"] is None
        assert "cannot be promised" in budget["refused"]


def test_unlabelled_positives_are_told_from_the_rest(job):
    found = {"true": [], "other": []}
    texts = dict(zip(*job.data.read_all("documents", ["document_id", "text"]).to_pydict().values(), strict=True))
    asked = dict(zip(*job.data.read_all("queries", ["query_id", "text"]).to_pydict().values(), strict=True))
    known = set(map(tuple, job.data.read_all("positives", ["query_id", "document_id"]).to_pandas().to_numpy()))
    for row in job.data.read_all("relevance").to_pylist():
        pair = row["query_id"], row["document_id"]
        if pair not in known and asked[pair[0]] != texts[pair[1]]:
            name = "true" if (asked[pair[0]], texts[pair[1]]) in job.true else "other"
            found[name].append(row["p_false"])
    if found["true"]:
        above = np.mean(np.array(found["true"])[:, None] > np.array(found["other"])[None, :2000])
        assert above > 0.9


def test_no_feature_that_tells_labels_takes_part(job):
    """In pairs without a corpus each document is a positive of one query: of none, once that is left out."""
    dropped = set(job.learned["dropped"])
    if job.shape in ("pairs alone", "symmetric", "pairs and corpus", "classes"):
        assert {"known_asked_static", "known_answers_static"} <= dropped
    if job.learned["usable"]:
        for name in dropped:
            assert job.learned["importances"][name] == 0.0


def test_the_share_that_is_read_off_the_data_is_that_of_the_plant(job):
    share = job.learned["share"]
    if job.shape in ("pairs alone", "pairs and corpus"):
        assert share["low"] <= 0.25, "one of four answers is labelled"
        assert share["high"] >= 0.25
