"""A finished job on a planted corpus, judged by the learned filter."""

import numpy as np
import planted
import pyarrow as pa
import pydantic
import whole_path

from gangue.pipeline import params
from gangue.transforms.candidates import query_shard, rules
from gangue.transforms.datasets.storage import Data
from gangue.transforms.evidence import frontier


class Job:
    """A finished job on a planted corpus."""

    def __init__(self, folder, data="data", corpus=None, **changes):
        self.folder, self.planted = folder, planted.write(folder, **(corpus or {}))
        self.p, self.data = params.parse(planted.sections(folder, **changes)), Data(str(folder / data))
        whole_path.run(self.data, self.p)

    def shards(self):
        return [query_shard.load(self.data, self.p, name) for name in self.data.shards("queries")]

    def leaked_and_hardness(self, stack):
        """Share of planted false negatives among what these rules choose, and its mean score."""
        leaked, scores = [], []
        for shard in self.shards():
            chosen = frontier.chosen_by(self.data, self.p, shard, stack)
            leaked += [pair in self.planted for pair in pairs_of(shard, chosen)]
            scores += shard.candidates.scores["dense"][chosen].tolist()
        return np.mean(leaked), np.mean(scores)

    def p_false(self):
        """(query, document) -> its bits."""
        rows = self.data.read_all("relevance").to_pylist()
        return {(row["query_id"], row["document_id"]): np.float32(row["p_false"]).tobytes() for row in rows}


def pairs_of(shard, rows):
    table = shard.pairs.take(pa.array(rows, pa.int64()))
    return list(zip(table["query_id"].to_pylist(), table["document_id"].to_pylist(), strict=True))


def rule(**values):
    return pydantic.TypeAdapter(rules.Rule).validate_python({"score": "dense", **values})


def pairs_of_positives(shard, which):
    table = shard.block.positives.filter(pa.array(which))
    return list(zip(table["query_id"].to_pylist(), table["document_id"].to_pylist(), strict=True))
