"""The columns of every dataset: the contract between stages, and with the programs that read them.

Ids are strings, ranks start at 1, scores are float32. A ``*_row`` is a row number over all shards of the
dataset it names, in shard order: a way to fetch a row without searching for its id. It depends on the
number of shards, so it stays inside and never reaches a triplet.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from gangue.transforms.text import HASH

NAME = pa.dictionary(pa.int32(), pa.string())  # an id or a word that many rows of a shard share
PROMPT = b"gangue.prompt"  # metadata of vectors: what went before each text
FINGERPRINT = b"gangue.fingerprint"  # metadata of vectors and scores: what they depend on beside the texts
RULES = b"gangue.rules"  # metadata of verdicts: names of the bits of ``fired``
RECIPE = b"gangue.recipe"  # metadata of triplets and views: how they were made
STOPWORDS = b"gangue.stopwords"  # metadata of a vocabulary: of which language it lacks the stop words, empty for none
STEM = b"gangue.stem"  # metadata of a vocabulary: by which language its tokens are stemmed; without it: by none

DOCUMENTS = pa.schema(
    [
        ("document_id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("text_hash", HASH),  # of the normalised title and text: equal = the same text
        ("near_group", pa.string()),  # smallest document_id among its near-duplicates, itself included
    ]
)
QUERIES = pa.schema(
    [
        ("query_id", pa.string()),
        ("text", pa.string()),
        ("answers", pa.list_(pa.string())),  # strings that a document with the answer contains; empty: not known
        ("text_hash", HASH),
        ("near_group", pa.string()),
    ]
)
POSITIVES = pa.schema(
    [
        ("query_id", pa.string()),
        ("document_id", pa.string()),
        ("grade", pa.float32()),
        ("document_row", pa.int64()),
    ]
)
JUDGED = pa.schema(
    [
        ("query_id", pa.string()),
        ("document_id", pa.string()),
        ("grade", pa.float32()),  # above 0: it answers the query
        ("source", pa.string()),  # who says so: see JUDGES
        ("document_row", pa.int64()),
    ]
)
REJECTED = pa.schema([("origin", pa.string()), ("line", pa.int64()), ("reason", pa.string()), ("record", pa.string())])
REJECTED_TEXTS = pa.schema([(name, pa.string()) for name in ("dataset", "id", "reason", "cure", "text")])
CANDIDATES = pa.schema(
    [
        ("query_id", NAME),
        ("document_id", NAME),
        ("rank", pa.int32()),
        ("score", pa.float32()),
        ("document_row", pa.int64()),
    ]
)
SCORES = pa.schema(
    [
        ("query_id", pa.string()),
        ("document_id", pa.string()),
        ("query_hash", HASH),
        ("document_hash", HASH),
        ("score", pa.float32()),
    ]
)
RELEVANCE = pa.schema(
    [
        ("query_id", NAME),
        ("document_id", NAME),
        ("p_false", pa.float32()),  # how likely the pair is a positive that nobody labelled
    ]
)
VERDICTS = pa.schema(
    [
        ("query_id", NAME),
        ("positive_id", pa.string()),  # null: the verdict holds for every positive of the query
        ("document_id", NAME),
        ("verdict", NAME),  # "kept", or the first rule that fired
        ("fired", pa.int64()),  # bit i: rule i of the metadata's list would have fired
    ]
)
SHORTFALLS = pa.schema(
    [
        ("query_id", pa.string()),
        ("positive_id", pa.string()),
        ("wanted", pa.int32()),
        ("found", pa.int32()),
        ("candidates", pa.int32()),
        ("reason", pa.string()),
    ]
)
CLUSTERS = pa.schema([("document_id", pa.string()), ("cluster", pa.int32()), ("similarity", pa.float32())])

JUDGES = ("label", "grade", "column")
"""Who judged a pair: somebody asked about this job (``labels``), the source's judgements, its column of negatives."""

RELATIONS = (
    "positive",
    "same_text",
    "near_duplicate",
    "own_text",
    "sibling_positive",
    "partly_relevant",
    "reverse_positive",
    "duplicate",
)
"""What a document can be to a query besides a candidate; a boolean column of ``pairs`` each.

positive: labelled. same_text: reads like a positive. near_duplicate: of a positive. own_text: the query itself.
sibling_positive: a positive of another query that asks the same. partly_relevant: of a lower grade than positives, or a
near-duplicate of one. reverse_positive: reads like a query of which a positive reads like this one. duplicate: of a
better candidate of the query.
"""


def vectors(dimensions: int) -> pa.Schema:
    """Schema of an encoder's vectors, one row for each row of the dataset that was embedded."""
    return pa.schema([("content_hash", HASH), ("vector", pa.list_(pa.float32(), dimensions))])


def pairs(retrievers: Iterable[str]) -> pa.Schema:
    """Schema of the pool: one row per (query, document), sorted by both.

    ``rank_R`` is null where retriever R did not return the document; ``score_R`` never is.
    """
    retrievers = list(retrievers)
    return pa.schema(
        [("query_id", NAME), ("document_id", NAME), ("document_row", pa.int64())]
        + [(relation, pa.bool_()) for relation in RELATIONS]
        + [("random", pa.bool_())]  # drawn from the whole corpus, not retrieved
        + [("next_cluster", pa.bool_())]  # from the cluster next to the query's own, not retrieved
        + [("judged", pa.bool_())]  # judged, and no positive: a negative whatever rules say
        + [(f"rank_{name}", pa.int32()) for name in retrievers]
        + [(f"score_{name}", pa.float32()) for name in retrievers]
    )


def negatives(retrievers: Iterable[str], scorers: Iterable[str], *, learned: bool = False) -> pa.Schema:
    """Schema of the chosen negatives, sorted by (query, positive, negative); no text yet.

    ``learned``: with ``p_false``, how likely the negative is a positive that nobody labelled.
    """
    retrievers, scorers = list(retrievers), list(scorers)
    names = [*retrievers, *scorers]
    return pa.schema(
        [
            ("query_id", pa.string()),
            ("positive_id", pa.string()),
            ("negative_id", pa.string()),
            ("negative_kind", pa.string()),
            ("weight", pa.float32()),
        ]
        + [(f"rank_{name}", pa.int32()) for name in retrievers]
        + [(f"score_{name}", pa.float32()) for name in names]
        + [(f"positive_score_{name}", pa.float32()) for name in names]
        + ([("p_false", pa.float32())] if learned else [])
        + [("positive_row", pa.int64()), ("negative_row", pa.int64())]
    )


def triplets(retrievers: Iterable[str], scorers: Iterable[str], *, learned: bool = False) -> pa.Schema:
    """Schema of the product: ids, texts, and every rank and score behind each row."""
    fields = {field.name: field for field in negatives(retrievers, scorers, learned=learned)}
    first = [fields.pop(name) for name in ("query_id", "positive_id", "negative_id")]
    texts = [pa.field(name, pa.string()) for name in ("query", "positive", "negative")]
    rest = [field for name, field in fields.items() if not name.endswith("_row")]
    return pa.schema([*first, *texts, *rest])


def conform(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """The table with exactly the schema's columns, in its order and types.

    Raises:
      ValueError: a column is missing or cannot be cast without loss; says which, and the cure.

    >>> conform(pa.table({"line": [3]}), REJECTED, "data/rejected")
    Traceback (most recent call last):
    ...
    ValueError: data/rejected: column origin, reason, record is missing. Rebuild it: gangue mine, or dvc repro
    """
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise ValueError(f"{where}: column {', '.join(missing)} is missing. Rebuild it: gangue mine, or dvc repro")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{where}: {error}. Rebuild it: gangue mine, or dvc repro") from error
