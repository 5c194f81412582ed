"""What must hold of one shard of the product, or the ``audit`` stage fails and names the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import text, views
from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.disk import REBUILD
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import checks
from gangue.transforms.negatives import selection

if TYPE_CHECKING:
    from gangue.pipeline import params

KEY = ("query_id", "positive_id", "negative_id")
READ = ("document_id", "title", "text", "text_hash", "near_group")  # of the documents


def check_triplets(
    data: Data, p: params.Params, shard: str, triplets: pa.Table, negatives: pa.Table, documents: lookup.Held
) -> None:
    """Triplets are the chosen negatives with their texts, each once, in order and with sound numbers.

    Raises:
      ValueError: names the rows that break a rule.
    """
    ids = triplets.select(KEY)
    by_query = data.read("queries", shard, ["query_id", "text"])
    if len(triplets) != len(negatives):
        raise ValueError(
            f"triplets: must have the {len(negatives)} rows of negatives, got {len(triplets)} in {shard}. {REBUILD}"
        )

    def must(rule: str, broken: np.ndarray) -> None:
        checks.refuse("triplets", rule, broken, ids, REBUILD)

    must("(query_id, positive_id, negative_id) must be unique", checks.repeated(*(ids[name] for name in KEY)))
    must("rows must be sorted by their ids", checks.unsorted(*(ids[name] for name in KEY)))
    must("query_id must be a query of the same shard", ~checks.among([ids["query_id"]], [by_query["query_id"]]))
    must(
        f"negative_kind must be one of {', '.join(selection.KINDS)}",
        ~checks.among([triplets["negative_kind"]], [pa.array(list(selection.KINDS))]),
    )
    must("weight must be finite", checks.not_finite(triplets["weight"], nullable=False))
    must("weight must be >= 0", checks.not_at_least(triplets["weight"], 0, nullable=False))
    for name in p.retrievers:
        must(f"rank_{name} must be >= 1", checks.not_at_least(triplets[f"rank_{name}"], 1, nullable=True))
    for name in (*p.retrievers, *p.scorers):
        for column in (f"score_{name}", f"positive_score_{name}"):
            # A cross-encoder scores only what is worth it.
            broken = checks.not_finite(triplets[column], nullable=name in p.scorers)
            must(f"{column} must be a finite number", broken)
    for name in schema.negatives(p.retrievers, p.scorers, learned=p.filter.asks_to_learn).names:
        if not name.endswith("_row"):
            must(f"{name} must be as chosen in negatives", checks.differing(triplets[name], negatives[name]))
    query = pc.index_in(triplets["query_id"], by_query["query_id"].combine_chunks())
    must(
        "query must be the text of query_id",
        checks.differing(triplets["query"], by_query["text"].take(query)),
    )
    for role in ("positive", "negative"):
        rows = negatives[f"{role}_row"].to_numpy()
        must(f"{role}_row must be a row of documents", (rows < 0) | (rows >= len(documents)))
        block = documents.take(rows)
        must(
            f"{role}_id must be the id of its document",
            checks.differing(ids[f"{role}_id"], block["document_id"]),
        )
        full = text.full_text(block["title"], block["text"])
        must(f"{role} must be the text of its document", checks.differing(triplets[role], full))


def check_relations(
    data: Data, p: params.Params, shard: str, triplets: pa.Table, negatives: pa.Table, documents: lookup.Held
) -> None:
    """No negative answers its query as far as labels and texts can tell, and no two of a positive are copies.

    One that was judged may be almost a positive, or almost another.

    Raises:
      ValueError: names the rows that break a rule.
    """
    queries, positives = data.read("queries", shard), data.read("positives", shard)
    negative = documents.take(negatives["negative_row"].to_numpy())
    positive = documents.take(positives["document_row"].to_numpy())
    asked, labelled = triplets["query_id"], positives["query_id"]
    ids = queries["query_id"].combine_chunks()
    asking = queries.take(pc.index_in(asked, ids))
    group, labelled_group = asking["near_group"], queries["near_group"].take(pc.index_in(labelled, ids))
    text_of, group_of = negative["text_hash"], negative["near_group"]
    pair, chosen = [asked, triplets["positive_id"]], [asked, triplets["negative_id"]]
    judged = data.read("judged", shard)
    if p.labels.wrong:
        judged = judged.filter(pc.not_equal(judged["source"], "label"))
    lower = pc.and_(pc.greater(judged["grade"], 0.0), pc.equal(judged["source"], "grade"))
    partly, judged = judged.filter(lower), judged.filter(pc.invert(lower))
    free = ~checks.among(chosen, [judged["query_id"], judged["document_id"]])
    broken = {
        "a known positive": checks.among(chosen, [labelled, positives["document_id"]]),
        "a text equal to a positive": checks.among([asked, text_of], [labelled, positive["text_hash"]]),
        "a near-duplicate of a positive": free & checks.among([asked, group_of], [labelled, positive["near_group"]]),
        "the query's own text": ~checks.differing(text_of, asking["text_hash"]),
        "a positive of a query that asks the same": free
        & checks.among([group, group_of], [labelled_group, positive["near_group"]]),
        "a document of a lower grade than positives": checks.among(chosen, [partly["query_id"], partly["document_id"]]),
        "a copy of another negative of its positive": checks.repeated(*pair, text_of),
        "a near-duplicate of another negative of its positive": free & checks.repeated(*pair, group_of),
    }
    cure = "The filter must have dropped it: dvc repro --force filter sample export"
    for relation, rows in broken.items():
        checks.refuse("triplets", f"no negative may be {relation}", rows, triplets.select(KEY), cure)


def check_quotas(data: Data, p: params.Params, shard: str, triplets: pa.Table, shortfalls: pa.Table) -> None:
    """Each labelled (query, positive) has all its negatives, or a shortfall that says how many and why.

    Raises:
      ValueError: names the positives that break a rule.
    """
    positives = data.read("positives", shard, ["query_id", "document_id"])
    labelled = [positives["query_id"], positives["document_id"]]
    for dataset, table in (("triplets", triplets), ("shortfalls", shortfalls)):
        pair = table.select(["query_id", "positive_id"])
        unknown = ~checks.among(pair.columns, labelled)
        checks.refuse(dataset, "(query_id, positive_id) must be a labelled pair of positives", unknown, pair, REBUILD)
    missed = checks.quota_missed(positives, triplets, shortfalls, p.sample.negatives)
    rule = f"a pair must have {p.sample.negatives} triplets or one shortfall with the number found and a reason"
    checks.refuse("positives", rule, missed, positives, REBUILD)


def check_reuse(data: Data, most: int) -> None:
    """No document is the negative of more than ``most`` queries.

    Raises:
      ValueError: names a document and how many queries it serves.
    """
    queries = np.zeros(sum(data.rows("documents")), np.int32)
    for shard in data.shards("negatives"):  # all rows of a query are in one shard
        pairs = data.read("negatives", shard, ["query_id", "negative_row"])
        np.add.at(queries, pairs.group_by(pairs.column_names).aggregate([])["negative_row"].to_numpy(), 1)
    if (found := int(queries.max(initial=0))) > most:
        row = lookup.rows(data, "documents", ("document_id",)).take(np.array([queries.argmax()]))
        raise ValueError(
            f"negatives: a document may serve {most} queries (sample.reuse), but {row['document_id'][0].as_py()} serves"
            f" {found}. {REBUILD}"
        )


def check_verdicts(p: params.Params, loaded: query_shard.Shard, verdicts: pa.Table, triplets: pa.Table) -> None:
    """Every candidate has its verdict, and every negative was kept.

    Raises:
      ValueError: names the rows that break a rule.
    """
    names = rules.rule_names(p.filter.rules)
    noted = json.loads((verdicts.schema.metadata or {}).get(schema.RULES, b"null"))
    if noted != list(names):
        raise ValueError(f"verdicts: rules must be {', '.join(names)}, got {noted}. {REBUILD}")
    if len(verdicts) != (expected := query_shard.verdicts_of(loaded, p)):
        raise ValueError(f"verdicts: must add up to the {expected} candidates, got {len(verdicts)}. {REBUILD}")
    pair, known = [verdicts["query_id"], verdicts["document_id"]], loaded.pairs
    shown = verdicts.select(["query_id", "positive_id", "document_id", "verdict"])
    positive: Any = verdicts["positive_id"]
    broken: Sequence[tuple[str, np.ndarray]] = (
        ("each must be of a candidate", ~checks.among(pair, [known["query_id"], known["document_id"]])),
        ("each must be there once", checks.repeated(*pair, positive.fill_null(""), positive.is_null())),
        ("each must be the first rule that fired", checks.not_first(verdicts, names)),
    )
    for rule, rows in broken:
        checks.refuse("verdicts", rule, rows, shown, REBUILD)
    rule = "each negative must be kept by the filter for its positive"
    checks.refuse("triplets", rule, checks.not_kept(triplets, verdicts), triplets.select(KEY), REBUILD)


def check_views(
    data: Data, p: params.Params, shard: str, rows: Mapping[str, Mapping[str, int]], triplets: pa.Table
) -> None:
    """Every view has the rows that the triplets imply, those apart whose weight is 0, and one of scores has them all.

    Raises:
      ValueError: names the view and both numbers, or the rows without a score.
    """
    weighed = triplets.filter(pc.greater(triplets["weight"], 0.0))
    sizes = checks.group_sizes(weighed)
    score = p.shown_score
    unscored = checks.not_finite(weighed[f"score_{score}"], nullable=False)
    unscored |= checks.not_finite(weighed[f"positive_score_{score}"], nullable=False)
    scored_sizes = checks.group_sizes(weighed.filter(pa.array(~unscored)))
    for view in p.export.views:
        column = views.VIEWS[view].scores
        expected = views.VIEWS[view].rows(scored_sizes if column else sizes, p.sample.negatives)
        if (found := rows[view][shard]) != expected:
            raise ValueError(
                f"views/{view}: must have the {expected} rows that triplets imply in {shard}, got {found}. {REBUILD}"
            )
        if column:
            table = data.read(f"views/{view}", shard, [column])
            broken = checks.not_finite(table[column], nullable=False)
            checks.refuse(f"views/{view}", f"{column} must be finite numbers", broken, table, REBUILD)
