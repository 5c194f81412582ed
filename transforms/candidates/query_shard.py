"""The pairs of one shard as the arrays that rules and samplers work on."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gangue.transforms import arrays, randomness, text
from gangue.transforms.candidates import answers, pooling, relations, rules
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval import protocol
from gangue.transforms.running import process_wide

if TYPE_CHECKING:
    from gangue.pipeline import params

CUT = "cut.json"
_PAIR = ["query_id", "document_id"]


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard of queries with all that was found and measured for them."""

    name: str
    block: relations.QueryBlock
    pairs: pa.Table  # schema.pairs, in the order of ``candidates``
    candidates: rules.Candidates
    withdrawn: pa.Table = dataclasses.field(default_factory=schema.POSITIVES.empty_table)  # without a finite score

    @property
    def queries(self) -> int:
        """Number of queries."""
        return len(self.block.queries)

    @functools.cached_property
    def hashes(self) -> randomness.Hashes:
        """Hashes of the ids, for whoever draws."""
        ids = (self.block.query_ids, self.block.positives["document_id"], self.pairs["document_id"])
        return randomness.Hashes(*map(randomness.id_hashes, ids))

    @property
    def positive_hashes(self) -> np.ndarray:
        """(p,) uint64 hash of each (query, positive), which decides whether it is hidden."""
        return randomness.mix(self.hashes.query[self.block.positive_query], self.hashes.positive)

    @functools.cached_property
    def pair_of_positive(self) -> np.ndarray:
        """(p,) which pair each positive is."""
        document, positive = self.pairs["document_row"].to_numpy(), self.candidates.relations["positive"]
        return _pair_of_positive(self.block, self.candidates.query, document, positive)

    @functools.cached_property
    def positive_of_pair(self) -> np.ndarray:
        """(n,) which positive each pair is, -1 for those that are none."""
        return pooling.scatter(len(self.pairs), self.pair_of_positive, np.arange(len(self.block.positives)), -1)

    @functools.cached_property
    def once_a_query(self) -> Shard:
        """The shard with one positive in place of each query's, however many it has or none: the mean of them."""
        ids = self.block.queries["query_id"]
        nothing = pa.array(np.zeros(self.queries))
        positives = pa.table([ids, ids, nothing, nothing], names=schema.POSITIVES.names).cast(schema.POSITIVES)
        means = {
            name: rules.reference(score.astype(np.float64), self.candidates.positive_query, self.queries, "mean")
            for name, score in self.candidates.positive_scores.items()
        }
        return dataclasses.replace(
            self,
            block=relations.QueryBlock(self.block.queries, positives),
            candidates=dataclasses.replace(
                self.candidates, positive_query=np.arange(self.queries), positive_scores=means
            ),
        )


def in_force(data: Data, p: params.Params) -> params.Params:
    """The params with the rule that judges and the cut that the budget chose: the fallback where none could be kept."""
    if p.filter.max_false_negatives is None:
        return p
    note = data.read_note("calibration", CUT)
    ruled = p.filter.with_cut(note["cut"]) if note["kind"] == p.filter.rule.kind else _fallen_back(p.filter)
    return p.model_copy(update={"filter": ruled})


def _fallen_back(given: params.Filter) -> params.Filter:
    assert given.fallback is not None
    return given.with_rule(given.fallback)


def load(data: Data, p: params.Params, shard: str, *, judged: bool = True, compared: bool = True) -> Shard:
    """Pairs, ranks and scores of one shard.

    Args:
      data, p, shard: which.
      judged: also with what the learned filter says of them.
      compared: also with how alike documents and positives are, where the sampler asks.
    """
    block, _ = relations.query_block(data, shard)
    pairs = data.read("pairs", shard)
    scorers = {name: data.read(f"scores/{name}", shard) for name in p.scorers}
    refused = np.zeros(len(pairs), bool)  # a cross-encoder made no finite number of it
    for table in scorers.values():
        if table["score"].null_count:
            refused |= _among(pairs, table.filter(table["score"].is_null()))
    pairs = pairs.filter(pa.array(~refused)) if refused.any() else pairs
    query = block.numbers(pairs["query_id"])
    labelled = np.flatnonzero(pairs["positive"].to_numpy())
    known = arrays.pair_among(
        block.positive_query, block.positive_row, query[labelled], pairs["document_row"].to_numpy()[labelled]
    )
    withdrawn = block.positives.filter(pa.array(~known))
    if len(withdrawn):
        block = relations.QueryBlock(block.queries, block.positives.filter(pa.array(known)))
    scores = {name: arrays.floats(pairs, f"score_{name}") for name in p.retrievers}
    for name, table in scorers.items():
        scores[name] = _joined(pairs, table.filter(pa.array(_among(table, pairs))) if refused.any() else table)
    if p.filter.asks_to_learn and judged:
        scores[rules.P_FALSE] = arrays.floats(data.read("relevance", shard), rules.P_FALSE)
    kinds = {relation: pairs[relation].to_numpy() for relation in schema.RELATIONS}
    found = shard_of(data, p, shard, block, pairs, query, kinds, scores, compared=compared)
    return dataclasses.replace(found, withdrawn=withdrawn)


def clustered(p: params.Params) -> list[str]:
    """Encoders whose clusters the rules or the sampler read."""
    found = set[str]().union(*(rule.named("clusters") for rule in p.filter.rules))
    if p.sample.diverse is not None:
        found |= p.sample.diverse.named("clusters")
    return sorted(found)


def sampled(data: Data, p: params.Params, shard: Shard, share: float, seed: int) -> Shard:
    """The shard with the pairs and positives of about a ``share`` of its queries, those that ask the same together."""
    groups = randomness.id_hashes(shard.block.queries["near_group"])
    return limited(data, p, shard, randomness.uniforms(randomness.mix(seed, groups)) < share)


def asking_the_same(shard: Shard, some: np.ndarray) -> np.ndarray:
    """(q,) bool: ``some`` of the queries, (q,) bool, and those that ask the same as one of them."""
    (groups,) = arrays.codes(shard.block.queries["near_group"])
    return np.isin(groups, groups[some])


def limited(data: Data, p: params.Params, shard: Shard, chosen: np.ndarray, *, compared: bool = True) -> Shard:
    """The shard with the pairs and positives of the ``chosen`` queries, (q,) bool; the others have none.

    Args:
      data, p, shard: which.   compared: as for ``load``.
    """
    if chosen.all():
        return shard
    candidates = shard.candidates
    keep = chosen[candidates.query]
    positives = shard.block.positives.filter(pa.array(chosen[candidates.positive_query]))
    return shard_of(
        data,
        p,
        shard.name,
        relations.QueryBlock(shard.block.queries, positives),
        shard.pairs.filter(pa.array(keep)),
        candidates.query[keep],
        {relation: values[keep] for relation, values in candidates.relations.items()},
        {name: values[keep] for name, values in candidates.scores.items()},
        compared=compared,
    )


def shard_of(
    data: Data,
    p: params.Params,
    name: str,
    block: relations.QueryBlock,
    pairs: pa.Table,
    query: np.ndarray,
    kinds: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    *,
    compared: bool = True,
) -> Shard:
    """The shard of these pairs, (n,) query numbers, and what is known of them, as ``Shard`` holds it."""
    rows = pairs["document_row"].to_numpy()
    place = _pair_of_positive(block, query, rows, kinds["positive"])
    clusters = {name: lookup.clusters(data, name)[rows].astype(np.int64) for name in clustered(p)}
    return Shard(
        name,
        block,
        pairs,
        rules.Candidates(
            query=query,
            tie=np.arange(len(pairs)),  # they are in the order of their ids, query by query
            relations=kinds,
            scores=scores,
            ranks={name: np.asarray(pairs[f"rank_{name}"].to_numpy(), np.float64) for name in p.retrievers},
            random=pairs["random"].to_numpy(),
            next_cluster=pairs["next_cluster"].to_numpy(),
            judged=pairs["judged"].to_numpy(),
            answered=_answered(data, p, block, rows, query),
            positive_query=block.positive_query,
            positive_scores={name: score[place] for name, score in scores.items()},
            similarity=_similarity(data, p, block, query, rows) if compared else np.zeros(0),
            clusters=clusters,
            positive_clusters={name: cluster[place] for name, cluster in clusters.items()},
        ),
    )


def _pair_of_positive(
    block: relations.QueryBlock, query: np.ndarray, document: np.ndarray, positive: np.ndarray
) -> np.ndarray:
    """(p,) which of the pairs, (n,) queries and documents, each positive is; ``positive``: (n,) bool, which are any."""
    labelled = np.flatnonzero(positive)
    there = (query[labelled], document[labelled])
    keys, wanted = arrays.pair_numbers(there, (block.positive_query, block.positive_row))
    order = np.argsort(keys)
    return labelled[order[np.searchsorted(keys[order], wanted)]]


def _similarity(
    data: Data, p: params.Params, block: relations.QueryBlock, query: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """(n,) float32 highest cosine to another positive; empty if the sampler compares no documents."""
    if not p.sample.sampler.compares:
        return np.zeros(0)
    with process_wide.one_blas_thread():  # small products
        found = pooling.highest_similarity(
            query,
            rows,
            block.positive_query,
            block.positive_row,
            len(block.queries),
            lookup.vectors(data, f"vectors/{protocol.encoder(p.retrievers[p.sample.score])}/documents").gather,
        )
    return found.astype(np.float32)


def _answered(
    data: Data, p: params.Params, block: relations.QueryBlock, rows: np.ndarray, query: np.ndarray
) -> np.ndarray:
    """(n,) bool, the document contains an answer of its query; texts are read only if a rule asks."""
    if not any(rule.reads_answers for rule in p.filter.rules):
        return np.zeros(len(rows), bool)
    unique, (document,) = arrays.places(rows)
    found = lookup.rows(data, "documents", ("title", "text")).take(unique)
    return answers.contained(text.full_text(found["title"], found["text"]), block.queries["answers"], document, query)


def _among(pairs: pa.Table, others: pa.Table) -> np.ndarray:
    """(n,) bool: the (query_id, document_id) of a row is one of the others'."""
    return np.isin(*arrays.pair_codes(pairs.select(_PAIR).columns, others.select(_PAIR).columns))


def _joined(pairs: pa.Table, scores: pa.Table) -> np.ndarray:
    """(n,) float32 scores of the pairs, NaN where a pair has none."""
    keys, some = arrays.pair_codes(pairs.select(_PAIR).columns, scores.select(_PAIR).columns)
    order = np.argsort(keys)
    places = order[np.searchsorted(keys[order], some)]
    return pooling.scatter(len(keys), places, arrays.floats(scores, "score"))


def verdicts_of(loaded: Shard, p: params.Params) -> int:
    """How many verdicts there must be: one per pair, or with a rule on the own positive one per positive of it."""
    query, positive = loaded.candidates.query, loaded.candidates.relations["positive"]
    if not any(rule.own for rule in p.filter.rules):
        return len(query)
    per_query = np.diff(arrays.offsets_of(loaded.candidates.positive_query, loaded.queries))
    return int(np.where(positive, 1, per_query[query]).sum())


def judged_before(data: Data, p: params.Params, loaded: Shard) -> rules.Verdicts:
    """The verdicts of a shard as the stage ``filter`` wrote them: ``rules.judge`` without judging.

    Raises:
      ValueError: they are of other pairs or rules.
    """
    table = data.read("verdicts", loaded.name, ["fired"])
    pair, positive = rules.places(loaded.candidates, p.filter.rules, loaded.queries)
    names, noted = rules.rule_names(p.filter.rules), (table.schema.metadata or {}).get(schema.RULES, b"null")
    if len(table) != len(pair) or json.loads(noted) != list(names):
        raise ValueError(
            f"{data.shown('verdicts', loaded.name)}: must hold {len(pair)} verdicts of these pairs by"
            f" {', '.join(names)}, got {len(table)} by {noted.decode()}. Filter again: dvc repro --force filter"
        )
    fired = table["fired"].to_numpy()
    return rules.Verdicts(names, pair, positive, rules.first_bit(fired), fired)
