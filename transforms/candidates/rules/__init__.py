"""False-negative rules: which candidates of a query may serve as its negatives, and why the others may not.

One module for each rule, or for those of one formula: its settings beside what it does. They are NV-Retriever's family
(arXiv 2407.15831) and RocketQA's denoising (arXiv 2010.08191), on any score, and more. A candidate is kept only if its
score is strictly below the ceiling, as in the paper. A new rule is one module here and its class in ``Rule``.
"""

from __future__ import annotations

import typing
from typing import Annotated

from pydantic import Field

from gangue.transforms.candidates.rules.absolute import Abs as Abs
from gangue.transforms.candidates.rules.answer import Answer as Answer
from gangue.transforms.candidates.rules.candidates import IDENTITY as IDENTITY
from gangue.transforms.candidates.rules.candidates import P_FALSE as P_FALSE
from gangue.transforms.candidates.rules.candidates import UNSCORED as UNSCORED
from gangue.transforms.candidates.rules.candidates import Candidates as Candidates
from gangue.transforms.candidates.rules.candidates import Rows as Rows
from gangue.transforms.candidates.rules.ceiling import Margin as Margin
from gangue.transforms.candidates.rules.ceiling import Perc as Perc
from gangue.transforms.candidates.rules.ceiling import ceiling as ceiling
from gangue.transforms.candidates.rules.ceiling import reference as reference
from gangue.transforms.candidates.rules.denoise import Denoise as Denoise
from gangue.transforms.candidates.rules.learned import Learned as Learned
from gangue.transforms.candidates.rules.naive import Naive as Naive
from gangue.transforms.candidates.rules.rank_window import RankWindow as RankWindow
from gangue.transforms.candidates.rules.rule import RuleSection as RuleSection
from gangue.transforms.candidates.rules.rule import whole as whole
from gangue.transforms.candidates.rules.same_cluster import SameCluster as SameCluster
from gangue.transforms.candidates.rules.shifted import Shifted as Shifted
from gangue.transforms.candidates.rules.verdicts import Verdicts as Verdicts
from gangue.transforms.candidates.rules.verdicts import first_bit as first_bit
from gangue.transforms.candidates.rules.verdicts import judge as judge
from gangue.transforms.candidates.rules.verdicts import places as places
from gangue.transforms.candidates.rules.verdicts import rule_names as rule_names

Rule = Annotated[
    Naive | Shifted | Abs | Margin | Perc | RankWindow | Denoise | SameCluster | Answer | Learned,
    Field(discriminator="kind"),
]
KINDS: tuple[type[RuleSection], ...] = typing.get_args(typing.get_args(Rule)[0])
