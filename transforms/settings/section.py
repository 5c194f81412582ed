"""The base of all sections of the params, and the plain types of their values."""

from __future__ import annotations

import os
import re
import typing
from typing import Annotated, Any, ClassVar, Literal

import fsspec
import pydantic
from pydantic import AfterValidator, Field, model_validator

_OF_BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs")


def place(path: str) -> str:
    """A path as all of Gangue reads it: ``file://`` is a path of this machine, and a scheme is in small letters.

    ``~`` at its start is the user's home. Slashes at the end of a scheme's path do not count.

    Raises:
      ValueError: what follows a scheme is not ``://``, so that it would be taken for a folder's name; it names no
        bucket; or slashes follow each other, which some of its clients write and do not find again.

    >>> place("file:///data/job"), place("S3://bucket/job//"), place("notes:/job"), place("dir::s3://bucket/job")
    ('/data/job', 's3://bucket/job', 'notes:/job', 'dir::s3://bucket/job')
    """
    path = os.path.expanduser(path)
    scheme, _, rest = path.partition(":")
    scheme = scheme.lower()
    if not rest or rest.startswith(":") or scheme not in fsspec.available_protocols():
        return path
    if scheme in ("file", "local") and rest.startswith("/"):
        return rest.removeprefix("//")
    if not rest.startswith("//"):
        raise ValueError(
            f"{path}: must have :// after its scheme {scheme}, it is a local folder's name without. Write"
            f" {scheme}://{rest.lstrip('/')}, or ./{path} for such a folder"
        )
    inside = rest.removeprefix("//").rstrip("/")
    if scheme in _OF_BUCKETS and (not inside or inside.startswith("/")):
        raise ValueError(f"{path}: must name a bucket. Write {scheme}://BUCKET{inside}")
    if "//" in inside and scheme not in ("http", "https") and "::" not in inside:
        raise ValueError(f"{path}: must have one slash between its parts. Write {scheme}://{re.sub('/+', '/', inside)}")
    return f"{scheme}://{inside}"


def is_local(path: str) -> bool:
    """Whether ``place`` gave a path of this machine, and neither a URL nor a chain of schemes.

    >>> is_local("/data/a::b"), is_local("s3://bucket/job"), is_local("dir::memory")
    (True, False, False)
    """
    first, chained, _ = path.partition("::")
    return "://" not in path and not (chained and first in fsspec.available_protocols())


Place = Annotated[str, AfterValidator(place)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]

Among = Literal["scores", "retrievers", "scorers", "encoders", "clusters"]
"""What a name must be one of: scores are those of retrievers and scorers, clusters those of encoders' documents."""


class Section(pydantic.BaseModel):
    """A mapping with known keys; any other key is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    reads: ClassVar[dict[str, Among]] = {}
    """Keys whose values are names of other parts of the params."""
    unwritten: ClassVar[dict[str, Literal["flat", "by kind"]]] = {}
    """Fields without a key: what they hold stands among the keys of the section, or under the name of its kind."""

    def named(self, *among: Among) -> set[str]:
        """The names that are read, of these sorts or, without any, of all."""
        values = [getattr(self, key) for key, sort in self.reads.items() if not among or sort in among]
        return {name for value in values for name in (value if isinstance(value, tuple) else (value,))} - {None}

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
