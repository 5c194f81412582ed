"""Jobs on a labelled corpus as they would be had few of its positives been labelled, made in memory.

A BEIR folder is ingested and embedded once, with every positive. Then a job is made in seconds: which queries, which
documents, which positives are labelled and who chose them; what both retrievers find, and every pair described by the
functions that the stages use. The truth is known: what the filter and the labelled share are fitted and tested on.

Differences to a mined job: near-duplicates are left out beforehand, and nothing is drawn at random.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import scipy.sparse

from benchmarks import frontier as lines
from benchmarks import student
from gangue.pipeline import embed, ingest, params
from gangue.transforms import arrays, at_hand, text
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.relevance import consensus, features, portable
from gangue.transforms.retrieval import lexical
from gangue.transforms.text import stopwords

ENCODERS = ("minilm", "static")
K1, B = 1.5, 0.75


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A corpus with all its labels, one document and one query of each group of near-duplicates.

    Attributes:
      name: of the folder.   positives: (q,) document numbers of each query.
      vectors: encoder -> (q, d) of the queries, (n, d) of the documents, of length one.
      words: (q, v), (n, v) how often each word occurs.
    """

    name: str
    positives: list[np.ndarray]
    vectors: dict[str, tuple[np.ndarray, np.ndarray]]
    words: tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]


@dataclasses.dataclass(frozen=True)
class Regime:
    """How a job came to its labels.

    Attributes:
      encoder: of ``ENCODERS``.   queries: at most.   depth: of both retrievers.
      labelled: positives known of each query, or a share of them (at least one, and one stays unlabelled).
      chosen_by: ``random``, or the system whose best positives are labelled: ``lexical``, ``dense``, ``other`` (the
        other encoder), ``fused`` (reciprocal ranks of both retrievers); ``worst``: those that BM25 ranks last.
      documents: ``all``; ``pairs``: only the labelled ones, each of one query; a number: so many others besides.
      positives: of each query are in the corpus at most; None: all.
      negatives: of each query are judged, the best by BM25 that are no positives; with ``mistaken`` whatever they are.
    """

    encoder: str = "minilm"
    queries: int = 300
    depth: int = 100
    labelled: float = 1
    chosen_by: str = "random"
    documents: str | int = "all"
    positives: int | None = None
    negatives: int = 0
    mistaken: bool = False


@dataclasses.dataclass(frozen=True)
class Job:
    """The pairs of a job, ordered by (query, document), and the truth.

    Attributes:
      pairs: as they are described.   false: (n,) bool, a positive that nobody labelled.
      judged: (n,) bool, somebody said that it is none.
      found: (n,) bool, some retriever returned it.   scores: role -> (n,).   document: (n,) number in the job.
      vectors: (q, d) of the queries, (v, d) of the documents, of length one.
    """

    pairs: portable.Pairs
    false: np.ndarray
    judged: np.ndarray
    found: np.ndarray
    scores: dict[str, np.ndarray]
    document: np.ndarray
    vectors: tuple[np.ndarray, np.ndarray]

    def agreed(self, logits: np.ndarray, *, blind: bool = False) -> np.ndarray:
        """(n,) log odds by each pair's own and by what the other candidates of its query say, ``blind``: unlabelled."""
        pairs, (queries, vectors) = self.pairs, self.vectors

        def ridge(query: int, some: np.ndarray) -> features.Ridge:
            given = vectors[self.document[some]]
            return features.Ridge.among(given @ given.T, given @ queries[query])

        known = np.zeros(len(logits), bool) if blind else pairs.known
        free = (pairs.known | pairs.unlabelled) & ~self.judged if blind else pairs.unlabelled
        said = (pairs.query, known, free, self.judged, pairs.queries)
        return logits + consensus.news(logits, *said, ridge)


def prepare(folder: pathlib.Path, work: pathlib.Path) -> Corpus:
    """Ingest and embed a BEIR folder under ``work``, where it is not there yet, and load it."""
    positives = lines.positives_of(folder)
    lines.write_source(folder, work / "source", positives, {})
    p = lines.job(work / "source")
    static = work.parent / "static_encoder"
    if not static.exists():
        write_static_encoder(static)
    whole = p.ingest.model_copy(update={"queries_per_shard": 1 << 20, "documents_per_shard": 1 << 20})
    encoders = {**p.encoders, "static": params.Encoder(model=str(static))}
    p, data = p.model_copy(update={"ingest": whole, "encoders": encoders}), Data(str(work / "data"))
    ingest.run(data, p)
    for name in ENCODERS:
        embed.run(data, p, name)
    return load(folder.name, data)


def write_static_encoder(folder: pathlib.Path) -> None:
    """The static embedding of the package wordllama as a sentence-transformers folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer, weights = student.static_embedding()
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(folder))


def load(name: str, data: Data) -> Corpus:
    """A corpus that was ingested and embedded with every positive."""
    kept, numbers, texts = {}, {}, {}
    for dataset, column in (("documents", "document_id"), ("queries", "query_id")):
        table = data.read_all(dataset)
        ids, groups = table[column].to_pylist(), table["near_group"].to_pylist()
        kept[dataset] = np.array([i for i, (one, group) in enumerate(zip(ids, groups, strict=True)) if one == group])
        place = {ids[row]: number for number, row in enumerate(kept[dataset])}
        numbers[dataset] = {one: place[group] for one, group in zip(ids, groups, strict=True)}
        bodies = text.full_text(table["title"], table["text"]) if dataset == "documents" else table["text"]
        texts[dataset] = [bodies[int(row)].as_py() for row in kept[dataset]]
    positives: list[set[int]] = [set() for _ in kept["queries"]]
    for row in data.read_all("positives", ["query_id", "document_id"]).to_pylist():
        positives[numbers["queries"][row["query_id"]]].add(numbers["documents"][row["document_id"]])

    def unit(encoder: str, dataset: str) -> np.ndarray:
        return arrays.unit(lookup.vectors(data, f"vectors/{encoder}/{dataset}").gather(kept[dataset]))

    vectors = {encoder: (unit(encoder, "queries"), unit(encoder, "documents")) for encoder in ENCODERS}
    words = _words(texts["queries"], texts["documents"])
    at_hand.forget()
    return Corpus(name, [np.array(sorted(found)) for found in positives], vectors, words)


def _words(queries: list[str], documents: list[str]) -> tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]:
    vocabulary: dict[str, int] = {}
    held = [[vocabulary.setdefault(w, len(vocabulary)) for w in ws] for ws in _terms(documents)]
    asked = [[vocabulary[w] for w in ws if w in vocabulary] for ws in _terms(queries)]
    counts = []
    for rows in (asked, held):
        offsets = np.cumsum([0, *map(len, rows)])
        columns = np.fromiter((number for row in rows for number in row), np.int64, offsets[-1])
        matrix = scipy.sparse.csr_matrix(
            (np.ones(len(columns), np.float32), columns, offsets), (len(rows), len(vocabulary))
        )
        matrix.sum_duplicates()
        counts.append(matrix)
    return counts[0], counts[1]


def _terms(texts: list[str]) -> list[list[str]]:
    left_out = stopwords.of("en")
    return [[term for term in terms if term not in left_out] for terms in lexical.terms(texts).lists()]


def job(corpus: Corpus, regime: Regime, seed: int = 0) -> Job:
    """Make a job; equal seeds give equal jobs."""
    generator = np.random.default_rng(seed)
    query_vectors, vectors = corpus.vectors[regime.encoder]
    order = generator.permutation(len(corpus.positives))
    there = _thinned(corpus, order, regime.positives, generator)
    least = 1 if regime.labelled == 1 else 2
    able = [q for q in order if there[corpus.positives[q]].sum() >= least]
    asked = np.array(able if regime.documents != "all" else able[: regime.queries], np.int64)
    place = np.full(len(there), -1)
    place[there] = np.arange(there.sum())
    truth = [place[corpus.positives[q][there[corpus.positives[q]]]] for q in asked]
    scores = Scores(corpus, regime.encoder, asked, np.flatnonzero(there))
    known = _labelled(truth, regime, scores, generator)
    if regime.documents != "all":
        asked, known = _pairs(asked, truth, known, regime, scores, generator)
        kept = np.zeros(int(there.sum()), bool)
        kept[[k[0] for k in known]] = True
        if regime.documents != "pairs":
            kept[generator.permutation(np.flatnonzero(~kept))[: int(regime.documents)]] = True
        rows = np.flatnonzero(there)[kept]
        place = np.full(len(there), -1)
        place[rows] = np.arange(len(rows))
        moved = np.cumsum(kept) - 1
        known = [moved[k] for k in known]
        truth = [place[corpus.positives[q]][place[corpus.positives[q]] >= 0] for q in asked]
        scores = Scores(corpus, regime.encoder, asked, rows)
    return _described(regime, scores, truth, known, query_vectors[asked], vectors[scores.rows])


class Scores:
    """What each system says of (asked, rows): (q, n) matrices, computed when first wanted."""

    def __init__(self, corpus: Corpus, encoder: str, asked: np.ndarray, rows: np.ndarray) -> None:
        self.rows, self._corpus, self._encoder, self._asked = rows, corpus, encoder, asked
        self._found: dict[str, np.ndarray] = {}
        counts = corpus.words[1][rows]
        frequency = np.asarray((counts > 0).sum(axis=0)).ravel()
        self._rarity = np.log1p((len(rows) - frequency + 0.5) / (frequency + 0.5))
        self.query_words, self.words = corpus.words[0][asked], counts
        self.root = np.sqrt(np.log1p(len(rows) / (1.0 + frequency)))

    def of(self, system: str) -> np.ndarray:
        """The matrix of a system."""
        if system not in self._found:
            make: dict[str, Callable[[], np.ndarray]] = {
                "lexical": self._lexical,
                "worst": lambda: -self.of("lexical"),
                "dense": lambda: self._dense(self._encoder),
                "other": lambda: self._dense(next(e for e in ENCODERS if e != self._encoder)),
                "fused": lambda: _reciprocal(self.of("lexical")) + _reciprocal(self.of("dense")),
            }
            self._found[system] = make[system]()
        return self._found[system]

    def _dense(self, encoder: str) -> np.ndarray:
        queries, documents = self._corpus.vectors[encoder]
        return np.asarray(queries[self._asked] @ documents[self.rows].T)

    def _lexical(self) -> np.ndarray:
        weights = self.words.copy()
        lengths = np.asarray(self.words.sum(axis=1)).ravel()
        row = np.repeat(np.arange(len(lengths)), np.diff(weights.indptr))
        norm = K1 * (1 - B + B * lengths / max(float(lengths.mean()), 1e-9))
        weights.data = (self._rarity[weights.indices] * weights.data / (weights.data + norm[row])).astype(np.float32)
        return np.asarray((self.query_words @ weights.T).toarray())


def _reciprocal(scores: np.ndarray) -> np.ndarray:
    return 1.0 / (60.0 + np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1))


def _thinned(corpus: Corpus, order: np.ndarray, most: int | None, generator: np.random.Generator) -> np.ndarray:
    """(n,) bool, the documents that stay, so that about ``most`` positives of each query do."""
    stays = np.ones(len(corpus.vectors[ENCODERS[0]][1]), bool)
    if most is None:
        return stays
    kept = np.zeros(len(stays), bool)
    for query in order:
        own = corpus.positives[query]
        free = generator.permutation(own[stays[own] & ~kept[own]])
        take = max(0, most - int(kept[own].sum()))
        kept[free[:take]] = True
        stays[free[take:]] = False
    return stays


def _labelled(
    truth: list[np.ndarray], regime: Regime, scores: Scores, generator: np.random.Generator
) -> list[np.ndarray]:
    """The positives of each query in the order in which they would be labelled, cut where the labels end."""
    known = []
    for number, own in enumerate(truth):
        count = int(regime.labelled)
        if regime.labelled < 1:
            count = int(np.clip(round(regime.labelled * len(own)), 1, max(len(own) - 1, 1)))
        noise = generator.random(len(own))
        key = noise if regime.chosen_by == "random" else -scores.of(regime.chosen_by)[number, own] - 1e-9 * noise
        best = own[np.argsort(key)]
        known.append(best if regime.documents != "all" else best[:count])
    return known


def _pairs(
    asked: np.ndarray,
    truth: list[np.ndarray],
    known: list[np.ndarray],
    regime: Regime,
    scores: Scores,
    generator: np.random.Generator,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Queries, each with its first positive that no query before has."""
    used: set[int] = set()
    chosen: list[int] = []
    one: list[np.ndarray] = []
    for number, best in enumerate(known):
        free = [document for document in best if document not in used]
        if free and len(chosen) < regime.queries:
            used.add(free[0])
            chosen.append(number)
            one.append(np.array(free[:1]))
    return asked[chosen], one


def _ranks(scores: np.ndarray, depth: int, least: float) -> np.ndarray:
    """(q, n) ranks from 1 of the best ``depth``, NaN beyond and at scores of ``least`` and below."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    result = np.full(scores.shape, np.nan, np.float32)
    np.put_along_axis(result, best, np.arange(1, best.shape[1] + 1, dtype=np.float32)[None, :], 1)
    result[scores <= least] = np.nan
    return result


def _described(
    regime: Regime,
    scores: Scores,
    truth: list[np.ndarray],
    known: list[np.ndarray],
    query_vectors: np.ndarray,
    vectors: np.ndarray,
) -> Job:
    shape = (len(query_vectors), len(vectors))
    ranks = {"dense": _ranks(scores.of("dense"), regime.depth, -np.inf)}
    ranks["lexical"] = _ranks(scores.of("lexical"), regime.depth, 0.0)
    labels, answers = np.zeros(shape, bool), np.zeros(shape, bool)
    for number, (one, all_of_them) in enumerate(zip(known, truth, strict=True)):
        labels[number, one], answers[number, all_of_them] = True, True
    some = np.isfinite(ranks["dense"]) | np.isfinite(ranks["lexical"])
    query, document = np.nonzero(some | labels)
    at = (query, document)
    label, found, queries = labels[at], some[at], shape[0]
    itself = np.full(len(query), -1)
    itself[label] = np.arange(label.sum())
    partner = np.where(label, np.arange(len(query)), -1)
    positive_query, positive = query[label], document[label]
    columns: dict[str, np.ndarray] = {}
    values = {role: scores.of(role)[at].astype(np.float64) for role in ranks}
    for role, value in values.items():
        columns[role] = value
        columns[f"{role}_standardised"], deviation = features.standardised(query, value, ~label, partner, queries)
        own = value[label]
        columns[f"{role}_gap"] = features.gap(query, value, itself, positive_query, own, queries) / deviation
    rows, (place, positive_place) = arrays.places(document, positive)
    given = (query, place, itself)
    near = features.neighbourhood(
        *given, itself, values["dense"], positive_query, positive_place, query_vectors, vectors[rows]
    )
    for name, value in near.items():
        columns[name] = value
        columns[f"{name}_standardised"], _ = features.standardised(query, value, ~label, partner, queries)
    rare = [matrix.tocsr().copy() for matrix in (scores.query_words, scores.words[rows])]
    for matrix in rare:
        matrix.data = scores.root[matrix.indices]
    columns |= features.shared_words(*given, positive_query, positive_place, *rare)
    times = np.bincount(document[found], minlength=shape[1])
    columns["usage"] = np.log1p(times[document] - found)
    columns["positives"] = np.log1p(np.bincount(positive_query, minlength=queries)[query] - label)
    pairs = portable.Pairs(
        query, queries, label, ~label, {r: rank[at].astype(np.float64) for r, rank in ranks.items()}, columns
    )
    able = found & ~label & (regime.mistaken | ~answers[at])
    judged = able & (arrays.rank_within(query, [np.where(able, -values["lexical"], np.inf)]) < regime.negatives)
    return Job(pairs, answers[at] & ~label & ~judged, judged, found, values, document, (query_vectors, vectors))
