"""How much a negative counts: one module for each weight, its settings beside its formula.

Those that papers compute in their losses, computed once beforehand. A new one is one module here and its class in
``Weight``. They act on the negatives of one shard; what they may import is what ``negatives`` may.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gangue.transforms.negatives.weights.asl import Asl as Asl
from gangue.transforms.negatives.weights.cet import Cet as Cet
from gangue.transforms.negatives.weights.lambda_rank import LambdaRank as LambdaRank
from gangue.transforms.negatives.weights.phi import Phi as Phi
from gangue.transforms.negatives.weights.weight import Negatives as Negatives
from gangue.transforms.negatives.weights.weight import WeightSection as WeightSection

Weight = Annotated[Phi | Asl | Cet | LambdaRank, Field(discriminator="kind")]
