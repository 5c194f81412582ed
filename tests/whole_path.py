"""All stages from source to triplets in one process.   Usage: python tests/whole_path.py PARAMS.json DATA"""

import json
import pathlib
import sys

from gangue.pipeline import (
    calibrate,
    cluster,
    embed,
    export,
    filter,
    ingest,
    learn,
    params,
    plan,
    pool,
    retrieve,
    sample,
)
from gangue.transforms.datasets.storage import Data


def run(data, p):
    ingest.run(data, p)
    for name in p.encoders:
        embed.run(data, p, name)
        cluster.run(data, p, name)
    plan.run(data, p)
    for name in p.retrievers:
        retrieve.run(data, p, name)
    pool.run(data, p)
    learn.run(data, p)
    calibrate.run(data, p)
    filter.run(data, p)
    sample.run(data, p)
    export.run(data, p)


if __name__ == "__main__":
    run(Data(sys.argv[2]), params.parse(json.loads(pathlib.Path(sys.argv[1]).read_text())))
