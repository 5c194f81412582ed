"""filter: pairs, scores/* -> verdicts.   Usage: gangue filter [--data data]"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from gangue.pipeline import params
from gangue.transforms import arrays, log
from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets import schema
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data
from gangue.transforms.running import runner
from gangue.transforms.running.shards import Counts, ForEachShard

KEPT = "kept"


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> Counts:
    """Give every candidate its verdict."""
    data = data.deriving_from("calibration")
    p = query_shard.in_force(data, p)
    for rule in p.filter.rules:
        if isinstance(rule, rules.Perc) and rule.cut is not None and rule.cut > 1.0:
            log.say(
                "filter",
                f"perc {rule.cut:g}, a share of the positive's score, lets through what scores higher than it",
            )

    def build(root: beam.Pipeline) -> Any:
        work = functools.partial(filter_shard, data=data, p=p)
        return root | beam.Create(data.shards("queries"), reshuffle=False) | ForEachShard(work)

    return runner.run("filter", build, data, p.beam, writes=["verdicts"], rows=sum(data.rows("pairs")), flags=flags)


def filter_shard(shard: str, data: Data, p: params.Params) -> Counts:
    """Judge the candidates of one shard."""
    loaded = query_shard.load(data, p, shard, compared=False)
    verdicts = rules.judge(loaded.candidates, p.filter.rules, loaded.queries)
    names = (*verdicts.names, KEPT)
    place = np.where(verdicts.verdict < 0, np.int8(len(verdicts.names)), verdicts.verdict)
    positive = pa.array(verdicts.positive, mask=verdicts.positive < 0)
    table = pa.table(
        [
            arrays.named(loaded.candidates.query[verdicts.pair], loaded.block.query_ids),
            loaded.block.positives["document_id"].take(positive),
            loaded.pairs["document_id"].take(pa.array(verdicts.pair)),
            arrays.named(place, pa.array(names)),
            pa.array(verdicts.fired),
        ],
        schema=schema.VERDICTS,
    ).replace_schema_metadata({schema.RULES: json.dumps(verdicts.names)})
    output = staged("verdicts")
    data.write(output, shard, table, intermediate=True)
    sizes = np.bincount(place, minlength=len(names)).tolist()
    counts = Counts({f"out:{name}": size for name, size in zip(names, sizes, strict=True)})
    counts["in"] = query_shard.verdicts_of(loaded, p)
    counts["judged"] = len(table)
    counts[f"rows:{output}"] = len(table)
    return counts
