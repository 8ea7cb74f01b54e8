"""A log of invoices while it is being made: columns of numbers, turned into text on the way out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from simulator.season import WarpedClock

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SALE, CANCELLATION, ADJUSTMENT = 0, 1, 2
NOBODY = -1
MISSING_TIME = np.iinfo(np.int64).min


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

    `second` are the times of all invoices, rising. The times found lie on the same day, so that
    whatever happens from a date on moves nothing before it, and within opening hours.
    """
    now = second[document]
    before = np.maximum(second[np.maximum(document - 1, 0)], now - now % 86_400)
    since, until = clock.warp(before), clock.warp(now)
    found = np.floor(clock.unwarp(since + (until - since) * rng.random(now.size))).astype(np.int64)
    return np.clip(found, before, now)
