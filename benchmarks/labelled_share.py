"""The labelled share against the truth: jobs in memory in which labels come about in many ways.

Usage: python -m benchmarks.labelled_share --data FOLDER FOLDER ... --work DIR [--pretrained DIR] [--seeds 3]
           [--encoder minilm|static] [--output NAME]

Of every BEIR folder jobs are made (``benchmarks.simulated``) in which one positive of each query is labelled, or a
share, drawn at random or those that a system ranks best or BM25 ranks worst. The share of all positives found that is
labelled is read off each job as the ``learn`` stage does where no filter is taught, and compared with the truth.
``--pretrained`` is a folder with a filter for each corpus that has not seen it (``benchmarks.pretrain --leave-out``).
Prints one JSON line for each (corpus, labelled, chosen by) and one for all:

  true, low, middle, high   means over the seeds, of shares
  covered           share of the jobs whose interval holds the truth
  promised          share of the jobs whose lower end is not above the truth: what a promise needs
  log_ratio         mean absolute logarithm of middle over true

``--output`` writes results/labelled_share_NAME.json and draws docs/labelled_share.svg.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import threadpoolctl
from matplotlib.figure import Figure

from benchmarks import simulated
from benchmarks.frontier import RESULTS
from benchmarks.simulated import Regime
from gangue.transforms.relevance import labelled_share, labelling, portable, pretrained

PICTURE = pathlib.Path(__file__).parents[1] / "docs" / "labelled_share.svg"
LABELLED: tuple[float, ...] = (1, 0.1, 0.3, 0.5, 0.8)
CHOSEN_BY = ("random", "lexical", "dense", "worst")
COLOURS = dict(zip(CHOSEN_BY, ("#5b8db8", "#c9a227", "#b4541a", "#7a9e7e"), strict=True))


def measured(corpus: simulated.Corpus, regime: Regime, filters: pretrained.Pretrained, seed: int) -> dict[str, float]:
    """Truth and estimate of one job; empty where none can be made."""
    job = simulated.job(corpus, regime, seed=seed)
    rows = np.flatnonzero(job.found)
    known = job.pairs.known[rows]
    if not known.any():
        return {}
    full = job.agreed(filters.full.logits(portable.full(job.pairs)))[rows]
    blind = filters.blind.logits(portable.blind(job.pairs))
    sample = labelling.Sample(
        job.pairs.query[rows],
        job.pairs.queries,
        known,
        job.judged[rows],
        blind[rows],
        job.agreed(blind, blind=True)[rows],
        full,
        {role: scores[rows] for role, scores in job.scores.items()},
    )
    found = labelled_share.sharpened(labelled_share.estimate(sample), sample, full)
    true = float(known.sum() / (known.sum() + job.false[rows].sum()))
    return {"true": true, "low": found.low, "middle": found.middle, "high": found.high}


def line(jobs: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The figures of some jobs."""
    true, low, middle, high = (np.array([job[key] for job in jobs]) for key in ("true", "low", "middle", "high"))
    figures = {
        "true": true.mean(),
        "low": low.mean(),
        "middle": middle.mean(),
        "high": high.mean(),
        "covered": ((low <= true) & (true <= high)).mean(),
        "promised": (low <= true).mean(),
        "log_ratio": np.abs(np.log(middle / true)).mean(),
    }
    return {"jobs": len(jobs), **{key: float(f"{value:.4g}") for key, value in figures.items()}}


def draw(lines: Sequence[dict[str, Any]]) -> None:
    """Each job's interval against the truth, a panel for each way of choosing."""
    style: Any = {"svg.hashsalt": "gangue", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(9.6, 2.9), layout="constrained")
        for number, how in enumerate(CHOSEN_BY):
            axes = figure.add_subplot(1, len(CHOSEN_BY), number + 1)
            axes.plot([0.003, 1], [0.003, 1], color="#8a8f98", linewidth=0.8)
            for one in lines:
                if one["chosen_by"] == how:
                    axes.plot([one["true"]] * 2, [one["low"], one["high"]], color=COLOURS[how], linewidth=1.0)
                    axes.plot([one["true"]], [one["middle"]], "o", color=COLOURS[how], markersize=2.5)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlim(0.005, 1.05)
            axes.set_ylim(0.0008, 1.2)
            axes.set_title({"lexical": "best by BM25", "dense": "best by the encoder"}.get(how, how), loc="left")
        figure.supxlabel("labelled share of the positives found", fontsize=8)
        figure.supylabel("as read off the data", fontsize=8)
        figure.savefig(PICTURE, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make jobs, estimate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, nargs="+", type=pathlib.Path, help="BEIR folders")
    parser.add_argument("--work", required=True, type=pathlib.Path, help="keep datasets and vectors here")
    parser.add_argument("--pretrained", type=pathlib.Path, help="folder with a filter NAME.json for each corpus")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--encoder", choices=simulated.ENCODERS, default="minilm")
    parser.add_argument("--output", help="NAME: also write the results and draw them")
    asked = parser.parse_args(arguments)
    jobs: dict[tuple[str, float, str], list[dict[str, float]]] = collections.defaultdict(list)
    with threadpoolctl.threadpool_limits(1, "blas"):
        for folder in asked.data:
            corpus = simulated.prepare(folder, asked.work / folder.name)
            filters = pretrained.load(asked.pretrained and str(asked.pretrained / f"{folder.name}.json"))
            for labelled in LABELLED:
                for how in CHOSEN_BY:
                    regime = Regime(asked.encoder, 200, chosen_by=how, labelled=labelled)
                    for seed in range(asked.seeds):
                        if found := measured(corpus, regime, filters, seed):
                            jobs[folder.name, labelled, how].append(found)
            print(f"{folder.name}: done", file=sys.stderr, flush=True)
    lines = [
        {"data": name, "labelled": labelled, "chosen_by": how, **line(some)}
        for (name, labelled, how), some in jobs.items()
    ]
    every = {how: line([job for key, some in jobs.items() if key[2] == how for job in some]) for how in CHOSEN_BY}
    for one in (*lines, *({"chosen_by": how, **figures} for how, figures in every.items())):
        print(json.dumps(one))
    if asked.output:
        RESULTS.mkdir(exist_ok=True)
        report = {"encoder": asked.encoder, "seeds": asked.seeds, "all": every, "lines": lines}
        (RESULTS / f"labelled_share_{asked.output}.json").write_text(json.dumps(report, indent=1) + "\n")
        draw(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
