"""Triplets in the shapes that trainers read without code of ours: one module for each, or for those of one form.

Each view is sharded and sorted as the triplets are. Column order matters to sentence-transformers: inputs first,
the label last. A new view is one module here and its line in ``VIEWS``, with how many rows it must have: the audit
counts them. May import ``negatives`` and what lies below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gangue.transforms.views import sizes
from gangue.transforms.views.labeled import labeled_list, labeled_pair
from gangue.transforms.views.ntuple import ntuple
from gangue.transforms.views.scored import scored_list, scored_ntuple, scored_pair
from gangue.transforms.views.sizes import Shape
from gangue.transforms.views.triplet import triplet

VIEWS = {
    "triplet": Shape(triplet, sizes.each_triplet),
    "ntuple": Shape(ntuple, sizes.each_full),
    "labeled_pair": Shape(labeled_pair, sizes.each_passage),
    "labeled_list": Shape(labeled_list, sizes.each_positive),
    "scored_pair": Shape(scored_pair, sizes.each_passage, "score"),
    "scored_ntuple": Shape(scored_ntuple, sizes.each_full, "label"),
    "scored_list": Shape(scored_list, sizes.each_positive, "scores"),
}

if TYPE_CHECKING:
    View = str
else:
    View = Literal[tuple(VIEWS)]
