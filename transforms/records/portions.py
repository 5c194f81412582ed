"""How many records are held at once: more where there are more, so that the number of portions grows with the root.

What is planned in portions is fetched from records that were read in portions: each of one reads a little of each of
the other. Were they of one size whatever the corpus, files would be opened as often as its square.
"""

from __future__ import annotations

import math

_FEW = 1 << 18  # records for which the least will do


def at_once(least: int, records: int) -> int:
    """How many of so many records to hold at once.

    >>> [at_once(1000, records) for records in (10, 1 << 18, 1 << 20)]
    [1000, 1000, 2000]
    """
    return int(least * max(1.0, math.sqrt(records / _FEW)))
