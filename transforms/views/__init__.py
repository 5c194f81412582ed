"""Triplets in the shapes that trainers read without code of ours: one module for each, or for those of one form.

Each view is sharded and sorted as the triplets are. Column order matters to sentence-transformers: inputs first,
the label last. A new view is one module here and its function in
``VIEWS``. May import ``negatives`` and what lies below it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from gangue.transforms.views.labeled import labeled_list, labeled_pair
from gangue.transforms.views.ntuple import ntuple
from gangue.transforms.views.scored import scored_list, scored_pair
from gangue.transforms.views.triplet import triplet

VIEWS: dict[str, Callable[[pa.Table, int, str], pa.Table]] = {
    "triplet": triplet,
    "ntuple": ntuple,
    "labeled_pair": labeled_pair,
    "labeled_list": labeled_list,
    "scored_pair": scored_pair,
    "scored_list": scored_list,
}
"""Name -> function of the triplets of a shard, of how many negatives a positive should have, and of a score's name."""

if TYPE_CHECKING:
    View = str
else:
    View = Literal[tuple(VIEWS)]
