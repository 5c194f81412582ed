"""export: negatives, text -> triplets, views/FORMAT.   Usage: gangue export [--data data]"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import arrays, log, text, views
from gangue.transforms.candidates import query_shard
from gangue.transforms.datasets import lookup, schema
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.models import vector_store
from gangue.transforms.retrieval import protocol
from gangue.transforms.running import progress, runner
from gangue.transforms.running.shards import Counts, ForEachShard
from gangue.transforms.views import rows as view_rows
from gangue.transforms.views.recipe import COUNTED, RECIPE, of_params

_LIBRARIES = ("apache-beam", "bm25s", "faiss-cpu", "gangue", "numpy", "pyarrow", "sentence-transformers", "torch")
_STEMMER = ("PyStemmer",)


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> Counts:
    """Add the texts to the chosen negatives, and write them as triplets and in the shapes that trainers read."""
    data = data.deriving_from("negatives", "shortfalls")
    recipe = json.dumps(describe(data, p), sort_keys=True)

    def build(root: beam.Pipeline) -> Any:
        groups = lookup.together(data, "negatives", p.beam.sharers)
        work = functools.partial(export_shards, groups=groups, data=data, p=p, recipe=recipe)
        return root | beam.Create(list(groups), reshuffle=False) | ForEachShard(work)

    writes = ["triplets", *(f"views/{view}" for view in p.export.views)]
    rows = sum(data.rows("negatives"))
    counts = runner.run("export", build, data, p.beam, writes=writes, rows=rows, flags=flags)
    data.prune("views", p.export.views)  # of an earlier run: they are not these triplets
    data.write_text("README.md", card(p, recipe))
    if counts["without_weight"]:
        log.say("export", f"{counts['without_weight']} negatives have the weight 0 and are in no view")
    if counts["without_score"]:
        deeper = f". Raise scorers.{p.shown_score}.depth" if p.shown_score in p.scorers else ""
        key = "export.score" if p.export.score else "sample.score"
        log.say(
            "export",
            f"{counts['without_score']} negatives have no score of {p.shown_score} ({key}) and are in no view"
            f" of scores{deeper}",
        )
    return counts


def describe(data: Data, p: params.Params) -> dict[str, Any]:
    """The recipe: params, models, languages of stop words, versions, size of what went in. No times, no places."""
    vectors = {
        name: {side: data.metadata(f"vectors/{name}/{side}", "content_hash") for side in ("queries", "documents")}
        for name in p.encoders
    }
    made = {name: sides["documents"] for name, sides in vectors.items()}
    made |= {name: data.metadata(f"scores/{name}", "query_id") for name in p.scorers}
    models = {name: metadata.get(schema.FINGERPRINT, b"").decode() for name, metadata in made.items()}
    prompts = {
        name: {side: metadata.get(schema.PROMPT, b"").decode() for side, metadata in sides.items()}
        for name, sides in vectors.items()
    }
    ruled = query_shard.in_force(data, p).filter.rule
    lexical = protocol.lexical(p.retrievers)
    stems = {name: language for name, retriever in lexical.items() if (language := retriever.stems(data, name))}
    return {
        "params": of_params(p),
        "judged_by": {"kind": ruled.kind, "cut": ruled.cut},
        "fingerprints": models,
        "stopwords": {name: retriever.language(data, name) for name, retriever in lexical.items()},
        **({"stems": stems} if stems else {}),
        "prompts": prompts,
        "without_vector": {name: sum(data.rows(vector_store.rejected(name))) for name in p.encoders},
        "versions": {"python": platform.python_version()}
        | {library: importlib.metadata.version(library) for library in (*_LIBRARIES, *(_STEMMER if stems else ()))},
        "rows": {name: sum(data.rows(name)) for name in COUNTED},
    }


def export_shards(first: str, groups: Mapping[str, Sequence[str]], data: Data, p: params.Params, recipe: str) -> Counts:
    """Write the triplets and views of the shards whose ``first`` is named."""
    chosen = {shard: data.read("negatives", shard) for shard in groups[first]}
    rows = (table[f"{role}_row"].to_numpy() for table in chosen.values() for role in ("positive", "negative"))
    documents = lookup.rows(data, "documents", ("title", "text")).held(*rows)
    counts = Counts()
    for shard, negatives in chosen.items():
        counts.update(export_shard(shard, negatives, documents, data, p, recipe))
        progress.advance(len(negatives))
    return counts


def export_shard(
    shard: str, negatives: pa.Table, documents: lookup.Held, data: Data, p: params.Params, recipe: str
) -> Counts:
    """Write the triplets and views of one shard."""
    queries = data.read("queries", shard, ["query_id", "text"])
    columns = {name: negatives[name] for name in negatives.column_names}
    place = arrays.place_among(negatives["query_id"], queries["query_id"])
    columns["query"] = queries["text"].take(pa.array(place))
    for role in ("positive", "negative"):
        block = documents.take(negatives[f"{role}_row"].to_numpy())
        columns[role] = text.full_text(block["title"], block["text"])
    triplets = schema.conform(
        pa.table(columns), schema.triplets(p.retrievers, p.scorers, learned=p.filter.asks_to_learn), "triplets"
    )
    counts = Counts({"in": len(negatives), "out:triplets": len(triplets), "triplets": len(triplets)})
    outputs = {"triplets": triplets}
    if p.export.views:
        shown = view_rows.for_trainers(triplets, p.sample.score)
        counts["without_weight"] = len(triplets) - len(shown)
        scored = view_rows.scored(shown, p.shown_score) if p.export.shows_scores else shown
        counts["without_score"] = len(shown) - len(scored)
        for view in p.export.views:
            shape = views.VIEWS[view]
            some = scored if shape.scores else shown
            outputs[f"views/{view}"] = shape.table(some, p.sample.negatives, p.shown_score)
    for dataset, table in outputs.items():
        data.write(staged(dataset), shard, table.replace_schema_metadata({RECIPE: recipe}))
        counts[f"rows:{staged(dataset)}"] = len(table)
    return counts


def card(p: params.Params, recipe: str) -> str:
    """The dataset card: a README that the usual dataset hubs and viewers understand."""
    rows = json.loads(recipe)["rows"]
    configs: dict[str, str] = {"triplets": "triplets", **{view: f"views/{view}" for view in p.export.views}}
    lines = [
        "---",
        "configs:",
        *(f"- config_name: {name}\n  data_files: {path}/*.parquet" for name, path in configs.items()),
        "---",
        "# Training triplets with mined negatives",
        "",
        f"{rows['negatives']} triplets from {rows['queries']} queries, {rows['positives']} labelled positives and"
        f" {rows['documents']} documents, mined by Gangue. The full recipe (params, model fingerprints, versions,"
        " counts) is JSON in every file's footer under `gangue.recipe`.",
        "",
        "| column | type |",
        "|---|---|",
        *(
            f"| `{field.name}` | {field.type} |"
            for field in schema.triplets(p.retrievers, p.scorers, learned=p.filter.asks_to_learn)
        ),
        "",
        "Rows are sorted by (query_id, positive_id, negative_id) within a file; all rows of a query are in one file.",
        "`rank_R` is null where retriever R did not return the negative; `negative_kind` is `hard`, `random` or"
        " `next_cluster`.",
        "",
    ]
    return "\n".join(lines)
