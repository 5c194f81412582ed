"""The filter that already knows: fitted once on labelled corpora, it judges a corpus that it has not seen.

Its file (``pretrained.json``; ``docs/pretrained.md`` is its card) holds two models of the same form, of the ``FULL``
and of the ``BLIND`` features of ``portable``: how likely a candidate is a positive that nobody labelled, and how likely
a document is a positive, labelled or not. A model is the mean log odds of a logistic regression with squares and of
small neural networks. ``benchmarks/pretrain.py`` fits it anew.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import itertools
import json
from typing import Any

import numpy as np

from gangue.transforms import at_hand
from gangue.transforms.relevance import portable

FILE = "pretrained.json"
_CURE = "Correct it, or leave it out for the filter that comes with Gangue"
VERSION = 1
CLIP = 4.0  # standard deviations at which a feature ends: nothing was fitted on what lies beyond
_ROWS = 1 << 13  # rows at a time: their activations fit the processor's cache


@dataclasses.dataclass(frozen=True)
class Layers:
    """A small network: relu after each layer but the last. ``weights[i]``: (in, out), ``biases[i]``: (out,)."""

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    def logits(self, first: np.ndarray) -> np.ndarray:
        """(n,) of (n, out) what goes into the first layer's relu."""
        values = first
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            values = np.maximum(values, 0.0) @ weight + bias
        return np.asarray(values[:, 0])


@dataclasses.dataclass(frozen=True)
class Model:
    """One of the two models.

    Attributes:
      mean, scale: (f,) of each feature.   line: (2 f,) weights of the standardised features and their squares.
      intercept: added.   networks: over the standardised features and, for each, whether it is absent.
    """

    mean: np.ndarray
    scale: np.ndarray
    line: np.ndarray
    intercept: float
    networks: tuple[Layers, ...]

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(n,) float64 log odds of (n, f) features, NaN where absent."""
        weight, bias = (np.concatenate(parts, axis=-1) for parts in zip(*self._first, strict=True))
        ends = np.cumsum([bias.size for _, bias in self._first])
        result = np.empty(len(features))
        for start in range(0, len(features), _ROWS):
            here = slice(start, start + _ROWS)
            standard = np.clip((features[here].astype(np.float64) - self.mean) / self.scale, -CLIP, CLIP)
            absent = np.isnan(standard)
            standard[absent] = 0.0
            linear = np.hstack([standard, np.square(standard)]) @ self.line + self.intercept
            some = absent.any(axis=0)  # what is absent nowhere adds nothing
            both, rows = np.hstack([standard, absent[:, some]]), np.r_[np.ones(len(some), bool), some]
            first = np.hsplit(both @ weight[rows] + bias, ends[:-1])
            nets = [network.logits(part) for network, part in zip(self.networks, first, strict=True)]
            result[here] = (linear + np.mean(nets, axis=0)) / 2
        return result

    @property
    def _first(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(network.weights[0], network.biases[0]) for network in self.networks]


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Both models of a file."""

    full: Model
    blind: Model


def load(path: str | None = None) -> Pretrained:
    """The filter of a file; None: the one that comes with Gangue.

    Raises:
      FileNotFoundError: no such file.   ValueError: it is not of this version or of these features.
    """
    return _loaded(path)


@at_hand.keep
def _loaded(path: str | None) -> Pretrained:
    if path is None:
        text, where = importlib.resources.files("gangue.transforms.relevance").joinpath(FILE).read_text("utf-8"), FILE
    else:
        try:
            with open(path, encoding="utf-8") as file:
                text, where = file.read(), path
        except OSError as error:
            raise FileNotFoundError(f"{_must(path)} ({error.strerror}). {_CURE}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{_must(path)} (which is no text). {_CURE}") from None
    return parse(text, where)


def _must(path: str) -> str:
    return f"learn.pretrained: must be a file that benchmarks/pretrain.py wrote, got {path}"


def parse(text: str, where: str) -> Pretrained:
    """The filter of a file's text.

    Raises:
      ValueError: it is not of this version or of these features.
    """
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        if found["version"] != VERSION:
            raise ValueError(f"its version is {found['version']}")
        return Pretrained(*(_model(found[name], names) for name, names in _FEATURES.items()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{where}: must be a pretrained filter of version {VERSION} with the features of this Gangue, got another:"
            f" {error}. Fit it again: python -m benchmarks.pretrain"
        ) from error


_FEATURES = {"full": portable.FULL, "blind": portable.BLIND}


def _model(values: dict[str, Any], names: tuple[str, ...]) -> Model:
    if tuple(values["features"]) != names:
        raise ValueError(f"its features are {', '.join(values['features'])}")
    networks = tuple(
        Layers(*(tuple(np.array(layer[key], np.float64) for layer in network) for key in ("weight", "bias")))
        for network in values["networks"]
    )
    mean, scale, line = (np.array(values[key], np.float64) for key in ("mean", "scale", "line"))
    wide = 2 * len(names)
    for network in networks:
        sizes = [wide, *(bias.size for bias in network.biases)]
        if [weight.shape for weight in network.weights] != list(itertools.pairwise(sizes)) or sizes[-1] != 1:
            raise ValueError(f"the layers of a network do not follow each other from {wide} values to 1")
    if not len(mean) == len(scale) == len(line) / 2 == len(names):
        raise ValueError(f"it must have means and scales of {len(names)} features")
    intercept = float(values["intercept"])
    layers = (part for network in networks for part in (*network.weights, *network.biases))
    finite = np.isfinite(intercept) and all(np.isfinite(part).all() for part in (mean, scale, line, *layers))
    if not networks or not finite or not (scale > 0).all():
        raise ValueError("it must have a network, and nothing but finite numbers, of which scales are above 0")
    return Model(mean, scale, line, intercept, networks)
