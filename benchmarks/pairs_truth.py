"""Does the promise hold on a file of pairs, one known positive per query? Held against all labels of a BEIR folder.

Usage: python -m benchmarks.pairs_truth --data FOLDER [--pairs 500 2000] [--corpus 0 1000 all]
       [--labelled random bm25 dense worst] [--judged changed|hard|mined] [--each 1] [--encoder MODEL]
       [--pretrained FILE] [--budget 0.02] [--seeds 1] [--work DIR] [--output NAME]

For each number of pairs, corpus, labelling and seed: so many queries keep one of their positives, a document serving
one query only. Their texts go into a CSV file and further documents into a JSON Lines file, without ids, and ``gangue
mine`` makes triplets of them with a learned filter and a budget. A negative is false if it reads, case and white space
aside, like any positive of any query that reads like its query. With ``--judged`` the file has columns with so many
negatives of each pair (``--each``), which are no part of any figure: the positive with a word ``changed``, or what BM25
ranks best among the documents of the job: those that are no positives (``hard``), or all but the known one (``mined``).
One JSON line per job on standard output:

  pairs, corpus     pairs, and further documents; ``all``: the whole corpus, the positives in it too
  labelled          which positive is known: ``random``, the one that ``bm25`` or the encoder (``dense``) ranks best
                    among the query's over the whole corpus, or the one that BM25 ranks ``worst``
  known             pairs ÷ true positives of these queries among the documents of the job
  promised, shown   the budget; the bound that the product reports, null where it shows none
  refused           null, or in the product's words why it promises nothing, or why it stopped
  judged_by         the kind of rule that judged, as the product reports
  share, low, high  true share of false negatives, with a 95 % interval from a bootstrap over queries (Wilson's, with
                    a query as a trial, where none is false)
  hard_share        the same of hard negatives (``negative_kind``)
  hardness          mean score_dense of the negatives
  per_query         negatives per pair, of five
  verdict           ``kept``: share ≤ promised. ``covered``: low ≤ promised. ``refused``: it promised nothing.
                    ``stopped``: it ended with an error. ``BROKEN``: none of these
  naive, perc 0.95, shifted 10   share, hardness and per_query of fixed rules on the same candidates
  perc_at, shifted_at   share of that rule at the hardness of the triplets, interpolated between cuts that leave as
                    many negatives (95 % of per_query); the easiest one's where all are harder, null where none is as
                    hard
  seconds           of ``gangue mine``; where ``all`` or ``dense`` is asked, vectors of the corpus are there already

A folder with fewer queries gives fewer pairs; a number of pairs that changes nothing is left out. The report is
benchmarks/results/pairs_truth_NAME.json.
"""

from __future__ import annotations

import argparse
import collections
import csv
import dataclasses
import functools
import itertools
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import bm25s
import numpy as np
import pyarrow as pa

from benchmarks import beir
from benchmarks import frontier as lines
from gangue.pipeline import embed, ingest, params
from gangue.transforms import at_hand, randomness, retrieval, text
from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets import lookup
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import frontier, intervals
from gangue.transforms.models import configured, encoder, folders
from gangue.transforms.retrieval import lexical
from gangue.transforms.text import stopwords

ALL = "all"
LABELLED = ("random", "bm25", "dense", "worst")
JUDGED = ("changed", "hard", "mined")
FALLBACK = {"kind": "perc", "score": "dense", "perc": 0.95}
PERC = (1.2, 1.1, 1.05, 1.0, 0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4)
SHIFTED = (2, 5, 10, 20, 40, 80)
SHOWN = ("naive", "perc 0.95", "shifted 10")
AS_MANY = 0.95

Score = Callable[[str, Sequence[str]], np.ndarray]  # of a query's positives: (keys,) of the query's key and theirs


@dataclasses.dataclass(frozen=True)
class Truth:
    """Texts and all labels; the key of a text is its normal form, so that copies are one.

    Attributes:
      documents, queries: key -> text.   answers: query -> its true positives.
    """

    documents: dict[str, str]
    queries: dict[str, str]
    answers: dict[str, list[str]]

    @functools.cached_property
    def pairs(self) -> set[tuple[str, str]]:
        """(query, document) of all true positives."""
        return {(query, document) for query, found in self.answers.items() for document in found}

    def false(self, chosen: Chosen) -> np.ndarray:
        """(n,) bool: which negatives are true positives of their queries."""
        return np.array([pair in self.pairs for pair in zip(chosen.queries, chosen.documents, strict=True)], bool)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Negatives: (n,) keys of their queries and documents, and dense scores."""

    queries: list[str]
    documents: list[str]
    scores: np.ndarray


def keys(texts: Iterable[str]) -> list[str]:
    """The normal form of each text."""
    return text.normalise(pa.chunked_array([list(texts)], pa.string())).to_pylist()


def read(folder: pathlib.Path) -> Truth:
    """Everything in a BEIR folder, all splits together.

    Raises:
      FileNotFoundError: there are no judgements.
    """
    splits = [split for split in lines.SPLITS if (folder / "qrels" / f"{split}.tsv").exists()]
    if not splits:
        raise FileNotFoundError(f"{folder}/qrels: must have {', '.join(lines.SPLITS)}.tsv, found none. Correct --data")
    truth, answers = Truth({}, {}, {}), collections.defaultdict[str, set[str]](set)
    for split in splits:
        found = beir.read(folder, split)
        document = dict(zip(found.documents, keys(found.documents.values()), strict=True))
        query = dict(zip(found.queries, keys(found.queries.values()), strict=True))
        for ids, texts, known in (
            (document, found.documents, truth.documents),
            (query, found.queries, truth.queries),
        ):
            for name, key in ids.items():
                known.setdefault(key, texts[name])
        for one, other in found.pairs:
            if query[one]:  # a blank query cannot be asked
                answers[query[one]].add(document[other])
    truth.answers.update({name: sorted(found) for name, found in sorted(answers.items())})
    return truth


def draw(truth: Truth, pairs: int, seed: int, score: Score | None) -> dict[str, str]:
    """Query -> the positive that is known, the best by ``score`` or any; a document serves one query only."""
    generator, order = np.random.default_rng(seed), list(truth.answers)
    known: dict[str, str] = {}
    used: set[str] = set()
    for place in generator.permutation(len(order)):
        if len(known) == pairs:
            break
        answers = truth.answers[order[place]]
        free = [answers[i] for i in generator.permutation(len(answers)) if answers[i] not in used]
        if free:
            best = 0 if score is None else int(np.argmax(score(order[place], free)))
            known[order[place]] = free[best]
            used.add(free[best])
    return known


def further(truth: Truth, known: Mapping[str, str], corpus: int | str, seed: int) -> list[str]:
    """The documents beside the pairs: so many of those that are no known positive, or all that there are."""
    if corpus == ALL:
        return list(truth.documents)
    rest = sorted(set(truth.documents).difference(known.values()))
    return [rest[place] for place in np.random.default_rng(seed).permutation(len(rest))[: int(corpus)]]


def told(
    truth: Truth, known: Mapping[str, str], there: Sequence[str], how: str, each: int, score: Score, seed: int
) -> dict[str, list[str]]:
    """Query -> the texts of so many judged negatives, made of its positive or ``there`` in the job (``JUDGED``)."""
    generator = np.random.default_rng(seed)
    if how == "changed":
        words = sorted({word for key in there for word in truth.documents[key].split()})
        return {
            query: [_changed(truth.documents[key], words, generator) for _ in range(each)]
            for query, key in known.items()
        }
    result = {}
    for query, key in known.items():
        left_out = {key, *(truth.answers[query] if how == "hard" else [])}
        able = [document for document in there if document not in left_out]
        best = np.argsort(-score(query, able), kind="stable")[:each]
        result[query] = [truth.documents[able[place]] for place in best]
    return result


def _changed(body: str, words: Sequence[str], generator: np.random.Generator) -> str:
    """A text with one of its words exchanged for another."""
    held = body.split()
    held[generator.integers(len(held))] = words[int(generator.integers(len(words)))]
    return " ".join(held)


def by_bm25(truth: Truth) -> Score:
    """BM25 over the whole corpus, as the product tokenises and weighs."""
    place = {key: number for number, key in enumerate(truth.documents)}
    settings = retrieval.Bm25(kind="bm25")
    model = bm25s.BM25(k1=settings.k1, b=settings.b, method="lucene")
    tokens = lexical.terms(list(truth.documents.values())).lists()
    left_out = stopwords.of(stopwords.detect(collections.Counter(itertools.chain.from_iterable(tokens))))
    model.index([[term for term in terms if term not in left_out] for terms in tokens], show_progress=False)

    def score(query: str, documents: Sequence[str]) -> np.ndarray:
        (asked,) = lexical.terms([truth.queries[query]]).lists()
        known = model.get_tokens_ids(asked)
        scores = model.get_scores_from_ids(known) if known else np.zeros(len(place))
        return np.asarray(scores[[place[document] for document in documents]])

    return score


def by_vectors(truth: Truth, bank: Data, settings: params.Encoder) -> Score:
    """Cosine by the vectors of the bank."""
    place = {key: number for number, key in enumerate(_documents(bank))}
    vectors = lookup.vectors(bank, "vectors/minilm/documents")
    folder = folders.locate(settings.model)
    model, prompt = encoder.load(folder, settings.max_length), configured.prompt(settings, folder, "queries")

    def score(query: str, documents: Sequence[str]) -> np.ndarray:
        asked = model.encode([truth.queries[query]], prompt=prompt, normalise=True, task="query")[0]
        return np.asarray(vectors.gather(np.array([place[document] for document in documents])) @ asked)

    return score


def _documents(data: Data) -> list[str]:
    """The key of every document of a job, in row order."""
    table = data.read_all("documents", ["title", "text"])
    return text.normalise(text.full_text(table["title"], table["text"])).to_pylist()


def write_job(
    job: pathlib.Path,
    truth: Truth,
    known: Mapping[str, str],
    corpus: Sequence[str],
    settings: dict[str, Any],
    judged: Mapping[str, Sequence[str]] = {},
) -> params.Params:
    """Source and params of a job in an empty folder; returns the params as the product reads them."""
    shutil.rmtree(job, ignore_errors=True)
    (job / "source").mkdir(parents=True)
    with (job / "source/pairs.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(truth.queries[q], truth.documents[document], *judged.get(q, [])) for q, document in known.items()]
        numbers = range(1, max(map(len, rows)) - 1)
        csv.writer(file).writerows([("anchor", "positive", *(f"negative_{number}" for number in numbers)), *rows])
    source = {"kind": "pairs", "path": str(job / "source"), "pairs": "pairs.csv"}
    if corpus:
        with (job / "source/corpus.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": truth.documents[document]}) + "\n" for document in corpus)
        source["corpus"] = "corpus.jsonl"
    values = {"source": source, **settings}
    try:
        params.parse(values)
    except ValueError:  # a version of the product that wants a rule to fall back on
        values["filter"] = {**values["filter"], "fallback": FALLBACK}
    (job / "params.yaml").write_text(json.dumps(values, indent=1))  # JSON is YAML
    return params.load(str(job / "params.yaml"))


def sections(model: str, budget: float, pretrained: pathlib.Path | None) -> dict[str, Any]:
    """The params beside the source, defaults left out."""
    return {
        "encoders": {"minilm": {"model": model, "max_length": 128 if model == lines.ENCODER else None}},
        "retrievers": {
            "dense": {"kind": "dense", "encoder": "minilm", "depth": 100},
            "bm25": {"kind": "bm25", "depth": 100},
        },
        **({} if pretrained is None else {"learn": {"pretrained": str(pretrained.resolve())}}),
        "filter": {"kind": "learned", "max_false_negatives": budget},
        "sample": {"kind": "top", "score": "dense", "negatives": lines.NEGATIVES},
    }


def mine(job: pathlib.Path, bank: Data | None) -> str | None:
    """Run the product in a process of its own, the vectors of the bank at hand; returns why it stopped, or None."""
    if bank is not None:
        shutil.copytree(bank.path("vectors"), job / "data/vectors")
    folders = [f"--{name}={job / place}" for name, place in (("params", "params.yaml"), ("data", "data"))]
    command = [str(pathlib.Path(sys.executable).with_name("gangue")), "mine", *folders, f"--reports={job / 'reports'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (job / "log.txt").write_text(done.stderr)
    return None if done.returncode == 0 else (done.stderr.strip() or str(done.returncode)).splitlines()[-1]


def mined(data: Data, judged: Set[tuple[str, str]] = frozenset()) -> tuple[Chosen, np.ndarray]:
    """The negatives of the triplets that nobody judged, and (n,) bool which are hard."""
    table = data.read_all("triplets", ["query", "negative", "negative_kind", "score_dense"])
    for name in ("query", "negative"):
        table = table.set_column(table.column_names.index(name), name, text.normalise(table[name]))
    pairs = zip(table["query"].to_pylist(), table["negative"].to_pylist(), strict=True)
    table = table.filter(pa.array([pair not in judged for pair in pairs], pa.bool_()))
    scores = np.asarray(table["score_dense"].to_numpy(), np.float64)
    chosen = Chosen(table["query"].to_pylist(), table["negative"].to_pylist(), scores)
    return chosen, np.array(table["negative_kind"].to_pylist(), object) == "hard"


def ruled(data: Data, p: params.Params) -> dict[str, Chosen]:
    """What fixed rules choose among the candidates of a mined job that nobody judged."""
    stacks: dict[str, rules.Rule] = {"naive": rules.Naive()}
    stacks |= {f"perc {cut}": rules.Perc(score="dense", perc=cut) for cut in PERC}
    stacks |= {f"shifted {cut}": rules.Shifted(score="dense", shift=cut) for cut in SHIFTED}
    found = {name: Chosen([], [], np.empty(0)) for name in stacks}
    at_hand.forget()
    documents = np.array(_documents(data), object)
    for name in data.shards("queries"):
        shard = query_shard.load(data, p, name, judged=False)
        queries = np.array(text.normalise(shard.block.queries["text"]).to_pylist(), object)
        rows = shard.pairs["document_row"].to_numpy()
        for rule, settings in stacks.items():
            pair = frontier.chosen_by(data, p, shard, p.filter.with_rule(settings))
            pair = pair[~shard.candidates.judged[pair]]
            found[rule] = Chosen(
                [*found[rule].queries, *queries[shard.candidates.query[pair]]],
                [*found[rule].documents, *documents[rows[pair]]],
                np.r_[found[rule].scores, shard.candidates.scores["dense"][pair]],
            )
    return found


def figures(truth: Truth, chosen: Chosen, pairs: int) -> dict[str, float]:
    """Share of false negatives, hardness, negatives per pair."""
    count = len(chosen.queries)
    return {
        "share": float(truth.false(chosen).sum()) / max(count, 1),
        "hardness": float(chosen.scores.mean()) if count else float("nan"),
        "per_query": count / pairs,
    }


def interval(truth: Truth, chosen: Chosen) -> tuple[float, float]:
    """95 % interval of the share of false negatives."""
    false = truth.false(chosen)
    names, query = np.unique(np.array(chosen.queries, object), return_inverse=True)
    if not false.any():
        return intervals.wilson(0, len(names))
    counts = np.stack([np.bincount(query, false), np.bincount(query)], axis=1)
    return intervals.interval_of_ratio(*intervals.resampled(randomness.id_hashes(pa.array(names)), counts, 0))


def as_hard(points: Iterable[Mapping[str, float]], hardness: float, per_query: float) -> float | None:
    """Share of a rule at this hardness, between its cuts that leave about as many negatives; None: none is as hard."""
    line = sorted((p["hardness"], p["share"]) for p in points if p["per_query"] >= AS_MANY * per_query)
    if not line or not line[-1][0] >= hardness:
        return None
    return float(np.interp(hardness, *np.array(line).T))


def verdict(budget: float, refused: str | None, share: float, low: float) -> str:
    """What became of the promise of a job that ran to its end."""
    if refused is not None:
        return "refused"
    return "kept" if share <= budget else "covered" if low <= budget else "BROKEN"


def measure(
    job: pathlib.Path,
    truth: Truth,
    pairs: int,
    p: params.Params,
    budget: float,
    stopped: str | None,
    judged: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """The figures of a job that ran."""
    data = Data(str(job / "data"))
    line: dict[str, Any] = {"promised": budget, "shown": None, "refused": stopped, "judged_by": None}
    line |= dict.fromkeys(("share", "low", "high", "hard_share", "hardness", "per_query"))
    line["verdict"] = "stopped"
    if stopped is None:
        said = json.loads((job / "reports/audit.json").read_text()).get("budget") or {}
        line |= {"shown": said.get("bound"), "refused": said.get("refused"), "judged_by": said.get("kind")}
        chosen, hard = mined(data, {(query, key) for query, texts in judged.items() for key in keys(texts)})
        line |= figures(truth, chosen, pairs)
        line["low"], line["high"] = interval(truth, chosen)
        line["hard_share"] = float(truth.false(chosen)[hard].sum() / max(hard.sum(), 1))
        line["verdict"] = verdict(budget, line["refused"], line["share"], line["low"])
    rules = {}
    if data.exists("pairs"):
        rules = {name: figures(truth, chosen, pairs) for name, chosen in ruled(data, p).items()}
    line |= {name: rules.get(name) for name in SHOWN}
    for kind in ("perc", "shifted"):  # both end where they drop nothing
        points = [point for name, point in rules.items() if name == "naive" or name.startswith(kind)]
        known = line["hardness"] is not None
        line[f"{kind}_at"] = as_hard(points, line["hardness"], line["per_query"]) if known else None
    return line


def jobs(asked: argparse.Namespace, truth: Truth, work: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Run every job and yield its line."""
    settings = sections(asked.encoder, asked.budget, asked.pretrained)
    bank = None
    if ALL in asked.corpus or "dense" in asked.labelled:
        known = draw(truth, max(asked.pairs), 0, None)
        p, bank = write_job(work / "bank", truth, known, list(truth.documents), settings), Data(str(work / "vectors"))
        ingest.run(bank, p)
        embed.run(bank, p, "minilm")
        at_hand.forget()
    scores: dict[str, Score | None] = {"random": None}
    if asked.judged or {"bm25", "worst"}.intersection(asked.labelled):
        scores["bm25"] = best = by_bm25(truth)
        scores["worst"] = lambda query, documents: -best(query, documents)
    if bank is not None and "dense" in asked.labelled:
        scores["dense"] = by_vectors(truth, bank, p.encoders["minilm"])
    for labelled, seed in itertools.product(asked.labelled, range(asked.seeds)):
        drawn = list(draw(truth, max(asked.pairs), seed, scores[labelled]).items())
        sizes = dict.fromkeys(min(pairs, len(drawn)) for pairs in asked.pairs)
        for pairs, corpus in itertools.product(sizes, asked.corpus):
            known, job = dict(drawn[:pairs]), work / f"{pairs}_{corpus}_{labelled}_{seed}"
            documents = further(truth, known, corpus, seed)
            there = {*documents, *known.values()}
            judged = {}
            if asked.judged:
                judged = told(truth, known, sorted(there), asked.judged, asked.each, best, seed)
            p = write_job(job, truth, known, documents, settings, judged)
            started = time.monotonic()
            stopped = mine(job, bank)
            seconds = time.monotonic() - started
            line = {"data": asked.data.name, "pairs": pairs, "corpus": corpus, "labelled": labelled, "seed": seed}
            line["known"] = pairs / sum(len(there.intersection(truth.answers[query])) for query in known)
            yield rounded({**line, **measure(job, truth, pairs, p, asked.budget, stopped, judged), "seconds": seconds})


def size(value: str) -> int | str:
    """A number of further documents, or all."""
    return value if value == ALL else int(value)


def rounded(value: Any) -> Any:
    """Five significant digits; null where there is nothing to measure."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    return value


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pairs_truth", description=__doc__)
    parser.add_argument("--data", required=True, type=pathlib.Path, help="BEIR folder")
    parser.add_argument("--pairs", type=int, nargs="+", default=[500, 2000], help="queries with one known positive")
    parser.add_argument("--corpus", type=size, nargs="+", default=[0, 1000, ALL], help="further documents")
    parser.add_argument("--labelled", nargs="+", choices=LABELLED, default=["random"], help="which positive is known")
    parser.add_argument("--judged", choices=JUDGED, help="also judged negatives of each pair")
    parser.add_argument("--each", type=int, default=1, help="how many")
    parser.add_argument("--encoder", default=lines.ENCODER, help="another model")
    parser.add_argument("--pretrained", type=pathlib.Path, help="learn.pretrained of the jobs")
    parser.add_argument("--budget", type=float, default=0.02, help="filter.max_false_negatives of the jobs")
    parser.add_argument("--seeds", type=int, default=1, help="how often other queries and positives are drawn")
    parser.add_argument("--work", type=pathlib.Path, help="keep jobs and vectors here")
    parser.add_argument("--output", help="NAME: also write benchmarks/results/pairs_truth_NAME.json")
    asked = parser.parse_args()
    truth, found = read(asked.data), []
    with tempfile.TemporaryDirectory() as scratch:
        for line in jobs(asked, truth, (asked.work or pathlib.Path(scratch)).resolve()):
            print(json.dumps(line), flush=True)
            found.append(line)
    if asked.output:
        lines.RESULTS.mkdir(exist_ok=True)
        model = asked.encoder if ":" in asked.encoder else pathlib.Path(asked.encoder).name
        report = {"data": asked.data.name, "encoder": model, "budget": asked.budget}
        report |= {"judged": asked.judged, "each": asked.each} if asked.judged else {}
        report |= {"lines": found}
        (lines.RESULTS / f"pairs_truth_{asked.output}.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
