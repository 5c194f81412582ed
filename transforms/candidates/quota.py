"""How many candidates a retriever must find for each query, and which queries must be searched deeper for them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pydantic

from gangue.transforms import arrays
from gangue.transforms.candidates import relations, rules
from gangue.transforms.candidates.rules import Rule
from gangue.transforms.datasets import schema
from gangue.transforms.datasets.storage import Data
from gangue.transforms.retrieval.protocol import Opened
from gangue.transforms.retrieval.searching import Hits
from gangue.transforms.settings.section import Section

NOTE = "quota.json"


class Quota(Section):
    """So many candidates must pass the rules that the retriever's own scores can judge."""

    rules: tuple[Rule, ...] = ()
    candidates: int = 0
    code: str = ""  # of the rules: where it changes, other queries may be short


def place(name: str) -> str:
    """The dataset of a retriever's quota."""
    return f"quotas/{name}"


def read(data: Data, name: str) -> Quota:
    """The quota of a retriever, as written.

    Raises:
      FileNotFoundError: there is none.   ValueError: it is not one.
    """
    try:
        return Quota.model_validate(data.read_note(place(name), NOTE))
    except pydantic.ValidationError as error:
        raise ValueError(
            f"{data.shown(place(name), NOTE)}: must be as the stage plan writes it, {error.errors()[0]['msg'].lower()}."
            " Rebuild it: gangue mine, or dvc repro --force plan"
        ) from None


def short_queries(
    data: Data,
    quota: Quota,
    name: str,
    retriever: Opened,
    block: relations.QueryBlock,
    rows: np.ndarray,
    hits: Hits,
    pending: np.ndarray,
    depth: int,
) -> np.ndarray:
    """Queries that reached the depth but not the quota, by the rules that this retriever can judge."""
    place, judged = np.arange(len(hits.query)), np.zeros(len(hits.query), bool)
    involved = relations.involved(data, block, hits.document)
    kinds = relations.annotate(block, involved, hits.query, place, place, judged)
    kinds |= {relation: judged for relation in schema.RELATIONS if relation not in kinds}  # few: not looked up
    positive_score = retriever.score(rows[block.positive_query], block.positive_row)
    finite = np.isfinite(positive_score)
    if not finite.all():  # those without a vector take no part, so nothing is wanted for them
        block = relations.QueryBlock(block.queries, block.positives.filter(pa.array(finite)))
        positive_score = positive_score[finite]
    rank = arrays.rank_within(hits.query, [place]) + 1.0
    verdicts = rules.judge(
        rules.Candidates(
            query=hits.query,
            tie=place,
            relations=kinds,
            scores={name: hits.score.astype(np.float32)},
            ranks={name: rank},
            random=np.zeros(len(place), bool),
            next_cluster=np.zeros(len(place), bool),
            judged=judged,
            positive_query=block.positive_query,
            positive_scores={name: positive_score.astype(np.float32)},
        ),
        quota.rules,
        len(rows),
    )
    kept = verdicts.verdict == -1
    query, positive = hits.query[verdicts.pair[kept]], verdicts.positive[kept]
    if (positive >= 0).any():  # a verdict per positive: the scarcest decides
        enough = np.bincount(positive, minlength=len(block.positives)) >= quota.candidates
        satisfied = np.ones(len(rows), bool)
        np.logical_and.at(satisfied, block.positive_query, enough)
    else:
        satisfied = np.bincount(query, minlength=len(rows)) >= quota.candidates
    satisfied |= np.bincount(block.positive_query, minlength=len(rows)) == 0
    full = np.bincount(hits.query, minlength=len(rows)) >= depth
    return pending[~satisfied[pending] & full[pending]]
