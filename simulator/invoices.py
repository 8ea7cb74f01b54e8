"""A log of invoices while it is being made: columns of numbers, turned into text on the way out.

It is written as Parquet in the order of time, however many lines there are: the lines of each chunk
of customers are dealt into files by time, as plain records; then each file is sorted in memory and
written out. Nothing larger than a chunk or such a file is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulator.population import WarpedClock

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SALE, CANCELLATION, ADJUSTMENT = 0, 1, 2
NOBODY = -1
MISSING_TIME = np.iinfo(np.int64).min
PREFIX = ("", "C", "A")  # by kind of document
_FIRST_NUMBER = 489434
ROW_GROUP = 122_880  # as DuckDB's: it reads them side by side
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
# Text goes in as dictionaries, which is much faster, and comes out as text (store_schema=False).
_AS_WRITTEN = pa.schema(
    [
        (
            field.name,
            pa.dictionary(pa.int32(), field.type) if field.type == pa.string() else field.type,
        )
        for field in SCHEMA
    ]
)
# A line beside its invoice. `begins`: the first line of an invoice; `customer`: -1 for nobody.
_RECORD = np.dtype([
    ("second", "i4"), ("shift", "i8"), ("begins", "?"), ("kind", "i1"), ("customer", "i4"),
    ("country", "i1"), ("code", "i4"), ("description", "i4"), ("quantity", "i8"), ("price", "f8"),
])  # fmt: skip


@dataclass(frozen=True)
class Documents:
    """Invoices, columns of shape ``(invoices,)``: when (seconds after the log's first midnight),
    kind (`SALE` and so on), who (-1: nobody), where (a position in the countries), and whether the
    customer is written on it."""

    second: Ints
    kind: Ints
    customer: Ints
    country: Ints
    named: NDArray[np.bool_]


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
    """The log of some customers so far.

    The first ``sales`` lines are the true sales, in the order of their invoices' times; whatever
    was added follows. ``products`` counts the catalogue. ``first_within``: how early the first of
    every kind of dirt comes, in lines; None: where chance puts it.
    """

    documents: Documents
    lines: Lines
    sales: int
    clock: WarpedClock
    products: int
    first_within: int | None = None


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


def earlier_that_day(
    rng: np.random.Generator, clock: WarpedClock, second: Ints, document: Ints
) -> Ints:
    """For each of `document` a time between the invoice before it, if on its day, and it itself.

    `second` are the times of all invoices, rising. The result lies on the same day, so that
    whatever happens from a date on moves nothing before it, and within opening hours.
    """
    now = second[document]
    before = np.maximum(second[np.maximum(document - 1, 0)], now - now % 86_400)
    since, until = clock.warp(before), clock.warp(now)
    times = np.floor(clock.unwarp(since + (until - since) * rng.random(now.size))).astype(np.int64)
    return np.clip(times, before, now)


@dataclass(frozen=True)
class Words:
    """The texts that numbers stand for; ``customers`` (shape ``(customers,)``) are numbers too."""

    codes: tuple[str, ...]
    descriptions: tuple[str, ...]
    customers: NDArray[np.int64]
    countries: tuple[str, ...]


def records(log: Log, first_customer: int) -> NDArray:
    """The lines as records, invoice by invoice in the order of time.

    `first_customer` is the number of the chunk's customer 0 in the whole log.
    """
    documents, lines = log.documents, log.lines
    by_time = np.argsort(documents.second, kind="stable")
    rank = np.empty(by_time.size, dtype=np.int32)
    rank[by_time] = np.arange(by_time.size)
    order = np.argsort(rank[lines.document], kind="stable")
    document = lines.document[order]
    result = np.empty(order.size, dtype=_RECORD)
    result["begins"] = np.diff(document, prepend=-1) != 0
    customer = np.where(documents.named, documents.customer + first_customer, NOBODY)
    for name, column in (
        ("second", documents.second), ("kind", documents.kind), ("customer", customer),
        ("country", documents.country),
    ):  # fmt: skip
        result[name] = column[document]
    for name in ("shift", "code", "description", "quantity", "price"):
        result[name] = getattr(lines, name)[order]
    return result


class Spill:
    """Files of records in `folder`; file ``i`` holds the seconds from ``bounds[i]`` on, up to and
    without ``bounds[i + 1]``."""

    def __init__(self, folder: Path, bounds: NDArray) -> None:
        self._folder, self._bounds = folder, bounds

    def add(self, batch: NDArray) -> None:
        """Deals out the records of a chunk, which are in the order of time."""
        cuts = np.searchsorted(batch["second"], self._bounds).tolist()
        for number, (begin, end) in enumerate(zip(cuts, [*cuts[1:], batch.size])):
            if end > begin:
                with (self._folder / str(number)).open("ab") as file:
                    file.write(batch[begin:end].data)

    def sorted(self) -> Iterator[NDArray]:
        """The records of one file after the other, in the order of time, then of chunks."""
        for number in range(self._bounds.size):
            path = self._folder / str(number)
            if path.exists():
                batch = np.fromfile(path, dtype=_RECORD)
                path.unlink()
                yield batch[np.argsort(batch["second"], kind="stable")]


@contextmanager
def spill(folder: Path, first: NDArray, files: int) -> Iterator[Spill]:
    """A spill into a folder of its own. `first` are the records of one chunk: all are alike, so
    its lines tell where to cut the time into `files` about equal parts."""
    cuts = np.arange(files) * first.size // files
    bounds = np.unique(first["second"][cuts])
    bounds[0] = 0
    with TemporaryDirectory(prefix=".spill-", dir=folder) as name:
        yield Spill(Path(name), bounds)


def write(parts: Iterator[NDArray], words: Words, start: date, path: Path) -> None:
    """Writes records, which come in the order of time, to `path` as Parquet.

    Invoices are numbered by time, so the number says nothing that the time does not say.
    """
    number = _FIRST_NUMBER - 1
    with pq.ParquetWriter(path, _AS_WRITTEN, store_schema=False) as writer:
        for part in parts:
            invoice = number + np.cumsum(part["begins"])
            for begin in range(0, part.size, ROW_GROUP):
                rows = slice(begin, begin + ROW_GROUP)
                writer.write_table(_table(part[rows], invoice[rows], words, start))
            number = int(invoice[-1])


def _table(part: NDArray, invoice: NDArray, words: Words, start: date) -> pa.Table:
    lost = part["shift"] == MISSING_TIME
    second = part["second"] + np.where(lost, 0, part["shift"])
    changes = np.diff(invoice, prepend=-1) != 0
    prefixes = [PREFIX[kind] for kind in part["kind"][changes].tolist()]
    numbers = invoice[changes].tolist()
    columns = [
        pa.DictionaryArray.from_arrays(
            (np.cumsum(changes) - 1).astype(np.int32),
            [f"{prefix}{n}" for prefix, n in zip(prefixes, numbers)],
        ),
        _text(part["code"], words.codes),
        _text(part["description"], words.descriptions),
        pa.array(part["quantity"]),
        pa.array(part["price"]),
        pa.array(np.datetime64(start, "us") + second.astype("timedelta64[s]"), mask=lost),
        _text(part["customer"], words.customers),
        _text(part["country"], words.countries),
    ]
    return pa.Table.from_arrays(columns, schema=_AS_WRITTEN)


def _text(position: NDArray, words: Sequence[object] | NDArray) -> pa.DictionaryArray:
    """The texts at `position`, none where that is negative. Only those that occur are made."""
    occurs = np.zeros(len(words) + 1, dtype=bool)
    occurs[position] = True  # -1 marks the one beyond the last
    entry = np.cumsum(occurs) - 1
    texts = [str(words[place]) for place in np.flatnonzero(occurs[:-1]).tolist()]
    indices = pa.array(entry[position].astype(np.int32), mask=position < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))
