"""What is wrong with params, a line each: where, the rule, the value, the cure."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable, Sequence
from typing import Any

import pydantic

_RULES = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "string": "a string",
    "string_unicode": "Unicode text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "greater_than": "> {gt:g}",
    "greater_than_equal": ">= {ge:g}",
    "less_than": "< {lt:g}",
    "less_than_equal": "<= {le:g}",
    "too_short": "given, {min_length} at least",
    "recursion_loop": "without a reference to itself",
    "invalid_key": "under a key that is a string",
}
_PATTERNS = {  # of strings, by how the pattern begins
    "^[A-Za-z]": "a name of letters, digits and _ that begins with a letter",
    "^type:": "of the form type:nvidia-l4;count:1;install-nvidia-driver",
    r"^\d": "an amount of memory such as 16GB",
}
_CURE = "See docs/params.md"
_NEAR = 0.65  # likeness, of 1, of a name that is proposed


def lines(where: str, whole: type[pydantic.BaseModel], error: pydantic.ValidationError) -> str:
    """The mistakes of values for a model, each place once, joined by line ends."""
    found: dict[str, tuple[Any, list[Any]]] = {}
    for item in error.errors():
        place, kind = _place(item["loc"], whole)
        found.setdefault(place, (kind, []))[1].append(item)
    return "\n".join(f"{where}: {_line(place, kind, items)}" for place, (kind, items) in found.items())


def _line(place: str, kind: Any, items: Sequence[Any]) -> str:
    """What is wrong at a place; a value that may be of several types breaks the rules of each."""
    sort, value = items[0]["type"], items[0]["input"]
    if sort in ("value_error", "assertion_error"):  # says all itself
        message = " ".join(re.sub(r"^(Value|Assertion) error, ", "", items[0]["msg"]).split())
        return f"{place}: {message}" if place else message
    if sort == "extra_forbidden":
        names = list(kind.model_fields)
        cure = meant(items[0]["loc"][-1], names) or f" Remove it; known are {', '.join(names)}"
        return f"{place}: unknown key.{cure}"
    if sort == "missing":
        return f"{place} must be given, found none. {_CURE}"
    rules = dict.fromkeys(_rule(item) for item in items)
    proposed: Sequence[str] = ()
    if sort in ("union_tag_invalid", "union_tag_not_found"):
        proposed = [tag for model in _models(kind) for tag in _tags(model)]
        rules = {"a mapping with a kind": None}
        if isinstance(value, dict):
            near = difflib.get_close_matches("kind", [] if "kind" in value else map(str, value), 1)
            place, value, rules = f"{place}.kind", value.get("kind"), {f"one of {', '.join(proposed)}": None}
            if near:
                return f"{place} must be {next(iter(rules))}, found none. Did you mean kind where it says {near[0]}?"
    else:
        proposed = [name for item in items if item["type"] == "literal_error" for name in _names(item)]
    cure = meant(value, proposed) or f" {_CURE}"
    return f"{place or 'params'} must be {' or '.join(rules)}, got {shown(value)}.{cure}"


def meant(name: object, names: Iterable[str]) -> str:
    """A proposal for a name that nobody knows, or ''.

    >>> meant("deep", ["depth", "k1"]), meant("x", ["depth"])
    (' Did you mean depth?', '')
    """
    near = difflib.get_close_matches(str(name), [str(each) for each in names], 1, _NEAR)
    return f" Did you mean {near[0]}?" if near else ""


def shown(value: object) -> str:
    """A value as YAML has it, at most a line.

    >>> shown(True), shown(None), shown("a"), len(shown("a" * 1000))
    ('true', 'null', "'a'", 81)
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _rule(item: Any) -> str:
    """The rule that a value breaks."""
    sort, context = item["type"], item.get("ctx", {})
    if sort == "literal_error":
        return f"one of {', '.join(_names(item))}"
    if "[key]" in item["loc"]:
        return _PATTERNS["^[A-Za-z]"]
    if sort == "string_pattern_mismatch":
        return next(rule for begin, rule in _PATTERNS.items() if context["pattern"].startswith(begin))
    rule = _RULES.get(sort) or _RULES.get(sort.split("_")[0], "of another type")
    return rule.format(**context)


def _names(item: Any) -> list[str]:
    return re.findall(r"'([^']*)'", item["ctx"]["expected"])


def _place(location: Sequence[Any], whole: type[pydantic.BaseModel]) -> tuple[str, Any]:
    """Where a value stands, and what is expected there; for a key that nobody knows, what its section is."""
    kind: Any = whole
    shown: list[str] = []
    for part in location:
        if part == "[key]":  # the name of an entry, not its value
            continue
        models, inner = _models(kind), [each for each in typing.get_args(_bare(kind)) if each is not Ellipsis]
        if len(models) > 1:  # the part says which of them it is
            kind = next(model for model in models if part in _tags(model))
        elif models and part in models[0].model_fields:
            shown.append(str(part))
            kind = models[0].model_fields[part].annotation
        elif models:  # a key that nobody knows
            shown.append(str(part))
            kind = models[0]
        elif typing.get_origin(_bare(kind)) in (dict, tuple):
            shown.append(str(part))
            kind = inner[-1]
    return ".".join(shown), kind


def _bare(kind: Any) -> Any:
    """A type without what is said about it, and without None."""
    if typing.get_origin(kind) is typing.Annotated:
        return _bare(typing.get_args(kind)[0])
    rest = [each for each in typing.get_args(kind) if each is not type(None)]
    return _bare(rest[0]) if len(rest) == 1 and type(None) in typing.get_args(kind) else kind


def _models(kind: Any) -> list[Any]:
    """The sections that a type may be."""
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        return [kind]
    if typing.get_origin(kind) in (dict, tuple, typing.Literal):
        return []
    return [model for each in typing.get_args(kind) for model in _models(each)]


def _tags(model: Any) -> tuple[str, ...]:
    return typing.get_args(model.model_fields["kind"].annotation)
