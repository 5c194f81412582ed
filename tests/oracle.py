"""The miner in plain Python, slow and obvious: what the whole path must give, pair by pair."""

import dataclasses
import functools
import itertools
import math
import re
import unicodedata
from collections.abc import Callable

from gangue.pipeline import params


@dataclasses.dataclass(frozen=True)
class World:
    """Everything that a result depends on but the params.

    Attributes:
      documents: id -> title and text as one.   queries: id -> text.   positives: query id -> document ids.
      near: document id -> group of near-duplicates.   near_queries: query id -> the same.
      scores: retriever -> score of (query id, document id).   returns: whether it can return the document.
      rounded: a score as it is stored, in float32.
      drawn: query id -> documents drawn from the whole corpus.
      uniform: (query id, positive id, document id) -> the number in (0, 1) that decides a random choice; without
        the document, which score of an ensemble the positive gets; without the positive, who may use the document.
      similarity: cosine of two documents.
      answers: query id -> strings.
      clusters: document id -> cluster.   next_cluster: query id -> the cluster next to its own.
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
    uniform: Callable[..., float]
    similarity: Callable[[str, str], float]
    answers: dict[str, list[str]]
    clusters: dict[str, int]
    next_cluster: dict[str, int]


def invisible(letter: str) -> bool:
    """Format and control characters that are no white space, selectors of glyphs, fillers."""
    selectors = ("VARIATION SELECTOR", "MONGOLIAN FREE VARIATION", "COMBINING GRAPHEME JOINER", "KHMER VOWEL INHERENT")
    if unicodedata.name(letter, "").startswith(selectors) or "FILLER" in unicodedata.name(letter, ""):
        return True
    return unicodedata.category(letter) in ("Cf", "Cc") and not letter.isspace()


@functools.cache
def normal(text: str) -> str:
    """Texts that are equal in this form are the same text."""
    visible = "".join(letter for letter in text.replace("\u2800", " ") if not invisible(letter))  # Braille's blank
    apart = re.sub(r"(\d)([⁰¹²³⁴-⁹¼-¾⅐-⅟↉])", r"\1^\2", visible)  # 10² is not 102
    return " ".join(unicodedata.normalize("NFKC", apart).lower().split())


def _without_blanks(letter: str) -> bool:
    """A letter of a script that writes none between words, or of Korean."""
    scripts = ("CJK UNIFIED", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR")
    return unicodedata.name(letter, "").startswith(scripts)


def _letters(text: str) -> list[str]:
    """Letters with their marks."""
    found: list[str] = []
    for letter in text:
        if found and unicodedata.category(letter)[0] == "M":
            found[-1] += letter
        else:
            found.append(letter)
    return found


def _runs(text: str, also: str = "") -> list[list[str]]:
    """Words as lists of letters; letters of scripts without blanks that stand together are one list."""
    runs: list[list[str]] = []
    before = "blank"
    for letter in _letters(normal(text)):
        kind = "blank"
        if unicodedata.category(letter[0])[0] in "LN" or letter[0] in also:
            kind = "character" if _without_blanks(letter[0]) else "word"
        if kind != "blank" and kind == before:
            runs[-1].append(letter)
        elif kind != "blank":
            runs.append([letter])
        before = kind
    return runs


def words(text: str) -> list[str]:
    """Words between blanks and punctuation; letters of scripts without blanks are words each."""
    return [word for run in _runs(text) for word in (run if _without_blanks(run[0][0]) else ["".join(run)])]


def terms(text: str) -> list[str]:
    """What BM25 counts: words of two letters and more, single letters and pairs of scripts without blanks."""
    found = []
    for run in _runs(text, also="_"):
        if _without_blanks(run[0][0]):
            found += [*run, *(one + other for one, other in itertools.pairwise(run))]
        elif len("".join(run)) > 1:
            found.append("".join(run))
    return found


def mine(world: World, p: params.Params) -> tuple[list[tuple], dict[tuple[str, str | None, str], str]]:
    """(query, positive, negative, kind, weight) of every triplet, and (query, positive, document) -> verdict."""
    judgements, verdicts = {}, {}
    for query in world.queries:
        ranks = {name: _ranks(world, p, name, query) for name in p.retrievers}
        drawn = {
            "random": set(world.drawn.get(query, [])) - set(world.positives[query]),
            "next_cluster": set(_next_cluster(world, p, query)) - set(world.positives[query]),
        }
        found = {document for of in (*ranks.values(), *drawn.values()) for document in of}
        pool = sorted(found | set(world.positives[query]))
        judged = _judge(world, p.filter.rules, query, pool, ranks, drawn)
        verdicts |= {(query, positive, document): verdict for (positive, document), verdict in judged.items()}
        judgements[query] = (pool, judged, ranks, drawn)

    def chosen(denied):
        for query, (pool, judged, ranks, drawn) in judgements.items():
            for positive in world.positives[query]:
                kept = [d for d in pool if judged.get((positive, d), judged.get((None, d))) == "kept"]
                kept = [document for document in kept if (query, document) not in denied]
                yield from _sample(world, p, query, positive, kept, ranks, drawn)

    return sorted(_capped(world, p.sample.reuse, chosen)), verdicts


def _capped(world, cap, chosen, rounds=8):
    """What is chosen when a document is the negative of so many queries at most: the others choose again."""
    denied, triplets = set(), list(chosen(set()))
    for number in range(rounds if cap else 0):
        askers = {}
        for query, _, document, *_ in triplets:
            askers.setdefault(document, set()).add(query)
        over = {
            (query, document)
            for document, queries in askers.items()
            for query in sorted(queries, key=lambda query: world.uniform(query, document))[cap:]
        }
        denied |= over
        if number == rounds - 1:
            return [row for row in triplets if (row[0], row[2]) not in over]
        triplets = list(chosen(denied))
    return triplets


def _next_cluster(world, p, query):
    """The documents nearest to the query in the cluster next to its own."""
    if p.pool.next_cluster is None:
        return []
    there = [d for d in _one_of_each_text(world) if world.clusters[d] == world.next_cluster[query]]
    there.sort(key=lambda document: (-world.scores["dense"](query, document), document))
    return there[: p.pool.next_cluster.documents]


def _one_of_each_text(world):
    first: dict[str, str] = {}
    for document in sorted(world.documents):
        first.setdefault(normal(world.documents[document]), document)
    return list(first.values())


def _ranks(world: World, p: params.Params, name: str, query: str) -> dict[str, int]:
    """Document -> rank of what a retriever returns: one of each text, deeper while the quota is not met."""
    settings, score = p.retrievers[name], world.scores[name]
    able = [document for document in _one_of_each_text(world) if world.returns[name](query, document)]
    ordered = sorted(able, key=lambda document: (-score(query, document), document))
    depth, quota = settings.depth, p.sample.negatives - p.sample.random - p.sample.next_cluster + p.sample.skip_kept
    rules = [rule for rule in p.filter.rules if getattr(rule, "score", None) == name]
    while depth < (settings.max_depth or 0) and len(ordered) >= depth:
        ranks = {document: place + 1 for place, document in enumerate(ordered[:depth])}
        judged = _judge(world, rules, query, list(ranks), {name: ranks}, {})
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
            "reverse_positive": normal(world.documents[document])
            in {
                normal(world.queries[other])
                for other, theirs in world.positives.items()
                if normal(world.queries[query]) in {normal(world.documents[d]) for d in theirs}
            },
            "duplicate": min(copies, key=place) != document,
        }
        identity[document] = next((name for name, holds in checks.items() if holds), None)
    left = [document for document in pool if identity[document] is None]
    own = any(getattr(rule, "positive", None) == "own" for rule in rules)
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
    if rule.kind == "answer":
        given = words(world.documents[document])
        asked = [words(answer) for answer in world.answers[query]]
        return any(a and any(given[i : i + len(a)] == a for i in range(len(given))) for a in asked)
    if rule.kind == "same_cluster":
        return world.clusters[document] in {world.clusters[of] for of in world.positives[query]}
    if rule.kind == "rank_window":
        rank = ranks[rule.score].get(document)
        if rank is None:  # what no retriever returned has no rank to judge, what another returned is outside
            was_drawn = any(document in of for of in drawn.values())
            return not was_drawn or any(document in found for found in ranks.values())
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
    found = [document for document in kept if any(document in of for of in ranks.values())]
    if settings.ensemble and settings.ensemble.kind == "intra":
        hard = _intra(world, settings, query, found)
    elif settings.kind == "joint":
        hard = dict.fromkeys(_joint(world, settings, query, positive, found, ranks), 1)
    else:
        hard = dict.fromkeys(_hard(world, p, query, positive, found), 1)
    score = world.scores[settings.score]
    near = [document for document in kept if document in drawn["next_cluster"] and document not in hard]
    near.sort(key=lambda document: (-world.rounded(score(query, document)), document))
    near = near[: settings.next_cluster]
    rest = [document for document in kept if document in drawn["random"] and document not in {*hard, *near}]
    rest.sort(key=lambda document: -world.uniform(query, positive, document))
    kinds = {"next_cluster": near, "random": rest[: settings.random]}
    return [(query, positive, document, "hard", times) for document, times in hard.items()] + [
        (query, positive, document, kind, 1) for kind, documents in kinds.items() for document in documents
    ]


def _hard(world, p, query, positive, found):
    """Which of the documents found and kept are chosen as ``sample.kind`` says."""
    settings = p.sample
    name = settings.score
    if settings.ensemble:
        name = settings.ensemble.scores[int(world.uniform(query, positive) * len(settings.ensemble.scores))]

    def score(of):
        return world.rounded(world.scores[name](query, of))

    found = sorted(found, key=lambda document: (-score(document), document))
    last = None if settings.first is None else settings.skip_kept + settings.first
    found = found[settings.skip_kept : last]
    if settings.kind == "band":
        found = _band(settings.sampler, found, score)
    keys = {document: -place for place, document in enumerate(found)}
    if settings.kind in ("random", "band"):
        keys = {document: world.uniform(query, positive, document) for document in found}
    if settings.kind == "nearest":
        keys = {document: -abs(score(document) - score(positive) - settings.sampler.b) for document in found}
    if settings.kind == "softmax":
        keys = {document: score(document) / settings.sampler.temperature for document in found}
    if settings.kind == "simans":
        keys = _simans(world, settings.sampler, query, positive, found, score)
    if settings.kind in ("softmax", "simans"):
        keys = {d: key - math.log(-math.log(world.uniform(query, positive, d))) for d, key in keys.items()}
    keys |= dict.fromkeys(found[: settings.keep_first], math.inf)
    found.sort(key=lambda document: (-keys[document], document))
    if settings.diverse and settings.diverse.kind == "cluster":
        found = [d for i, d in enumerate(found) if world.clusters[d] not in {world.clusters[e] for e in found[:i]}]
    if settings.diverse and settings.diverse.kind == "mmr":
        return _marginal(world, settings, found, score)
    return found[: settings.negatives - settings.random - settings.next_cluster]


def _marginal(world, settings, found, score):
    """One by one: hard, and not like what is chosen already."""
    weight, chosen = settings.diverse.weight, []
    low = min(map(score, found), default=0)
    width = max(map(score, found), default=0) - low or 1.0

    def value(document):
        near = max((world.similarity(document, other) for other in chosen), default=-1.0)
        return round(weight * (score(document) - low) / width - (1 - weight) * near, 6)

    while len(chosen) < min(settings.negatives - settings.random - settings.next_cluster, len(found)):
        chosen.append(min((d for d in found if d not in chosen), key=lambda document: (-value(document), document)))
    return chosen


def _band(band, found, score):
    """What lies in the band, its lower bound lowered while there are too few."""
    low = band.low
    for widened in range(band.patience + 1):
        low = band.low - band.step * widened
        inside = [document for document in found if low < score(document) < band.high]
        if len(inside) >= band.least:
            break
    return inside


def _simans(world, law, query, positive, found, score):
    """Logits of the ambiguous ones."""
    values = {document: score(document) for document in found}
    if law.against == "document":
        values = {d: max(world.similarity(d, other) for other in world.positives[query]) for d in found}
    mean, deviation = 0.0, 1.0
    if law.scale == "zscore" and found:
        mean = sum(values.values()) / len(found)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values.values()) / len(found))
        deviation = deviation if deviation > 1e-9 else 1.0
    distances = {d: (value - score(positive)) / deviation - law.b for d, value in values.items()}
    return {d: -law.a * (far**2 if law.law == "gauss" else abs(far)) for d, far in distances.items()}


def _intra(world, settings, query, found):
    """Document -> how many scores of the ensemble choose it, when the scores take turns."""
    last = None if settings.first is None else settings.skip_kept + settings.first
    orders = [
        sorted(found, key=lambda document, score=world.scores[name]: (-world.rounded(score(query, document)), document))
        for name in settings.ensemble.scores
    ]
    orders = [order[settings.skip_kept : last] for order in orders]
    taken, quota = [], settings.negatives - settings.random - settings.next_cluster
    for _ in range(quota):
        for number, order in enumerate(orders):
            alone = settings.ensemble.deduplicate is False
            gone = {document for of, document in taken if of == number or not alone}
            left = [document for document in order if document not in gone]
            if left and len(taken) < quota:
                taken.append((number, left[0]))
    return {document: sum(other == document for _, other in taken) for _, document in taken}


def _joint(world, settings, query, positive, found, ranks):
    """Which documents are chosen from several retrievers together."""
    joint, quota = settings.sampler, settings.negatives - settings.random - settings.next_cluster
    ranks = {r: {d: rank for d, rank in of.items() if rank <= (joint.depth or rank)} for r, of in ranks.items()}
    lists = {r: sorted((d for d in found if d in of), key=of.get) for r, of in ranks.items()}
    most = {r: min(joint.quotas.get(r, quota), math.floor(joint.max_share * quota + 1e-9)) for r in ranks}
    taken = []  # (retriever, document)
    if joint.mode == "round_robin":
        for _ in range(quota):
            for r in ranks:
                left = [document for document in lists[r] if document not in {d for _, d in taken}]
                if left and len(taken) < quota and sum(of == r for of, _ in taken) < most[r]:
                    taken.append((r, left[0]))
        return [document for _, document in taken]
    keys = {}
    for document in found:
        having = [r for r in ranks if document in ranks[r]]
        uniform = world.uniform(query, positive, document)
        if not having:
            continue
        if joint.mode == "union":
            keys[document] = uniform
        elif joint.mode == "mixture":
            weights = {r: (joint.weights or {}).get(r, 1.0) for r in ranks}
            mass = sum(weights[r] / sum(weights.values()) / len(lists[r]) for r in having)
            keys[document] = math.log(mass) - math.log(-math.log(uniform))
        else:
            keys[document] = sum(1 / ((joint.k or 60) + ranks[r][document]) for r in having)
    for document in sorted(keys, key=lambda document: (-keys[document], document)):
        best = min((r for r in ranks if document in ranks[r]), key=lambda r: ranks[r][document])
        if len(taken) < quota and sum(of == best for of, _ in taken) < most[best]:
            taken.append((best, document))
    return [document for _, document in taken]
