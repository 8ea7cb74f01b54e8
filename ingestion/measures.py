"""What a batch measures: by itself, and beside the last accepted one.

All of it comes from two small tables: `profile` (`ingestion/judge.py`) and `daily.parquet`, the
rows of each day, which stays with the validated batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from ingestion.judge import TYPES, Judged

# Fewer new days than these say more about weekdays than about the batch.
NEW_DAYS = 7


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
    shares = [None if not counts.raw else (part or 0) / counts.raw for part in summed]
    names = ("anonymous_share", "cancelled_share", "duplicate_share", *unreadable_columns())
    return {
        "rows": counts.raw,
        "days": days,
        "valid_share": counts.valid / counts.raw if counts.raw else None,
        **dict(zip(names, shares, strict=True)),
    }


def unreadable_columns() -> tuple[str, ...]:
    return tuple(f"unreadable_{name}" for name in TYPES)


# SQL of `daily.parquet`, from `profile`: rows without a day are in none of it.
DAILY = """
    SELECT day, sum(rows)::BIGINT AS rows, sum(anonymous)::BIGINT AS anonymous,
           sum(log_price)::BIGINT AS log_price, sum(priced)::BIGINT AS priced
    FROM profile WHERE day IS NOT NULL GROUP BY day ORDER BY day
"""
Day = tuple[date, int, int, int | None, int]  # a row of daily.parquet


def describe(days: list[Day]) -> dict[str, Any]:
    """What the next batch is compared with: JSON values."""
    if not days:
        return {}
    return {
        "first_day": days[0][0].isoformat(),
        "last_day": days[-1][0].isoformat(),
        # The last day is often half a day: the export was made before it was over.
        "rows_before_last_day": sum(day[1] for day in days[:-1]),
        **_level(days, days[0][0], days[-1][0]),
    }


def changes(days: list[Day], last: dict[str, Any]) -> dict[str, float | None]:
    """The change measures of `ingestion/contract.py` against `last`, which `describe` made."""
    if not days or not last:
        return dict.fromkeys(
            ("history_change", "volume_change", "anonymous_change", "price_change")
        )
    last_day = date.fromisoformat(last["last_day"])
    history = sum(rows for day, rows, *_ in days if day < last_day)
    new = [day for day in days if day[0] > last_day]
    if new and (days[-1][0] - last_day).days >= NEW_DAYS:
        now = _level(new, last_day + timedelta(days=1), days[-1][0])
    else:
        now = _level(days, days[0][0], days[-1][0])
    return {
        "history_change": _ratio(history, last["rows_before_last_day"]),
        "volume_change": _ratio(now["rows_per_day"], last["rows_per_day"]),
        "anonymous_change": round(now["anonymous_share"] - last["anonymous_share"], 6),
        "price_change": None
        if None in (now["log_price"], last["log_price"])
        else round(math.expm1(now["log_price"] - last["log_price"]), 6),
    }


def _level(days: list[Day], first: date, last: date) -> dict[str, Any]:
    rows, priced = sum(day[1] for day in days), sum(day[4] for day in days)
    return {
        "rows_per_day": rows / ((last - first).days + 1),
        "anonymous_share": sum(day[2] for day in days) / rows,
        "log_price": sum(day[3] or 0 for day in days) / 1e6 / priced if priced else None,
    }


def _ratio(now: float, then: float) -> float | None:
    return round(now / then - 1, 6) if then else None
