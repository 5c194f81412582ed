"""The learned false-negative filter on one shard: features from what pool and score already have, and its judgement."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import scipy.special

from gangue.transforms import arrays, randomness
from gangue.transforms.candidates import query_shard
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.relevance import classifier, consensus, feature_names, features, learn_note, portable, pretrained
from gangue.transforms.retrieval import protocol
from gangue.transforms.running import process_wide

if TYPE_CHECKING:
    from gangue.pipeline import params


@dataclasses.dataclass(frozen=True)
class Opinion:
    """What is thought of the pairs of a shard: (n,) log odds, before the labelled share is known.

    Attributes:
      blind: a positive, labelled or not, by what does not know which are labelled.
      agreed: the same, and what the query's other candidates say that nobody judged, still without the labels; both NaN
        unless asked for.
      full: a positive that nobody labelled, by the pretrained filter.
      taught: the same by the filter that was taught here; 0 where none was.
    """

    blind: np.ndarray
    agreed: np.ndarray
    full: np.ndarray
    taught: np.ndarray


def false_probability(data: Data, p: params.Params, shard: query_shard.Shard, learned: dict[str, Any]) -> np.ndarray:
    """(n,) float32, how likely each pair is a positive that nobody labelled.

    A known positive is judged as if nobody knew it. A query is judged by the model that did not see it.
    """
    both = opinion(data, p, shard, learned)
    return probability(both.full, both.taught, evidence(data, p, shard), learned)


def probability(full: np.ndarray, taught: np.ndarray, told: np.ndarray, learned: dict[str, Any]) -> np.ndarray:
    """(n,) float32 of (n,) log odds by both filters and by judges.

    The weighted mean of the filters, moved by what the labelled share asks for, and the ``evidence`` added.
    """
    odds = joined(full, taught, learned["weight"]) + learned["shift"] + told
    return scipy.special.expit(np.where(np.isneginf(told), -np.inf, odds)).astype(np.float32)


def joined(full: np.ndarray, taught: np.ndarray, weight: float) -> np.ndarray:
    """(n,) log odds by both filters, of which the taught one decides a share ``weight``."""
    return (1.0 - weight) * full + weight * taught


def evidence(data: Data, p: params.Params, shard: query_shard.Shard) -> np.ndarray:
    """(n,) log odds that a judge adds to each pair: -inf where it is surely no positive, 0 where nobody judged it.

    A judge who is wrong at times, in a share w of the pairs (``labels.wrong``), adds or takes log((1 - w) / w).
    """
    result = np.where(shard.candidates.judged, -np.inf, 0.0)
    if p.labels.wrong:
        said = labels(data, shard)
        result += np.where(said < 0, 0.0, np.where(said > 0, 1.0, -1.0) * scipy.special.logit(1.0 - p.labels.wrong))
    return result


def labels(data: Data, shard: query_shard.Shard) -> np.ndarray:
    """(n,) int8, what was said of each pair when somebody was asked (``labels``): 1, 0, or -1 where nobody was."""
    told = data.read("judged", shard.name)
    told = told.filter(pc.equal(told["source"], "label"))
    result = np.full(len(shard.pairs), -1, np.int8)
    query, document = shard.block.numbers(told["query_id"]), told["document_row"].to_numpy()
    pairs, grade = (shard.candidates.query, shard.pairs["document_row"].to_numpy()), told["grade"].to_numpy()
    for label, some in ((0, grade <= 0), (1, grade > 0)):
        result[arrays.pair_among(*pairs, query[some], document[some])] = label
    return result


def opinion(
    data: Data, p: params.Params, shard: query_shard.Shard, learned: dict[str, Any], asked: np.ndarray | None = None
) -> Opinion:
    """What both filters think of the pairs of a shard, known positives as if nobody knew them.

    ``asked``: (q,) bool, queries of which also what does not know the labels is wanted, for the labelled share alone.
    """
    if learned["features"] != feature_names.names(p):
        raise learn_note.stale(data)
    ridges: dict[int, features.Ridge] = {}
    columns = describe(data, p, shard, shard.positive_of_pair, ridges)
    pairs = portable_pairs(p, shard, columns)
    filters = pretrained.load(p.learn.pretrained)
    with process_wide.one_blas_thread():
        full = filters.full.logits(portable.full(pairs))
        blind = agreed = np.full(len(full), np.nan)
        if asked is not None:
            blind = filters.blind.logits(portable.blind(pairs))
            # What is judged mostly lies beside a labelled positive, and would tell it.
            judged = shard.candidates.judged
            of_asked = asked[pairs.query] & (pairs.known | pairs.unlabelled) & ~judged
            alike = dataclasses.replace(pairs, known=np.zeros(len(blind), bool), unlabelled=of_asked)
            agreed = blind + _news(data, p, shard, alike, blind, {} if judged.any() else ridges)
        taught = np.zeros(len(full))
        if learned["usable"]:
            values = matrix(columns, learned["features"])
            of_query = randomness.fold_of(shard.block.queries["near_group"].to_pylist(), classifier.FOLDS)
            fold = of_query[shard.candidates.query]
            for number, parameters in enumerate(learned["models"]):
                rows = np.flatnonzero(fold == number)
                taught[rows] = classifier.Model(**parameters).logits(values[rows])
        news = _news(data, p, shard, pairs, full, ridges)
    return Opinion(blind, agreed, full + news, taught + news)


def _news(
    data: Data,
    p: params.Params,
    shard: query_shard.Shard,
    pairs: portable.Pairs,
    logits: np.ndarray,
    ridges: Mapping[int, features.Ridge],
) -> np.ndarray:
    """(n,) log odds to add for what a query's other candidates say, as the first encoder finds them alike; or 0."""
    encoder = next(iter(protocol.encoders(p.retrievers)), None)
    if encoder is None:
        return np.zeros(len(logits))
    document, rows = shard.pairs["document_row"].to_numpy(), lookup.query_rows(data).of(shard.name)

    def ridge(query: int, some: np.ndarray) -> features.Ridge:
        if query in ridges:
            return ridges[query]
        given = _unit(data, f"vectors/{encoder}/documents", document[some])
        asked = _unit(data, f"vectors/{encoder}/queries", rows[query : query + 1])
        return features.Ridge.among(given @ given.T, given @ asked[0])

    judged = shard.candidates.judged
    return consensus.news(logits, pairs.query, pairs.known, pairs.unlabelled, judged, pairs.queries, ridge)


def portable_pairs(p: params.Params, shard: query_shard.Shard, columns: Mapping[str, np.ndarray]) -> portable.Pairs:
    """The pairs of a shard by their features that mean the same in every corpus: those of the first of each role."""
    dense = next((name for name, r in p.retrievers.items() if protocol.encoder(r) is not None), None)
    lexical = next(iter(feature_names.lexical(p)), None)
    candidates = shard.candidates
    found: dict[str, np.ndarray] = {}
    ranks: dict[str, np.ndarray] = {}
    for role, name in (("dense", dense), ("lexical", lexical)):
        if name is not None:
            found |= {f"{role}{suffix}": columns[f"{name}{suffix}"] for suffix in ("", "_standardised", "_gap")}
            ranks[role] = candidates.ranks[name]
    for encoder in protocol.encoders(p.retrievers)[:1]:
        found["mutual"] = columns[f"mutual_{encoder}"]
        for feature in ("nearest", "neighbours", "crowd"):
            found |= {f"{feature}{suffix}": columns[f"{feature}_{encoder}{suffix}"] for suffix in ("", "_standardised")}
    if lexical is not None:
        found |= {feature: columns[f"{feature}_{lexical}"] for feature in ("asked", "answered", "overlap")}
    found |= {feature: columns[feature] for feature in ("usage", "positives")}
    known = candidates.relations["positive"]
    unlabelled = ~np.any(list(candidates.relations.values()), axis=0)
    return portable.Pairs(candidates.query, shard.queries, known, unlabelled, ranks, found)


def matrix(columns: Mapping[str, np.ndarray], features: Sequence[str]) -> np.ndarray:
    """(n, f) float32 features in this order."""
    return np.column_stack([columns[name] for name in features]).astype(np.float32)


def describe(
    data: Data,
    p: params.Params,
    shard: query_shard.Shard,
    left_out: np.ndarray,
    ridges: dict[int, features.Ridge] | None = None,
) -> dict[str, np.ndarray]:
    """Feature -> (n,) of the pairs of a shard, in their order; NaN where there is nothing to say.

    Args:
      data: with the vectors of the encoders and the usage of the documents.   p: params.
      shard: as loaded, or with some positives hidden.
      left_out: (n,) the positive that nobody knows when this pair is described, -1 for none.
      ridges: keeps those of the first encoder (``features.neighbourhood``).
    """
    candidates, block = shard.candidates, shard.block
    query, document = candidates.query, shard.pairs["document_row"].to_numpy()
    unlabelled = ~np.any(list(candidates.relations.values()), axis=0)
    free = np.flatnonzero(unlabelled | candidates.relations["positive"])  # nobody asks for the others
    partner = np.append(shard.pair_of_positive, -1)[left_out]
    columns: dict[str, np.ndarray] = {}
    for name, score in candidates.scores.items():
        values = score.astype(np.float64)
        columns[name] = values
        standard, deviation = features.standardised(query, values, unlabelled, partner, shard.queries)
        columns[f"{name}_standardised"] = standard
        own = candidates.positive_scores[name].astype(np.float64)
        distance = features.gap(query, values, left_out, candidates.positive_query, own, shard.queries)
        columns[f"{name}_gap"] = distance / deviation
    for name, rank in candidates.ranks.items():
        columns[f"{name}_found"] = np.isfinite(rank).astype(np.float64)
    rows, (place, positive_place) = arrays.places(document, block.positive_row)
    query_rows = lookup.query_rows(data).of(shard.name)
    encoders = protocol.encoders(p.retrievers)
    for encoder in encoders:
        strength = candidates.scores[next(n for n, r in p.retrievers.items() if protocol.encoder(r) == encoder)]
        with process_wide.one_blas_thread():  # small matrices
            near = features.neighbourhood(
                query[free],
                place[free],
                left_out[free],
                shard.positive_of_pair[free],
                strength[free],
                candidates.positive_query,
                positive_place,
                _unit(data, f"vectors/{encoder}/queries", query_rows),
                _unit(data, f"vectors/{encoder}/documents", rows),
                ridges if encoder == encoders[0] else None,
            )
        for feature, values in near.items():
            columns[f"{feature}_{encoder}"] = spread = np.full(len(query), np.nan)
            spread[free] = values
            if feature == "mutual":
                continue
            columns[f"{feature}_{encoder}_standardised"], _ = features.standardised(
                query, spread, unlabelled, partner, shard.queries
            )
    for name, settings in feature_names.lexical(p).items():
        retriever = settings.open(data, name)
        shared = features.shared_words(
            query,
            place,
            left_out,
            candidates.positive_query,
            positive_place,
            retriever.query_tokens(query_rows),
            retriever.tokens(rows),
        )
        columns |= {f"{feature}_{name}": values for feature, values in shared.items()}
    # Each query's own labels are as this shard knows them, those of the others as they are, in whatever shard.
    own_labels = query_rows[block.positive_query], block.positive_row
    for encoder in encoders[:1]:
        gone = np.full(len(query), -1)
        gone[left_out >= 0] = block.positive_row[left_out[left_out >= 0]]
        vectors = functools.partial(_unit, data, f"vectors/{encoder}/queries")
        shared = features.shared_labels(
            query_rows[query], document, gone, own_labels, lookup.derived(data, _all_labels), vectors
        )
        columns |= {f"known_{feature}_{encoder}": values for feature, values in shared.items()}
    known = np.bincount(candidates.positive_query, minlength=shard.queries)[query]
    columns["positives"] = np.log1p(known - (left_out >= 0))
    columns["usage"] = np.log1p(lookup.usage(data, tuple(p.retrievers))[document] - candidates.retrieved)
    return columns


def _all_labels(data: Data) -> features.Labels:
    return features.Labels.of(*lookup.labels(data), sum(data.rows("queries")), sum(data.rows("documents")))


def left_out_for_learning(shard: query_shard.Shard, words: np.ndarray) -> np.ndarray:
    """(n,) which positive to leave out of each pair's description: itself, or for a candidate any of its query's.

    So positives and candidates are described by equally many positives, as a hidden positive among its query's
    candidates would be; a query with a single positive is described without any. For a candidate it is one that
    was retrieved, where there is one: only such positives are examples themselves.

    Args:
      shard: as loaded.   words: (n,) uint64 hash of (seed, query, document).
    """
    candidates = shard.candidates
    left_out = np.full(len(words), -1)
    for able in (np.ones(len(candidates.positive_query), bool), candidates.retrieved[shard.pair_of_positive]):
        which = np.flatnonzero(able)
        offsets = arrays.offsets_of(candidates.positive_query[which], shard.queries)
        count = np.diff(offsets)[candidates.query]
        some = np.flatnonzero(count)
        place = (words[some] % count[some].astype(np.uint64)).astype(np.int64)
        left_out[some] = which[offsets[candidates.query[some]] + place]
    return np.where(candidates.relations["positive"], shard.positive_of_pair, left_out)


def _unit(data: Data, dataset: str, rows: np.ndarray) -> np.ndarray:
    """(n, d) vectors of these rows, of length one; zeros where a row has none."""
    return np.nan_to_num(arrays.unit(lookup.vectors(data, dataset).gather(rows)), copy=False)
