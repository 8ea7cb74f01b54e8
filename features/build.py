"""Valid transactions → the training table: spine, features, labels, splits, in one Parquet file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from configs.errors import UserError
from configs.settings import Features
from features.catalogue import NAMES
from features.engine import build_features, connect, literal, run
from features.splits import as_of_dates


@dataclass(frozen=True)
class TableFacts:
    features: int
    rows: dict[str, int]
    positive_rate: dict[str, float]
    as_of: dict[str, list[str]]


def build_table(transactions: Path, target: Path, settings: Features) -> TableFacts:
    """Write the training table (`customer_id, as_of, split, <features>, label`) to `target`.

    Sorted by as-of date and customer, so that the same input gives the same file. Raises UserError
    when no sale is left or the log is too short for the splits.
    """
    source, table = (f"read_parquet({literal(str(path))})" for path in (transactions, target))
    with connect(settings) as connection:
        connection.execute(f"CREATE VIEW transactions AS FROM {source}")
        dates = as_of_dates(*_span(connection), settings)
        connection.execute("CREATE TABLE as_of_dates (as_of DATE, split VARCHAR)")
        connection.executemany(
            "INSERT INTO as_of_dates VALUES (?, ?)",
            [[day, split] for split, days in dates.items() for day in days],
        )
        run(connection, "spine")
        build_features(connection)
        run(connection, "label")
        connection.execute(f"""
            COPY (
                SELECT customer_id, as_of, split, {", ".join(NAMES)},
                       CAST(buyers.customer_id IS NOT NULL AS TINYINT) AS label
                FROM spine JOIN features USING (customer_id, as_of)
                LEFT JOIN buyers USING (customer_id, as_of)
                ORDER BY as_of, customer_id
            ) TO {literal(str(target))} (FORMAT parquet)
        """)
        counts = connection.execute(
            f"SELECT split, count(*), avg(label) FROM {table} GROUP BY split"
        ).fetchall()
    found = {split: (rows, rate) for split, rows, rate in counts}
    return TableFacts(
        features=len(NAMES),
        rows={split: found.get(split, (0, 0.0))[0] for split in dates},
        positive_rate={split: found.get(split, (0, 0.0))[1] for split in dates},
        as_of={split: [day.isoformat() for day in days] for split, days in dates.items()},
    )


def _span(connection: duckdb.DuckDBPyConnection) -> tuple[date, date]:
    """The days of the first and the last sale."""
    first, last = connection.execute("""
        SELECT CAST(min(invoiced_at) AS DATE), CAST(max(invoiced_at) AS DATE)
        FROM transactions WHERE quantity > 0
    """).fetchone() or (None, None)
    if first is None or last is None:
        raise UserError(
            "no sale is left after quarantine",
            where="transactions",
            next_step="look at the reasons in the contract's page",
        )
    return first, last
