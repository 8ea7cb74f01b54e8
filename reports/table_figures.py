"""Compute the figures of the training table: its customers, the target, what is missing, what
each feature alone says about the label, and how its values differ between the splits.

The outcomes of the test split are not read here. The evaluation opens them, once per run, after the
winner was chosen; a person who saw them in a picture before that could choose by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.duck import parquet, quoted
from common.statistics import ks, rank, ranks, wilson
from features.table import SPLITS
from reports.log_counts import column_names, rows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SAMPLE = 40_000  # about this many rows per split are enough to draw a distribution
PARTS = 100_000  # customers are drawn by their hash, in this many parts
REACH = 0.3  # the rails run at least from .2 to .8: a weak set of features looks weak
SHOWN = 9  # features whose distributions are drawn
SAME = 0.8  # of two features whose ranks correlate more than that, one is drawn
POINTS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class AsOf:
    """One as-of date. `buyers`, `rate` and its interval are None on the test split."""

    day: date
    split: str
    customers: int
    buyers: int | None
    rate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Table:
    as_of: list[AsOf]
    features: list[str]
    missing: dict[str, dict[str, float]]  # feature -> split -> share
    constant: list[str]  # features with one value or none on the training split
    sample: dict[str, dict[str, np.ndarray]]  # split -> column -> values; missing is NaN
    sampled: bool  # whether the sample is less than the whole


def read_table(connection: DuckDBPyConnection, table: Path) -> Table:
    """Count the training table, and draw a sample of its rows."""
    source = parquet(table)
    names = column_names(connection, source)
    features = names[names.index("split") + 1 : names.index("label")]
    as_of = [
        _as_of(*row)
        for row in rows(
            connection,
            "SELECT as_of::DATE, split, count(*), sum(label) FILTER (WHERE split <> 'test')::BIGINT"
            f" FROM {source} GROUP BY ALL ORDER BY ALL",
        )
    ]
    missing, constant = _missing(connection, source, features)
    count = {s: sum(dates.customers for dates in as_of if dates.split == s) for s in SPLITS}
    return Table(
        as_of=as_of,
        features=features,
        missing=missing,
        constant=constant,
        sample={s: _sample(connection, source, s, count[s], features) for s in SPLITS},
        sampled=max(count.values()) > SAMPLE,
    )


def _as_of(day: date, split: str, customers: int, buyers: int | None) -> AsOf:
    if buyers is None:
        return AsOf(day, split, customers, None, None, None, None)
    share = buyers / customers
    return AsOf(day, split, customers, buyers, share, *wilson(share, customers))


def _missing(
    connection: DuckDBPyConnection, source: str, features: list[str]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """The share of missing values per feature and split; and features with one value."""
    if not features:
        return {}, []
    numbers = [f"nullif(CAST({quoted(name)} AS DOUBLE), 'nan')" for name in features]
    held = ", ".join(f"count({number})" for number in numbers)
    varies = ", ".join(f"coalesce(min({number}) < max({number}), false)" for number in numbers)
    counts = {
        split: (count, held, varies)
        for split, count, held, varies in rows(
            connection,
            f"SELECT split, count(*), [{held}], [{varies}] FROM {source} GROUP BY split",
        )
    }
    missing = {
        name: {split: 1 - held[place] / count for split, (count, held, _) in counts.items()}
        for place, name in enumerate(features)
    }
    _, _, varies_in_train = counts.get("train", (0, [], [False] * len(features)))
    return missing, [n for n, varies in zip(features, varies_in_train, strict=True) if not varies]


def _sample(
    connection: DuckDBPyConnection, source: str, split: str, count: int, features: list[str]
) -> dict[str, np.ndarray]:
    """The rows of some customers, the same in every run. Only the training split has its label."""
    columns = ["as_of", *map(quoted, features), *(["label"] if split == "train" else [])]
    part = PARTS if count <= SAMPLE else round(PARTS * SAMPLE / count)
    arrays = connection.execute(
        f"SELECT {', '.join(columns)} FROM {source}"
        f" WHERE split = '{split}' AND hash(customer_id) % {PARTS} < {part}"
        " ORDER BY as_of, customer_id"
    ).fetchnumpy()
    as_of = arrays.pop("as_of")
    return {"as_of": np.asarray(as_of)} | {
        name: np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)
        for name, values in arrays.items()
    }


# --- what a feature alone says about the label ---------------------------------------------------


@dataclass(frozen=True)
class Association:
    """A feature as the only predictor, on the training rows that have a value for it.

    roc_auc: above .5, buyers have larger values; below, smaller ones. Each training date is ranked
    by itself, because a model scores the customers of one date, and the season would
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
    """Return every feature that can be ranked on the training split, the strongest first."""
    train = table.sample["train"]
    of_date = [train["as_of"] == day for day in np.unique(train["as_of"])]
    ranked = []
    for name in table.features:
        each = [roc_auc(train["label"][rows], train[name][rows]) for rows in of_date]
        known = [value for value in each if value is not None]
        if known:
            ranked.append(Association(name, float(np.mean(known)), min(known), max(known)))
    return sorted(ranked, key=lambda association: (-association.strength, association.name))


def roc_auc(label: np.ndarray, values: np.ndarray) -> float | None:
    """Return the ROC AUC of the rows that have a value. None where one of the two labels does not
    occur among them."""
    known = ~np.isnan(values)
    ranked = rank(values[known], label[known] > 0)
    return None if ranked is None else ranked.roc_auc


def reach_of(ranked: list[Association]) -> float:
    """Return how far the rails run to either side of .5: in tenths, so that their ends can be
    named."""
    furthest = max((max(0.5 - one.low, one.high - 0.5) for one in ranked), default=0.0)
    return max(REACH, ceil(round(10 * furthest, 6)) / 10)


def signed_bars(ranked: list[Association]) -> list[dict[str, Any]]:
    """Return where each bar begins and how wide it is, in per cent of the rail."""
    reach = reach_of(ranked)

    def place(value: float) -> float:
        return 50 + 50 * (value - 0.5) / reach

    return [
        {
            "name": association.name,
            "roc_auc": association.roc_auc,
            "left": f"{min(50, place(association.roc_auc)):.1f}",
            "width": f"{abs(place(association.roc_auc) - 50):.1f}",
            "range_left": f"{place(association.low):.1f}",
            "range_width": f"{place(association.high) - place(association.low):.1f}",
        }
        for association in ranked
    ]


# --- how its values differ between the splits ----------------------------------------------------


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
    """Choose the strongest features, without those whose ranks correlate."""
    train = table.sample["train"]
    chosen: list[str] = []
    rank_of: dict[str, np.ndarray] = {}
    for name in (association.name for association in ranked):
        rank_of[name] = ranks(train[name])
        if not any(_correlated(rank_of[name], rank_of[other]) for other in chosen):
            chosen.append(name)
        if len(chosen) == SHOWN:
            break
    return [_distribution(table, name) for name in chosen]


def _correlated(first: np.ndarray, second: np.ndarray) -> bool:
    if first.std() == 0 or second.std() == 0:
        return False
    return abs(float(np.corrcoef(first, second)[0, 1])) > SAME


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
        gap={split: ks(known["train"], v) for split, v in known.items() if split != "train"},
        # Money and counts: a few large values would press all others against the axis.
        log_scale=bool(known["train"][0] >= 0 and high > 20 and high > 5 * middle),
    )
