"""Check whether a column of a labelled table knows the label.

Of the two checks of a log (`features/leaks.py`) only the second is possible: a table has no history
that could end earlier, so nothing can be computed again. A column must not be suspiciously good by
itself, nor tell the label by having a value at all (`features/roc_auc.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from features.catalogue import Feature
from features.leak_report import ROWS_OF_A_CLASS, ROWS_SCORED, SHOWN, LeakReport, suspicious
from features.roc_auc import category_alone, presence_alone, roc_auc_alone
from features.table import read_rows


def check_table_leaks(table: Path, features: Sequence[Feature], limit: float) -> LeakReport:
    """Every column by itself on the training split; leaks are those significantly above `limit`."""
    rows = read_rows(table, ("train",), tuple(feature.name for feature in features))
    assert rows.y is not None
    rarer = int(np.bincount(rows.y, minlength=2).min())
    if rarer < ROWS_OF_A_CLASS:
        return LeakReport((), limit, 0, 0, (), None)
    every = max(1, min(len(rows) // ROWS_SCORED, rarer // (10 * ROWS_OF_A_CLASS)))
    label, x = rows.y[::every], rows.x[::every].astype(float)  # the order is that of a hash
    group = np.arange(len(label))
    if rows.group is not None:
        _, group = np.unique(rows.group[::every], return_inverse=True)
    scores, presence = {}, {}
    for feature, values in zip(features, x.T, strict=True):
        alone = category_alone if feature.categories else roc_auc_alone
        scores[feature.name] = alone(values, label, group)
        presence[feature.name] = presence_alone(values, label, group)
    ranked = sorted(scores, key=lambda name: -scores[name].score)[:SHOWN]
    strong = tuple((name, round(scores[name].score, 4)) for name in ranked)
    leaks = tuple(suspicious(scores, presence, limit))
    return LeakReport(leaks, limit, len(label), 0, (), strong[0], strong)
