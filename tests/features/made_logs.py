"""Small logs, and the questions the tests ask about them through the real SQL."""

from __future__ import annotations

import atexit
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from common.duck import connect
from configs.settings import Compute, Features
from features.catalogue import NAMES
from features.engine import build_features, make, read_log

TYPES = {
    "invoice_id": pa.string(),
    "product_id": pa.string(),
    "description": pa.string(),
    "quantity": pa.int64(),
    "unit_price": pa.float64(),
    "invoiced_at": pa.timestamp("us"),
    "customer_id": pa.string(),
    "country": pa.string(),
}
SCHEMA = pa.schema(TYPES)
Values = dict[str, float | None]


@dataclass(frozen=True)
class Line:
    """One valid row. A negative quantity is a cancellation."""

    invoiced_at: datetime
    customer_id: str = "anna"
    invoice_id: str = "1"
    product_id: str = "10001"
    quantity: int = 1
    unit_price: float = 1.0
    country: str | None = "United Kingdom"
    description: str | None = None


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def as_table(lines: Iterable[Line]) -> pa.Table:
    return pa.Table.from_pylist([vars(line) for line in lines], schema=SCHEMA)


@dataclass(frozen=True)
class Answer:
    """features: by customer and as-of date.  buyers: who has the label 1."""

    features: dict[tuple[str, date], Values]
    buyers: set[tuple[str, date]]

    def bits(self, until: date = date.max) -> dict[tuple[str, date], bytes]:
        """The feature values of as-of dates up to `until`, as bytes: -0.0 is not 0.0."""
        nan = float("nan")
        return {
            key: struct.pack(f"<{len(NAMES)}d", *(nan if v is None else v for v in values.values()))
            for key, values in self.features.items()
            if key[1] <= until
        }


def ask(
    log: Iterable[Line] | pa.Table,
    as_of: Iterable[date],
    settings: Features | None = None,
    *,
    spine: Iterable[tuple[str, date]] | None = None,
    log_start: date | None = None,
    threads: int = 1,
) -> Answer:
    """Features and labels; the spine is the active customers' unless one is given."""
    settings = settings or Features()
    table = log if isinstance(log, pa.Table) else as_table(log)
    connection = _connection(threads)
    connection.register("transactions", table)
    read_log(connection, settings, log_start)
    make_spine(connection, as_of, spine)
    build_features(connection)
    make(connection, "buyers")
    rows = connection.execute("SELECT * EXCLUDE row_id FROM features ORDER BY row_id").fetchall()
    buyers = connection.execute("FROM buyers").fetchall()
    return Answer({row[:2]: dict(zip(NAMES, row[2:], strict=True)) for row in rows}, set(buyers))


@cache
def _connection(threads: int) -> duckdb.DuckDBPyConnection:
    """Kept open for all tests: opening one takes as long as a small log."""
    stack = ExitStack()
    atexit.register(_connection.cache_clear)  # DuckDB reports what outlives it
    atexit.register(stack.close)
    return stack.enter_context(connect(compute=Compute(threads=threads)))


def make_spine(
    connection: duckdb.DuckDBPyConnection,
    as_of: Iterable[date],
    spine: Iterable[tuple[str, date]] | None = None,
) -> None:
    if spine is None:
        connection.execute("CREATE OR REPLACE TEMP TABLE as_of_dates (as_of DATE, split VARCHAR)")
        connection.executemany(
            "INSERT INTO as_of_dates VALUES (?, 'train')", [[day] for day in as_of]
        )
        make(connection, "spine")
    else:
        connection.execute("CREATE OR REPLACE TEMP TABLE spine (customer_id VARCHAR, as_of DATE)")
        connection.executemany("INSERT INTO spine VALUES (?, ?)", [list(row) for row in spine])


def shop_log(customers: int, invoices: int, *, seed: int = 1, days: int = 700) -> list[Line]:
    """A seeded log: invoices of one to four lines, some cancelled a week later."""
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(invoices):
        moment = datetime(2023, 1, 1) + timedelta(minutes=int(rng.integers(days * 1440)))
        first = Line(
            invoiced_at=moment,
            customer_id=f"customer {rng.integers(customers)}",
            invoice_id=str(number),
            country=[None, "France", "United Kingdom"][rng.integers(3)],
        )
        for _ in range(rng.integers(1, 5)):
            line = replace(
                first,
                product_id=str(10_000 + rng.integers(50)),
                quantity=int(rng.integers(1, 30)),
                unit_price=round(float(rng.gamma(2, 2)) + 0.001, 3),
            )
            lines.append(line)
    for line in lines[:: max(len(lines) // 20, 1)]:
        cancelled = replace(line, invoice_id=f"C{line.invoice_id}", quantity=-line.quantity)
        lines.append(replace(cancelled, invoiced_at=line.invoiced_at + timedelta(days=7)))
    return lines


def write(lines: Iterable[Line], path: Path) -> Path:
    pq.write_table(as_table(lines), path)
    return path
