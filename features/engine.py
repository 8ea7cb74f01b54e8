"""Run the SQL files: transactions and a spine in, one row of features per row of the spine out.

Each file of `features/sql/` is one SELECT. Those in `base/` make the relation that they are named
after; the others are the groups of features. The same files serve training and batch scoring, where
each relation becomes a table, and single requests, where they become the parts of one prepared
statement (`features/online.py`). A customer's features come from that customer's rows alone, except
`season_orders` and `season_revenue`: whether they are missing depends on the first day of the whole
log, which is an input of its own.

    transactions ──read_log──▶ order_parts ──spine──▶ spine ──build_features──▶ features
                                  └──────────buyers──▶ buyers
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
LOG = ("moments", "order_parts")  # made once for a log
# What a group reads besides past_orders: made once for a spine, and in every pass.
BASE = {
    "variety": (("log_days", "product_counts"), ("past_products",)),
    "cancellations": (("cancelled_days",), ("past_cancellations",)),
}
VIEWS = ("past_products", "past_cancellations")
ROWS_PER_PASS = 4_000_000  # of past_orders: about 350 MB
VARIABLES = ("horizon_days", "active_days", "invoice_days", "home_country")


@dataclass(frozen=True)
class Plan:
    """What makes some features: the relations to make once for a spine, those to make in every
    pass, and a SELECT of row_id, customer_id, as_of and the features. Groups of which no feature is
    wanted are not run."""

    once: tuple[str, ...]
    each_pass: tuple[str, ...]
    select: str


def plan(features: Sequence[Feature] = CATALOGUE) -> Plan:
    """The relations and the SELECT of these features, in this order."""
    names = {feature.name for feature in features}
    groups = [name for name, members in GROUPS.items() if names & {f.name for f in members}]
    columns = ", ".join(f"CAST({name} AS DOUBLE) AS {name}" for name in (f.name for f in features))
    joins = "\n".join(f"LEFT JOIN (\n{read(name)}) AS {name} USING (row_id)" for name in groups)
    base = [BASE[group] for group in groups if group in BASE]
    return Plan(
        once=("numbered_spine", *(name for once, _ in base for name in once)),
        each_pass=("spine_part", "past_orders", *(name for _, each in base for name in each)),
        select=f"SELECT row_id, customer_id, as_of, {columns} FROM spine_part\n{joins}",
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
    for relation in LOG:
        make(connection, relation)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE log_start AS {select_log_start(log_start)}")


def build_features(connection: DuckDBPyConnection, features: Sequence[Feature] = CATALOGUE) -> None:
    """Make the table `features` (row_id, customer_id, as_of, these features in this order).

    Reads what `read_log` made, and the relation `spine` (customer_id, as_of DATE); row_id counts
    its rows by as-of date and customer.
    """
    steps = plan(features)
    for relation in steps.once:
        make(connection, relation)
    for number, (first, last) in enumerate(_passes(connection)):
        connection.execute(f"SET VARIABLE first_row = {first}; SET VARIABLE last_row = {last}")
        for relation in steps.each_pass:
            make(connection, relation)
        into = "INSERT INTO" if number else "CREATE OR REPLACE TEMP TABLE"
        connection.execute(f"{into} features {'' if number else 'AS'} {steps.select}")


def make(connection: DuckDBPyConnection, relation: str) -> None:
    """Make a relation of `features/sql/base/`, as a temporary table or view."""
    kind = "VIEW" if relation in VIEWS else "TABLE"
    select = read(f"base/{relation}")
    connection.execute(f"CREATE OR REPLACE TEMP {kind} {relation} AS {select}")


def read(name: str) -> str:
    """The text of one SQL file: a SELECT. A group's gives row_id and its features."""
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def _passes(connection: DuckDBPyConnection) -> list[tuple[int, int]]:
    """First and last row_id of each pass: one, unless the orders times the dates are many."""
    rows, parts, customers = connection.execute("""
        SELECT (SELECT count(*) FROM numbered_spine), count(*), approx_count_distinct(customer_id)
        FROM order_parts
    """).fetchone() or (0, 0, 0)
    parts_per_row = max(parts, 1) / max(customers, 1)
    step = max(1, int(ROWS_PER_PASS / parts_per_row))
    return [(first, first + step - 1) for first in range(1, max(rows, 1) + 1, step)]
