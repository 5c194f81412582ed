"""``params.yaml`` as typed, checked values. A section is a stage's; unknown keys and idle keys are errors."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic import Field, model_validator

from gangue.transforms import retrieval
from gangue.transforms.candidates import rules
from gangue.transforms.candidates.rules.filter import Filter as Filter
from gangue.transforms.negatives.section import Ensemble as Ensemble
from gangue.transforms.negatives.section import Sample as Sample
from gangue.transforms.negatives.weights import Phi
from gangue.transforms.relevance import feature_names
from gangue.transforms.retrieval import protocol
from gangue.transforms.settings import mistakes, params_file
from gangue.transforms.settings.section import Name, Section
from gangue.transforms.settings.sections import Audit as Audit
from gangue.transforms.settings.sections import Beam as Beam
from gangue.transforms.settings.sections import Calibrate as Calibrate
from gangue.transforms.settings.sections import Cluster as Cluster
from gangue.transforms.settings.sections import Encoder as Encoder
from gangue.transforms.settings.sections import Ingest as Ingest
from gangue.transforms.settings.sections import Learn as Learn
from gangue.transforms.settings.sections import NextCluster as NextCluster
from gangue.transforms.settings.sections import Pool as Pool
from gangue.transforms.settings.sections import Scorer as Scorer
from gangue.transforms.settings.sections import Teach as Teach
from gangue.transforms.sources import Beir as Beir
from gangue.transforms.sources import Labels as Labels
from gangue.transforms.sources import Pairs as Pairs
from gangue.transforms.sources import PythonCode as PythonCode
from gangue.transforms.sources import Source as Source
from gangue.transforms.sources import Tables as Tables
from gangue.transforms.views.section import Export as Export


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
                mistakes.known(f"retrievers.{name}.encoder", encoder, self.encoders)
            if retriever.max_depth is not None and retriever.max_depth < retriever.depth:
                raise ValueError(
                    f"retrievers.{name}.max_depth must be >= depth, got {retriever.max_depth} < {retriever.depth}"
                )
        for name, scorer in self.scorers.items():
            if scorer.teach:
                mistakes.known(f"scorers.{name}.teach.encoder", scorer.teach.encoder, self.encoders)
        scores = {**self.retrievers, **self.scorers}
        if rules.P_FALSE in scores:
            raise ValueError(f"a retriever or scorer must not be called {rules.P_FALSE}: the learned filter is")
        if self.filter.asks_to_learn and (feature := feature_names.ambiguous(self)):
            raise ValueError(
                f"retrievers, scorers and encoders must have names that features can be told apart by, got two that are"
                f" called {feature}. Rename one"
            )
        stack = {"filter": self.filter.rule, **{f"filter.also.{i}": rule for i, rule in enumerate(self.filter.also)}}
        if self.filter.fallback:
            stack["filter.fallback"] = self.filter.fallback
        for where, rule in stack.items():
            self._reads(where, rule)
            if rule.reads_answers and getattr(self.source, "answers", None) is None:
                raise ValueError(f"{where}: kind {rule.kind} needs source.answers, the column that holds them")
        if self.calibrate.pool is not None:
            mistakes.known("calibrate.pool", self.calibrate.pool, self.retrievers)
        for where, part in self.sample.read.items():
            self._reads(f"sample.{where}" if where else "sample", part)
        self._reads("export", self.export)
        if self.export.score and not self.export.shows_scores:
            raise ValueError(
                f"export.score is read by scored_ views only, got {self.export.score} and none of these in export.views"
            )
        readers = (*stack.values(), *self.sample.read.values(), self.export)
        read = set().union(*(part.named("scores", "scorers") for part in readers))
        idle = [] if self.filter.rule.learns else sorted(set(self.scorers) - read)
        if idle:
            raise ValueError(
                f"scorers.{idle[0]} must be read by filter, sample or export, and is by none: scoring costs time."
                " Name it there or remove it"
            )
        return self

    @property
    def shown_score(self) -> str:
        """The score that views of scores hold."""
        return self.export.score or self.sample.score

    @property
    def read_encoders(self) -> set[str]:
        """The encoders whose vectors or weights something reads."""
        parts: list[Section] = [*self.filter.rules, *self.sample.read.values()]
        parts += [self.filter.fallback] if self.filter.fallback else []
        read = set[str]().union(*(part.named("encoders", "clusters") for part in parts))
        read |= set(protocol.encoders(self.retrievers))
        read |= {scorer.teach.encoder for scorer in self.scorers.values() if scorer.teach}
        return read | ({self.pool.next_cluster.encoder} if self.pool.next_cluster else set())

    @model_validator(mode="after")
    def _sample(self) -> Params:
        sample = self.sample
        if sample.price is not None and not self.filter.asks_to_learn:
            raise ValueError("sample.price needs p_false, which filter.kind learned or a budget gives")
        in_turn = sample.ensemble is not None and sample.ensemble.kind == "intra"  # among so many of each score
        if sample.first is not None and sample.first < sample.hard and not in_turn:
            raise ValueError(
                f"sample.first must be >= the hard negatives, or no positive has all, got {sample.first} <"
                f" {sample.hard}"
            )
        if self.pool.random < sample.random:
            raise ValueError(
                f"pool.random must be >= sample.random, got {self.pool.random} < {sample.random}: random"
                " negatives are drawn, scored and judged in the pool"
            )
        if self.pool.random and not sample.random:
            raise ValueError(f"pool.random is read by sample.random only, got {self.pool.random} and no sample.random")
        near, wanted = self.pool.next_cluster, sample.next_cluster
        if near:
            mistakes.known("pool.next_cluster.encoder", near.encoder, self.encoders)
        if (near.documents if near else 0) < wanted:
            raise ValueError(f"pool.next_cluster.documents must be >= sample.next_cluster, got {near} and {wanted}")
        if near and not wanted:
            raise ValueError("pool.next_cluster is read by sample.next_cluster only, and there is none")
        if sample.sampler.compares:
            compared = self.retrievers.get(sample.score)
            if compared is None or protocol.encoder(compared) is None:
                raise ValueError(
                    f"sample.score must be a dense retriever, got {sample.score}: {sample.sampler.compares} compares"
                    " documents by its vectors"
                )
        sample.sampler.check(sample.hard, list(self.retrievers))
        weight = sample.weight
        if isinstance(weight, Phi) and self._sees(weight.score) == self._sees(sample.score):
            raise ValueError(
                f"sample.weight.score must be of another model than sample.score, got {weight.score}: what chose"
                " the negatives cannot tell which of them are false"
            )
        return self

    def _reads(self, where: str, section: Section) -> None:
        """Check that all names which a section reads are there."""
        there: dict[str, dict[str, Any]] = {
            "scores": {**self.retrievers, **self.scorers},
            "retrievers": self.retrievers,
            "scorers": self.scorers,
            "encoders": self.encoders,
            "clusters": self.encoders,
        }
        for key, among in section.reads.items():
            value = getattr(section, key)
            for name in value if isinstance(value, tuple) else (value,):
                if name is not None:
                    mistakes.known(f"{where}.{key}", name, there[among])

    def _sees(self, score: str) -> str:
        """The encoder behind a score, or the score itself."""
        retriever = self.retrievers.get(score)
        return (retriever and protocol.encoder(retriever)) or f"@{score}"


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
