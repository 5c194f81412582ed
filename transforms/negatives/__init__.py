"""Choosing negatives among the kept candidates, and how much each counts.

One module for each sampler, weight, and way to make negatives differ: its settings beside its formula. A new one is one
module here and its class in ``Sampler``, ``Weight`` or ``Diverse``. The weights are those that papers compute in their
losses, computed once beforehand. Acts on candidates and verdicts of one shard; may import ``relevance`` and below.
"""

from __future__ import annotations

import typing
from typing import Annotated

from pydantic import Field

from gangue.transforms.negatives.asl import Asl as Asl
from gangue.transforms.negatives.band import Band as Band
from gangue.transforms.negatives.cet import Cet as Cet
from gangue.transforms.negatives.joint import Joint as Joint
from gangue.transforms.negatives.lambda_rank import LambdaRank as LambdaRank
from gangue.transforms.negatives.mmr import Mmr as Mmr
from gangue.transforms.negatives.nearest import Nearest as Nearest
from gangue.transforms.negatives.one_per_cluster import OnePerCluster as OnePerCluster
from gangue.transforms.negatives.phi import Phi as Phi
from gangue.transforms.negatives.sampler import SamplerSection as SamplerSection
from gangue.transforms.negatives.simans import Simans as Simans
from gangue.transforms.negatives.softmax import Softmax as Softmax
from gangue.transforms.negatives.top import Top as Top
from gangue.transforms.negatives.uniform import Random as Random
from gangue.transforms.negatives.weight import Negatives as Negatives
from gangue.transforms.negatives.weight import WeightSection as WeightSection

Sampler = Annotated[Top | Random | Softmax | Simans | Nearest | Band | Joint, Field(discriminator="kind")]
Weight = Annotated[Phi | Asl | Cet | LambdaRank, Field(discriminator="kind")]
Diverse = Annotated[Mmr | OnePerCluster, Field(discriminator="kind")]

SAMPLERS: dict[str, type[SamplerSection]] = {
    each.model_fields["kind"].default: each for each in typing.get_args(typing.get_args(Sampler)[0])
}
