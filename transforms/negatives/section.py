"""The ``sample`` section of ``params.yaml``: how negatives are chosen among the kept candidates."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from gangue.transforms.negatives.diverse import Diverse, Mmr
from gangue.transforms.negatives.samplers import SAMPLERS, Sampler, SamplerSection
from gangue.transforms.negatives.weights import Weight
from gangue.transforms.settings import mistakes
from gangue.transforms.settings.section import Among, Count, Name, Positive, Section


class Ensemble(Section):
    """Negatives by several scores instead of one (NV-Retriever's ensembles)."""

    reads: ClassVar[dict[str, Among]] = {"scores": "scores"}

    kind: Literal["cross", "intra"]  # each positive by one of them, drawn; or the best of each in turn
    scores: Annotated[tuple[Name, ...], Field(min_length=2)]
    deduplicate: bool | None = None  # intra: false counts a document for each score that chooses it; null is true

    @model_validator(mode="after")
    def _of_kind(self) -> Self:
        if len(set(self.scores)) < len(self.scores):
            raise ValueError(f"scores must differ, got {', '.join(self.scores)}")
        if self.deduplicate is not None and self.kind == "cross":
            raise ValueError("deduplicate belongs to kind intra and only there, got kind cross")
        return self


class Sample(Section):
    """Which of the kept candidates become negatives."""

    reads: ClassVar[dict[str, Among]] = {"score": "scores"}
    unwritten: ClassVar = {"sampler": "by kind"}

    sampler: Sampler  # written as ``kind``, and under that name its settings
    score: Name  # hardness: a retriever or a scorer
    negatives: Positive = 5  # per (query, positive)
    price: Annotated[float, Field(ge=0)] | None = None  # of a false negative: hardness is score - price x p_false
    skip_kept: Count = 0  # hardest kept candidates to pass over
    first: Positive | None = None  # choose among this many hardest kept candidates; null: among all
    keep_first: Count = 0  # so many of the hardest are chosen in any case, the others as kind says
    random: Count = 0  # how many of the negatives come from the whole corpus
    next_cluster: Count = 0  # how many come from the cluster next to the query's own
    ensemble: Ensemble | None = None
    diverse: Diverse | None = None
    reuse: Positive | None = None  # a document is the negative of so many queries at most; null: of any number
    weight: Weight | None = None  # null: 1
    seed: int = 13

    @model_validator(mode="before")
    @classmethod
    def _by_kind(cls, values: Any) -> Any:
        if not isinstance(values, dict) or isinstance(values.get("sampler"), SamplerSection):
            return values
        kind = values.get("kind")
        with_keys = [name for name, sampler in SAMPLERS.items() if len(sampler.model_fields) > 1]
        if isinstance(kind, str) and kind in SAMPLERS:  # or else that says more than what follows from it
            for name in with_keys:
                if values.get(name) is not None and name != kind:
                    raise ValueError(f"{name} belongs to kind {name} and only there, got kind {kind}")
        own = values.get(kind) if kind in with_keys else None
        own = {} if own is None else own
        if "sampler" in values:
            raise ValueError("sampler is no key: kind says which it is. Remove it")
        if not isinstance(own, dict) or "kind" in own:
            raise ValueError(f"{kind} must be a mapping of its keys, got {mistakes.shown(own)}. See docs/params.md")
        rest = {key: value for key, value in values.items() if key != "kind" and key not in with_keys}
        return {**rest, "sampler": {**own, "kind": kind}}

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        own = values.pop("sampler")
        kind = own.pop("kind")
        return {"kind": kind, **values, **({kind: own} if own else {})}

    @property
    def kind(self) -> str:
        """Of the sampler."""
        return self.sampler.kind

    @property
    def hard(self) -> int:
        """How many of the negatives are chosen as ``kind`` says."""
        return self.negatives - self.random - self.next_cluster

    @property
    def draws(self) -> bool:
        """Whether chance decides anything."""
        return self.sampler.draws or self.random > 0 or self.ensemble is not None

    @property
    def read(self) -> dict[str, Section]:
        """The sections that read names, by where they stand below this one."""
        parts = {"": self, "ensemble": self.ensemble, "weight": self.weight, "diverse": self.diverse}
        return {where: part for where, part in parts.items() if part is not None}

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.hard < 0:
            raise ValueError(
                f"random and next_cluster must be <= negatives, got {self.random} + {self.next_cluster} >"
                f" {self.negatives}"
            )
        for key, why in self.sampler.refuses.items():
            if getattr(self, key):
                raise ValueError(f"kind {self.kind} does not read {key}: {why}")
        if self.keep_first > self.hard:
            raise ValueError(f"keep_first must be <= the hard negatives, got {self.keep_first} > {self.hard}")
        if self.ensemble and self.ensemble.kind == "intra":
            if self.kind != "top":
                raise ValueError(f"ensemble intra takes the best of each score, so kind must be top, got {self.kind}")
            if self.diverse:
                raise ValueError("diverse does not go with ensemble intra: it chooses in its own order")
        if isinstance(self.diverse, Mmr) and self.kind != "top":
            raise ValueError(f"diverse mmr weighs the score itself, so kind must be top, got {self.kind}")
        return self
