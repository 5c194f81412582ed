"""quota: params -> quotas.   Usage: gangue quota [--data data]

What each retriever must find for a query before its search may end. A stage of its own, so that a change of ``filter``
or ``sample`` searches again only where it changes this.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import pydantic

from gangue.pipeline import params
from gangue.transforms.candidates.rules import Rule
from gangue.transforms.datasets.storage import Data, staged
from gangue.transforms.settings.section import Section


class Quota(Section):
    """So many candidates must pass the rules that the retriever's own scores can judge."""

    rules: tuple[Rule, ...] = ()
    candidates: int = 0


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> None:
    """Write the quota of each retriever; nothing here needs Beam, so ``flags`` are not read."""
    with data.staging("quotas"):
        for name in p.retrievers:
            data.write_text(posixpath.join(staged("quotas"), f"{name}.json"), of(p, name).model_dump_json() + "\n")
        data.publish("quotas")


def of(p: params.Params, name: str) -> Quota:
    """The quota of a retriever; none where it never searches deeper than ``depth``."""
    if p.retrievers[name].max_depth is None:
        return Quota()
    # A cut that a budget will choose is not known yet.
    known = p.filter.rules if p.filter.max_false_negatives is None else p.filter.also
    rules = tuple(rule for rule in known if rule.judged_by(name))
    return Quota(rules=rules, candidates=p.sample.hard + p.sample.skip_kept)


def read(data: Data, name: str) -> Quota:
    """The quota of a retriever, as written.

    Raises:
      FileNotFoundError: there is none.   ValueError: it is not one.
    """
    path = f"quotas/{name}.json"
    try:
        return Quota.model_validate(data.read_json(path))
    except pydantic.ValidationError as error:
        raise ValueError(
            f"{data.path(path)}: must be as the stage quota writes it, {error.errors()[0]['msg'].lower()}."
            " Rebuild it: dvc repro --force quota"
        ) from None
