"""Training sets of one size by different ways to choose negatives: what students read."""

from __future__ import annotations

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import beir, sides
from gangue.pipeline import calibrate, embed, export, filter, ingest, learn, params, plan, pool, retrieve, sample
from gangue.transforms import arrays, randomness, text
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import folders

Pair = tuple[str, str]  # query id, document id of a positive

NEGATIVES = 4
MINILM: dict[str, Any] = {"model": sides.MODEL, "max_length": sides.MAX_LENGTH}
DEEPEST = 2000  # ranks that are searched for a query whose positive is weak
IN_BATCH = "in-batch"
THEIRS = "sentence-transformers"
_PERC = {"kind": "perc", "score": "dense", "perc": sides.PERC}
_TOP = {"kind": "top"}

SYSTEMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "random": ({"kind": "naive"}, {"kind": "top", "random": NEGATIVES}),
    "star": ({"kind": "naive"}, {"kind": "random", "first": 200, "random": 1}),
    "naive": ({"kind": "naive"}, _TOP),
    "simans": ({"kind": "naive"}, {"kind": "simans", "first": 100}),
    "shifted": ({"kind": "shifted", "score": "dense", "shift": 10}, _TOP),
    "learned": ({"kind": "learned", "p_false": 0.5, "fallback": _PERC}, _TOP),
    "learned_2pc": ({"kind": "learned", "max_false_negatives": 0.02, "fallback": _PERC}, _TOP),
    "advised": (
        {"kind": "learned", "max_false_negatives": 0.02, "fallback": _PERC},
        {"kind": "top", "random": 1},
    ),
    "learned_star": (
        {"kind": "learned", "max_false_negatives": 0.02, "fallback": _PERC},
        {"kind": "random", "first": 200, "random": 1},
    ),
    "margin": ({"kind": "margin", "score": "dense", "margin": sides.MARGIN}, _TOP),
    "perc": (_PERC, _TOP),
}
"""System -> our ``filter`` and ``sample`` sections. Neighbours with equal candidates share a pool."""


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """What one student reads.

    Attributes:
      negatives: of every pair, ``NEGATIVES`` ids of documents; none for in-batch only.
      filled: share of the negatives that were drawn from the corpus, because the system found too few.
    """

    negatives: dict[Pair, tuple[str, ...]]
    filled: float


def job(folder: pathlib.Path, system: str, seed: int, model: dict[str, Any]) -> params.Params:
    """The params that mine for a system; all but ``filter``, ``sample`` and how deep is searched is the same."""
    rule, choice = SYSTEMS[system]
    deepest = {"max_depth": DEEPEST} if rule["kind"] in ("margin", "perc") else {}
    return params.parse(
        {
            "source": {"kind": "beir", "path": str(folder), "splits": ["train"]},
            "encoders": {"minilm": model},
            "retrievers": {
                "dense": {"kind": "dense", "encoder": "minilm", "depth": 200, **deepest},
                "bm25": {"kind": "bm25", "depth": 100},
            },
            "pool": {"random": 4 * NEGATIVES if choice.get("random") else 0},
            "filter": rule,
            "sample": {"score": "dense", "negatives": NEGATIVES, "seed": seed, **choice},
        }
    )


def ours(
    folder: pathlib.Path, data: Data, seeds: int, model: dict[str, Any] = MINILM
) -> Iterator[tuple[str, int, TrainingSet | str]]:
    """Mine with every system: (system, seed, its set); or instead of the set why this corpus cannot give it."""
    pooled: object = None
    learned = False
    for system in SYSTEMS:
        p = job(folder, system, 0, model)
        plan.run(data, p)
        if pooled is None:
            ingest.run(data, p)
            embed.run(data, p, "minilm")
            retrieve.run(data, p, "bm25")
        asked = (p.retrievers, p.pool, p.filter if "max_depth" in p.retrievers["dense"].model_fields_set else None)
        if pooled != asked:  # who searches deeper depends on the rule
            retrieve.run(data, p, "dense")
            pool.run(data, p)
            pooled, learned = asked, False
        try:
            if not (learned and p.filter.rule.learns):
                learn.run(data, p)
            learned = p.filter.rule.learns
            calibrate.run(data, p)
        except ValueError as error:
            yield system, 0, str(error)
            continue
        filter.run(data, p)
        for seed in range(seeds):
            p = job(folder, system, seed, model)
            if seed == 0 or p.sample.kind != "top" or p.sample.random:  # others draw nothing
                sample.run(data, p)
                export.run(data, p)
                chosen = _triplets(data)
            yield system, seed, filled(data, chosen, seed)


def theirs(
    folder: pathlib.Path, data: Data, seeds: int, model: dict[str, Any] = MINILM
) -> Iterator[tuple[str, int, TrainingSet]]:
    """Mine our vectors with ``mine_hard_negatives`` as its docstring recommends."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    corpus, pairs = beir.read(folder, "train"), pairs_of(data)
    by_text = {one: name for name, one in reversed(corpus.documents.items())}
    miner = SentenceTransformer(folders.locate(model["model"]), device="cpu")
    for method, dataset in (("encode_document", "documents"), ("encode_query", "queries")):
        setattr(miner, method, functools.partial(_known, vectors=_vectors(data, dataset)))
    texts = list(dict.fromkeys((corpus.queries[q], corpus.documents[d]) for q, d in pairs))
    mined = mine_hard_negatives(
        Dataset.from_dict({"anchor": [t[0] for t in texts], "positive": [t[1] for t in texts]}),
        miner,
        corpus=list(dict.fromkeys(corpus.documents.values())),
        relative_margin=1 - sides.PERC,
        num_negatives=NEGATIVES,
        sampling_strategy="top",
        verbose=False,
    )
    chosen: dict[Pair, list[str]] = collections.defaultdict(list)
    for row in mined:
        chosen[row["anchor"], row["positive"]].append(by_text[row["negative"]])
    found = {(q, d): chosen[corpus.queries[q], corpus.documents[d]] for q, d in pairs}
    for seed in range(seeds):
        yield THEIRS, seed, filled(data, found, seed)


def _vectors(data: Data, dataset: str) -> dict[str, np.ndarray]:
    columns = data.read_all(dataset, embed.TEXTS[dataset])
    texts = text.full_text(columns["title"], columns["text"]) if dataset == "documents" else columns["text"]
    return dict(zip(texts.to_pylist(), arrays.matrix(data.read_all(f"vectors/minilm/{dataset}")), strict=True))


def _known(texts: list[str], vectors: dict[str, np.ndarray], **_: Any) -> np.ndarray:
    return np.stack([vectors[one] for one in texts])


def in_batch(data: Data) -> TrainingSet:
    """No negatives but the positives of the other queries in a batch."""
    return TrainingSet(dict.fromkeys(pairs_of(data), ()), 0.0)


def pairs_of(data: Data) -> list[Pair]:
    """Every positive, in order."""
    table = data.read_all("positives", ["query_id", "document_id"])
    return sorted(zip(table["query_id"].to_pylist(), table["document_id"].to_pylist(), strict=True))


def _triplets(data: Data) -> dict[Pair, list[str]]:
    table = data.read_all("triplets", ["query_id", "positive_id", "negative_id"])
    chosen: dict[Pair, list[str]] = collections.defaultdict(list)
    for query, positive, negative in zip(*(column.to_pylist() for column in table.columns), strict=True):
        chosen[query, positive].append(negative)
    return chosen


def filled(data: Data, chosen: dict[Pair, list[str]], seed: int) -> TrainingSet:
    """The set with ``NEGATIVES`` of every pair: where a system found fewer, documents drawn from the corpus follow.

    A drawn document is no positive of the query, no near-duplicate of one, and not chosen already.
    """
    documents = data.read_all("documents", ["document_id", "near_group"])
    names = documents["document_id"].to_pylist()
    group = dict(zip(names, documents["near_group"].to_pylist(), strict=True))
    pairs = pairs_of(data)
    positives: dict[str, set[str]] = collections.defaultdict(set)
    for query, document in pairs:
        positives[query].add(group[document])
    complete, drawn = {}, 0
    word = functools.cache(lambda name: int(randomness.id_hashes(pa.array([name]))[0]))
    for query, positive in pairs:
        found = list(dict.fromkeys(chosen.get((query, positive), [])))[:NEGATIVES]
        missing = NEGATIVES - len(found)
        if missing:
            refused = positives[query] | {group[name] for name in found}
            generator = np.random.default_rng([seed, word(query), word(positive)])
            free = (names[i] for i in generator.permutation(len(names)) if group[names[i]] not in refused)
            found += [name for name, _ in zip(free, range(missing), strict=False)]
            drawn += missing
        if len(found) < NEGATIVES:
            raise ValueError(f"query {query}: must have {NEGATIVES} documents that are no positives, got {len(found)}")
        complete[query, positive] = tuple(found)
    return TrainingSet(complete, drawn / (NEGATIVES * len(pairs)))
