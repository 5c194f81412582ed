"""``params.yaml`` as typed, checked values. A section is a stage's; unknown keys and idle keys are errors."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pydantic
import yaml
from pydantic import Field, model_validator

from pipeline.sections import Audit as Audit
from pipeline.sections import Beam as Beam
from pipeline.sections import Beir as Beir
from pipeline.sections import Bm25 as Bm25
from pipeline.sections import Cluster as Cluster
from pipeline.sections import Dense as Dense
from pipeline.sections import Encoder as Encoder
from pipeline.sections import Export as Export
from pipeline.sections import Filter as Filter
from pipeline.sections import Ingest as Ingest
from pipeline.sections import Name, Section
from pipeline.sections import Pairs as Pairs
from pipeline.sections import Pool as Pool
from pipeline.sections import PythonCode as PythonCode
from pipeline.sections import Retriever as Retriever
from pipeline.sections import Rule as Rule
from pipeline.sections import Sample as Sample
from pipeline.sections import Scorer as Scorer
from pipeline.sections import Simans as Simans
from pipeline.sections import Source as Source
from pipeline.sections import Tables as Tables
from pipeline.sections import Teach as Teach


class Params(Section):
    """The whole of ``params.yaml``."""

    source: Source
    ingest: Ingest = Ingest()
    encoders: dict[Name, Encoder] = Field(default_factory=dict)
    cluster: Cluster = Cluster()
    retrievers: Annotated[dict[Name, Retriever], Field(min_length=1)]
    pool: Pool = Pool()
    scorers: dict[Name, Scorer] = Field(default_factory=dict)
    filter: Filter
    sample: Sample
    export: Export = Export()
    audit: Audit = Audit()
    beam: Beam = Beam()

    @model_validator(mode="after")
    def _names(self) -> Params:
        both = sorted(set(self.retrievers) & set(self.scorers))
        if both:
            raise ValueError(f"a retriever and a scorer must not share a name, got {', '.join(both)}")
        for name, retriever in self.retrievers.items():
            if isinstance(retriever, Dense):
                _known(f"retrievers.{name}.encoder", retriever.encoder, self.encoders)
        for name, scorer in self.scorers.items():
            if scorer.teach:
                _known(f"scorers.{name}.teach.encoder", scorer.teach.encoder, self.encoders)
        scores = {**self.retrievers, **self.scorers}
        for index, rule in enumerate(self.filter.rules):
            where = "filter" if index == 0 else f"filter.also.{index - 1}"
            if rule.score is not None:
                _known(f"{where}.score", rule.score, self.retrievers if rule.kind == "rank_window" else scores)
        _known("sample.score", self.sample.score, scores)
        read = {rule.score for rule in self.filter.rules} | {self.sample.score}
        idle = sorted(set(self.scorers) - read)
        if idle:
            raise ValueError(
                f"scorers.{idle[0]} must be read by filter or sample, and is by neither: scoring is dear."
                " Name it there or remove it"
            )
        if self.sample.kind == "mixed" and self.pool.random < (self.sample.random or 0):
            raise ValueError(
                f"pool.random must be >= sample.random, got {self.pool.random} < {self.sample.random}: random"
                " negatives are drawn, scored and judged in the pool"
            )
        if self.pool.random and self.sample.kind != "mixed":
            raise ValueError(f"pool.random is read by sample.kind mixed only, got kind {self.sample.kind}")
        return self


def _known(where: str, name: str, names: dict[str, Any]) -> None:
    if name not in names:
        raise ValueError(f"{where} must be one of {', '.join(sorted(names)) or '(none defined)'}, got {name}")


def parse(values: Any, where: str = "params.yaml") -> Params:
    """Typed params of a mapping.

    Raises:
      ValueError: one line per mistake: where, the rule, the value.

    >>> parse({"source": {"kind": "beir", "path": "x"}, "retrievers": {"bm25": {"kind": "bm25", "deep": 1}},
    ...        "filter": {"kind": "perc", "score": "bm25", "perc": -1}, "sample": {"kind": "top", "score": "bm25"}})
    Traceback (most recent call last):
    ...
    ValueError: params.yaml: retrievers.bm25.deep: unknown key. Remove it, or see docs/params.md
    params.yaml: filter.perc: input should be greater than 0, got -1
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: must be a mapping of sections, got {type(values).__name__}")
    try:
        return Params.model_validate(values)
    except pydantic.ValidationError as error:
        raise ValueError("\n".join(_line(where, item) for item in error.errors())) from None


def _line(where: str, item: Any) -> str:
    tags = {"python_code", "beir", "pairs", "tables", "dense", "bm25"}
    path = [str(part) for i, part in enumerate(item["loc"]) if not (part in tags and _is_tag(item["loc"], i))]
    place = ".".join(path)
    if item["type"] == "extra_forbidden":
        return f"{where}: {place}: unknown key. Remove it, or see docs/params.md"
    message = re.sub(r"^Value error, ", "", item["msg"])
    message = message[0].lower() + message[1:]
    shown = "" if item["type"] in ("value_error", "missing") else f", got {item['input']!r}"
    return f"{where}: {place + ': ' if place else ''}{message}{shown}"


def _is_tag(location: tuple[Any, ...], index: int) -> bool:
    return (location[0] == "source" and index == 1) or (location[0] == "retrievers" and index == 2)


def load(path: str) -> Params:
    """Typed params of a YAML file.

    Raises:
      FileNotFoundError: no such file.   ValueError: it is not YAML, or a value breaks a rule.
    """
    try:
        with open(path, encoding="utf-8") as file:
            values = yaml.safe_load(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: params file must exist. Copy params.yaml of the project") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: must be YAML: {error}") from error
    return parse(values, path)
