"""A log of a million customers for `make bench-scoring`, written by SQL in a bounded memory.

About ten lines a customer over several years; everyone bought within the year before `AS_OF`, so
that everyone is scored. Deterministic: every draw is a hash of what it is about.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from common.duck import connect, literal, parquet
from configs.settings import Compute

AS_OF = date(2026, 4, 1)
LARGEST_HASH = 18446744073709551616.0


def write_log(file: Path, customers: int) -> int:
    """Write the log as Parquet with the canonical columns; returns its number of lines."""
    with connect(file.parent, Compute(memory_mb=1000)) as connection:
        connection.execute(f"COPY ({_query(customers)}) TO {literal(file)} (FORMAT parquet)")
        return connection.execute(f"SELECT count(*) FROM {parquet(file)}").fetchall()[0][0]


def _query(customers: int) -> str:
    return f"""
        WITH customers AS (
            SELECT c,
                   1 + CAST(floor(-2.9 * ln(1 - {_draw("c", 1)})) AS INTEGER) AS invoices,
                   1 + CAST(floor(360 * {_draw("c", 2)}) AS INTEGER) AS days_ago
            FROM (SELECT range AS c FROM range({customers}))
        ),
        invoices AS (
            SELECT c, i, CAST(days_ago + i * (5 + floor(90 * {_draw("c", "i", 3)})) AS INTEGER)
                   AS days, CAST(floor(600 * {_draw("c", "i", 4)}) AS INTEGER) AS minutes,
                   1 + CAST(floor(5 * {_draw("c", "i", 5)}) AS INTEGER) AS count
            FROM (SELECT c, days_ago, unnest(range(invoices)) AS i FROM customers)
        ),
        lines AS (
            SELECT c, i, days, minutes, line, {_draw("c", "i", "line", 6)} < 0.02 AS cancelled,
                   CAST(floor(3000 * {_draw("c", "i", "line", 7)}) AS INTEGER) AS product
            FROM (SELECT c, i, days, minutes, unnest(range(count)) AS line FROM invoices)
        )
        SELECT CASE WHEN cancelled THEN 'C' ELSE '' END || (100_000_000 + c * 64 + i)
               AS invoice_id,
               CAST(10_000 + product AS VARCHAR) AS product_id,
               'ITEM ' || product AS description,
               CASE WHEN cancelled THEN -1 ELSE 1 END
               * (1 + CAST(floor(12 * {_draw("c", "i", "line", 8)}) AS BIGINT)) AS quantity,
               round(0.5 + 15 * {_draw("c", "i", "line", 9)}, 2) AS unit_price,
               TIMESTAMP '{AS_OF} 08:00:00' - to_days(days) + to_minutes(minutes) AS invoiced_at,
               CAST(1_000_000 + c AS VARCHAR) AS customer_id,
               CASE WHEN {_draw("c", 10)} < 0.9 THEN 'United Kingdom' ELSE 'France' END AS country
        FROM lines
    """


def _draw(*what: object) -> str:
    """SQL of a number from 0 to below 1 that depends on these columns and numbers alone."""
    return f"(hash({', '.join(map(str, what))}) / {LARGEST_HASH!r})"
