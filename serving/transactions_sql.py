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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from queue import LifoQueue
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from configs.rules import Contract, Rule
from configs.settings import Features
from configs.source import Form
from features.catalogue import Feature
from features.online import select_features
from ingestion.canonical import COLUMNS, MAPPED, select_canonical
from ingestion.contract import row_rules
from ingestion.judge import COPIES, SHARED, quarantining, select_judged

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# MB of a connection, and more for each thousand lines of the largest request; beyond it refused.
# DuckDB keeps what it has had, so this is also what stays.
MEMORY, MEMORY_THOUSAND = 90, 1
AFTER = "after_as_of"
WHY_AFTER = "a line on or after the as-of date lies in its future"
LINE = 2**40  # key of a line: customer x LINE + line
# The DuckDB types of the values of a request. Times are text, as in a CSV file, which SQL parses.
# So are all numbers of a request in which one is text.
COLUMN_TYPES = {**MAPPED, "invoiced_at": "VARCHAR"}
TEXT_TYPES = dict.fromkeys(MAPPED, "VARCHAR")
NAMES = {False: "lines", True: "lines_as_text"}  # the relations
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Row:
    """The result of one customer's lines. place: in the list of customers.

    customer_id: as ingestion reads it; None where it is blank.  features: None for a customer
    who did not buy in the `active_days`; within, None where missing.  left_out: (line, its broken
    bits).
    """

    place: int
    customer_id: str | None
    features: tuple[float | None, ...] | None
    left_out: list[tuple[int, int]]


def line_rules(contract: Contract, declared: frozenset[str]) -> dict[str, Rule]:
    """The contract's rules for the lines of a request, in the order of their bits. Not those about
    `in_future`: a line from the as-of date on is `after_as_of` here."""
    rules = row_rules(contract, declared)
    return {name: rule for name, rule in rules.items() if rule.column != "in_future"}


def line_columns(declared: frozenset[str], as_text: bool = False) -> dict[str, str]:
    """Columns of the relation `lines` -> DuckDB types: the declared ones, and `key`. as_text:
    numbers are text."""
    types = TEXT_TYPES if as_text else COLUMN_TYPES
    return {"key": "BIGINT", **{name: kind for name, kind in types.items() if name in declared}}


def select_rows(
    contract: Contract,
    declared: frozenset[str],
    settings: Features,
    log_start: date,
    features: Sequence[Feature],
    form: Form,
    as_text: bool = False,
) -> str:
    """The statement: from the lines and `request` one row for each customer, as
    place, customer_id, keys and bits of the lines left out, whether they are active, features.

    form: how values are written that are text.  as_text: numbers are, in `lines_as_text`."""
    rules = line_rules(contract, declared)
    mapping = {name: name for name in MAPPED if name in declared}
    raw = select_canonical(
        NAMES[as_text],
        mapping,
        line_columns(declared, as_text),
        form.time_format,
        source="request",
        number="key",
        text=form.text if as_text else None,
        also_iso=True,
    )
    judged = select_judged(rules, contract, declared, datetime.max)
    after = f"CASE WHEN invoiced_at >= as_of THEN {1 << len(rules)} ELSE 0 END"
    columns = ", ".join(name for name in COLUMNS if name != "customer_id")
    names = ", ".join(feature.name for feature in features)
    return f"""
        WITH as_of_dates AS MATERIALIZED (FROM request),
        raw AS MATERIALIZED (SELECT source_row AS key, * EXCLUDE source_row FROM ({raw})),
        shared AS ({SHARED}),
        copies AS ({COPIES}),
        judged AS MATERIALIZED (
            SELECT key // {LINE} AS place, key, customer_id, {columns},
                   (broken & {quarantining(rules)}) + {after} AS reasons
            FROM ({judged}) CROSS JOIN as_of_dates
        ),
        -- A customer is known by their place: one who is named twice is found, and refused.
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


# --- the statement, prepared ---------------------------------------------------------------------


class Prepared:
    """A connection of its own with the prepared statements. For one thread at a time.

    queries: `select_rows`, by whether numbers are text: those of text are planned when they are
    first needed, which most services never do.
    """

    def __init__(
        self, queries: Mapping[bool, str], declared: frozenset[str], max_lines: int
    ) -> None:
        self.queries, self.request = queries, LiveTable({"as_of": "DATE"})
        self.lines = {as_text: LiveTable(line_columns(declared, as_text)) for as_text in queries}
        self.planned: set[bool] = set()
        self.connection = open_connection(MEMORY + MEMORY_THOUSAND * max_lines // 1000)
        for as_text, lines in self.lines.items():
            register(self.connection, NAMES[as_text], lines)
        register(self.connection, "request", self.request)
        self.connection.execute("SET lock_configuration = true")
        self._plan(False)

    def _plan(self, as_text: bool) -> str:
        """Prepare the statement, once, and return its name."""
        name = f"answer_{NAMES[as_text]}"
        if as_text not in self.planned:
            self.connection.execute(f"PREPARE {name} AS {self.queries[as_text]}")
            self.planned.add(as_text)
        return name

    def run(self, lines: Mapping[str, pa.Array], as_of: date, as_text: bool = False) -> list[Row]:
        """Execute the statement. Raises duckdb.DataError for values too large to be counted,
        duckdb.InterruptException when it is interrupted, duckdb.OutOfMemoryException.

        lines: the columns of `line_columns`.
        """
        statement = self._plan(as_text)
        self.lines[as_text].fill(lines)
        self.request.fill({"as_of": arrow("DATE", [(as_of - EPOCH).days])})
        try:
            rows = self.connection.execute(f"EXECUTE {statement}").fetchall()
        finally:
            self.lines[as_text].clear()
            self.request.clear()
        return [
            Row(
                place,
                customer_id,
                tuple(features) if active else None,
                sorted(zip(keys or (), bits or (), strict=True)),
            )
            for place, customer_id, keys, bits, active, *features in rows
        ]

    def close(self) -> None:
        self.connection.close()


def open_connection(megabytes: int = MEMORY) -> DuckDBPyConnection:
    """Open an in-memory database without access to files or the network, with one thread: a request
    is too small for several."""
    connection = duckdb.connect(
        ":memory:",
        config={"threads": 1, "memory_limit": f"{megabytes}MB", "temp_directory": ""},
    )
    connection.execute("SET enable_external_access = false")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


class Pool:
    """Lends connections, as a DuckDB connection runs one query at a time. The one returned last is
    lent first, because its memory is warm."""

    def __init__(self, opened: Sequence[Prepared]) -> None:
        self.opened = opened
        self.free: LifoQueue[Prepared] = LifoQueue()
        for one in opened:
            self.free.put(one)

    @contextmanager
    def take(self) -> Iterator[Prepared]:
        """Lend a prepared statement; waits until one is free."""
        prepared = self.free.get()
        try:
            yield prepared
        finally:
            self.free.put(prepared)

    def close(self) -> None:
        for one in self.opened:
            one.close()


# --- values from Python to a prepared statement, as Arrow ----------------------------------------
#
# Two traps. A table that is registered anew makes DuckDB plan its statements again: so a
# `LiveTable` is registered once, and its content changes. And DuckDB's `register`, as well as
# `pa.array` and `Schema.empty_table`, import pandas to know whether they were given some of it:
# half a second and 40 MB for a service that has no use for it.

KINDS = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "DOUBLE": pa.float64(), "DATE": pa.date32()}
NUMPY = {"BIGINT": np.int64, "DOUBLE": np.float64, "DATE": np.int32}  # a date: days from 1970


class LiveTable:
    """An Arrow table that changes under a view that does not. DuckDB asks for the stream anew at
    each execution, and plans nothing again, because the columns stay the same."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        """columns: name -> DuckDB type."""
        self.schema = pa.schema({name: KINDS[kind] for name, kind in columns.items()})
        self.table = self._empty = pa.Table.from_batches([], self.schema)

    def fill(self, columns: Mapping[str, pa.Array]) -> None:
        self.table = pa.Table.from_arrays(
            [columns[name] for name in self.schema.names], schema=self.schema
        )

    def clear(self) -> None:
        self.table = self._empty

    def __arrow_c_schema__(self) -> Any:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


def register(connection: DuckDBPyConnection, name: str, table: LiveTable) -> None:
    """Register a view of the table. pandas is hidden meanwhile, unless it is imported already."""
    hidden = "pandas" not in sys.modules
    if hidden:
        sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        connection.register(name, table)
    finally:
        if hidden:
            del sys.modules["pandas"]


def arrow(kind: str, values: Sequence[Any]) -> pa.Array:
    """Values of a DuckDB type of KINDS as Arrow; None is null."""
    if kind == "VARCHAR":
        builder = pa.lib.StringBuilder()
        builder.append_values(values)
        return builder.finish()
    filled = [0 if value is None else value for value in values]
    present = None if None not in values else [value is not None for value in values]
    return from_numpy(kind, np.array(filled, dtype=NUMPY[kind]), present)


def from_numpy(kind: str, values: np.ndarray, present: Sequence[bool] | None = None) -> pa.Array:
    """Return whole numbers or doubles as Arrow, uncopied. present: whether each is a value."""
    bits = None if present is None else pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(KINDS[kind], len(values), [bits, pa.py_buffer(values)])
