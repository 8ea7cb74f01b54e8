"""The calendar months of a log: how much each holds, and a digest that names its rows.

A month that was scored and judged should stay as it was. Its digest is over the content of its rows
in any order, so that the same rows in other files, or sent twice, are the same month.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

from common.duck import connect, content_hash, parquet
from configs.settings import Compute
from configs.source import CANONICAL

OTHERS = ("quantity", "unit_price", "invoiced_at")  # of the canonical columns: those without text


@dataclass(frozen=True)
class Month:
    """The rows of a calendar month that are before the day that was asked for.

    month: `2026-04`.  rows: valid ones.  anonymous: rows that are in quarantine because they have
    no customer; of equal ones the first.  last_day: the day of the last row of either kind.
    digest: of the content of both.
    """

    month: str
    rows: int
    anonymous: int
    last_day: date
    digest: str


def months_of(
    transactions: Path, quarantine: Path, until: date, compute: Compute | None = None
) -> list[Month]:
    """Every month with a row before `until`, the oldest first.

    transactions, quarantine: the Parquet files of a validated batch.  A command that asks for the
    same months again has them at once: a row costs a microsecond.
    """
    known = tuple((file, _state(file)) for file in (transactions, quarantine))
    return list(_months_of(known, until, compute))


@lru_cache(maxsize=4)
def _months_of(
    files: tuple[tuple[Path, tuple[int, int]], ...], until: date, compute: Compute | None
) -> tuple[Month, ...]:
    (transactions, _), (quarantine, _) = files
    row = content_hash([name for name in CANONICAL if name not in OTHERS], OTHERS)
    with connect(None, compute) as connection:
        rows_of = connection.execute(f"""
            WITH rows AS (
                SELECT {", ".join(CANONICAL)}, false AS anonymous FROM {parquet(transactions)}
                UNION ALL
                SELECT {", ".join(CANONICAL)}, true FROM {parquet(quarantine)}
                WHERE list_contains(reasons, 'missing_customer')
                  AND NOT list_contains(reasons, 'duplicate')
            )
            SELECT strftime(invoiced_at, '%Y-%m'), count(*) FILTER (NOT anonymous),
                   count(*) FILTER (anonymous), CAST(max(invoiced_at) AS DATE),
                   coalesce(sum({row}) FILTER (NOT anonymous), 0),
                   coalesce(sum({row}) FILTER (anonymous), 0)
            FROM rows WHERE invoiced_at < DATE '{until}' GROUP BY 1 ORDER BY 1
        """).fetchall()
    return tuple(
        Month(month, rows, anonymous, last, _sha256([month, rows, anonymous, *map(str, sums)]))
        for month, rows, anonymous, last, *sums in rows_of
    )


def _state(file: Path) -> tuple[int, int]:
    """What is another one when the file was written anew."""
    status = file.stat()
    return status.st_mtime_ns, status.st_ino


def digest_of(months: list[Month]) -> str:
    """One SHA-256 over several months: which rows a figure was made from."""
    return _sha256([[month.month, month.digest] for month in months])


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
