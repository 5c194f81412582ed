"""Which kept candidates become hard negatives: one module for each sampler, its settings beside its formula.

A new one is one module here and its class in ``Sampler``. They act on the rows of one shard; what they may import is
what ``negatives`` may.
"""

from __future__ import annotations

import typing
from typing import Annotated

from pydantic import Field

from gangue.transforms.negatives.samplers.band import Band as Band
from gangue.transforms.negatives.samplers.joint import Joint as Joint
from gangue.transforms.negatives.samplers.nearest import Nearest as Nearest
from gangue.transforms.negatives.samplers.sampler import SamplerSection as SamplerSection
from gangue.transforms.negatives.samplers.simans import Simans as Simans
from gangue.transforms.negatives.samplers.softmax import Softmax as Softmax
from gangue.transforms.negatives.samplers.top import Top as Top
from gangue.transforms.negatives.samplers.uniform import Random as Random

Sampler = Annotated[Top | Random | Softmax | Simans | Nearest | Band | Joint, Field(discriminator="kind")]

SAMPLERS: dict[str, type[SamplerSection]] = {
    each.model_fields["kind"].default: each for each in typing.get_args(typing.get_args(Sampler)[0])
}
