"""Fit the filter that already knows, ``transforms/relevance/pretrained.json``, on labelled corpora.

Usage: python -m benchmarks.pretrain --data FOLDER FOLDER ... --work DIR [--leave-out NAME] [--write FILE]

Every BEIR folder is ingested and embedded once under ``--work`` (two encoders). Then jobs are made of it in memory
(``benchmarks.simulated``) in which few of its positives are labelled, in many ways (``REGIMES``), and two models are
fitted on the pairs of all: how likely a candidate is a positive that nobody labelled, and, without knowing which
document is labelled, how likely one is a positive. Corpora weigh the same, and so do the jobs of each; but for the
first model those whose queries have hardly more than one positive, which have next to nothing to show, weigh a fifth.

``--leave-out`` fits without one corpus, to judge that corpus by what has not seen it. ``all`` as its value writes one
file for each corpus, named after it, into the folder ``--write``, and ``none.json``, which has seen all.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import threadpoolctl

from benchmarks import simulated
from benchmarks.simulated import Regime
from gangue.transforms.relevance import portable, pretrained

FILE = pathlib.Path(pretrained.__file__).with_name(pretrained.FILE)
ROWS = 4000  # pairs of each job that are fitted on, at most
SEED = 7
SINGLE, LIGHT = 1.5, 0.2  # positives a query below which a corpus weighs that much for the full model
NETWORKS = {  # width, weight decay, seed
    "full": ((32, 0.1, 0), (32, 0.1, 1), (32, 0.1, 2)),
    "blind": ((32, 1e-3, 0), (24, 1e-2, 1), (24, 1e-2, 2)),
}


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a corpus shows: its jobs, and how much they weigh for the full model."""

    jobs: list[dict[str, np.ndarray]]
    weight: float


def regimes() -> list[Regime]:
    """The ways in which labels come about, under both encoders and to several depths."""
    result = []
    for encoder in simulated.ENCODERS:
        few = {"encoder": encoder, "queries": 300}
        result += [Regime(**few, chosen_by=how) for how in ("random", "lexical", "dense", "other", "fused", "worst")]  # type: ignore[arg-type]
        for how in ("random", "lexical"):
            result += [
                Regime(encoder, 500, chosen_by=how, documents="pairs"),
                Regime(encoder, 300, chosen_by=how, documents=1000),
                Regime(encoder, 200, depth=50, chosen_by=how),
                Regime(encoder, 200, chosen_by=how, positives=3),
                Regime(encoder, 150, chosen_by=how, positives=10),
                Regime(encoder, 150, labelled=0.3, chosen_by=how),
                Regime(encoder, 150, labelled=2, chosen_by=how),
            ]
        result += [
            Regime(encoder, 1500, chosen_by="random", documents="pairs"),
            Regime(encoder, 200, positives=1),
            Regime(encoder, 100, depth=200),
            Regime(encoder, 150, labelled=0.1),
            Regime(encoder, 150, labelled=0.5),
        ]
    return result


def jobs_of(corpus: simulated.Corpus) -> list[dict[str, np.ndarray]]:
    """What to fit on of each job of a corpus: at most ``ROWS`` pairs for each of the two models."""
    result = []
    for number, regime in enumerate(regimes()):
        job = simulated.job(corpus, regime, seed=SEED + number)
        if not job.pairs.queries:
            continue
        draw = np.random.default_rng(SEED + number)
        free, known = job.found & ~job.pairs.known, job.pairs.known
        some = {"full": _some(free, draw), "blind": _some(job.found, draw)}
        described = {"full": portable.full(job.pairs), "blind": portable.blind(job.pairs)}
        labels = {"full": job.false, "blind": job.false | known}
        result.append(
            {name: described[name][rows] for name, rows in some.items()}
            | {f"{name}_label": labels[name][rows] for name, rows in some.items()}
        )
    return result


def _some(mask: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    rows = np.flatnonzero(mask)
    return rows if len(rows) <= ROWS else np.sort(draw.choice(rows, ROWS, replace=False))


def fit(corpora: dict[str, Shown], which: str) -> dict[str, Any]:
    """One model, as the file holds it."""
    from sklearn.linear_model import LogisticRegression

    jobs = [
        (job, (shown.weight if which == "full" else 1.0) / (len(job[which]) * len(shown.jobs)))
        for shown in corpora.values()
        for job in shown.jobs
    ]
    values = np.concatenate([job[which] for job, _ in jobs]).astype(np.float64)
    labels = np.concatenate([job[f"{which}_label"] for job, _ in jobs])
    weights = np.concatenate([np.full(len(job[which]), weight) for job, weight in jobs])
    weights /= weights.mean()
    mean, scale = np.nanmean(values, axis=0), np.maximum(np.nanstd(values, axis=0), 1e-6)
    standard = np.clip((values - mean) / scale, -pretrained.CLIP, pretrained.CLIP)
    absent = np.isnan(standard)
    standard = np.nan_to_num(standard)
    line = LogisticRegression(C=0.03, max_iter=300)
    line.fit(np.hstack([standard, np.square(standard)]), labels, sample_weight=weights)
    both = np.hstack([standard, absent]).astype(np.float32)
    return {
        "features": portable.FULL if which == "full" else portable.BLIND,
        "mean": _rounded(mean),
        "scale": _rounded(scale),
        "line": _rounded(line.coef_[0]),
        "intercept": float(f"{line.intercept_[0]:.6g}"),
        "networks": [_network(both, labels, weights, *how) for how in NETWORKS[which]],
    }


def _network(values: np.ndarray, labels: np.ndarray, weights: np.ndarray, width: int, decay: float, seed: int) -> Any:
    """Two layers of ``width``, three passes of AdamW over the pairs."""
    import torch

    torch.manual_seed(seed)
    given, label, weight = (torch.from_numpy(np.asarray(a, np.float32)) for a in (values, labels, weights))
    layers = [torch.nn.Linear(values.shape[1], width), torch.nn.Linear(width, width), torch.nn.Linear(width, 1)]
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    batch, passes = 2048, 3
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=decay)
    steps = passes * max(1, len(given) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps + 1)
    for _ in range(passes):
        order = torch.randperm(len(given))
        for start in range(0, max(1, len(given) // batch) * batch, batch):
            some = order[start : start + batch]
            losses = torch.nn.functional.binary_cross_entropy_with_logits(
                network(given[some])[:, 0], label[some], reduction="none"
            )
            optimiser.zero_grad()
            (losses * weight[some]).mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return [
        {"weight": [_rounded(row) for row in layer.weight.detach().numpy().T], "bias": _rounded(layer.bias.detach())}
        for layer in layers
    ]


def _rounded(values: Any) -> list[float]:
    return [float(f"{float(value):.5g}") for value in values]


def write(path: pathlib.Path, corpora: dict[str, Shown]) -> None:
    """Fit both models on these corpora and write their file."""
    found = {"version": pretrained.VERSION, "corpora": sorted(corpora)}
    found |= {which: fit(corpora, which) for which in ("full", "blind")}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, nargs="+", type=pathlib.Path, help="BEIR folders")
    parser.add_argument("--work", required=True, type=pathlib.Path, help="keep datasets and vectors here")
    parser.add_argument("--leave-out", help="fit without the corpus of this name; all: a file for each")
    parser.add_argument("--write", type=pathlib.Path, default=FILE, help="the file; with --leave-out all a folder")
    asked = parser.parse_args(arguments)
    started = time.monotonic()
    with threadpoolctl.threadpool_limits(1, "blas"):
        corpora = {}
        for folder in asked.data:
            corpus = simulated.prepare(folder, asked.work / folder.name)
            positives = np.mean([len(own) for own in corpus.positives])
            corpora[folder.name] = Shown(jobs_of(corpus), LIGHT if positives < SINGLE else 1.0)
            print(
                f"{folder.name}: {len(corpora[folder.name].jobs)} jobs, {time.monotonic() - started:.0f} s",
                file=sys.stderr,
            )
        if asked.leave_out == "all":
            for name in ("none", *corpora):
                write(asked.write / f"{name}.json", {n: shown for n, shown in corpora.items() if n != name})
                print(f"without {name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        else:
            write(asked.write, {name: shown for name, shown in corpora.items() if name != asked.leave_out})
    return 0


if __name__ == "__main__":
    sys.exit(main())
