"""Values of a foreign record as ids, texts and grades, or the reason why they are none."""

from __future__ import annotations

import contextlib
import decimal
import math
import re

from gangue.transforms import text

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MOST = 3.4e38  # float32
_EXACT = 2.0**53  # beyond, a float is not the only whole number that it may stand for


class Fault(Exception):
    """Why one record cannot be used; the rest of its file can."""


def is_missing(value: object) -> bool:
    """Whether there is nothing: null, a float that is no number, as pandas has it, or blank.

    >>> is_missing(None), is_missing(float("nan")), is_missing(" "), is_missing(0)
    (True, True, True, False)
    """
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def as_text(value: object, name: str) -> str:
    """The value if it is a text with something in it.

    Raises:
      Fault: it is missing, no string, not Unicode, or blank.
    """
    string = as_string(value, name)
    if text.is_blank(string):
        raise Fault(f"{name} is empty")
    return string


def as_answers(value: object, name: str) -> list[str]:
    """The value as a list of answers; a string or a whole number is one, and a missing value none.

    Raises:
      Fault: it is neither string nor list, or an answer is no string or not Unicode.

    >>> as_answers(1968, "answers"), as_answers(None, "answers"), as_answers(["a", ""], "answers")
    (['1968'], [], ['a'])
    """
    if value is None:
        return []
    values = (str(one) if type(one) is int else one for one in (value if isinstance(value, list) else [value]))
    return [answer for item in values if (answer := as_string(item, name)).strip()]


def as_string(value: object, name: str) -> str:
    """The value if it is a string that can be written as UTF-8.

    Raises:
      Fault: it is missing, no string, or not Unicode.
    """
    if value is None:
        raise Fault(f"{name} is missing")
    if isinstance(value, bytes):
        raise Fault(f"{name} is not UTF-8")
    if not isinstance(value, str):
        raise Fault(f"{name} is not a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Fault(f"{name} is not Unicode: it has a lone surrogate") from None
    return value


def as_id(value: object, name: str) -> str:
    """The value as an id; whole numbers become strings, and so do floats that are whole: pandas makes a column of
    ids with gaps one of floats.

    Raises:
      Fault: it is missing, blank, neither string nor whole number, or has control characters.

    >>> as_id(7, "_id"), as_id("d 7", "_id"), as_id(7.0, "_id")
    ('7', 'd 7', '7')
    """
    if isinstance(value, float):
        if math.isnan(value):
            raise Fault(f"{name} is missing")
        value = int(value) if value.is_integer() and abs(value) < _EXACT else value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str | bytes):
        raise Fault(f"{name} is neither a string nor a whole number")
    identifier = as_text(value, name)
    if _CONTROL.search(identifier):
        raise Fault(f"{name} has control characters")
    return identifier


def as_grade(value: object, name: str, *, written: bool = False) -> float:
    """The value as a grade; ``written`` ones come from a file that knows only strings.

    Raises:
      Fault: it is missing, no number, or not finite as float32.
    """
    if value is None:
        raise Fault(f"{name} is missing")
    kinds = (int, float, decimal.Decimal, str) if written else (int, float, decimal.Decimal)
    grade = math.nan
    if isinstance(value, kinds) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            grade = float(value)
    if not abs(grade) <= _MOST:
        raise Fault(f"{name} is not a finite number")
    return grade
