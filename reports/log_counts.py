"""Count the log and its quarantine inside DuckDB: volumes, revenue, the season, missing values, and
the rows by reason with a few of each to look at.

What leaves DuckDB is counted by week (or month) already, so thirty million rows need no more memory
here than a thousand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.duck import parquet, quoted
from configs.source import CANONICAL
from reports.charts import robust_ends

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LONGEST = {"week": 3 * 366, "month": 40 * 366}  # in days; what is longer still is cut into years
STRAY = 0.005  # of the rows may lie outside the charts at either end, if they lie far off
SPARSE = 0.05  # of the usual rows: a bucket with fewer has no share worth showing
EXAMPLES = 3  # quarantined rows shown per reason


@dataclass(frozen=True)
class Buckets:
    """unit: week, month or year.  days: the first day of each bucket, none left out.  first, last:
    the days that they cover."""

    unit: str
    days: list[date]
    first: date
    last: date

    def of(self, time: str) -> str:
        """The bucket of a column of times, as SQL."""
        return f"CAST(date_trunc('{self.unit}', {time}) AS DATE)"

    def spread(self, figures: Mapping[Any, float]) -> list[float]:
        """Return one figure per bucket: 0 where there is none. Other days are left out."""
        return [figures.get(day, 0) for day in self.days]


@dataclass(frozen=True)
class Column:
    name: str
    missing: int
    share_by_bucket: list[float]  # missing, of the raw rows of the bucket; 0 in a sparse one
    untimed: int  # of the missing, those in rows without a time


@dataclass(frozen=True)
class Log:
    raw: int
    valid: int
    customers: int
    invoices: int
    revenue: float  # sales less cancellations
    first: date  # of the valid rows
    last: date
    buckets: Buckets  # of the picture
    outside: int  # valid rows, so far from all others that the picture is without them
    valid_by_bucket: list[float]
    revenue_by_bucket: list[float]
    revenue_by_month: dict[date, float]
    lines_by_hour: dict[tuple[int, int], int]  # (weekday, hour) -> valid lines; Monday is 0
    columns: list[Column]


@dataclass(frozen=True)
class Reason:
    code: str
    rows: int
    only_reason: int  # rows with no other reason: valid without this rule
    by_bucket: list[float]
    untimed: int  # rows without a time
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class Quarantine:
    rows: int
    by_bucket: list[float]
    elsewhere: int  # rows without a time, or with one outside the charts
    reasons: list[Reason]  # the most frequent first
    unreadable: dict[str, int]  # column -> values that do not read as its type


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
    lines_of = rows(
        connection,
        "SELECT hour::DATE AS day, sum(lines)::BIGINT FROM valid_hours GROUP BY day ORDER BY day",
    )
    [(cents,)] = rows(connection, "SELECT coalesce(sum(cents), 0)::BIGINT FROM valid_hours")
    [(customers, invoices)] = rows(
        connection,
        f"SELECT count(DISTINCT customer_id), count(DISTINCT invoice_id) FROM {transactions}",
    )
    buckets = make_buckets(connection, *picture(lines_of))
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
        valid=sum(lines for _, lines in lines_of),
        customers=customers,
        invoices=invoices,
        revenue=cents / 100,
        first=lines_of[0][0],
        last=lines_of[-1][0],
        buckets=buckets,
        outside=sum(n for day, n in lines_of if not buckets.first <= day <= buckets.last),
        valid_by_bucket=buckets.spread({day: lines for day, lines, _ in by_bucket}),
        revenue_by_bucket=buckets.spread({day: money for day, _, money in by_bucket}),
        revenue_by_month=dict(by_month),
        lines_by_hour={(weekday, hour): lines for weekday, hour, lines in by_hour},
        columns=columns,
    )


def picture(lines_of: list[tuple[date, int]]) -> tuple[date, date]:
    """Return the days that the charts should cover, from the lines of each day of the log: all, or
    all but a few days far from the rest. A single row of 1900 would otherwise add an empty
    century."""
    days = np.array([day.toordinal() for day, _ in lines_of])
    lines = np.array([lines for _, lines in lines_of])
    first, last = robust_ends(days, STRAY, 0.25, lines)
    return date.fromordinal(int(first)), date.fromordinal(int(last))


def make_buckets(connection: DuckDBPyConnection, first: date, last: date) -> Buckets:
    """Make buckets that cover `first` to `last`."""
    fitting = (unit for unit, days in LONGEST.items() if last - first <= timedelta(days))
    unit = next(fitting, "year")
    span = f"date_trunc('{unit}', DATE '{first}'), DATE '{last}', INTERVAL 1 {unit}"
    days = rows(connection, f"SELECT unnest(generate_series({span}))::DATE")
    return Buckets(unit, [day for (day,) in days], first, last)


def _columns(
    connection: DuckDBPyConnection, parts: list[Path], buckets: Buckets
) -> tuple[int, list[Column]]:
    """Raw rows in all, and the missing values of each canonical column."""
    held = set(column_names(connection, parquet(parts)))
    names = [name for name in CANONICAL if name in held]
    missing = ", ".join(f"count(*) - count({quoted(name)})" for name in names)
    counted = rows(
        connection,
        f"SELECT {buckets.of('invoiced_at')}, count(*), {missing} FROM {parquet(parts)}"
        " GROUP BY ALL",
    )
    volumes = [lines for lines in buckets.spread({day: n for day, n, *_ in counted}) if lines]
    enough = SPARSE * float(np.median(volumes)) if volumes else 0
    return sum(lines for _, lines, *_ in counted), [
        Column(
            name=name,
            missing=sum(counts[place] for counts in counted),
            share_by_bucket=buckets.spread(
                {counts[0]: counts[place] / counts[1] for counts in counted if counts[1] >= enough}
            ),
            untimed=sum(counts[place] for counts in counted if counts[0] is None),
        )
        for place, name in enumerate(names, start=2)
    ]


def read_quarantine(connection: DuckDBPyConnection, file: Path, buckets: Buckets) -> Quarantine:
    """Count the quarantined rows by reason and bucket."""
    source = parquet(file)
    in_all: Counter[date | None] = Counter()
    count_of: Counter[str] = Counter()
    only_reason: Counter[str] = Counter()
    in_bucket: dict[str, Counter[date | None]] = {}
    counted = rows(
        connection,
        f"SELECT {buckets.of('invoiced_at')}, reasons, count(*) FROM {source} GROUP BY ALL",
    )
    for bucket, reasons, count in counted:
        in_all[bucket] += count
        for reason in reasons or ():
            count_of[reason] += count
            in_bucket.setdefault(reason, Counter())[bucket] += count
            if len(reasons) == 1:
                only_reason[reason] += count
    examples = _examples(connection, file) if count_of else {}
    by_bucket = buckets.spread(in_all)
    return Quarantine(
        rows=in_all.total(),
        by_bucket=by_bucket,
        elsewhere=in_all.total() - int(sum(by_bucket)),
        reasons=[
            Reason(
                code=code,
                rows=count_of[code],
                only_reason=only_reason[code],
                by_bucket=buckets.spread(in_bucket[code]),
                untimed=in_bucket[code].get(None, 0),
                examples=examples[code],
            )
            for code in sorted(count_of, key=lambda code: (-count_of[code], code))
        ],
        unreadable=_unreadable(connection, source),
    )


def _unreadable(connection: DuckDBPyConnection, source: str) -> dict[str, int]:
    """Count the unreadable values by column. Such a value sends its row to quarantine, so all of
    them are there."""
    if "unreadable" not in column_names(connection, source):
        return {}
    values = f"SELECT unnest(unreadable) AS value FROM {source}"
    return dict(
        rows(connection, f"SELECT split_part(value, '=', 1), count(*) FROM ({values}) GROUP BY ALL")
    )


def _examples(connection: DuckDBPyConnection, file: Path) -> dict[str, list[dict[str, Any]]]:
    """A few rows per reason: those with the fewest other reasons, chosen by a hash, because
    neighbours resemble each other."""
    numbered = f"{parquet(file).removesuffix(')')}, file_row_number = true)"
    chosen = rows(
        connection,
        f"""
        SELECT reason, min_by(place, preference, {EXAMPLES}) FROM (
            SELECT unnest(reasons) AS reason, file_row_number AS place,
                   (CAST(least(len(reasons), 100) AS UBIGINT) << 56)
                   | (hash(file_row_number) >> 8) AS preference
            FROM {numbered}
        ) GROUP BY reason
        """,
    )
    places = ", ".join(str(place) for place in sorted({n for _, group in chosen for n in group}))
    held = column_names(connection, parquet(file))
    shown = [n for n in ("source", "source_row", "reasons", *CANONICAL, "unreadable") if n in held]
    examples = rows(
        connection,
        f"SELECT file_row_number, {', '.join(map(quoted, shown))} FROM {numbered}"
        f" WHERE file_row_number IN ({places})",
    )
    row_at = {place: dict(zip(shown, values, strict=True)) for place, *values in examples}
    return {reason: [row_at[place] for place in sorted(places)] for reason, places in chosen}


def example_rows(quarantine: Quarantine) -> dict[str, Any]:
    """Return the example rows by reason, without a column that is empty in all of them, and
    without a source that is the same everywhere."""
    groups = [
        (
            reason.code,
            [
                row | {"also": [other for other in row["reasons"] if other != reason.code]}
                for row in reason.examples
            ],
        )
        for reason in quarantine.reasons
    ]
    rows = [row for _, group in groups for row in group]
    sources = {row.get("source") for row in rows}
    names = [name for name in (rows[0] if rows else ()) if name != "reasons"]
    if len(sources) == 1 and "source" in names:
        names.remove("source")
    return {
        "most": EXAMPLES,
        "source": sources.pop() if len(sources) == 1 else None,
        "columns": [name for name in names if any(row[name] not in (None, []) for row in rows)],
        "groups": groups,
    }


def rows(connection: DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def column_names(connection: DuckDBPyConnection, relation: str) -> list[str]:
    return [name for name, *_ in rows(connection, f"DESCRIBE FROM {relation}")]
