"""Runs the SQL files: transactions and a spine in, one row of features per spine row out.

The same files serve training, batch scoring and single requests: here as tables, one after the
other, in `features/online.py` as one prepared statement. Which files, in which order and with which
settings, is said here for both. A customer's features come from that customer's rows alone, but for
`season_orders` and `season_revenue`: whether they are missing depends on the first day of the whole
log, which is an input of its own.

    transactions ──orders──▶ order_parts ──spine──▶ spine ──build_features──▶ features
                                  └──────────label──▶ buyers
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from common.duck import literal
from configs.settings import Features
from features.catalogue import CATALOGUE, GROUPS, Feature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SQL = Path(__file__).parent / "sql"
PREPARED = {"variety": "base/products", "cancellations": "base/cancellations"}  # before the group
ROWS_PER_PASS = 4_000_000  # of past_orders: about 350 MB
VARIABLES = ("horizon_days", "active_days", "invoice_days", "home_country")


@dataclass(frozen=True)
class Plan:
    """The files that answer for some features, in the order in which they run: `log` once for a
    log, `questions` once for a spine, `asked` once for a pass. Then `answers`, a SELECT from the
    relation `asked`: row_id, customer_id, as_of and the features. Groups of which nothing is asked
    are not run.
    """

    questions: tuple[str, ...]
    answers: str
    log: str = "base/orders"
    asked: str = "base/asked"


def plan(features: Sequence[Feature] = CATALOGUE) -> Plan:
    wanted = {feature.name for feature in features}
    groups = [name for name, members in GROUPS.items() if wanted & {f.name for f in members}]
    columns = ", ".join(f"CAST({name} AS DOUBLE) AS {name}" for name in (f.name for f in features))
    joins = "\n".join(f"LEFT JOIN ({read(name)}) AS {name} USING (row_id)" for name in groups)
    prepared = (PREPARED[group] for group in groups if group in PREPARED)
    return Plan(
        questions=("base/questions", *prepared),
        answers=f"SELECT row_id, customer_id, as_of, {columns} FROM asked\n{joins}",
    )


def variables(settings: Features) -> dict[str, str]:
    """What the files read by `getvariable`, as SQL."""
    values = {name: getattr(settings, name) for name in VARIABLES}
    return {
        name: str(value) if isinstance(value, int) else literal(value)
        for name, value in values.items()
    }


def select_log_start(log_start: date | None = None) -> str:
    """SQL of the relation `log_start`: the day of the first sale, the log's unless it is given."""
    if log_start is None:
        return "SELECT min(order_day) AS first_day FROM order_parts"
    return f"SELECT DATE '{log_start}' AS first_day"


def read_log(
    connection: DuckDBPyConnection, settings: Features, log_start: date | None = None
) -> None:
    """Take in the relation `transactions` (canonical columns): one pass over its lines.

    log_start: the day of the first sale of the whole log, where the relation is a part of it.
    """
    for name, value in variables(settings).items():
        connection.execute(f"SET VARIABLE {name} = {value}")
    run(connection, Plan.log)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE log_start AS {select_log_start(log_start)}")


def build_features(connection: DuckDBPyConnection, features: Sequence[Feature] = CATALOGUE) -> None:
    """Make the table `features` (row_id, customer_id, as_of, these features in this order).

    Reads what `read_log` made, and the relation `spine` (customer_id, as_of DATE); row_id counts
    its rows by as-of date and customer.
    """
    found = plan(features)
    for name in found.questions:
        run(connection, name)
    for number, (first, last) in enumerate(_passes(connection)):
        connection.execute(f"SET VARIABLE first_row = {first}; SET VARIABLE last_row = {last}")
        run(connection, found.asked)
        into = "INSERT INTO" if number else "CREATE OR REPLACE TEMP TABLE"
        connection.execute(f"{into} features {'' if number else 'AS'} {found.answers}")


def run(connection: DuckDBPyConnection, name: str) -> None:
    """Execute one SQL file of `features/sql/`."""
    connection.execute(read(name))


def read(name: str) -> str:
    """The text of one SQL file; a group's is a SELECT of row_id and its features."""
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def _passes(connection: DuckDBPyConnection) -> list[tuple[int, int]]:
    """First and last row_id of each pass: one, unless the orders times the dates are many."""
    rows, parts, customers = connection.execute("""
        SELECT (SELECT count(*) FROM questions), count(*), approx_count_distinct(customer_id)
        FROM order_parts
    """).fetchone() or (0, 0, 0)
    parts_per_row = max(parts, 1) / max(customers, 1)
    step = max(1, int(ROWS_PER_PASS / parts_per_row))
    return [(first, first + step - 1) for first in range(1, max(rows, 1) + 1, step)]
