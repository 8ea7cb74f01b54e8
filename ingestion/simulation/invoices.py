"""A log of invoices while it is being made: columns of numbers, turned into text on the way out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingestion.simulation.season import WarpedClock

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SALE, CANCELLATION, ADJUSTMENT = 0, 1, 2
_PREFIX = ("", "C", "A")
_FIRST_NUMBER = 489434
NOBODY = -1
MISSING_TIME = np.iinfo(np.int64).min
_ROWS_AT_A_TIME = 8 * 122_880  # a multiple of DuckDB's row group; text is made for so many at once

SCHEMA = pa.schema(
    [
        ("invoice_id", pa.string()),
        ("product_id", pa.string()),
        ("description", pa.string()),
        ("quantity", pa.int64()),
        ("unit_price", pa.float64()),
        ("invoiced_at", pa.timestamp("us")),
        ("customer_id", pa.string()),
        ("country", pa.string()),
    ]
)


@dataclass(frozen=True)
class Documents:
    """Invoices, columns of shape ``(invoices,)``: when (seconds after the log's first midnight),
    kind (a position in ``_PREFIX``), who (-1: nobody) and where (a position in the countries)."""

    second: Ints
    kind: Ints
    customer: Ints
    country: Ints


@dataclass(frozen=True)
class Lines:
    """Invoice lines, columns of shape ``(lines,)``.

    ``document`` numbers the invoice, ``code`` and ``description`` are positions in lists of text
    (-1: missing), ``price`` is pounds, ``shift`` is seconds to add to the invoice's time.
    """

    document: Ints
    code: Ints
    description: Ints
    quantity: Ints
    price: Floats
    shift: Ints


@dataclass(frozen=True)
class Log:
    """The log so far. The first ``sales`` lines are the true sales; whatever was added follows."""

    documents: Documents
    lines: Lines
    sales: int
    clock: WarpedClock
    codes: tuple[str, ...]
    descriptions: tuple[str, ...]
    customers: tuple[str, ...]
    countries: tuple[str, ...]


Columns = TypeVar("Columns", Documents, Lines)


def take(columns: Columns, rows: NDArray) -> Columns:
    """The entries at `rows` (positions or a mask)."""
    return replace(columns, **{name: values[rows] for name, values in vars(columns).items()})


def join(*parts: Columns) -> Columns:
    """The parts one after the other."""
    names = vars(parts[0])
    return replace(
        parts[0], **{name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
    )


def add(log: Log, lines: Lines, documents: Documents | None = None) -> Log:
    """The log with `lines` at its end.

    With `documents`, those are new invoices and `lines.document` counts from the first of them.
    """
    if documents is not None:
        lines = replace(lines, document=lines.document + log.documents.second.size)
        log = replace(log, documents=join(log.documents, documents))
    return replace(log, lines=join(log.lines, lines))


def write_log(log: Log, path: Path) -> None:
    """Writes the log to `path` as Parquet, in the order and with the numbers a shop gives.

    Invoices are numbered by time, so the number says nothing that the time does not say.
    """
    documents, lines = log.documents, log.lines
    by_time = np.argsort(documents.second, kind="stable")
    number = np.empty_like(by_time)
    number[by_time] = np.arange(by_time.size)
    order = np.argsort(number[lines.document], kind="stable")

    prefix = pa.array(_PREFIX).take(pa.array(documents.kind))
    digits = pc.cast(pa.array(number + _FIRST_NUMBER), pa.string())
    invoice = pc.binary_join_element_wise(prefix, digits, "")
    first_midnight = np.datetime64(log.clock.start, "us")

    with pq.ParquetWriter(path, SCHEMA) as writer:
        for start in range(0, order.size, _ROWS_AT_A_TIME):
            part = take(lines, order[start : start + _ROWS_AT_A_TIME])
            document = take(documents, part.document)
            lost = part.shift == MISSING_TIME
            second = document.second + np.where(lost, 0, part.shift)
            time = first_midnight + second.astype("timedelta64[s]")
            columns = [
                invoice.take(pa.array(part.document)),
                _text(log.codes, part.code),
                _text(log.descriptions, part.description),
                pa.array(part.quantity),
                pa.array(part.price),
                pa.array(time, mask=lost),
                _text(log.customers, document.customer),
                _text(log.countries, document.country),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), row_group_size=122_880)


def _text(words: tuple[str, ...], position: Ints) -> pa.Array:
    return pa.array(words, pa.string()).take(pa.array(position, mask=position < 0))
