"""Does the budget hold? Many drawings of what is labelled, each judged without the rest, on any BEIR folder.

Usage: python -m benchmarks.budget --data FOLDER [--known one half 0.1] [--labelled random bm25] [--splits 20]
           [--queries 200] [--labels 200 200] [--wrong 0.1] [--told chosen] [--encoder MODEL] [--pretrained FILE]
           [--work DIR] [--output NAME]

In each split some positives of every query are labelled and the others hidden from everything: ``one`` of them, the
``half``, or a share; drawn at random, from the half that BM25 ranks ``upper``, or with chances inverse to their BM25
ranks (``clicked``); or those that a system ranks best (``bm25``, ``dense``) or BM25 ranks ``worst``.
The job learns, estimates the labelled share and chooses its cut from these labels alone, with default settings, for
each budget on average and with 90 % confidence; it mines, and the hidden positives that come back are counted. A split
exceeds a budget where the share that came back is above it. ``--told`` is what ``learn.labelled`` says. With
``--labels`` so many pairs are labelled truly, half of them the first budget's negatives and half what other cuts would
choose, as by ``gangue sample-for-labels``, a share ``--wrong`` of them falsely, and all is done again; with a second
number once more, of the new negatives. Prints one JSON line per (known, labelled, budget, confidence) with

  exceeded          share of the splits above the budget
  fn_rate, worst    mean and highest share of false negatives
  hardness, per_query   means over splits
  refused           splits where the budget is refused: nothing of them is in the other figures
  share             labelled share of the positives found: true, and means of the estimate's ends and middle
  naive             share of false negatives, and hardness, without any rule
  rule              of the fixed rules that exceed in at most a tenth of the splits, the hardest one at 4.95 negatives
                    per query and more, with its figures; and the strictest one
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import frontier as lines
from gangue.pipeline import calibrate, cluster, embed, ingest, learn, params, plan, pool, retrieve
from gangue.transforms import arrays, at_hand, randomness
from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets import schema
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import budget as budgets
from gangue.transforms.evidence import frontier, held_out, other_cuts, prediction_powered
from gangue.transforms.relevance import conclusions, describing, feature_names, learn_note, teaching

BUDGETS = (0.02, 0.05)
CONFIDENCES = (None, 0.9)
PROMISED = 0.1  # share of the splits that may exceed
DRAWN = ("random", "upper", "clicked")
LABELLED = (*DRAWN, "bm25", "dense", "worst")


def prepare(folder: pathlib.Path, work: pathlib.Path, asked: argparse.Namespace) -> tuple[Data, params.Params]:
    """Mine up to the pool with every positive known; all queries in one shard."""
    p = lines.job(work / "source", asked.encoder)
    p = p.model_copy(
        update={
            "ingest": p.ingest.model_copy(update={"queries_per_shard": 1 << 20}),
            "filter": params.Filter(rule=rules.Learned(), max_false_negatives=BUDGETS[0]),
            "learn": p.learn.model_copy(update={"pretrained": asked.pretrained, "labelled": asked.told}),
            "labels": params.Labels(wrong=asked.wrong),
        }
    )
    data = Data(str(work / "data"))
    positives = lines.positives_of(folder)
    order = list(positives)
    if asked.known == ["one"]:  # as they come; else queries with several positives first
        order.sort(key=lambda query: randomness.id_hashes(pa.array([query]))[0])
    queries = order[: asked.queries]
    lines.write_source(folder, work / "source", {query: positives[query] for query in queries}, {})
    ingest.run(data, p)
    for name in p.encoders:
        embed.run(data, p, name)
        cluster.run(data, p, name)
    plan.run(data, p)
    for name in p.retrievers:
        retrieve.run(data, p, name)
    pool.run(data, p)
    return data, p


def hidden_of(whole: query_shard.Shard, known: str, labelled: str, seed: int) -> np.ndarray:
    """(p,) bool, which positives nobody labelled: all but one of each query, or but a share, never its only one."""
    query = whole.block.positive_query
    size = np.bincount(query, minlength=whole.queries)[query]
    wanted = np.ones(len(query), np.int64)
    if known != "one":
        share = 0.5 if known == "half" else float(known)
        wanted = np.clip(np.round(share * size).astype(np.int64), 1, np.maximum(size - 1, 1))
    noise = randomness.uniforms(randomness.mix(seed, 77, whole.positive_hashes))
    scores = whole.candidates.positive_scores
    place = arrays.rank_within(query, [-scores["bm25"].astype(np.float64), noise])
    keys = {
        "random": noise,
        "upper": noise + (place >= (size + 1) // 2),
        "clicked": -np.log(noise) * (place + 1),  # the least of exponential variables, each with its own rate
        "bm25": -scores["bm25"],
        "dense": -scores["dense"],
        "worst": scores["bm25"],
    }
    return np.asarray(arrays.rank_within(query, [keys[labelled].astype(np.float64), noise]) >= wanted)


def unaware_of(
    data: Data, p: params.Params, whole: query_shard.Shard, hidden: np.ndarray
) -> tuple[query_shard.Shard, dict[str, Any]]:
    """The shard as judged by a job that never knew the hidden positives, and what that job learned."""
    data.write("positives", whole.name, whole.block.positives.filter(pa.array(~hidden)))
    data.commit("positives")
    at_hand.forget()  # of the other queries too, only what is labelled is known
    unaware = held_out.hide(data, p, whole, hidden)
    note = teaching.taught(learn.examples(data, p, unaware), feature_names.names(p))
    asked = np.ones(unaware.queries, bool)
    opinion, told = describing.opinion(data, p, unaware, note, asked), describing.labels(data, unaware)
    documents = sum(data.rows("documents"))
    note |= conclusions.concluded(p, note, learn.sampled(unaware, opinion, told, asked), documents)
    data.write_note("relevance", learn_note.MODEL, json.dumps(note))
    data.commit("relevance")
    p_false = describing.probability(opinion.full, opinion.taught, describing.evidence(data, p, unaware), note)
    place = unaware.pair_of_positive
    candidates = dataclasses.replace(
        unaware.candidates,
        scores={**unaware.candidates.scores, rules.P_FALSE: p_false},
        positive_scores={**unaware.candidates.positive_scores, rules.P_FALSE: p_false[place]},
    )
    return dataclasses.replace(unaware, candidates=candidates), note


def told(
    data: Data, p: params.Params, whole: query_shard.Shard, hidden: np.ndarray, labels: int, seed: int
) -> tuple[query_shard.Shard, np.ndarray]:
    """The shard and what is hidden of it, once so many more pairs are labelled, as after ``sample-for-labels``."""
    unaware, note = unaware_of(data, p, whole, hidden)
    filters = [p.filter.with_cut(cut) for cut in frontier.cuts(data, p, p.filter.rule)[::2]]
    points = budgets.points_of([calibrate.measure(data, p, unaware, filters)], None)
    cut = budgets.chosen_cut(points, p, note)["cut"]
    pair = frontier.chosen_by(data, p, unaware, p.filter.with_cut(cut))
    others = np.setdiff1d(other_cuts.pairs(data, p, unaware, other_cuts.filters(data, p)), pair)
    p_false = unaware.candidates.scores[rules.P_FALSE].astype(np.float64)
    of_mined = prediction_powered.inclusion(p_false[pair], labels - labels // 2)
    chance = np.concatenate([of_mined, other_cuts.spread(p_false[others], labels // 2)])
    pair = np.concatenate([pair, others])
    hashes = randomness.mix(seed, unaware.hashes.query[unaware.candidates.query[pair]], unaware.hashes.document[pair])
    drawn = randomness.uniforms(hashes) < chance
    pair, noise = pair[drawn], randomness.uniforms(randomness.mix(seed + 1, hashes[drawn]))
    said = held_out.answers(data, whole.block, unaware, hidden)[pair] ^ (noise < p.labels.wrong)
    asked = unaware.pairs.take(pa.array(pair))
    judged = pa.table(
        {
            "query_id": asked["query_id"].cast(pa.string()),
            "document_id": asked["document_id"].cast(pa.string()),
            "grade": pa.array(said, pa.float32()),
            "source": pa.array(["label"] * len(pair)),
            "document_row": asked["document_row"],
        }
    )
    data.write("judged", whole.name, pa.concat_tables([data.read("judged", whole.name), judged.cast(schema.JUDGED)]))
    data.commit("judged")
    if p.labels.wrong:
        return whole, hidden
    query, document = unaware.candidates.query[pair], asked["document_row"].to_numpy()
    every = (whole.candidates.query, whole.pairs["document_row"].to_numpy())
    column = pa.array(arrays.pair_among(*every, query[~said], document[~said]))
    pairs = whole.pairs.set_column(whole.pairs.column_names.index("judged"), "judged", column)
    known = arrays.pair_among(whole.block.positive_query, whole.block.positive_row, query[said], document[said])
    return dataclasses.replace(whole, pairs=pairs), hidden & ~known


def split(
    data: Data, p: params.Params, whole: query_shard.Shard, hidden: np.ndarray, labels: Sequence[int], seed: int = 0
) -> dict[str, Any]:
    """Learn, calibrate, mine and count once: name -> (share that came back, hardness, negatives per query)."""
    data.write("judged", whole.name, schema.JUDGED.empty_table())
    data.commit("judged")
    for count in labels:
        whole, hidden = told(data, p, whole, hidden, count, seed)
    unaware, note = unaware_of(data, p, whole, hidden)
    answers = held_out.answers(data, whole.block, unaware, hidden)
    free = ~np.any(list(unaware.candidates.relations.values()), axis=0) & unaware.candidates.retrieved
    found = int((unaware.candidates.relations["positive"] & unaware.candidates.retrieved).sum())
    missed = int(answers[free].sum())

    def outcome(stack: params.Filter) -> tuple[float, float, float]:
        pair = frontier.chosen_by(data, p, unaware, stack)
        if not len(pair):  # a rule may leave nothing
            return 0.0, float("nan"), 0.0
        hardness = unaware.candidates.scores["dense"][pair]
        return float(answers[pair].mean()), float(hardness.mean()), len(pair) / whole.queries

    filters = [p.filter.with_cut(cut) for cut in frontier.cuts(data, p, p.filter.rule)[::2]]
    measured = [calibrate.measure(data, p, unaware, filters)]
    result: dict[str, Any] = {}
    for confidence in CONFIDENCES:
        points = budgets.points_of(measured, confidence)
        for budget in BUDGETS:
            asked = p.model_copy(
                update={"filter": p.filter.model_copy(update={"max_false_negatives": budget, "confidence": confidence})}
            )
            chosen = budgets.chosen_cut(points, asked, note)
            kept = chosen["refused"] is None
            result[f"learned {budget} {confidence}"] = outcome(p.filter.with_cut(chosen["cut"])) if kept else None
    for (kind, cut), variant in lines.variants(p).items():
        if not kind.startswith("learned"):
            result[f"{kind} {cut}"] = outcome(variant.filter)
    estimated = {key: note["share"][key] for key in ("low", "middle", "high", "place", "gap", "chosen", "depends")}
    return {**result, "share": {"true": found / max(found + missed, 1), **estimated}}


def report(splits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per budget and confidence."""
    fixed = [name for name in splits[0] if name != "share" and not name.startswith("learned")]
    shares = [one["share"] for one in splits]
    share = {key: _mean([one[key] for one in shares]) for key in shares[0]}
    result = []
    for budget in BUDGETS:
        holds = [summary(name, splits, budget) for name in fixed]
        naive = next(line for line in holds if line["filter"].startswith("naive"))
        holds = [line for line in holds if line["exceeded"] <= PROMISED]
        full = [line for line in holds if line["per_query"] >= 4.95]
        for confidence in CONFIDENCES:
            line = summary(f"learned {budget} {confidence}", splits, budget)
            line |= {"budget": budget, "confidence": confidence, "share": share}
            line["naive"] = {key: naive[key] for key in ("fn_rate", "hardness")}
            line["rule"] = max(full, key=lambda rule: rule["hardness"], default=None)
            line["strictest_rule"] = min(holds, key=lambda rule: rule["hardness"], default=None)
            result.append(line)
    return result


def _mean(values: list[float | None]) -> float | None:
    some = [value for value in values if value is not None]
    return float(f"{np.mean(some):.4g}") if some else None


def summary(name: str, splits: list[dict[str, Any]], budget: float) -> dict[str, Any]:
    """Figures of one filter over all splits."""
    done = np.array([found for one in splits if (found := one.get(name)) is not None])
    if not len(done):
        return {"filter": name, "splits": len(splits), "refused": len(splits)}
    figures = {
        "exceeded": (done[:, 0] > budget).mean(),
        "fn_rate": done[:, 0].mean(),
        "worst": done[:, 0].max(),
        "hardness": done[:, 1].mean(),
        "per_query": done[:, 2].mean(),
    }
    rounded = {key: float(f"{value:.4g}") for key, value in figures.items()}
    return {"filter": name, "splits": len(splits), "refused": len(splits) - len(done), **rounded}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.budget", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, type=pathlib.Path, help="BEIR folder")
    parser.add_argument("--known", nargs="+", default=["half"], help="one, half, or a share of the positives")
    parser.add_argument("--labelled", nargs="+", default=["random"], choices=LABELLED)
    parser.add_argument("--splits", type=int, default=20, help="drawings of what is labelled")
    parser.add_argument(
        "--queries",
        type=int,
        default=200,
        help="queries at most; with --known one as they come, else those with several positives first",
    )
    parser.add_argument("--labels", type=int, nargs="+", default=[], help="tell the labels of so many negatives")
    parser.add_argument("--wrong", type=float, default=0.0, help="share of these labels that are wrong")
    parser.add_argument("--told", default="auto", choices=("auto", "chosen"), help="learn.labelled")
    parser.add_argument("--encoder", default=lines.ENCODER, help="another model")
    parser.add_argument("--pretrained", help="the filter to start from: one that has not seen this corpus")
    parser.add_argument("--work", type=pathlib.Path, help="keep the datasets here, vectors above all")
    parser.add_argument("--output", help="NAME: also write benchmarks/results/budget_NAME.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data, p = prepare(asked.data, asked.work or pathlib.Path(scratch), asked)
        (shard,) = data.shards("queries")
        whole = query_shard.load(data, p, shard, judged=False)
        every, found = data.read("positives", shard), []
        try:
            for known in asked.known:
                for labelled in asked.labelled:
                    splits = []
                    for seed in range(asked.splits if labelled in DRAWN else 1):  # the others always choose the same
                        hidden = hidden_of(whole, known, labelled, seed)
                        splits.append(split(data, p, whole, hidden, asked.labels, seed))
                        print(f"{known}, {labelled}: {seed + 1} of {asked.splits}", file=sys.stderr, flush=True)
                    for line in report(splits):
                        found.append({"known": known, "labelled": labelled, **line})
                        print(json.dumps(found[-1]), flush=True)
        finally:
            data.write("positives", shard, every)
            data.commit("positives")
            data.write("judged", shard, schema.JUDGED.empty_table())
            data.commit("judged")
    if asked.output:
        lines.RESULTS.mkdir(exist_ok=True)
        note = {
            "data": asked.data.name,
            "queries": whole.queries,
            "labels": asked.labels,
            "wrong": asked.wrong,
            "told": asked.told,
            "lines": found,
        }
        (lines.RESULTS / f"budget_{asked.output}.json").write_text(json.dumps(note, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
