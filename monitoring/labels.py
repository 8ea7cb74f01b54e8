"""What the customers of a list of scores did afterwards: the label of training, once it is known.

A label of 90 days is known 90 days after the as-of date. Before that only buyers are known, so a
date whose window is not over is never joined. The label and the single feature that a champion is
compared with come from the SQL of training (`features/engine.py`); the log may hold later rows,
which change nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.duck import connect, parquet
from configs.settings import Compute, Features
from features.catalogue import CATALOGUE, Feature
from features.engine import build_features, make, read_log

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Outcomes:
    """The scores of one as-of date by one version, and who bought. Arrays (n,), by customer.

    customer: int64, the same number for the same customer in all that were read together.
    probability: float64.  bought: int8 of 0 and 1.  baseline: float64, the champion's best single
    feature as a ranking (more is more likely); None where none was named.  whole_from: from this
    as-of date on, the log holds all of the `active_days` before it; None where that is not known.
    """

    as_of: date
    version: int
    customer: np.ndarray
    probability: np.ndarray
    bought: np.ndarray
    baseline: np.ndarray | None = None
    baseline_name: str | None = None
    whole_from: date | None = None

    def __len__(self) -> int:
        return len(self.customer)


def ripe(as_of: date, days: int, known_until: date) -> bool:
    """Whether it is known who bought in the `days` from `as_of` on.

    known_until: the first day whose rows are not known, such as the first day after the last whole
    month of the log.
    """
    return as_of + timedelta(days=days) <= known_until


def read_outcomes(
    scores: Sequence[Path],
    transactions: Path | list[Path],
    settings: Features,
    *,
    known_until: date,
    days: int | None = None,
    baseline: Mapping[str, Any] | None = None,
    compute: Compute | None = None,
    folder: Path | None = None,
) -> list[Outcomes]:
    """Join scores with what was bought in the window after their as-of date, all in one pass.

    scores: Parquet files with customer_id, as_of, probability and version, each of one as-of date
    and version; the result is in their order by date and version.  transactions: valid rows in
    canonical columns.  days: length of the window; none: settings.horizon_days.  baseline: what
    `bundle.json` says of the single feature: feature, direction (1 or -1), missing (first or last);
    a feature that the catalogue does not have (any more) is left out.  folder: where DuckDB may
    spill.

    Raises ValueError for a date whose window is not over, and where a file does not hold one
    as-of date and version, or a customer twice.
    """
    days = settings.horizon_days if days is None else days
    feature = _single_feature(baseline)
    if not scores:
        return []
    with connect(folder, compute) as connection:
        connection.execute(f"""
            CREATE TABLE scored AS
            SELECT customer_id, as_of, CAST(version AS INTEGER) AS version, probability
            FROM {parquet(list(scores))}
        """)
        dates = _dates(connection, len(scores))
        if unripe := [day for day in dates if not ripe(day, days, known_until)]:
            raise ValueError(f"the window of {days} days after {unripe[0]} is not over")
        end = max(dates) + timedelta(days=days)
        connection.execute(
            f"CREATE VIEW transactions AS FROM {parquet(transactions)} WHERE invoiced_at < '{end}'"
        )
        read_log(connection, settings)
        connection.execute("CREATE TABLE spine AS SELECT DISTINCT customer_id, as_of FROM scored")
        value = "NULL"
        if feature:
            build_features(connection, (feature,))  # before the window is changed: some read it
            value = feature.name
        connection.execute(f"SET VARIABLE horizon_days = {days}")
        make(connection, "buyers")
        (log_start,) = connection.execute("SELECT first_day FROM log_start").fetchall()[0]
        found = connection.execute(f"""
            SELECT as_of, version, dense_rank() OVER (ORDER BY customer_id) - 1 AS customer,
                   probability, CAST(buyers.customer_id IS NOT NULL AS TINYINT) AS bought,
                   CAST({value} AS DOUBLE) AS baseline
            FROM scored LEFT JOIN buyers USING (customer_id, as_of)
            {"LEFT JOIN features USING (customer_id, as_of)" if feature else ""}
            ORDER BY as_of, version, customer
        """).fetchnumpy()
    whole_from = log_start and log_start + timedelta(days=settings.active_days)
    outcomes = _split(found, baseline if feature else None)
    return [replace(one, whole_from=whole_from) for one in outcomes]


def _single_feature(baseline: Mapping[str, Any] | None) -> Feature | None:
    named = [one for one in CATALOGUE if baseline and one.name == baseline.get("feature")]
    return named[0] if named and baseline and baseline.get("direction") in (1, -1) else None


def _dates(connection: DuckDBPyConnection, files: int) -> list[date]:
    """The as-of dates. Raises ValueError where a file holds several, or two files the same."""
    found = connection.execute(
        "SELECT as_of, version, count(*), count(DISTINCT customer_id) FROM scored GROUP BY ALL"
    ).fetchall()
    if twice := [row for row in found if row[2] != row[3]]:
        day, version, rows, customers = twice[0]
        raise ValueError(f"version {version} as of {day}: {rows} rows of {customers} customers")
    if len(found) > files:
        raise ValueError(f"{files} files of scores hold {len(found)} dates and versions")
    return [day for day, *_ in found]


def _split(found: dict[str, np.ndarray], baseline: Mapping[str, Any] | None) -> Iterator[Outcomes]:
    """One Outcomes per as-of date and version of sorted rows."""
    day, version = found["as_of"].astype("datetime64[D]"), found["version"]
    if not len(day):
        return
    ranking = None
    if baseline:
        value = np.ma.filled(found["baseline"].astype(np.float64), np.nan)
        gap = np.inf if baseline.get("missing") == "first" else -np.inf
        ranking = np.where(np.isnan(value), gap, baseline["direction"] * value)
    change = (day[1:] != day[:-1]) | (version[1:] != version[:-1])
    edges = [0, *(np.flatnonzero(change) + 1), len(day)]
    for first, last in pairwise(edges):
        yield Outcomes(
            as_of=day[first].item(),
            version=int(version[first]),
            customer=found["customer"][first:last],
            probability=np.asarray(found["probability"][first:last], dtype=np.float64),
            bought=np.asarray(found["bought"][first:last], dtype=np.int8),
            baseline=None if ranking is None else ranking[first:last],
            baseline_name=str(baseline["feature"]) if baseline else None,
        )
