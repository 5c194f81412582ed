"""What work counts: rows read, rows by where each went, rows written."""

from __future__ import annotations

import collections

Counts = collections.Counter[str]
"""``in``: rows read, ``out:REASON``: where each went, ``rows:DATASET``: rows written; other names are for the log."""
