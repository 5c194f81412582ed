"""The miner in plain Python, slow and obvious: what the whole path must give, pair by pair."""

import dataclasses
import math
import unicodedata
from collections.abc import Callable

from pipeline import params


@dataclasses.dataclass(frozen=True)
class World:
    """Everything that a result depends on but the params.

    Attributes:
      documents: id -> title and text as one.   queries: id -> text.   positives: query id -> document ids.
      near: document id -> group of near-duplicates.   near_queries: query id -> the same.
      scores: retriever -> score of (query id, document id).   returns: whether it can return the document.
      rounded: a score as it is stored, in float32.
      drawn: query id -> documents drawn from the whole corpus.
      uniform: (query id, positive id, document id) -> the number in (0, 1) that decides a random choice.
    """

    documents: dict[str, str]
    queries: dict[str, str]
    positives: dict[str, list[str]]
    near: dict[str, str]
    near_queries: dict[str, str]
    scores: dict[str, Callable[[str, str], float]]
    returns: dict[str, Callable[[str, str], bool]]
    rounded: Callable[[float], float]
    drawn: dict[str, list[str]]
    uniform: Callable[[str, str, str], float]


def normal(text: str) -> str:
    """Texts that are equal in this form are the same text."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def mine(world: World, p: params.Params) -> tuple[list[tuple[str, ...]], dict[tuple[str, str | None, str], str]]:
    """(query, positive, negative, kind) of every triplet, and (query, positive, document) -> verdict."""
    triplets, verdicts = [], {}
    for query in world.queries:
        ranks = {name: _ranks(world, p, name, query) for name in p.retrievers}
        drawn = set(world.drawn.get(query, [])) - set(world.positives[query])
        pool = sorted({*world.positives[query], *drawn, *(d for found in ranks.values() for d in found)})
        judged = _judge(world, p.filter.rules, query, pool, ranks, drawn)
        verdicts |= {(query, positive, document): verdict for (positive, document), verdict in judged.items()}
        for positive in world.positives[query]:
            kept = [d for d in pool if judged.get((positive, d), judged.get((None, d))) == "kept"]
            triplets += _sample(world, p, query, positive, kept, ranks, drawn)
    return sorted(triplets), verdicts


def _ranks(world: World, p: params.Params, name: str, query: str) -> dict[str, int]:
    """Document -> rank of what a retriever returns: one of each text, deeper while the quota is not met."""
    settings, score = p.retrievers[name], world.scores[name]
    first: dict[str, str] = {}
    for document in sorted(world.documents):
        first.setdefault(normal(world.documents[document]), document)
    able = [document for document in first.values() if world.returns[name](query, document)]
    ordered = sorted(able, key=lambda document: (-score(query, document), document))
    depth, quota = settings.depth, p.sample.negatives - (p.sample.random or 0) + p.sample.skip_kept
    rules = [rule for rule in p.filter.rules if rule.score == name]
    while depth < (settings.max_depth or 0) and len(ordered) >= depth:
        ranks = {document: place + 1 for place, document in enumerate(ordered[:depth])}
        judged = _judge(world, rules, query, list(ranks), {name: ranks}, set())
        kept = {
            positive: [d for d in ranks if judged.get((positive, d), judged.get((None, d))) == "kept"]
            for positive in world.positives[query]
        }
        if all(len(documents) >= quota for documents in kept.values()):
            break
        depth = min(2 * depth, settings.max_depth)
    return {document: place + 1 for place, document in enumerate(ordered[:depth])}


def _judge(world, rules, query, pool, ranks, drawn):
    """(positive or None, document) -> the first thing that speaks against the document, or ``kept``."""
    positives = world.positives[query]
    siblings = [
        positive
        for other, group in world.near_queries.items()
        if other != query and group == world.near_queries[query]
        for positive in world.positives[other]
    ]

    def place(document):
        best = min((found[document] for found in ranks.values() if document in found), default=math.inf)
        return (document not in positives, best, document)

    identity = {}
    for document in pool:
        group = world.near[document]
        copies = [other for other in pool if world.near[other] == group]
        checks = {
            "positive": document in positives,
            "own_text": normal(world.documents[document]) == normal(world.queries[query]),
            "same_text": normal(world.documents[document]) in {normal(world.documents[d]) for d in positives},
            "near_duplicate": group in {world.near[d] for d in positives},
            "sibling_positive": group in {world.near[d] for d in siblings},
            "duplicate": min(copies, key=place) != document,
        }
        identity[document] = next((name for name, holds in checks.items() if holds), None)
    left = [document for document in pool if identity[document] is None]
    own = any(rule.positive == "own" for rule in rules)
    verdicts = {(None, document): name for document, name in identity.items() if name == "positive"}
    for positive in positives if own else [None]:
        for document in pool:
            if identity[document] == "positive":
                continue
            seen = {}
            fallen = None
            for rule in rules:
                seen[rule.kind] = seen.get(rule.kind, 0) + 1
                name = rule.kind if seen[rule.kind] == 1 else f"{rule.kind}_{seen[rule.kind]}"
                if fallen is None and _fires(world, rule, query, positive, document, left, ranks, drawn):
                    fallen = name
            verdicts[positive, document] = identity[document] or fallen or "kept"
    return verdicts


def _fires(world, rule, query, positive, document, left, ranks, drawn):
    """Whether a rule on scores or ranks speaks against the document."""
    if rule.kind == "naive":
        return False
    if rule.kind == "rank_window":
        rank = ranks[rule.score].get(document)
        if rank is None:  # what no retriever returned has no rank to judge, what another returned is outside
            return document not in drawn or any(document in found for found in ranks.values())
        return not rule.first <= rank <= rule.last

    def score(of):
        return world.rounded(world.scores[rule.score](query, of))

    if rule.kind == "shifted":
        return document in sorted(left, key=lambda of: (-score(of), of))[: rule.shift]
    if rule.kind == "abs":
        return score(document) >= world.rounded(rule.abs)
    levels = [score(of) for of in world.positives[query]]
    level = {
        "own": lambda: score(positive),
        "min": lambda: min(levels),
        "max": lambda: max(levels),
        "mean": lambda: sum(levels) / len(levels),
    }[rule.positive]()
    ceiling = level - rule.margin if rule.kind == "margin" else level - abs(level) * (1.0 - rule.perc)
    return score(document) >= ceiling


def _sample(world, p, query, positive, kept, ranks, drawn):
    """The triplets of one (query, positive)."""
    settings = p.sample

    def score(of):
        return world.rounded(world.scores[settings.score](query, of))

    found = sorted(
        (d for d in kept if any(d in of for of in ranks.values())),
        key=lambda document: (-score(document), document),
    )
    last = None if settings.first is None else settings.skip_kept + settings.first
    found = found[settings.skip_kept : last]
    keys = {document: -place for place, document in enumerate(found)}
    if settings.kind == "random":
        keys = {document: world.uniform(query, positive, document) for document in found}
    if settings.kind == "simans":
        law, mean, deviation = settings.simans, 0.0, 1.0
        if law.scale == "zscore" and found:
            mean = sum(map(score, found)) / len(found)
            deviation = math.sqrt(sum((score(d) - mean) ** 2 for d in found) / len(found))
            deviation = deviation if deviation > 1e-9 else 1.0
        for document in found:
            distance = (score(document) - score(positive)) / deviation - law.b
            logit = -law.a * (distance**2 if law.law == "gauss" else abs(distance))
            keys[document] = logit - math.log(-math.log(world.uniform(query, positive, document)))
    quota = settings.negatives - (settings.random or 0)
    hard = sorted(found, key=lambda document: (-keys[document], document))[:quota]
    rest = [document for document in kept if document in drawn and document not in hard]
    rest.sort(key=lambda document: -world.uniform(query, positive, document))
    return [(query, positive, document, "hard") for document in hard] + [
        (query, positive, document, "random") for document in rest[: settings.random or 0]
    ]
