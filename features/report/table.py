"""The figures of the training table: who is asked about, the target, and what is missing.

The outcomes of the test split are not read here. The evaluation opens them, once per run, after the
winner was chosen; a person who saw them in a picture before that could choose by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from common.duck import parquet, quoted
from features.report import plot
from features.report.log import column_names, rows
from features.report.plot import Tick
from features.table import SPLITS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SAMPLE = 40_000  # about this many rows per split are enough to draw a distribution
PARTS = 100_000  # customers are drawn by their hash, in this many parts
Z = 1.959964  # of a 95 % interval


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


def target_rate(dates: list[AsOf], first: date, last: date) -> Markup:
    """The share of buyers per as-of date with its interval; test dates as bands without a rate.
    first, last: the days that the axis covers, or more if an as-of date lies beyond."""
    first, last = min(first, *(d.day for d in dates)), max(last, *(d.day for d in dates))
    days = max((last - first).days, 1)
    known = [d for d in dates if d.rate is not None]
    high = min(1.0, 1.15 * max((d.high or 0 for d in known), default=1.0)) or 1.0
    shapes = []
    for d in dates:
        x = (d.day - first).days / days
        if d.rate is None or d.low is None or d.high is None:
            shapes.append(plot.segment(x, 0, x, 1, "sealed"))
        else:
            shapes.append(plot.segment(x, d.low / high, x, d.high / high, f"{d.split} whisker"))
            shapes.append(plot.dot(x, d.rate / high, d.split))
    said = ", ".join(f"{d.day} {d.rate:.0%}" for d in known[-12:] if d.rate is not None)
    return plot.frame(
        shapes,
        plot.time_ticks(first, last),
        [Tick(v / high, f"{v:.0%}") for v in plot.nice_ticks(0, high)],
        f"Share of customers who buy again by as-of date: {said}. Test dates are marked, not shown",
    )


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): inside 0 to 1, and fair for few customers."""
    share, square = hits / n, Z * Z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = Z / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _as_of(day: date, split: str, customers: int, buyers: int | None) -> AsOf:
    if buyers is None:
        return AsOf(day, split, customers, None, None, None, None)
    return AsOf(day, split, customers, buyers, buyers / customers, *wilson(buyers, customers))


def _missing(
    connection: DuckDBPyConnection, source: str, features: list[str]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """The share of missing values per feature and split; and features that tell nothing."""
    if not features:
        return {}, []
    numbers = [f"nullif(CAST({quoted(name)} AS DOUBLE), 'nan')" for name in features]
    held = ", ".join(f"count({number})" for number in numbers)
    varies = ", ".join(f"coalesce(min({number}) < max({number}), false)" for number in numbers)
    found = {
        split: (count, held, varies)
        for split, count, held, varies in rows(
            connection,
            f"SELECT split, count(*), [{held}], [{varies}] FROM {source} GROUP BY split",
        )
    }
    missing = {
        name: {split: 1 - held[place] / count for split, (count, held, _) in found.items()}
        for place, name in enumerate(features)
    }
    _, _, varies_in_train = found.get("train", (0, [], [False] * len(features)))
    return missing, [n for n, varies in zip(features, varies_in_train, strict=True) if not varies]


def _sample(
    connection: DuckDBPyConnection, source: str, split: str, count: int, features: list[str]
) -> dict[str, np.ndarray]:
    """The rows of some customers, the same in every run. Only the training split has its label."""
    columns = ["as_of", *map(quoted, features), *(["label"] if split == "train" else [])]
    part = PARTS if count <= SAMPLE else round(PARTS * SAMPLE / count)
    found = connection.execute(
        f"SELECT {', '.join(columns)} FROM {source}"
        f" WHERE split = '{split}' AND hash(customer_id) % {PARTS} < {part}"
        " ORDER BY as_of, customer_id"
    ).fetchnumpy()
    as_of = found.pop("as_of")
    return {"as_of": np.asarray(as_of)} | {
        name: np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)
        for name, values in found.items()
    }
