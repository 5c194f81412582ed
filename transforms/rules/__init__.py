"""False-negative rules: which candidates of a query may serve as its negatives, and why the others may not.

One module for each rule, or for those of one formula: its settings beside what it does. They are NV-Retriever's family
(arXiv 2407.15831) and RocketQA's denoising (arXiv 2010.08191), on any score, and more. A candidate is kept only if its
score is strictly below the ceiling, as in the paper. A new rule is one module here and its class in ``Rule``.
"""

from __future__ import annotations

import typing
from typing import Annotated

from pydantic import Field

from transforms.rules.absolute import Abs as Abs
from transforms.rules.answer import Answer as Answer
from transforms.rules.candidates import IDENTITY as IDENTITY
from transforms.rules.candidates import P_FALSE as P_FALSE
from transforms.rules.candidates import UNSCORED as UNSCORED
from transforms.rules.candidates import Candidates as Candidates
from transforms.rules.candidates import Rows as Rows
from transforms.rules.ceiling import Margin as Margin
from transforms.rules.ceiling import Perc as Perc
from transforms.rules.ceiling import ceiling as ceiling
from transforms.rules.ceiling import reference as reference
from transforms.rules.denoise import Denoise as Denoise
from transforms.rules.learned import Learned as Learned
from transforms.rules.naive import Naive as Naive
from transforms.rules.rank_window import RankWindow as RankWindow
from transforms.rules.rule import RuleSection as RuleSection
from transforms.rules.rule import whole as whole
from transforms.rules.same_cluster import SameCluster as SameCluster
from transforms.rules.shifted import Shifted as Shifted
from transforms.rules.verdicts import Verdicts as Verdicts
from transforms.rules.verdicts import first_bit as first_bit
from transforms.rules.verdicts import judge as judge
from transforms.rules.verdicts import rule_names as rule_names

Rule = Annotated[
    Naive | Shifted | Abs | Margin | Perc | RankWindow | Denoise | SameCluster | Answer | Learned,
    Field(discriminator="kind"),
]
KINDS: tuple[type[RuleSection], ...] = typing.get_args(typing.get_args(Rule)[0])
