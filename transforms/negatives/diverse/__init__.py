"""How the negatives of a query are kept from being alike: one module for each way, its settings beside its formula.

A new one is one module here and its class in ``Diverse``. They act on the rows of one shard; what they may import is
what ``negatives`` may.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gangue.transforms.negatives.diverse.mmr import Mmr as Mmr
from gangue.transforms.negatives.diverse.one_per_cluster import OnePerCluster as OnePerCluster

Diverse = Annotated[Mmr | OnePerCluster, Field(discriminator="kind")]
