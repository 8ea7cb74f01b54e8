"""Does a labelled table know its own answer? Only one of the two questions that a log is asked
(`features/leaks.py`) can be asked here: no history is there to end earlier, so nothing is worked
out again. What is left is that a single column should not be suspiciously good by itself.

A number is ranked as it is. A category has no order: every other row of the table, whose order is
that of a hash, orders the categories by how often the label is 1 there, and the other half are
ranked by it. An order that was learnt on the rows it ranks would flatter a column of many rare
categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from features.catalogue import Feature
from features.leaks import ROWS_OF_A_CLASS, ROWS_SCORED, Leak, LeakReport
from features.roc_auc import RocAuc, roc_auc_alone
from features.table import read_rows


def check_table_leaks(table: Path, features: Sequence[Feature], limit: float) -> LeakReport:
    """Every column by itself on the training split; leaks are those surely above `limit`."""
    rows = read_rows(table, ("train",), tuple(feature.name for feature in features))
    assert rows.y is not None
    rarer = int(np.bincount(rows.y, minlength=2).min())
    if rarer < ROWS_OF_A_CLASS:
        return LeakReport((), limit, 0, 0, (), None)
    every = max(1, min(len(rows) // ROWS_SCORED, rarer // (10 * ROWS_OF_A_CLASS)))
    label, x = rows.y[::every], rows.x[::every]  # the file's order is that of a hash
    scores = {
        feature.name: _score(x[:, place], label, bool(feature.categories))
        for place, feature in enumerate(features)
    }
    leaks = tuple(
        Leak(name, "strong", score.score, score.low, limit)
        for name, score in scores.items()
        if score.low > limit
    )
    best = max(scores, key=lambda name: scores[name].score)
    return LeakReport(leaks, limit, len(label), 0, (), (best, round(scores[best].score, 4)))


def _score(values: np.ndarray, label: np.ndarray, categorical: bool) -> RocAuc:
    if categorical:
        codes = np.where(np.isnan(values), -1, values).astype(int) + 1
        learn = np.arange(len(codes)) % 2 == 0
        rows = np.bincount(codes[learn], minlength=codes.max() + 1)
        hits = np.bincount(codes[learn], weights=label[learn], minlength=codes.max() + 1)
        mean = label[learn].mean()
        rate = (hits + mean) / (rows + 1)  # a category that was not seen has the mean
        values, label = rate[codes[~learn]], label[~learn]
    return roc_auc_alone(values.astype(float), label, np.arange(len(label)))
