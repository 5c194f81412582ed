"""The recipe in every file's footer: which params and which data the rows come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gangue.transforms.datasets.schema import RECIPE as RECIPE

if TYPE_CHECKING:
    from gangue.pipeline import params


COUNTED = ("documents", "queries", "positives", "judged", "rejected", "pairs", "verdicts", "negatives")


def of_params(p: params.Params) -> dict[str, Any]:
    """The params that shape the rows: not where they are computed, how they are audited, or where their sources lie."""
    return p.model_dump(
        mode="json", exclude={"beam": True, "audit": True, "source": {"path"}, "labels": {"path"}}, exclude_none=True
    )
