"""The figures of the log: volumes, revenue, the season and missing values, counted inside DuckDB.

What leaves DuckDB is counted by week (or month) already, so thirty million rows need no more memory
here than a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from configs.duck import parquet, quoted
from configs.settings import CANONICAL
from features.report.buckets import Buckets, column_names, make_buckets, rows
from features.report.quarantine import Quarantine, read_quarantine

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Column:
    name: str
    missing: int
    share_by_bucket: list[float]  # missing, of the raw rows of the bucket


@dataclass(frozen=True)
class Log:
    raw: int
    valid: int
    customers: int
    invoices: int
    revenue: float  # sales less cancellations
    first: date  # of the valid rows
    last: date
    buckets: Buckets
    valid_by_bucket: list[float]
    revenue_by_bucket: list[float]
    revenue_by_month: dict[date, float]
    lines_by_hour: dict[tuple[int, int], int]  # (weekday, hour) -> valid lines; Monday is 0
    columns: list[Column]
    quarantine: Quarantine


def read_log(connection: DuckDBPyConnection, parts: list[Path], validated: Path) -> Log:
    """Count the log, which has a valid row: without one there was no training table.

    parts: raw rows in canonical form.  validated: the folder with the contract's outcome.
    """
    transactions = parquet(validated / "transactions.parquet")
    # Money in whole hundredths: the sum is then the same in whatever order the rows come.
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE valid_hours AS
        SELECT date_trunc('hour', invoiced_at) AS hour, count(*) AS lines,
               coalesce(sum(CAST(round(quantity * unit_price * 100) AS BIGINT)), 0) AS cents
        FROM {transactions} GROUP BY ALL
    """)
    [(first, last, valid, cents)] = rows(
        connection,
        "SELECT min(hour)::DATE, max(hour)::DATE, coalesce(sum(lines), 0)::BIGINT,"
        " coalesce(sum(cents), 0)::BIGINT FROM valid_hours",
    )
    [(customers, invoices)] = rows(
        connection,
        f"SELECT count(DISTINCT customer_id), count(DISTINCT invoice_id) FROM {transactions}",
    )
    buckets = make_buckets(connection, first, last)
    by_bucket = rows(
        connection,
        f"SELECT {buckets.of('hour')}, sum(lines)::BIGINT, sum(cents)::BIGINT / 100"
        " FROM valid_hours GROUP BY ALL",
    )
    by_month = rows(
        connection,
        "SELECT date_trunc('month', hour)::DATE AS month, sum(cents)::BIGINT / 100"
        " FROM valid_hours GROUP BY month ORDER BY month",
    )
    by_hour = rows(
        connection,
        "SELECT isodow(hour) - 1, hour(hour), sum(lines)::BIGINT FROM valid_hours GROUP BY ALL",
    )
    raw, columns = _columns(connection, parts, buckets)
    return Log(
        raw=raw,
        valid=valid,
        customers=customers,
        invoices=invoices,
        revenue=cents / 100,
        first=first,
        last=last,
        buckets=buckets,
        valid_by_bucket=buckets.spread({day: lines for day, lines, _ in by_bucket}),
        revenue_by_bucket=buckets.spread({day: money for day, _, money in by_bucket}),
        revenue_by_month=dict(by_month),
        lines_by_hour={(weekday, hour): lines for weekday, hour, lines in by_hour},
        columns=columns,
        quarantine=read_quarantine(connection, validated / "quarantine.parquet", buckets),
    )


def _columns(
    connection: DuckDBPyConnection, parts: list[Path], buckets: Buckets
) -> tuple[int, list[Column]]:
    """Raw rows in all, and the missing values of each canonical column."""
    held = set(column_names(connection, parquet(parts)))
    names = [name for name in CANONICAL if name in held]
    missing = ", ".join(f"count(*) - count({quoted(name)})" for name in names)
    found = rows(
        connection,
        f"SELECT {buckets.of('invoiced_at')}, count(*), {missing} FROM {parquet(parts)}"
        " GROUP BY ALL",
    )
    return sum(lines for _, lines, *_ in found), [
        Column(
            name=name,
            missing=sum(counts[place] for counts in found),
            share_by_bucket=buckets.spread(
                {counts[0]: counts[place] / counts[1] for counts in found}
            ),
        )
        for place, name in enumerate(names, start=2)
    ]
