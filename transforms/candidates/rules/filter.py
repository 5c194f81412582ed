"""The section ``filter``: the main rule, those that stack on it, and the budget that it keeps."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from gangue.transforms.candidates import rules
from gangue.transforms.candidates.rules import Rule
from gangue.transforms.settings.section import Section

Whole = Annotated[Rule, AfterValidator(rules.whole)]


class Filter(Section):
    """The main rule, whose keys stand among those of the filter, and further ones that stack on it."""

    unwritten: ClassVar = {"rule": "flat"}

    rule: Rule
    also: tuple[Whole, ...] = ()
    fallback: Whole | None = None  # learned: judges where the budget cannot be kept; null: the nearest cut
    max_false_negatives: Annotated[float, Field(gt=0, lt=1)] | None = None  # choose the main rule's cut by this budget
    confidence: Annotated[float, Field(gt=0, lt=1)] | None = None  # that the budget holds; null: it holds on average

    @model_validator(mode="before")
    @classmethod
    def _main_rule(cls, values: Any) -> Any:
        if not isinstance(values, dict) or isinstance(values.get("rule"), rules.RuleSection):
            return values
        own = {key: value for key, value in values.items() if key in cls.model_fields and key != "rule"}
        return {**own, "rule": {key: value for key, value in values.items() if key not in own}}

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        return {**values.pop("rule"), **values}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        rule, budget = self.rule, self.max_false_negatives is not None
        if self.fallback is not None and not rule.learns:
            raise ValueError("fallback belongs to kind learned: it judges where that cannot keep its budget")
        if any(other.learns for other in (*self.also, *([self.fallback] if self.fallback else []))):
            raise ValueError("kind learned must be the main rule, not one under also or fallback")
        if self.confidence is not None and not budget:
            raise ValueError("confidence belongs to max_false_negatives, and there is none")
        if budget and rule.cut_key is None:
            kinds = ", ".join(each.model_fields["kind"].default for each in rules.KINDS if each.cut_key)
            raise ValueError(f"max_false_negatives chooses cuts of {kinds} only, got kind {rule.kind}")
        if budget and rule.cut is not None:
            raise ValueError(f"{rule.cut_key} is chosen by max_false_negatives, got {rule.cut}. Remove one of them")
        if not budget and rule.cut_key is not None and rule.cut is None:
            raise ValueError(f"kind {rule.kind} needs {rule.cut_key}, or max_false_negatives, which chooses it")
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules in the order in which they fire."""
        return (self.rule, *self.also)

    @property
    def asks_to_learn(self) -> bool:
        """Whether pairs must be known by how likely they are false: by a learned rule, or to keep a budget."""
        return self.rule.learns or self.fallback is not None or self.max_false_negatives is not None

    def with_rule(self, rule: Rule) -> Self:
        """The same with another main rule."""
        return self.model_copy(update={"rule": rule})

    def with_cut(self, cut: float) -> Self:
        """The same with another cut of the main rule."""
        return self.with_rule(self.rule.with_cut(cut))
