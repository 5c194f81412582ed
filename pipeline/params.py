"""``params.yaml`` as typed, checked values. A section is a stage's; unknown keys and idle keys are errors."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic import Field, model_validator

from pipeline import params_file
from pipeline.choice import Asl as Asl
from pipeline.choice import Band as Band
from pipeline.choice import Cet as Cet
from pipeline.choice import Ensemble as Ensemble
from pipeline.choice import Joint as Joint
from pipeline.choice import LambdaRank as LambdaRank
from pipeline.choice import Nearest as Nearest
from pipeline.choice import OnePerCluster as OnePerCluster
from pipeline.choice import Phi as Phi
from pipeline.choice import Relevance as Relevance
from pipeline.choice import Sample as Sample
from pipeline.choice import Simans as Simans
from pipeline.choice import Softmax as Softmax
from pipeline.sections import Audit as Audit
from pipeline.sections import Beam as Beam
from pipeline.sections import Beir as Beir
from pipeline.sections import Calibrate as Calibrate
from pipeline.sections import Cluster as Cluster
from pipeline.sections import Encoder as Encoder
from pipeline.sections import Export as Export
from pipeline.sections import Filter as Filter
from pipeline.sections import Ingest as Ingest
from pipeline.sections import Labels as Labels
from pipeline.sections import Learn as Learn
from pipeline.sections import NextCluster as NextCluster
from pipeline.sections import Pairs as Pairs
from pipeline.sections import Pool as Pool
from pipeline.sections import PythonCode as PythonCode
from pipeline.sections import Rule as Rule
from pipeline.sections import Scorer as Scorer
from pipeline.sections import Source as Source
from pipeline.sections import Tables as Tables
from pipeline.sections import Teach as Teach
from transforms import retrieval, rules
from transforms.retrieval import protocol
from transforms.settings import mistakes
from transforms.settings.section import Name, Section


class Params(Section):
    """The whole of ``params.yaml``."""

    source: Source
    labels: Labels = Labels()
    ingest: Ingest = Ingest()
    encoders: dict[Name, Encoder] = Field(default_factory=dict)
    cluster: Cluster = Cluster()
    retrievers: Annotated[dict[Name, retrieval.Settings], Field(min_length=1)]
    pool: Pool = Pool()
    scorers: dict[Name, Scorer] = Field(default_factory=dict)
    learn: Learn = Learn()
    filter: Filter
    calibrate: Calibrate = Calibrate()
    sample: Sample
    export: Export = Export()
    audit: Audit = Audit()
    beam: Beam = Beam()

    @model_validator(mode="after")
    def _names(self) -> Params:
        for others, what in ((self.retrievers, "a retriever"), (self.encoders, "an encoder")):
            if both := sorted(set(others) & set(self.scorers)):
                raise ValueError(f"{what} and a scorer must not share a name, got {', '.join(both)}")
        for name, retriever in self.retrievers.items():
            if (encoder := protocol.encoder(retriever)) is not None:
                _known(f"retrievers.{name}.encoder", encoder, self.encoders)
        for name, scorer in self.scorers.items():
            if scorer.teach:
                _known(f"scorers.{name}.teach.encoder", scorer.teach.encoder, self.encoders)
        scores = {**self.retrievers, **self.scorers}
        if rules.P_FALSE in scores:
            raise ValueError(f"a retriever or scorer must not be called {rules.P_FALSE}: the learned filter is")
        stack = {"filter": self.filter, **{f"filter.also.{i}": rule for i, rule in enumerate(self.filter.also)}}
        if self.filter.fallback:
            stack["filter.fallback"] = self.filter.fallback
        for where, rule in stack.items():
            if rule.score is not None:
                _known(f"{where}.score", rule.score, self.retrievers if rule.kind == "rank_window" else scores)
            if rule.kind == "answer" and getattr(self.source, "answers", None) is None:
                raise ValueError(f"{where}: kind answer needs source.answers, the column that holds them")
            if rule.encoder is not None:
                _known(f"{where}.encoder", rule.encoder, self.encoders)
        if self.calibrate.pool is not None:
            _known("calibrate.pool", self.calibrate.pool, self.retrievers)
        for where, score in self.sample.reads:
            _known(f"sample.{where}", score, scores)
        read = {rule.score for rule in stack.values()} | {score for _, score in self.sample.reads}
        idle = [] if self.filter.learns else sorted(set(self.scorers) - read)
        if idle:
            raise ValueError(
                f"scorers.{idle[0]} must be read by filter or sample, and is by neither: scoring costs time."
                " Name it there or remove it"
            )
        return self

    @model_validator(mode="after")
    def _sample(self) -> Params:
        sample = self.sample
        if sample.price is not None and not self.filter.asks_to_learn:
            raise ValueError("sample.price needs p_false, which only filter.kind learned gives")
        if self.pool.random < sample.random:
            raise ValueError(
                f"pool.random must be >= sample.random, got {self.pool.random} < {sample.random}: random"
                " negatives are drawn, scored and judged in the pool"
            )
        if self.pool.random and not sample.random:
            raise ValueError(f"pool.random is read by sample.random only, got {self.pool.random} and no sample.random")
        near, wanted = self.pool.next_cluster, sample.next_cluster
        if near:
            _known("pool.next_cluster.encoder", near.encoder, self.encoders)
        if (near.documents if near else 0) < wanted:
            raise ValueError(f"pool.next_cluster.documents must be >= sample.next_cluster, got {near} and {wanted}")
        if near and not wanted:
            raise ValueError("pool.next_cluster is read by sample.next_cluster only, and there is none")
        if sample.diverse:
            _known("sample.diverse.encoder", sample.diverse.encoder, self.encoders)
        if sample.simans and sample.simans.against == "document":
            compared = self.retrievers.get(sample.score)
            if compared is None or protocol.encoder(compared) is None:
                raise ValueError(
                    f"sample.score must be a dense retriever, got {sample.score}: simans.against: document compares"
                    " documents by its vectors"
                )
        if sample.joint:
            for key in ("weights", "quotas"):
                for name in getattr(sample.joint, key) or {}:
                    _known(f"sample.joint.{key}", name, self.retrievers)
            _enough(sample, list(self.retrievers))
        weight = sample.weight
        if isinstance(weight, Cet):
            _known("sample.weight.pool", weight.pool, self.retrievers)
        if isinstance(weight, LambdaRank):
            _known("sample.weight.retriever", weight.retriever, self.retrievers)
        if isinstance(weight, Asl):
            _known("sample.weight.score", weight.score, self.scorers)
        if isinstance(weight, Phi) and self._sees(weight.score) == self._sees(sample.score):
            raise ValueError(
                f"sample.weight.score must be of another model than sample.score, got {weight.score}: what chose"
                " the negatives cannot tell which of them are false"
            )
        return self

    def _sees(self, score: str) -> str:
        """The encoder behind a score, or the score itself."""
        retriever = self.retrievers.get(score)
        return (retriever and protocol.encoder(retriever)) or f"@{score}"


def _known(where: str, name: str, names: dict[str, Any]) -> None:
    if name not in names:
        near = mistakes.meant(name, names)
        known = ", ".join(sorted(names)) or "(none defined)"
        raise ValueError(f"{where} must be one of {known}, got {name}{'.' if near else ''}{near}")


def _enough(sample: Sample, retrievers: list[str]) -> None:
    assert sample.joint is not None
    limits = sample.joint.limits(sample.hard, retrievers)
    if sum(limits) < sample.hard:
        shown = ", ".join(f"{name} {limit}" for name, limit in zip(retrievers, limits, strict=True))
        raise ValueError(
            f"sample.joint.quotas and max_share must leave room for the {sample.hard} hard negatives, got {shown}"
        )


def parse(values: Any, where: str = "params.yaml") -> Params:
    """Typed params of a mapping.

    Raises:
      ValueError: one line per mistake: where, the rule, the value.

    >>> parse({"source": {"kind": "beir", "path": "x"}, "retrievers": {"bm25": {"kind": "bm25", "deep": 1}},
    ...        "filter": {"kind": "perc", "score": "bm25", "perc": -1}, "sample": {"kind": "top", "score": "bm25"}})
    Traceback (most recent call last):
    ...
    ValueError: params.yaml: retrievers.bm25.deep: unknown key. Did you mean depth?
    params.yaml: filter.perc must be > 0, got -1. See docs/params.md
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: must be a mapping of sections, got {mistakes.shown(values)}. See docs/params.md")
    try:
        return Params.model_validate(values)
    except pydantic.ValidationError as error:
        raise ValueError(mistakes.lines(where, Params, error)) from None


def load(path: str) -> Params:
    """Typed params of a YAML file.

    Raises:
      FileNotFoundError: no such file.   OSError: it cannot be read.
      ValueError: it is not YAML, or a value breaks a rule.
    """
    return parse(params_file.read(path), params_file.shown(path))
