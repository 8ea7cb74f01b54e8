"""Render the data report of a labelled table: what came in, what was left out, what a column holds.

As in the report of a log, outcomes are shown of the training split only: the test split is opened
once, by the evaluation, after the winner was chosen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from common.duck import connect, parquet
from common.statistics import ks
from configs.settings import Compute
from features.catalogue import Feature
from features.categories import missing_name, other_name
from features.table import SPLITS, read_rows
from reports import page
from reports.log_counts import EXAMPLES
from reports.svg import sparkline
from reports.table_figures import roc_auc
from reports.words import compact

BINS = 24
SHOWN = 12  # categories of a feature


@dataclass(frozen=True)
class Shown:
    """One feature: missing: split -> share.  gap: the largest difference of validation or test to
    train, as shares of categories or of the curves of numbers.  roc_auc: ROC AUC on the training
    split of a number; None for a category.  levels: (text, share of the rows, positive rate)."""

    feature: Feature
    missing: dict[str, float]
    gap: float
    roc_auc: float | None
    picture: Markup
    range: str
    levels: list[tuple[str, float, float]]
    useless: str


def write_table_report(
    validated: Path,
    table: Path,
    features: Sequence[Feature],
    target: Path,
    *,
    title: str,
    predicted: str,
    useless: dict[str, str],
    compute: Compute,
) -> None:
    """Write the page to `target`.

    validated: the folder with quarantine.parquet and contract.json.  table: the training table.
    predicted: the outcome in words.  useless: feature -> why nothing is learnt from it.
    """
    names = tuple(feature.name for feature in features)
    train = read_rows(table, ("train",), names)
    x = {split: read_rows(table, (split,), names, label=False).x for split in SPLITS}
    contract = json.loads((validated / "contract.json").read_text(encoding="utf-8"))
    assert train.y is not None
    context = {
        "title": title,
        "predicted": predicted,
        "rows": contract["rows"],
        "findings": {finding["code"]: finding for finding in contract["findings"]},
        "splits": {split: len(x[split]) for split in SPLITS},
        "rate": float(train.y.mean()),
        "shown": [
            _shown(feature, place, x, train.y, useless.get(feature.name, ""))
            for place, feature in enumerate(features)
        ],
        "examples": _examples(validated / "quarantine.parquet", compute),
    }
    page.write_page(target, "labelled.html.jinja", context)


def _shown(
    feature: Feature, place: int, x: dict[str, np.ndarray], y: np.ndarray, useless: str
) -> Shown:
    columns = {split: rows[:, place].astype(np.float64) for split, rows in x.items()}
    missing = {split: float(np.isnan(column).mean()) for split, column in columns.items()}
    known = {split: np.sort(column[~np.isnan(column)]) for split, column in columns.items()}
    gaps = [_gap(known["train"], known[split], feature) for split in ("valid", "test")]
    if feature.categories:
        levels, picture, spread, auc = _levels(feature, columns["train"], y), Markup(""), "", None
    else:
        levels, auc = [], roc_auc(y, columns["train"])
        picture, spread = histogram(known["train"])
    return Shown(feature, missing, max(gaps), auc, picture, spread, levels, useless)


def _gap(first: np.ndarray, second: np.ndarray, feature: Feature) -> float:
    """The distance of two samples: Kolmogorov and Smirnov's, or the total variation of codes."""
    if not len(first) or not len(second):
        return 0.0
    if feature.categories:
        size = len(feature.categories) + 1
        shares = [np.bincount(v.astype(int), minlength=size) / len(v) for v in (first, second)]
        return float(np.abs(shares[0] - shares[1]).sum() / 2)
    return ks(first, second)


def _levels(feature: Feature, codes: np.ndarray, y: np.ndarray) -> list[tuple[str, float, float]]:
    names = [*feature.categories, other_name(feature.categories)]
    levels = [(name, codes == code) for code, name in enumerate(names)]
    levels.append((missing_name(feature.categories), np.isnan(codes)))
    shares = []
    for name, rows in levels:
        if rows.any():
            shares.append((name, float(rows.mean()), float(y[rows].mean())))
    return sorted(shares, key=lambda level: -level[1])[:SHOWN]


def histogram(values: np.ndarray) -> tuple[Markup, str]:
    """Draw the middle 98 % of the values in bars, and say their ends and median."""
    if not len(values):
        return Markup(""), "no value"
    low, high = np.quantile(values, [0.01, 0.99])
    least = BINS * float(np.spacing(max(abs(low), abs(high))))  # or bars have no width
    if high - low <= least:
        low, high = values[0] - max(0.5, least), values[-1] + max(0.5, least)
    counts, _ = np.histogram(values, bins=BINS, range=(low, high))
    median = compact(float(np.median(values)))
    return sparkline([float(count) for count in counts], "money"), (
        f"{compact(float(values[0]))} to {compact(float(values[-1]))}, median {median}"
    )


def _examples(quarantine: Path, compute: Compute) -> list[dict[str, Any]]:
    """The first rows of each reason: where they stand, and what could not be read."""
    with connect(quarantine.parent, compute) as connection:
        rows = connection.execute(f"""
            SELECT reason, source, source_row, unreadable, CAST(cells AS VARCHAR)
            FROM (SELECT *, unnest(reasons) AS reason FROM {parquet(quarantine)})
            QUALIFY row_number() OVER (PARTITION BY reason ORDER BY source, source_row)
                    <= {EXAMPLES}
            ORDER BY reason, source, source_row
        """).fetchall()
    columns = ("reason", "source", "row", "unreadable", "cells")
    return [dict(zip(columns, row, strict=True)) for row in rows]
