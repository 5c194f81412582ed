"""What is concluded from some documents and all labels: how many positives nobody labelled, and how sure that is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.special
import scipy.stats

from gangue.transforms.relevance import caution, classifier, describing, labelled_share, labelling

if TYPE_CHECKING:
    from gangue.pipeline import params

_LOOKS_CHOSEN = 0.5  # from which on labels are said to look chosen
_DEPENDS = 1.3  # log odds between the halves from which on labels surely depend on a rank
_OF_SEVERAL_KINDS = 3.0  # times that the share is lower for it, from which on that is said
_TAIL = 0.25  # share of the candidates, from below, that look least relevant
_ERROR = 0.05  # one-sided, of how many labelled positives are among these


def concluded(p: params.Params, note: dict[str, Any], table: pa.Table, documents: int) -> dict[str, Any]:
    """What the labelled share says: ``share`` in numbers and words, ``weight``, ``shift``, ``caution``, ``findings``.

    ``shift`` is added to log odds so that the probabilities of the unlabelled add up to the positives that nobody
    labelled, by the middle of the share's interval; ``caution`` is the curve by which a promise takes the unfavourable
    end (``relevance.caution``), ``least`` what it takes any candidate to be; ``distrusted``: nothing is promised.

    Args:
      p: params.   note: of what was taught.   table: as ``learn`` samples it.   documents: of the corpus.
    """
    # In the order of the log odds within a query, whatever the shards: equal rows are equal.
    table = table.sort_by([(name, "ascending") for name in ("query", "full", "blind", "known")])
    missed = pc.sum(table["missed"]).as_py() or 0
    asked, table = table.filter(pc.greater_equal(table["told"], 0)), table.filter(table["counted"])
    hashes = table["query"].to_numpy()
    query = np.cumsum(np.r_[False, hashes[1:] != hashes[:-1]]) if len(hashes) else np.zeros(0, np.int64)
    known, judged = (table[name].to_numpy(zero_copy_only=False) for name in ("known", "judged"))
    logits = {name: table[name].to_numpy() for name in ("blind", "agreed", "full", "taught")}
    sample = labelling.Sample(
        query,
        int(query[-1]) + 1 if len(query) else 0,
        known,
        judged,
        logits["blind"],
        logits["agreed"],
        logits["full"],
        {name: table[score_column(name)].to_numpy() for name in p.retrievers},
    )
    share_told = p.learn.labelled if isinstance(p.learn.labelled, float) else None
    chosen = p.learn.labelled == "chosen"
    found = labelled_share.estimate(sample, chosen)
    weight = round(classifier.joined_weight(note["several"], found.depends), 6) if note["usable"] else 0.0
    joined = describing.joined(logits["full"], logits["taught"], weight)
    if not chosen:
        found = labelled_share.sharpened(found, sample, joined)
    looks_chosen = chosen or found.chosen >= _LOOKS_CHOSEN or found.depends >= _DEPENDS
    findings, distrusted = list(note["findings"]), note["distrusted"]
    used = found
    if share_told is not None:
        used = dataclasses.replace(found, low=share_told, middle=share_told, high=share_told)
        if not found.low <= share_told <= found.high:
            findings.append(
                f"learn.labelled says that {share_told:.0%} of all positives are labelled, the data say"
                f" {found.low:.1%} to {found.high:.1%}: what you say is believed, and every promise rests on it"
            )
    elif looks_chosen:
        findings.append(
            "the labelled positives were chosen by clicks or a search system, as learn.labelled says: many more may be"
            " unlabelled than can be seen"
            if chosen
            else "the labelled positives look chosen by a search system: they stand where it ranks best, not where"
            " positives in general would; many more may be unlabelled than can be seen"
        )
        # With several a query the share is known well enough, but not where those lie that the system passed over.
        distrusted = distrusted or found.depends >= _DEPENDS
    if share_told is None and found.kinds >= _OF_SEVERAL_KINDS:
        findings.append(
            "queries are of several kinds: the labels that stand highest are of those with few positives, and say"
            f" little of the others; {found.kinds:.2g} times as many unlabelled positives are reckoned with"
        )
    free = joined[~known & ~judged]
    labels = asked["told"].to_numpy()
    if len(labels) >= labelled_share.LEAST:
        of_asked = describing.joined(asked["full"].to_numpy(), asked["taught"].to_numpy(), weight)
        ends = _, middle, low = caution.by_labels(of_asked, labels, p.labels.wrong)
        masses = (float(scipy.special.expit(free + shift).sum()) for shift in reversed(ends))
        shares = [max(labelling.LOWEST, found.known / max(found.known + mass, 1)) for mass in masses]
        used = dataclasses.replace(found, low=shares[0], middle=shares[1], high=shares[2])
        unseen = labelling.with_mass(free, found.known * (1 - found.low) / found.low) - middle
        curve, contradicted = caution.of_labels(of_asked + middle, labels, p.labels.wrong, unseen)
        findings = [] if contradicted is None else [contradicted]
        if share_told is not None and not used.low <= share_told <= used.high:
            findings.append(
                f"learn.labelled says that {share_told:.0%} of all positives are labelled, {len(labels)} labels"
                f" say {used.low:.1%} to {used.high:.1%}: these are believed"
            )
        by = f", by {len(labels)} labels, {int(labels.sum())} of them positive"
    else:
        low, middle = (labelling.with_mass(free, found.known * (1 - c) / c) for c in (used.low, used.middle))
        by, curve = "", caution.constant(max(0.0, low - middle))
        if not found.known:
            distrusted = True
            findings.insert(
                0,
                "no labelled positive was retrieved, so nothing tells how many of the candidates are positives: look"
                " whether the pairs name the documents that are meant, and raise retrievers.*.depth",
            )
        if len(labels):
            findings.append(
                f"{len(labels)} labels say too little of how many negatives are false: label {labelled_share.LEAST} or"
                " more (gangue sample-for-labels)"
            )
    spread = missed / used.low / max(sample.queries * documents - len(free), 1)
    least = min(spread, _in_the_tail(joined[known], free) / used.low, 0.5)
    share = {key: _rounded(getattr(used, key)) for key in ("low", "middle", "high")}
    evidence = {key: _rounded(getattr(found, key)) for key in ("known", "place", "gap", "chosen", "depends", "kinds")}
    told = share_told is not None and not by
    words_of_it = f"labelled are {share_told:.1%} of all positives, as learn.labelled says" if told else f"{used}{by}"
    return {
        "share": {
            **share,
            **evidence,
            "told": told,
            "labels": len(labels),
            "assumed_random": not (told or by or looks_chosen),
            "words": words_of_it,
        },
        "distrusted": distrusted and not by,
        "weight": weight,
        "shift": middle,
        "caution": caution.no_less(curve, least),
        "least": {"missed": missed, "known": found.known, "share": _rounded(least)},
        "findings": findings,
    }


def score_column(retriever: str) -> str:
    """Name of the column with its scores in what ``learn`` samples: none that another column may have."""
    return f"score_{retriever}"


def _in_the_tail(known: np.ndarray, free: np.ndarray) -> float:
    """The share of labelled positives among what looks least relevant, labelled or not: Clopper's upper end.

    Args:
      known, free: log odds of the labelled positives that were found, and of the unlabelled candidates.
    """
    if not len(free):
        return 1.0
    end = np.quantile(free, _TAIL)
    count, least = int((known <= end).sum()), int((free <= end).sum())
    return float(scipy.stats.beta.ppf(1.0 - _ERROR, count + 1, least))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
