"""What a batch measures: by itself, and beside the last accepted one.

All of it comes from two small tables: `profile` (`ingestion/judge.py`) and `daily.parquet`, the
rows of each day, which stays with the validated batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from ingestion.canonical import ROUNDED
from ingestion.contract import CHANGES
from ingestion.judge import TYPES, Judged

# What is compared is the latest: these last days of the last batch, and the days that the batch
# has on top of it. Fewer new days than seven say more about weekdays than about the batch: then
# its own last days stand in for them.
RECENT_DAYS, NEW_DAYS = 28, 7


@dataclass(frozen=True)
class RowCounts:
    raw: int
    valid: int
    quarantined: int
    reasons: dict[str, int]  # rows per reason; a row may have several
    warned: dict[str, int]  # rows per rule of severity warn


def count(judged: Judged) -> RowCounts:
    def one(query: str) -> int:
        return judged.connection.execute(query).fetchall()[0][0]

    total = "SELECT coalesce(sum(rows), 0)::BIGINT FROM profile"
    raw, valid = one(total), one(f"{total} WHERE broken & {judged.quarantine} = 0")
    found: dict[str, dict[str, int]] = {"quarantine": {}, "warn": {}}
    for bit, (name, rule) in enumerate(judged.rules.items()):
        if rows := one(f"{total} WHERE broken & {1 << bit} <> 0"):
            found[rule.severity][name] = rows
    return RowCounts(raw, valid, raw - valid, found["quarantine"], found["warn"])


def measure(judged: Judged, counts: RowCounts) -> dict[str, float | None]:
    """The measures of `ingestion/contract.py`; None where there is nothing to measure."""
    sums = ", ".join(
        f"sum({name})" for name in ("anonymous", "cancelled", "duplicates", *unreadable_columns())
    )
    days, *summed = judged.connection.execute(
        f"SELECT date_diff('day', min(day), max(day)), {sums} FROM profile"
    ).fetchall()[0]
    largest, rounded = judged.connection.execute(CUSTOMERS).fetchall()[0]
    shares = [None if not counts.raw else (part or 0) / counts.raw for part in summed]
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
        now |= _level(days, last_then + timedelta(days=1), last_now)
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
