"""What each feature alone says about the label, as figures and as bars."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from features.report.table import Table

REACH = 0.3  # the rails run at least from .2 to .8: a weak set of features looks weak


@dataclass(frozen=True)
class Association:
    """A feature as the only predictor, on the training rows that have a value for it.

    roc_auc: above .5, buyers have larger values; below, smaller ones. Each training date is ranked
    by itself, because a model is asked about the customers of one date, and the season would
    count as skill otherwise; this is the mean over the dates, and low and high are the extremes.
    """

    name: str
    roc_auc: float
    low: float
    high: float

    @property
    def strength(self) -> float:
        return abs(self.roc_auc - 0.5)


def associations(table: Table) -> list[Association]:
    """Every feature that can be ranked on the training split, the strongest first."""
    train = table.sample["train"]
    of_date = [train["as_of"] == day for day in np.unique(train["as_of"])]
    found = []
    for name in table.features:
        each = [roc_auc(train["label"][rows], train[name][rows]) for rows in of_date]
        known = [value for value in each if value is not None]
        if known:
            found.append(Association(name, float(np.mean(known)), min(known), max(known)))
    return sorted(found, key=lambda association: (-association.strength, association.name))


def roc_auc(label: np.ndarray, values: np.ndarray) -> float | None:
    """The share of pairs of a buyer and a non-buyer in which the buyer has the larger value; ties
    count half. None where there is no such pair."""
    known = ~np.isnan(values)
    label, values = label[known] > 0, values[known]
    buyers = int(label.sum())
    others = len(label) - buyers
    if not buyers or not others:
        return None
    excess = ranks(values)[label].sum() - buyers * (buyers + 1) / 2
    return float(excess / (buyers * others))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def reach_of(ranked: list[Association]) -> float:
    """How far the rails run to either side of .5: in tenths, so that their ends can be named."""
    furthest = max((max(0.5 - one.low, one.high - 0.5) for one in ranked), default=0.0)
    return max(REACH, ceil(round(10 * furthest, 6)) / 10)


def signed_bars(ranked: list[Association]) -> list[dict[str, Any]]:
    """Where each bar begins and how wide it is, in per cent of the rail, with .5 in the middle."""
    reach = reach_of(ranked)

    def place(value: float) -> float:
        return 50 + 50 * (value - 0.5) / reach

    return [
        {
            "name": one.name,
            "roc_auc": one.roc_auc,
            "left": f"{min(50, place(one.roc_auc)):.1f}",
            "width": f"{abs(place(one.roc_auc) - 50):.1f}",
            "range_left": f"{place(one.low):.1f}",
            "range_width": f"{place(one.high) - place(one.low):.1f}",
        }
        for one in ranked
    ]
