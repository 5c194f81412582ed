"""The ``sample`` section of ``params.yaml``: how negatives are chosen among the kept candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from transforms.settings.section import Count, Name, Positive, Section


class Softmax(Section):
    """Draw by the score: p ~ exp(s / temperature)."""

    temperature: Annotated[float, Field(gt=0)] = 1.0


class Simans(Section):
    """Ambiguous negatives: p ~ exp(-a (s - s_positive - b)^2), or with law laplace exp(-a |s - s_positive - b|)."""

    a: Annotated[float, Field(gt=0)] = 0.5
    b: float = 0.0
    law: Literal["gauss", "laplace"] = "gauss"
    scale: Literal["raw", "zscore"] = "zscore"
    against: Literal["query", "document"] = "query"  # s: of the query, or the similarity to its nearest positive


class Nearest(Section):
    """The smallest |s - s_positive - b|."""

    b: float = 0.0


class Band(Section):
    """Any of those whose score lies between two bounds; the lower one falls where there are too few."""

    low: float = 0.3
    high: float = 0.4
    step: Annotated[float, Field(gt=0)] = 0.05  # by how much the lower bound falls
    patience: Count = 10  # how often at most
    least: Count = 10  # how many should lie between

    @model_validator(mode="after")
    def _bounds(self) -> Band:
        if self.low >= self.high:
            raise ValueError(f"low must be < high, got {self.low} >= {self.high}")
        return self


class Joint(Section):
    """Negatives from several retrievers together (R2anker)."""

    mode: Literal["union", "mixture", "round_robin", "rrf"] = "union"
    depth: Positive | None = None  # ranks of each retriever that take part; null: all it returned
    weights: dict[Name, Annotated[float, Field(gt=0)]] | None = None  # mixture: of each retriever; null: all alike
    k: Positive | None = None  # rrf: null is 60
    quotas: dict[Name, Count] = Field(default_factory=dict)  # negatives that a retriever may supply at most
    max_share: Annotated[float, Field(gt=0, le=1)] = 1.0  # the same, as a share of the hard ones

    @model_validator(mode="after")
    def _of_mode(self) -> Joint:
        for key, mode in (("weights", "mixture"), ("k", "rrf")):
            if getattr(self, key) is not None and self.mode != mode:
                raise ValueError(f"{key} belongs to mode {mode} and only there, got mode {self.mode}")
        return self

    def limits(self, hard: int, retrievers: Sequence[str]) -> list[int]:
        """How many of so many hard negatives each retriever may supply.

        >>> Joint(quotas={"bm25": 1}, max_share=0.6).limits(5, ["dense", "bm25"])
        [3, 1]
        """
        most = int(self.max_share * hard + 1e-9)  # a share such as 0.6 of 5 must not lose one to rounding
        return [min(most, self.quotas.get(name, most)) for name in retrievers]


class Ensemble(Section):
    """Negatives by several scores instead of one (NV-Retriever's ensembles)."""

    kind: Literal["cross", "intra"]  # each positive by one of them, drawn; or the best of each in turn
    scores: Annotated[tuple[Name, ...], Field(min_length=2)]
    deduplicate: bool | None = None  # intra: false counts a document for each score that chooses it; null is true

    @model_validator(mode="after")
    def _of_kind(self) -> Ensemble:
        if len(set(self.scores)) < len(self.scores):
            raise ValueError(f"scores must differ, got {', '.join(self.scores)}")
        if self.deduplicate is not None and self.kind == "cross":
            raise ValueError("deduplicate belongs to kind intra and only there, got kind cross")
        return self


class Phi(Section):
    """Weight 0 where another score than the sampler's finds the negative too similar, or else 1 (DCLR)."""

    kind: Literal["phi"]
    score: Name
    phi: float = 0.9


class Asl(Section):
    """A weight by the probability of being relevant (asymmetric loss)."""

    kind: Literal["asl"]
    score: Name  # a scorer whose scores are probabilities
    gamma_neg: Annotated[float, Field(ge=0)] = 4.0
    clip: Annotated[float, Field(ge=0, lt=1)] = 0.05  # less probable ones weigh nothing
    form: Literal["weight", "gradient"] = "weight"


class Cet(Section):
    """A weight by how likely the labellers saw the negative: inverse propensity, fitted by logistic regression."""

    kind: Literal["cet"]
    pool: Name  # the retriever whose results were labelled
    temperature: Annotated[float, Field(gt=0)] = 10.0
    clip: Annotated[float, Field(gt=1)] = 10.0  # the highest weight; the lowest is 1


class LambdaRank(Section):
    """A weight by how much the reciprocal rank changes if positive and negative change places (ADORE)."""

    kind: Literal["lambda_rank"]
    retriever: Name
    cut: Positive = 200  # ranks beyond count as not found


class Relevance(Section):
    """Maximal marginal relevance: hard, and not like a negative that is chosen already."""

    kind: Literal["mmr"]
    encoder: Name
    weight: Annotated[float, Field(ge=0, le=1)] = 0.7  # of hardness; the rest is of unlikeness


class OnePerCluster(Section):
    """No two negatives from one cluster of documents."""

    kind: Literal["cluster"]
    encoder: Name


Diverse = Annotated[Relevance | OnePerCluster, Field(discriminator="kind")]
Weight = Annotated[Phi | Asl | Cet | LambdaRank, Field(discriminator="kind")]

_OWN_SECTIONS = ("softmax", "simans", "nearest", "band", "joint")  # kinds that have settings, under their own name


class Sample(Section):
    """Which of the kept candidates become negatives."""

    kind: Literal["top", "random", "softmax", "simans", "nearest", "band", "joint"]
    score: Name  # hardness: a retriever or a scorer
    negatives: Positive = 5  # per (query, positive)
    price: Annotated[float, Field(ge=0)] | None = None  # of a false negative: hardness is score - price x p_false
    skip_kept: Count = 0  # hardest kept candidates to pass over
    first: Positive | None = None  # choose among this many hardest kept candidates; null: among all
    keep_first: Count = 0  # so many of the hardest are chosen in any case, the others as kind says
    random: Count = 0  # how many of the negatives come from the whole corpus
    next_cluster: Count = 0  # how many come from the cluster next to the query's own
    softmax: Softmax | None = None
    simans: Simans | None = None
    nearest: Nearest | None = None
    band: Band | None = None
    joint: Joint | None = None
    ensemble: Ensemble | None = None
    diverse: Diverse | None = None
    reuse: Positive | None = None  # a document is the negative of so many queries at most; null: of any number
    weight: Weight | None = None  # null: 1
    seed: int = 13

    @property
    def hard(self) -> int:
        """How many of the negatives are chosen as ``kind`` says."""
        return self.negatives - self.random - self.next_cluster

    @property
    def draws(self) -> bool:
        """Whether chance decides anything."""
        return self.kind not in ("top", "nearest") or self.random > 0 or self.ensemble is not None

    @property
    def reads(self) -> tuple[tuple[str, str], ...]:
        """Every score that is read: where it is named, and its name."""
        several = self.ensemble.scores if self.ensemble else ()
        weight = (("weight.score", self.weight.score),) if isinstance(self.weight, Phi | Asl) else ()
        return (("score", self.score), *(("ensemble.scores", score) for score in several), *weight)

    @model_validator(mode="before")
    @classmethod
    def _own_section(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        kind = values.get("kind")
        if kind not in get_args(cls.model_fields["kind"].annotation):
            return values  # which says more than what follows from it
        for name in _OWN_SECTIONS:
            if values.get(name) is not None and name != kind:
                raise ValueError(f"{name} belongs to kind {name} and only there, got kind {kind}")
        return {**values, kind: values.get(kind) or {}} if kind in _OWN_SECTIONS else values

    @model_validator(mode="after")
    def _adds_up(self) -> Sample:
        if self.hard < 0:
            raise ValueError(
                f"random and next_cluster must be <= negatives, got {self.random} + {self.next_cluster} >"
                f" {self.negatives}"
            )
        if self.keep_first and self.kind == "top":
            raise ValueError("kind top does not read keep_first: it chooses the hardest as it is")
        if self.keep_first > self.hard:
            raise ValueError(f"keep_first must be <= the hard negatives, got {self.keep_first} > {self.hard}")
        if self.keep_first and self.kind == "joint":
            raise ValueError("kind joint does not read keep_first: several retrievers have a first one each")
        return self

    @model_validator(mode="after")
    def _diverse_fits(self) -> Sample:
        if self.diverse and (self.kind == "joint" or (self.ensemble and self.ensemble.kind == "intra")):
            raise ValueError("diverse does not go with kind joint or ensemble intra: they choose in their own order")
        if isinstance(self.diverse, Relevance) and self.kind != "top":
            raise ValueError(f"diverse mmr weighs the score itself, so kind must be top, got {self.kind}")
        return self

    @model_validator(mode="after")
    def _ensemble_fits(self) -> Sample:
        if self.ensemble is None:
            return self
        if self.ensemble.kind == "intra" and self.kind != "top":
            raise ValueError(f"ensemble intra takes the best of each score, so kind must be top, got {self.kind}")
        if self.kind == "joint":
            raise ValueError("ensemble does not go with kind joint: ranks decide there, not scores")
        if self.simans and self.simans.against == "document":
            raise ValueError("ensemble does not go with simans.against: document, which compares documents")
        return self
