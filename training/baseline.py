"""What any model has to beat: the one column that says most by itself.

It is found on the training rows, as the leak check finds it (`features/roc_auc.py`): a number as a
ranking, a category by how often the label is 1 in each of its values. No column is left out because
it is good, such as `buy_probability`, which is a whole formula: whoever has the column has it
without a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.roc_auc import category_alone, category_rates, places, roc_auc_alone
from features.table import Rows
from training.metrics import point


@dataclass(frozen=True)
class Baseline:
    """One feature as a ranking. direction: 1 where more means more likely, -1 where less; None of a
    category.  missing: where rows without a value are ranked, first or last; None of a category,
    where they are one more value.  roc_auc: on the test rows."""

    feature: str
    direction: int | None
    missing: str | None
    roc_auc: float


def find_baseline(
    train: Rows, test: Rows, schema: Sequence[dict[str, Any]]
) -> tuple[Baseline, np.ndarray]:
    """The baseline, and its ranking of the test rows, float (n,) in [0, 1].

    train, test: rows with labels of both classes.  schema: of their columns, at least one.
    """
    assert train.y is not None and test.y is not None
    _, group = np.unique(train.unit, return_inverse=True)
    alone = [
        (category_alone if feature.get("categories") else roc_auc_alone)(
            train.x[:, column].astype(float), train.y, group
        )
        for column, feature in enumerate(schema)
    ]
    column = max(range(len(alone)), key=lambda place: alone[place].score)
    feature, best, values = schema[column], alone[column], test.x[:, column].astype(float)
    name = str(feature["name"])
    if categories := feature.get("categories"):
        codes = train.x[:, column].astype(float)
        ranking = category_rates(codes, train.y, len(categories) + 1)[places(values)]
        return Baseline(name, None, None, point(test.y, ranking)["roc_auc"]), ranking
    ranking = _ranking(values, best.direction, best.missing)
    found = Baseline(name, best.direction, best.missing, point(test.y, ranking)["roc_auc"])
    return found, ranking


def _ranking(values: np.ndarray, direction: int, missing: str) -> np.ndarray:
    """A column (n,) as ranks in [0, 1], ties alike: its ROC AUC is the column's own."""
    gap = np.inf if missing == "first" else -np.inf
    ranked = np.where(np.isnan(values), gap, direction * values)
    found, rank = np.unique(ranked, return_inverse=True)
    return rank / max(len(found) - 1, 1)
