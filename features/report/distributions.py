"""How the values of a feature differ between the splits: figures, and a small picture of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from features.catalogue import CATALOGUE
from features.report import plot
from features.report.association import Association, ranks
from features.report.plot import Tick, compact
from features.report.table import Table
from features.table import SPLITS

SHOWN = 9  # features whose distributions are drawn
ALIKE = 0.8  # of two features that rank the customers this much alike, one is drawn
POINTS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Distribution:
    """The values of a feature: `quantiles[split]` at the shares `POINTS`.

    gap: the largest distance between the split's curve and the training curve, 0 to 1.
    """

    name: str
    quantiles: dict[str, np.ndarray]
    gap: dict[str, float]
    log_scale: bool


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


def curve(found: Distribution) -> dict[str, Any]:
    unit = next((feature.unit for feature in CATALOGUE if feature.name == found.name), "value")
    return {
        "name": found.name,
        "unit": unit,
        "log_scale": found.log_scale,
        "gap": found.gap,
        "chart": cumulative(found),
    }


def cumulative(found: Distribution) -> Markup:
    """The share of customers at or below each value, a line per split."""
    pooled = np.concatenate(list(found.quantiles.values()))
    low, high = np.quantile(pooled, [0.01, 0.985])
    transform = np.log1p if found.log_scale else np.asarray
    start, end = float(transform(low)), float(transform(high))
    if not end > start:
        start, end = start - 0.5, end + 0.5
    values = _log_ticks(low, high) if found.log_scale else plot.nice_ticks(low, high, 4)

    def place(value: np.ndarray | float) -> np.ndarray:
        return np.clip((transform(np.asarray(value, dtype=float)) - start) / (end - start), 0, 1)

    said = ", ".join(f"{split} {found.quantiles[split][50]:.3g}" for split in found.quantiles)
    return plot.frame(
        [
            plot.line(place(found.quantiles[split]), POINTS, f"{split} curve")
            for split in SPLITS
            if split in found.quantiles
        ],
        _apart([Tick(float(place(v)), compact(v)) for v in values]),
        [Tick(share, f"{share:.0%}") for share in (0, 0.5, 1)],
        f"Cumulative distribution of {found.name} by split; the medians are {said}",
        "small",
    )


def _log_ticks(low: float, high: float) -> list[float]:
    powers = [float(10**power) for power in range(10) if 10**power <= high]
    shown = [power for power in powers if power >= low]
    if len(shown) > 4:
        shown = shown[len(shown) % 2 :: 2]
    return ([0.0] if low <= 0 else []) + shown


def _apart(ticks: list[Tick]) -> list[Tick]:
    """Without the ticks whose labels would run into the one before."""
    kept: list[Tick] = []
    for tick in ticks:
        if not kept or tick.at - kept[-1].at > 0.12:
            kept.append(tick)
    return kept
