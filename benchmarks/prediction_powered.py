"""How often and how closely a share from 200 labels is known, with predictions that are good, useless or wrong.

Usage: python -m benchmarks.prediction_powered [--repetitions 1000] [--labels 200] [--pairs 5000] [--output]

In each repetition labels are laid out anew with the true share, pairs get predictions, 200 on average are labelled by
``inclusion``, and the 95 % interval holds the share or does not. Good predictions are the true probabilities given
one normal feature, two deviations apart. Three intervals from the same labels: predictions tuned by the labels, as
they are, and the classical one, the ratio of weighted sums with its normal interval, which knows no predictions.
One JSON object: for each kind of prediction, share and interval, coverage, mean width and root mean squared error.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import scipy.special

from benchmarks.candidates import RESULTS
from gangue.transforms.evidence import prediction_powered
from gangue.transforms.evidence.intervals import Z

SHARES = (0.005, 0.02, 0.05, 0.2, 0.5)
KINDS = ("good", "useless", "three times", "a third", "misleading")
APART = 2.0


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--output", action="store_true", help="also write benchmarks/results/prediction_powered.json")
    asked = parser.parse_args()
    cells = {}
    for place, kind in enumerate(KINDS):
        cells[kind] = {
            str(share): cell(kind, share, asked.pairs, asked.labels, asked.repetitions, seed=(place, number))
            for number, share in enumerate(SHARES)
        }
        print(kind, file=sys.stderr, flush=True)
    report = {
        "repetitions": asked.repetitions,
        "labels": asked.labels,
        "pairs": asked.pairs,
        "confidence": 0.95,
        "cells": cells,
        "least_coverage": {
            name: min(found[name]["coverage"] for of in cells.values() for found in of.values())
            for name in ("tuned", "untuned", "classical")
        },
    }
    print(json.dumps(report, indent=1))
    if asked.output:
        (RESULTS / "prediction_powered.json").write_text(json.dumps(report, indent=1) + "\n")


def cell(
    kind: str, share: float, pairs: int, labels: int, repetitions: int, seed: tuple[int, int]
) -> dict[str, dict[str, float]]:
    """Coverage, width and error of each interval, over repetitions."""
    generator = np.random.default_rng(seed)
    found: dict[str, list[tuple[float, float, float]]] = {"tuned": [], "untuned": [], "classical": []}
    truth = round(share * pairs) / pairs
    for _ in range(repetitions):
        label = generator.permutation(np.arange(pairs) < round(share * pairs)).astype(np.float64)
        predicted = predictions(kind, label, truth, generator)
        inclusion = prediction_powered.inclusion(predicted, labels)
        sampled = generator.random(pairs) < inclusion
        draw = (predicted, inclusion, sampled, label[sampled])
        found["tuned"].append(prediction_powered.share(*draw))
        found["untuned"].append(prediction_powered.share(*draw, tuned=False))
        found["classical"].append(classical(inclusion[sampled], label[sampled]))
    return {name: measured(np.array(rows), truth) for name, rows in found.items()}


def predictions(kind: str, label: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """(n,) predicted probabilities: true ones given a feature, or those made useless or wrong."""
    if kind == "useless":
        return np.full(len(label), 0.5)
    feature = generator.normal(size=len(label)) + APART * label
    if kind == "misleading":  # mirrored about the middle: a label of 1 looks like 0
        feature = APART - feature
    good = scipy.special.expit(scipy.special.logit(share) + APART * feature - APART**2 / 2)
    return np.asarray(np.minimum({"three times": 3.0, "a third": 1 / 3}.get(kind, 1.0) * good, 1.0))


def classical(inclusion: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Hájek's ratio of weighted sums and its normal 95 % interval; everything is possible of no labels."""
    if not len(labels):
        return 0.0, 0.0, 1.0
    total = (1 / inclusion).sum()
    estimate = (labels / inclusion).sum() / total
    half = Z * np.sqrt(((1 - inclusion) * ((labels - estimate) / inclusion) ** 2).sum()) / total
    return float(estimate), float(max(0.0, estimate - half)), float(min(1.0, estimate + half))


def measured(rows: np.ndarray, truth: float) -> dict[str, float]:
    """Of (r, 3) estimates, low and high ends."""
    estimate, low, high = rows.T
    return {
        "coverage": round(float(((low <= truth + 1e-12) & (truth <= high + 1e-12)).mean()), 4),
        "width": round(float((high - low).mean()), 5),
        "error": round(float(np.sqrt(((estimate - truth) ** 2).mean())), 5),
    }


if __name__ == "__main__":
    main()
