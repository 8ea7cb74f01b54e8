"""Weeks, months or years: how a log of any length is cut so that a picture of it can be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LONGEST = {"week": 3 * 366, "month": 40 * 366}  # in days; what is longer still is cut into years


@dataclass(frozen=True)
class Buckets:
    """unit: week, month or year.  days: the first day of each bucket, none left out."""

    unit: str
    days: list[date]

    def of(self, time: str) -> str:
        """The bucket of a column of times, as SQL."""
        return f"CAST(date_trunc('{self.unit}', {time}) AS DATE)"

    def spread(self, found: Mapping[Any, float]) -> list[float]:
        """One figure per bucket: 0 where nothing was found. What lies elsewhere is left out."""
        return [found.get(day, 0) for day in self.days]


def make_buckets(connection: DuckDBPyConnection, first: date, last: date) -> Buckets:
    """Buckets that cover `first` to `last`."""
    fitting = (unit for unit, days in LONGEST.items() if (last - first).days <= days)
    unit = next(fitting, "year")
    span = f"date_trunc('{unit}', DATE '{first}'), DATE '{last}', INTERVAL 1 {unit}"
    found = rows(connection, f"SELECT unnest(generate_series({span}))::DATE")
    return Buckets(unit, [day for (day,) in found])


def rows(connection: DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def column_names(connection: DuckDBPyConnection, relation: str) -> list[str]:
    return [name for name, *_ in rows(connection, f"DESCRIBE FROM {relation}")]
