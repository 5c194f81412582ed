"""A section of ``params.yaml``: a mapping with known keys, and the types that many of its values have."""

from __future__ import annotations

import typing
from typing import Annotated, Any

import pydantic
from pydantic import Field, model_validator

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class Section(pydantic.BaseModel):
    """A mapping with known keys; any other key is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, values: Any) -> Any:
        """true is no number, though Python counts it as 1: YAML reads yes, no, on and off as such."""
        for key, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool) and key in cls.model_fields:
                takes = _types(cls.model_fields[key].annotation)
                if bool not in takes and takes & {int, float}:
                    raise ValueError(f"{key} must be a number, got {str(value).lower()}. See docs/params.md")
        return values


def _types(annotation: Any) -> set[Any]:
    """The plain types that an annotation is made of."""
    parts = typing.get_args(annotation)
    return set().union(*map(_types, parts)) if parts else {annotation} if isinstance(annotation, type) else set()
