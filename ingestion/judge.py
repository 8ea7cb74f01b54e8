"""Every row judged by the row rules, by DuckDB, in a few passes over the files; what the batch then
counts and measures.

Nothing is kept in memory that grows with the rows but the hashes that find equal ones, and DuckDB
spills those: thirty million rows pass through two gigabytes. A row's broken rules are one number,
a bit for each rule, and `profile` counts rows by day and that number. All counts and measures come
from this small table.

The judgement itself is SQL text (`SHARED`, `COPIES`, `select_judged`): the service judges the lines
of a request by the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

from common.duck import connect, literal, parquet
from configs.rules import Contract, Rule
from configs.settings import Compute
from configs.source import CANONICAL
from ingestion.canonical import ROUNDED
from ingestion.contract import CHANGES, cancelled, derived_columns, row_rules, to_sql
from ingestion.facts import RowCounts

TYPES = ("quantity", "unit_price", "amount", "invoiced_at")
# A row of the batch as one number: the file's place in the list, and the row in it.
KEY = "part * 1099511627776 + source_row"
# Equal rows have equal hashes. Only rows that share a hash of four columns are compared in all,
# because grouping a large log by all of its columns would mean sorting all of it.
QUICK = "hash(invoice_id, product_id, invoiced_at, unit_price)"
SHARED = f"""
    SELECT quick FROM (SELECT {QUICK} AS quick FROM raw) GROUP BY quick HAVING count(*) > 1
"""
# Key and number of every second and later copy of an equal row; reads `shared`, as above.
COPIES = f"""
    SELECT key, copy_number FROM (
        SELECT key, row_number() OVER (
            PARTITION BY {", ".join(CANONICAL)}, unreadable ORDER BY key
        ) AS copy_number
        FROM raw WHERE {QUICK} IN (SELECT quick FROM shared)
    ) WHERE copy_number > 1
"""


@dataclass(frozen=True)
class Judged:
    """A connection with the view `judged` and the table `profile`.

    judged: the columns of the parts, `key`, the derived columns and `broken`, a bit per rule.
    profile: day, broken -> rows, and sums of what the measures need.
    """

    connection: DuckDBPyConnection
    rules: dict[str, Rule]

    @property
    def quarantine(self) -> int:
        """The bits of the rules that quarantine."""
        return quarantining(self.rules)

    def reasons(self) -> str:
        """SQL: the names of the broken rules that quarantine, as a list."""
        each = ", ".join(
            f"CASE WHEN broken & {1 << bit} <> 0 THEN {literal(name)} END"
            for bit, (name, rule) in enumerate(self.rules.items())
            if rule.severity == "quarantine"
        )
        return f"list_filter([{each}]::VARCHAR[], lambda reason: reason IS NOT NULL)"


def quarantining(rules: dict[str, Rule]) -> int:
    """The bits of those of the rules that quarantine."""
    return sum(1 << bit for bit, rule in enumerate(rules.values()) if rule.severity == "quarantine")


def select_judged(
    rules: dict[str, Rule], contract: Contract, declared: frozenset[str], latest: datetime
) -> str:
    """SELECT of the columns of `raw` (`key` and those of a part), what is derived from them, and
    `broken`: a bit for each of the rules, in their order. Reads `copies` too."""
    bits = " + ".join(
        f"CASE WHEN {to_sql(rule)} THEN {1 << bit} ELSE 0 END"
        for bit, rule in enumerate(rules.values())
    )
    return f"""
        WITH derived AS (
            SELECT raw.*, {derived_columns(contract, declared, latest)},
                   coalesce(copies.copy_number, 1) AS copy_number
            FROM raw LEFT JOIN copies USING (key)
        )
        SELECT *, CAST({bits or 0} AS BIGINT) AS broken FROM derived
    """


@contextmanager
def judge(
    parts: list[Path],
    folder: Path,
    contract: Contract,
    declared: frozenset[str],
    latest: datetime,
    compute: Compute,
) -> Iterator[Judged]:
    """Judge the rows of the parts (`ingestion/canonical.py`); `folder` is where DuckDB may spill.

    latest: from here on a time lies in the future.
    """
    rules = row_rules(contract, declared)
    with connect(folder, compute, ordered=True) as connection:
        each = " UNION ALL ".join(
            f"SELECT CAST({number} AS BIGINT) AS part, * FROM {parquet(part)}"
            for number, part in enumerate(parts)
        )
        connection.execute(f"CREATE TEMP VIEW raw AS SELECT {KEY} AS key, * FROM ({each})")
        connection.execute(f"CREATE TEMP TABLE shared AS {SHARED}")
        connection.execute(f"CREATE TEMP TABLE copies AS {COPIES}")
        connection.execute("DROP TABLE shared")
        judged = select_judged(rules, contract, declared, latest)
        connection.execute(f"CREATE TEMP VIEW judged AS {judged}")
        _profile(connection, contract, declared)
        yield Judged(connection, rules)


def _profile(connection: DuckDBPyConnection, contract: Contract, declared: frozenset[str]) -> None:
    unreadable = ", ".join(
        f"count(*) FILTER (len(unreadable) > 0 AND {_unreadable(name)}) AS unreadable_{name}"
        for name in TYPES
    )
    # A sum of logarithms: the last digits of a sum of doubles depend on the order of its rows.
    price = "CASE WHEN unit_price > 0 THEN CAST(ln(unit_price) * 1e6 AS BIGINT) END"
    connection.execute(f"""
        CREATE TEMP TABLE profile AS
        SELECT CASE WHEN in_future = 0 THEN CAST(invoiced_at AS DATE) END AS day, broken,
               count(*) AS rows,
               count(*) FILTER (customer_id IS NULL) AS anonymous,
               count(*) FILTER ({cancelled(contract, declared)}) AS cancelled,
               count(*) FILTER (copy_number > 1) AS duplicates,
               {unreadable},
               sum({price}) AS log_price, count({price}) AS priced
        FROM judged GROUP BY 1, 2
    """)


def _unreadable(name: str) -> str:
    return f"list_bool_or(list_transform(unreadable, lambda v: starts_with(v, '{name}=')))"


# --- what the batch measures, and how it differs from the last one -------------------------------

# What is compared is the latest: these last days of the last batch, and the days that the batch
# has on top of it. Fewer new days than seven say more about weekdays than about the batch: then
# its own last days stand in for them.
RECENT_DAYS, NEW_DAYS = 28, 7


def count(judged: Judged) -> RowCounts:
    def one(query: str) -> int:
        return judged.connection.execute(query).fetchall()[0][0]

    total = "SELECT coalesce(sum(rows), 0)::BIGINT FROM profile"
    raw, valid = one(total), one(f"{total} WHERE broken & {judged.quarantine} = 0")
    by_severity: dict[str, dict[str, int]] = {"quarantine": {}, "warn": {}}
    for bit, (name, rule) in enumerate(judged.rules.items()):
        if rows := one(f"{total} WHERE broken & {1 << bit} <> 0"):
            by_severity[rule.severity][name] = rows
    return RowCounts(raw, valid, raw - valid, by_severity["quarantine"], by_severity["warn"])


def measure(judged: Judged, counts: RowCounts) -> dict[str, float | None]:
    """The measures of `ingestion/contract.py`; None where there is nothing to measure."""
    sums = ", ".join(
        f"sum({name})" for name in ("anonymous", "cancelled", "duplicates", *unreadable_columns())
    )
    days, *summed = judged.connection.execute(
        f"SELECT date_diff('day', min(day), max(day)), {sums} FROM profile"
    ).fetchall()[0]
    largest, rounded = judged.connection.execute(CUSTOMERS).fetchall()[0]
    shares = [None if not counts.raw else part / counts.raw for part in summed]
    names = ("anonymous_share", "cancelled_share", "duplicate_share", *unreadable_columns())
    return {
        "rows": counts.raw,
        "days": days,
        "valid_share": counts.valid / counts.raw if counts.raw else None,
        "largest_customer_share": largest,
        "rounded_customer_share": rounded,
        **dict(zip(names, shares, strict=True)),
    }


# Of the rows with a customer: the share of the largest one, and the share whose identifier is
# written as 4.00638E+12 or is long and ends in zeros, as spreadsheets leave a long number.
CUSTOMERS = rf"""
    SELECT max(rows) / sum(rows),
           coalesce(sum(rows) FILTER (regexp_full_match(
               customer_id, '{ROUNDED}|[0-9]{{6,}}0{{6,}}')), 0) / sum(rows)
    FROM (SELECT customer_id, count(*) AS rows FROM raw WHERE customer_id IS NOT NULL GROUP BY 1)
"""


def unreadable_columns() -> tuple[str, ...]:
    return tuple(f"unreadable_{name}" for name in TYPES)


# SQL of `daily.parquet`, from `profile`. Rows that belong to no day have one row, the last.
DAILY = """
    SELECT day, sum(rows)::BIGINT AS rows, sum(anonymous)::BIGINT AS anonymous,
           sum(log_price)::BIGINT AS log_price, sum(priced)::BIGINT AS priced
    FROM profile GROUP BY day ORDER BY day NULLS LAST
"""
Day = tuple[date | None, int, int, int | None, int]  # a row of daily.parquet


def describe(days: list[Day]) -> dict[str, Any]:
    """What the next batch is compared with: JSON values, empty when no row has a day."""
    dated = [day[0] for day in days if day[0] is not None]
    if not dated:
        return {}
    last = dated[-1]
    return {
        "last_day": last.isoformat(),
        # The last day is often half a day: the export was made before it was over. A row whose
        # time was not readable then may have a day now, so those count on both sides.
        "rows_before_last_day": _rows_before(days, last),
        **_level(days, last - timedelta(days=RECENT_DAYS - 1), last),
    }


def changes(days: list[Day], then: dict[str, Any]) -> dict[str, float | None]:
    """The change measures of `ingestion/contract.py` against `then`, which `describe` made."""
    now = describe(days)
    if not now or not then:
        return dict.fromkeys(CHANGES)
    last_then, last_now = (date.fromisoformat(level["last_day"]) for level in (then, now))
    if (last_now - last_then).days >= NEW_DAYS:
        now = _level(days, last_then + timedelta(days=1), last_now)
    return {
        "history_change": _ratio(_rows_before(days, last_then), then["rows_before_last_day"]),
        "volume_change": _ratio(now["rows_per_day"], then["rows_per_day"]),
        "anonymous_change": round(now["anonymous_share"] - then["anonymous_share"], 6),
        "price_change": None
        if None in (now["log_price"], then["log_price"])
        else round(math.expm1(now["log_price"] - then["log_price"]), 6),
    }


def _rows_before(days: list[Day], last: date) -> int:
    return sum(rows for day, rows, *_ in days if day is None or day < last)


def _level(days: list[Day], first: date, last: date) -> dict[str, Any]:
    """What is compared, over the days from first to last; at least the last has rows."""
    inside = [day for day in days if day[0] is not None and first <= day[0] <= last]
    rows, priced = sum(day[1] for day in inside), sum(day[4] for day in inside)
    return {
        "rows_per_day": rows / ((last - first).days + 1),
        "anonymous_share": sum(day[2] for day in inside) / rows,
        "log_price": sum(day[3] or 0 for day in inside) / 1e6 / priced if priced else None,
    }


def _ratio(now: float, then: float) -> float | None:
    return round(now / then - 1, 6) if then else None
