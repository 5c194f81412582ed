"""quota: params -> quotas.   Usage: gangue quota [--data data]

What each retriever must find for a query before its search may end. A stage of its own, so that a change of ``filter``
or ``sample``, or of the code of a rule, searches again only where it changes this.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Sequence

from gangue.pipeline import params
from gangue.transforms.candidates.quota import NOTE, Quota, place
from gangue.transforms.datasets.storage import Data, staged


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> None:
    """Write the quota of each retriever; nothing here needs Beam, so ``flags`` are not read."""
    for name in p.retrievers:
        dataset, quota = place(name), of(p, name)
        with data.staging(dataset):
            written = quota.model_dump_json(exclude=None if quota.rules else {"code"})
            data.write_note(staged(dataset), NOTE, written + "\n")
            data.publish(dataset)
    data.prune("quotas", p.retrievers)


def of(p: params.Params, name: str) -> Quota:
    """The quota of a retriever; none where it never searches deeper than ``depth``."""
    if p.retrievers[name].max_depth is None:
        return Quota()
    # A cut that a budget will choose is not known yet.
    known = p.filter.rules if p.filter.max_false_negatives is None else p.filter.also
    rules = tuple(rule for rule in known if rule.judged_by(name))
    code = hashlib.blake2b(digest_size=8)
    for module in sorted({type(rule).__module__ for rule in rules}):
        code.update(inspect.getsource(sys.modules[module]).encode())
    return Quota(rules=rules, candidates=p.sample.hard + p.sample.skip_kept, code=code.hexdigest())
