"""A small shop, month by month, as valid rows and quarantine in Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.settings import Compute
from configs.source import CANONICAL
from monitoring.facts import Reading, add_months, end_of, first_day
from monitoring.measure import Measured, measure_months
from tests.features.made_logs import TYPES

HOME = "United Kingdom"
FIRST = "2024-01"
BASELINE = [add_months("2025-01", n) for n in range(12)]
JUDGED, NEXT = "2026-01", "2026-02"  # the months after it
UNTIL = date(2026, 3, 1)
Row = dict[str, Any]


@dataclass(frozen=True)
class Shop:
    valid: list[Row] = field(default_factory=list)
    quarantined: list[Row] = field(default_factory=list)  # with `reasons`

    def changed(self, month: str, change: Callable[[Row], Row | None]) -> Shop:
        """The shop with each valid row of that month changed, or left out where that is None."""
        begin, end = datetime(*first_day(month).timetuple()[:3]), end_of(month)
        rows: list[Row] = []
        for row in self.valid:
            inside = begin <= row["invoiced_at"] and row["invoiced_at"].date() < end
            new = change(dict(row)) if inside else row
            rows += [] if new is None else [new]
        return Shop(rows, self.quarantined)


def shop(months: int = 26, invoices: int = 150, products: int = 40, seed: int = 1) -> Shop:
    """Each month as many invoices of three lines and a tenth as many without a customer. A third
    is of new customers, one in ten of them from France. Prices vary by product alone."""
    rng = np.random.default_rng(seed)
    valid, quarantined = [], []
    for number in range(months):
        month = add_months(FIRST, number)
        days = (end_of(month) - first_day(month)).days
        for invoice in range(invoices + invoices // 10):
            known = invoice < invoices
            new = invoice < invoices // 3
            at = datetime(*first_day(month).timetuple()[:3]) + timedelta(
                days=invoice % days, minutes=int(rng.integers(1440))
            )
            customer = f"{month} {invoice}" if new else f"old {rng.integers(400)}"
            for product in rng.choice(products, min(3, products), replace=False):
                row: Row = {
                    "invoice_id": f"{number:03d}{invoice:05d}",
                    "product_id": f"{10_000 + product}",
                    "description": "MUG",
                    "quantity": int(rng.geometric(0.2)),
                    "unit_price": 1.0 + float(product),
                    "invoiced_at": at,
                    "customer_id": customer if known else None,
                    "country": "France" if new and invoice % 10 == 0 else HOME,
                }
                if known:
                    valid.append(row)
                else:
                    quarantined.append(row | {"reasons": ["missing_customer"]})
    return Shop(valid, quarantined)


def measure(
    made: Shop,
    folder: Path,
    until: date,
    declared: frozenset[str] = frozenset(CANONICAL),
    threads: int = 1,
) -> list[Measured]:
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(TYPES)
    valid = pa.Table.from_pylist(made.valid, schema=schema)
    pq.write_table(valid, folder / "transactions.parquet")
    with_reasons = schema.append(pa.field("reasons", pa.list_(pa.string())))
    quarantined = pa.Table.from_pylist(made.quarantined, schema=with_reasons)
    pq.write_table(quarantined, folder / "quarantine.parquet")
    return measure_months(
        folder / "transactions.parquet",
        folder / "quarantine.parquet",
        until=until,
        declared=declared,
        home_country=HOME,
        compute=Compute(threads=threads),
        folder=folder,
    )


def states(readings: Iterable[Reading]) -> dict[str, str]:
    return {reading.sensor: reading.state for reading in readings}
