"""What each feature alone says about the label, and how its values differ between the splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.report.table import SPLITS, Table

SHOWN = 9  # features whose distributions are drawn
ALIKE = 0.8  # of two features that rank the customers this much alike, one is drawn
POINTS = np.linspace(0, 1, 101)


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


@dataclass(frozen=True)
class Distribution:
    """The values of a feature: `quantiles[split]` at the shares `POINTS`.

    gap: the largest distance between the split's curve and the training curve, 0 to 1.
    """

    name: str
    quantiles: dict[str, np.ndarray]
    gap: dict[str, float]
    log_scale: bool


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


def distributions(table: Table, ranked: list[Association]) -> list[Distribution]:
    """The strongest features, without those that say the same again."""
    train = table.sample["train"]
    chosen: list[str] = []
    rank_of: dict[str, np.ndarray] = {}
    for name in (association.name for association in ranked):
        values = train[name]
        known = ~np.isnan(values)
        rank_of[name] = np.full(len(values), (known.sum() + 1) / 2)  # missing: in the middle
        rank_of[name][known] = ranks(values[known])
        if not any(_alike(rank_of[name], rank_of[other]) for other in chosen):
            chosen.append(name)
        if len(chosen) == SHOWN:
            break
    return [_distribution(table, name) for name in chosen]


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.std() == 0 or other.std() == 0:
        return False
    return abs(float(np.corrcoef(one, other)[0, 1])) > ALIKE


def _distribution(table: Table, name: str) -> Distribution:
    values = {split: table.sample[split][name] for split in SPLITS}
    known = {split: np.sort(v[~np.isnan(v)]) for split, v in values.items()}
    known = {split: v for split, v in known.items() if len(v)}
    middle, high = np.quantile(known["train"], [0.5, 0.99])
    return Distribution(
        name=name,
        quantiles={
            split: np.quantile(v, POINTS, method="inverted_cdf") for split, v in known.items()
        },
        gap={
            split: _largest_gap(known["train"], v) for split, v in known.items() if split != "train"
        },
        # Money and counts: a few large values would press all others against the axis.
        log_scale=bool(known["train"][0] >= 0 and high > 20 and high > 5 * middle),
    )


def _largest_gap(one: np.ndarray, other: np.ndarray) -> float:
    """Kolmogorov and Smirnov's distance of two samples, sorted."""
    at = np.concatenate([one, other])
    share_of_one = np.searchsorted(one, at, side="right") / len(one)
    share_of_other = np.searchsorted(other, at, side="right") / len(other)
    return float(np.abs(share_of_one - share_of_other).max())
