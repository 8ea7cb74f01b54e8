"""Runs the SQL files: transactions and a spine in, one row of features per spine row out.

The same files serve training, batch scoring and single requests; what differs is the spine. A
customer's features come from that customer's rows alone, but for `season_orders` and
`season_revenue`: whether they are missing depends on the first day of the whole log.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from configs.settings import Features
from features.catalogue import NAMES

SQL = Path(__file__).parent / "sql"
GROUPS = ("recency", "windows", "gaps", "variety", "cancellations", "country", "season")


def connect(settings: Features) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the variables that the SQL files read."""
    connection = duckdb.connect()
    for name in ("horizon_days", "active_days", "home_country"):
        value = getattr(settings, name)
        connection.execute(
            f"SET VARIABLE {name} = {value if isinstance(value, int) else literal(value)}"
        )
    return connection


def build_features(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table `features` (customer_id, as_of, every feature of the catalogue in order).

    Reads the relations `transactions` (canonical columns) and `spine` (customer_id, as_of DATE).
    Nothing but `base.sql` sees transactions, and it cuts them off at the as-of date.
    """
    run(connection, "base")
    for group in GROUPS:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE group_{group} AS {_read(group)}")
    joins = "\n".join(f"LEFT JOIN group_{group} USING (customer_id, as_of)" for group in GROUPS)
    columns = ", ".join(f"CAST({name} AS DOUBLE) AS {name}" for name in NAMES)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE features AS
        SELECT customer_id, as_of, {columns} FROM spine {joins}
    """)


def run(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Execute one SQL file of `features/sql/`."""
    connection.execute(_read(name))


def literal(text: str) -> str:
    """A text, such as a path, as SQL."""
    return "'" + text.replace("'", "''") + "'"


def _read(name: str) -> str:
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")
