"""Invoice lines → which of them count, and the features of their customers: one SQL statement.

The rows that a model learnt from were read by `ingestion/canonical.py`, judged by the rules of the
data contract and made into features by `features/sql/`. The lines of a request go the same way,
by the same SQL, in one SELECT that is prepared once and executed for each request: planning it
anew would take longer than all the rest.

Nothing is left behind by a request, cut off or not: the statement reads its lines where Python
holds them (Arrow) and writes nothing. What a client sends is never part of SQL.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from configs.rules import Contract, Rule
from configs.settings import Features
from features.catalogue import Feature
from features.online import select_features
from ingestion.canonical import COLUMNS, MAPPED, select_canonical
from ingestion.contract import row_rules
from ingestion.judge import quarantining, select_judged

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "1GB"  # of all queries of a process; what needs more is refused
AFTER = "after_as_of"
WHY_AFTER = "a line on or after the as-of date lies in its future"
LINE = 2**40  # key of a line: customer x LINE + line
# How the values of a request arrive. Times are text, as in a CSV file: the reader's SQL reads them.
SENT = {**MAPPED, "invoiced_at": "VARCHAR"}
ARROW = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "DOUBLE": pa.float64()}
REQUEST = pa.schema({"as_of": pa.date32()})


@dataclass(frozen=True)
class Row:
    """What came of one customer's lines. place: in the list that was handed over.

    customer_id: as ingestion reads it; None where it is blank.  features: None for who did not buy
    in the `active_days`, and within, None where missing.  left_out: (line, its broken bits).
    """

    place: int
    customer_id: str | None
    features: tuple[float | None, ...] | None
    left_out: list[tuple[int, int]]


class Sent:
    """An Arrow table that changes under a view that does not: DuckDB asks for it anew at each
    execution, and plans nothing again, because its columns stay the same."""

    def __init__(self, schema: pa.Schema) -> None:
        self.empty = self.table = schema.empty_table()

    def __arrow_c_schema__(self) -> Any:
        return self.empty.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


def line_rules(contract: Contract, declared: frozenset[str]) -> dict[str, Rule]:
    """The contract's rules for the lines of a request, in the order of their bits. Not those about
    `in_future`: what lies in the future is asked of the as-of date here, and says `after_as_of`."""
    rules = row_rules(contract, declared)
    return {name: rule for name, rule in rules.items() if rule.column != "in_future"}


def lines_schema(declared: frozenset[str]) -> pa.Schema:
    """Arrow columns of the lines: the declared ones, and `key`."""
    columns = {name: ARROW[kind] for name, kind in SENT.items() if name in declared}
    return pa.schema({"key": pa.int64(), **columns})


def select_rows(
    contract: Contract,
    declared: frozenset[str],
    settings: Features,
    log_start: date,
    features: Sequence[Feature],
) -> str:
    """The statement: from `lines` and `request` one row for each customer, as
    place, customer_id, keys and bits of the lines left out, whether asked about, features."""
    rules = line_rules(contract, declared)
    mapping = {name: name for name in MAPPED if name in declared}
    raw = select_canonical("lines", mapping, SENT, None, source="request", number="key")
    judged = select_judged(rules, contract, declared, datetime.max)
    after = f"CASE WHEN invoiced_at >= as_of THEN {1 << len(rules)} ELSE 0 END"
    columns = ", ".join(name for name in COLUMNS if name != "customer_id")
    names = ", ".join(feature.name for feature in features)
    return f"""
        WITH as_of_dates AS MATERIALIZED (FROM request),
        raw AS NOT MATERIALIZED (SELECT source_row AS key, * EXCLUDE source_row FROM ({raw})),
        judged AS MATERIALIZED (
            SELECT key // {LINE} AS place, key, customer_id, {columns},
                   (broken & {quarantining(rules)}) + {after} AS reasons
            FROM ({judged}) CROSS JOIN as_of_dates
        ),
        -- A customer is known by their place: one who is named twice is told apart, and refused.
        transactions AS NOT MATERIALIZED (
            SELECT place AS customer_id, {columns} FROM judged WHERE reasons = 0
        ),
        customers AS (
            SELECT place, max(customer_id) AS customer_id,
                   list(key % {LINE}) FILTER (reasons <> 0) AS lines,
                   list(reasons) FILTER (reasons <> 0) AS reasons
            FROM judged GROUP BY place
        ),
        answers AS ({select_features(settings, log_start, features)})
        SELECT place, customers.customer_id, lines, reasons, row_id IS NOT NULL, {names}
        FROM customers LEFT JOIN answers ON answers.customer_id = place
        ORDER BY place
    """


class Prepared:
    """A connection of its own with the prepared statement. For one thread at a time."""

    def __init__(self, query: str, declared: frozenset[str]) -> None:
        self.lines, self.request = Sent(lines_schema(declared)), Sent(REQUEST)
        self.connection = open_connection()
        register(self.connection, {"lines": self.lines, "request": self.request})
        self.connection.execute("SET lock_configuration = true")
        self.connection.execute(f"PREPARE answer AS {query}")

    def run(self, lines: pa.Table, as_of: date) -> list[Row]:
        """Raises duckdb.DataError for values too large to be counted, duckdb.InterruptException
        when it is interrupted, duckdb.OutOfMemoryException."""
        self.lines.table = lines
        self.request.table = pa.table({"as_of": [as_of]}, schema=REQUEST)
        try:
            rows = self.connection.execute("EXECUTE answer").fetchall()
        finally:
            self.lines.table, self.request.table = self.lines.empty, self.request.empty
        return [
            Row(
                place,
                customer_id,
                features if asked else None,
                sorted(zip(keys or (), bits or (), strict=True)),
            )
            for place, customer_id, keys, bits, asked, *features in rows
        ]

    def close(self) -> None:
        self.connection.close()


def open_connection() -> DuckDBPyConnection:
    """In memory, without files or network, one thread: a request is too small to be shared out."""
    connection = duckdb.connect(
        ":memory:",
        config={"threads": 1, "memory_limit": MEMORY, "temp_directory": ""},
    )
    connection.execute("SET enable_external_access = false")
    connection.execute("SET TimeZone = 'UTC'")
    # The plan is the same, but for what makes a large log faster: a tenth of a few rows' time.
    connection.execute("PRAGMA disable_optimizer")
    return connection


def register(connection: DuckDBPyConnection, tables: dict[str, Sent]) -> None:
    """Views of the tables. DuckDB looks whether each is a data frame, and imports pandas to know
    one: half a second and 40 MB for nothing, unless it is here anyway."""
    hidden = "pandas" not in sys.modules
    if hidden:
        sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        for name, table in tables.items():
            connection.register(name, table)
    finally:
        if hidden:
            del sys.modules["pandas"]
