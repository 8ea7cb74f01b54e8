"""Compute figures by slice of the test rows, to see where a model that is good overall is not.

Slices are defined by the features alone, before labels are read: a search for bad figures would
always find some. The slices of a log are those of the feature catalogue
(`features/catalogue.py`); those of any other table are every category, and the quarters of a few
numeric features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.statistics import percentile_interval, resamples, roc_auc_of_ties
from features.catalogue import slices

NUMERIC = 4  # numeric features of a table that are cut in quarters: the first in its order
LEAST_SHARE = 0.01  # of the rows that a category needs to be a slice of its own


@dataclass(frozen=True)
class Slice:
    """rows: bool (n,), which of the test rows belong to it."""

    name: str
    feature: str
    rows: np.ndarray


def slice_rows(x: np.ndarray, schema: Sequence[dict[str, Any]]) -> list[Slice]:
    """Return the slices of x, float32 (n, f), that have rows. schema: the columns, in order."""
    names = [str(feature["name"]) for feature in schema]
    if named := slices(names):
        result = [
            Slice(label, name, _between(x[:, names.index(name)], low, high))
            for name, bands in named.items()
            for label, low, high in bands
        ]
        return [part for part in result if part.rows.any()]
    result, numeric = [], 0
    for column, feature in zip(x.T, schema, strict=True):
        if feature.get("categories"):
            result += _categories(column, feature)
        elif numeric < NUMERIC and (quarters := _quarters(column, str(feature["name"]))):
            numeric += 1
            result += quarters
    return result


def score_slices(
    y: np.ndarray,
    p: np.ndarray,
    slices: Sequence[Slice],
    *,
    bootstrap: int,
    seed: int,
    groups: np.ndarray | None,
    champion: np.ndarray | None = None,
    min_rows: int,
) -> list[dict[str, Any]]:
    """Compute for each slice: rows, positives, judged, roc_auc with its 95 % interval, log_loss,
    mean_predicted, observed, and against_champion (the paired difference of ROC AUC), as JSON
    values; None where there is no such figure.

    y: (n,) of 0 and 1.  p, champion: probabilities (n,).  groups: (n,), as for `metrics.score`.
    judged: at least `min_rows` rows, and both classes; a figure of fewer is shown, but decides
    nothing. Whole groups of the test split are drawn, and a slice keeps its rows of each resample:
    how many it has varies as it would in another test split.
    """
    y, p = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    sides = [p] if champion is None else [p, np.asarray(champion, dtype=np.float64)]
    ranked = [[_Ranked(y[s.rows], side[s.rows]) for side in sides] for s in slices]
    drawn: list[list[list[np.ndarray]]] = [[[] for _ in sides] for _ in slices]
    if slices:
        for weights in resamples(len(y), bootstrap, seed, groups):
            small = weights.astype(np.float32)  # counts: exact, and half the memory to read
            for part, of_sides, kept in zip(slices, ranked, drawn, strict=True):
                of_slice = small[:, part.rows]
                for side, values in zip(of_sides, kept, strict=True):
                    values.append(side.roc_auc(of_slice))
    return [
        _figures(part, y[part.rows], p[part.rows], of_sides, kept, min_rows)
        for part, of_sides, kept in zip(slices, ranked, drawn, strict=True)
    ]


def worst(scored: Sequence[dict[str, Any]], count: int = 3) -> list[dict[str, Any]]:
    """Return the judged slices with the lowest ROC AUC, the lowest first."""
    return sorted((s for s in scored if s["judged"]), key=lambda s: s["roc_auc"])[:count]


class _Ranked:
    """Rows from the lowest probability to the highest, and where each run of ties starts."""

    def __init__(self, y: np.ndarray, p: np.ndarray) -> None:
        self.order = np.argsort(p, kind="stable")
        self.y = y[self.order].astype(np.float32)
        ordered = p[self.order]
        self.ties = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def roc_auc(self, weights: np.ndarray) -> np.ndarray:
        """Compute ROC AUC (r,) for weights (r, n) of rows in their original order; NaN where
        only one class occurs."""
        w = weights[:, self.order]
        all_of_tie = np.add.reduceat(w, self.ties, axis=1)
        hits = np.add.reduceat(w * self.y, self.ties, axis=1)
        return roc_auc_of_ties(hits, all_of_tie - hits)


def _figures(
    part: Slice,
    y: np.ndarray,
    p: np.ndarray,
    sides: list[_Ranked],
    drawn: list[list[np.ndarray]],
    min_rows: int,
) -> dict[str, Any]:
    both = 0 < y.sum() < len(y)
    auc = [float(side.roc_auc(np.ones((1, len(y)), np.float32))[0]) for side in sides]
    values = [np.concatenate(chunk) for chunk in drawn]
    safe = np.clip(p, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    low, high = percentile_interval(values[0]) or (None, None)
    versus = None
    if both and len(sides) == 2:
        ends = percentile_interval(values[0] - values[1]) or (None, None)
        versus = {"difference": auc[0] - auc[1], "low": ends[0], "high": ends[1]}
    return {
        "slice": part.name,
        "feature": part.feature,
        "rows": len(y),
        "positives": int(y.sum()),
        "judged": bool(both and len(y) >= min_rows),
        "roc_auc": auc[0] if both else None,
        "roc_auc_low": low if both else None,
        "roc_auc_high": high if both else None,
        "log_loss": float(-np.mean(y * np.log(safe) + (1 - y) * np.log1p(-safe))),
        "mean_predicted": float(p.mean()),
        "observed": float(y.mean()),
        "against_champion": versus,
    }


def _between(column: np.ndarray, low: float, high: float) -> np.ndarray:
    """Select the rows of a band. Its ends are whole days or orders: a value between two bands
    belongs to the lower one."""
    whole = np.floor(column)
    return (whole >= low) & (whole <= high)


def _categories(column: np.ndarray, feature: dict[str, Any]) -> list[Slice]:
    name, known = str(feature["name"]), [str(value) for value in feature["categories"]]
    result = [Slice(f"{name} = {value}", name, column == i) for i, value in enumerate(known)]
    result.append(Slice(f"{name}: another value", name, column >= len(known)))
    result.append(Slice(f"{name}: missing", name, np.isnan(column)))
    return [part for part in result if part.rows.mean() >= LEAST_SHARE]


def _quarters(column: np.ndarray, name: str) -> list[Slice]:
    """Return four slices of about equal count, or one per value if there are at most four; an empty
    list for a column with a single value."""
    missing = np.isnan(column)
    values = np.unique(column[~missing])
    if len(values) < 2:
        return []
    if len(values) <= 4:
        result = [Slice(f"{name} = {value:g}", name, column == value) for value in values]
    else:
        ends = np.unique(np.quantile(column[~missing], [0.25, 0.5, 0.75, 1], method="inverted_cdf"))
        result, below = [], -np.inf
        for end in ends:
            rows = (column > below) & (column <= end)
            inside = column[rows]
            label = f"{inside.min():g}" + (f" to {end:g}" if end > inside.min() else "")
            result.append(Slice(f"{name} {label}", name, rows))
            below = end
    result.append(Slice(f"{name}: missing", name, missing))
    return [part for part in result if part.rows.mean() >= LEAST_SHARE]
