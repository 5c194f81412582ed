"""What is learned from a job's own positives, and whether it may take part in judging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gangue.transforms import arrays
from gangue.transforms.relevance import classifier
from gangue.transforms.running import process_wide


def taught(
    table: pa.Table, names: Sequence[str], scorers: Sequence[str] = (), retrievers: Sequence[str] = ()
) -> dict[str, Any]:
    """Models, quality and importances learned from ``examples``, or the reason why there are none.

    Args:
      table: the examples.   names: of their features.
      scorers, retrievers: names of scores; a scorer that a retriever outranks is not learned from.

    Returns:
      ``usable``: whether what was taught takes part in judging; ``reason`` if not; ``several``: positives among the
      examples whose query has another;
      ``features`` in their order; ``dropped``: those that tell labels, and why; ``outranked``: scorers that are not
      used, and why; ``distrusted``: whether something tells the labels still, so that nothing can be promised;
      ``findings``: lines for a person.
    """
    table = table.take(pc.sort_indices(table["order"]))  # whatever the shards: sums go by the order of rows
    note: dict[str, Any] = {"usable": False, "weight": 0.0, "features": names, "distrusted": False}
    note |= {"several": 0, "dropped": {}, "outranked": {}, "findings": []}
    values = arrays.matrix(table, "features").astype(np.float64)
    labels, blind = table["positive"].to_numpy(), table["blind"].to_numpy()
    weights = table["weight"].to_numpy().astype(np.float64)
    fold = table["fold"].to_numpy().astype(np.int64)
    try:
        with process_wide.one_blas_thread():
            if labels.any() and not labels.all():
                note["dropped"] = classifier.telling(values, labels, blind, table["several"].to_numpy(), names)
                note["outranked"] = classifier.outranked(values, labels, weights, names, scorers, retrievers)
            unused = {f"{name}{suffix}" for name in note["outranked"] for suffix in ("", "_standardised", "_gap")}
            values[:, [name in note["dropped"] or name in unused for name in names]] = np.nan
            models, note["quality"] = classifier.learn(values, labels, weights, fold)
            too_good = classifier.separation(models, values, labels, fold, blind)
        note["models"] = [vars(model) for model in models]
        note["importances"] = classifier.importances(models, names)
        auc = note["quality"]["auc"]
        note["usable"] = auc >= classifier.USEFUL and too_good is None
        note["several"] = int((labels & table["several"].to_numpy()).sum())
        if too_good is not None:
            note["reason"], note["distrusted"] = f"it tells labels too well to be true, {too_good}", True
            note["findings"].append(
                f"labelled positives are told from candidates that look as good {too_good}: what was labelled is not"
                " drawn from the positives at random, or something tells the labels"
            )
        elif not note["usable"]:
            note["reason"] = f"the area under the curve must be at least {classifier.USEFUL}, it is {auc:.3f}"
    except classifier.NotEnough as error:
        note["reason"] = str(error)
    return note
