"""plan: params -> quotas, sections.   Usage: gangue plan [--data data]

What later stages need to know of the params, in files that change only where it matters to them: what each retriever
must find for a query before its search may end, so that a change of ``filter`` or ``sample``, or of a rule's code,
searches again only where it changes that; and the sections that params may lack, of which DVC tracks no key.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Sequence

from gangue.pipeline import params
from gangue.transforms.candidates import quota as quotas
from gangue.transforms.candidates import relations
from gangue.transforms.candidates.quota import NOTE, Quota, place
from gangue.transforms.candidates.rules import candidates, rule, verdicts
from gangue.transforms.datasets.names import staged
from gangue.transforms.datasets.storage import Data

SECTIONS = ("encoders", "scorers")
"""Sections that a job may do without."""
_DECIDES = (candidates, quotas, relations, rule, verdicts)
"""Beside the rules' own, what decides whether a query has what it must find."""


def run(data: Data, p: params.Params, flags: Sequence[str] = ()) -> None:
    """Write the quota of each retriever, and the sections; nothing here needs Beam, so ``flags`` are only checked.

    Raises:
      ValueError: a flag that nobody knows, or with a value that it cannot have.
    """
    if flags:
        from gangue.transforms.running import runner  # and with it Beam, for a second

        runner.options(p.beam, flags)
    for name in p.retrievers:
        wanted = quota(p, name)
        _write(data, place(name), NOTE, wanted.model_dump_json(exclude=None if wanted.code else {"code"}))
    data.prune("quotas", p.retrievers)
    for name in SECTIONS:
        section = {key: settings.model_dump(mode="json") for key, settings in getattr(p, name).items()}
        _write(data, f"sections/{name}", "section.json", json.dumps(section, indent=1))


def quota(p: params.Params, name: str) -> Quota:
    """The quota of a retriever; none where it never searches deeper than ``depth``."""
    if p.retrievers[name].max_depth is None:
        return Quota()
    # A cut that a budget will choose is not known yet.
    known = p.filter.rules if p.filter.max_false_negatives is None else p.filter.also
    rules = tuple(each for each in known if each.judged_by(name))
    code = hashlib.blake2b(digest_size=8)
    for module in sorted({type(each).__module__ for each in rules} | {each.__name__ for each in _DECIDES}):
        code.update(inspect.getsource(sys.modules[module]).encode())
    return Quota(rules=rules, candidates=p.sample.hard + p.sample.skip_kept, code=code.hexdigest())


def _write(data: Data, dataset: str, name: str, content: str) -> None:
    with data.staging(dataset):
        data.write_note(staged(dataset), name, content + "\n")
        data.publish(dataset)
