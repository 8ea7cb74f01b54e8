"""The dirt of a real log, at the rates of Online Retail II.

Dirt is added rows, or a changed code or description on a line that is not the first of its
invoice. So every true purchase keeps a clean sales line with its true time, and no row with a
customer makes a purchase that was none: added lines stand on the customer's own invoices, or are
cancellations, or have no customer. All of it is drawn without a look at purchase rates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ingestion.simulation.invoices import (
    ADJUSTMENT,
    CANCELLATION,
    MISSING_TIME,
    NOBODY,
    SALE,
    Documents,
    Floats,
    Ints,
    Lines,
    Log,
    add,
    take,
)

# code, description, usual price, share of such lines, on a customer's invoice
_NO_PRODUCTS = (
    ("POST", "POSTAGE", 18.0, 0.40, True),
    ("M", "Manual", 15.0, 0.20, True),
    ("C2", "CARRIAGE", 50.0, 0.05, True),
    ("DOT", "DOTCOM POSTAGE", 200.0, 0.20, False),
    ("BANK CHARGES", "Bank Charges", 15.0, 0.03, False),
    ("AMAZONFEE", "AMAZON FEE", 4000.0, 0.02, False),
    ("ADJUST", "Adjustment by john on 26/01/2010 16", 30.0, 0.03, False),
    ("gift_0001_20", "Dotcomgiftshop Gift Voucher £20.00", 17.0, 0.05, False),
    ("TEST001", "This is a test product.", 4.5, 0.02, False),
)
_BAD_DEBT = ("B", "Adjust bad debt", 11062.06)
_WRITE_OFFS = ("damaged", "lost", "check", "wet boxes", "thrown away")
EXTRA_CODES = (*(row[0] for row in _NO_PRODUCTS), _BAD_DEBT[0])
EXTRA_DESCRIPTIONS = (*(row[1] for row in _NO_PRODUCTS), _BAD_DEBT[1], *_WRITE_OFFS)

_ABSURD = (80995, 74215)
_CENTURY = 36_525 * 86_400


def messy(code: str) -> str:
    """The same product code as a careless hand types it: ``84029e`` or ``'47503 '``."""
    return code.lower() if code[-1].isalpha() else code + " "


def add_dirt(rng: np.random.Generator, log: Log, dirt: float) -> Log:
    """Every kind of `RATES`, at `dirt` times its rate and at least once; nothing if `dirt` is 0.

    Expects `log.codes` to be the products, then their messy forms, then `EXTRA_CODES`, and
    `log.descriptions` to be those of the products, then `EXTRA_DESCRIPTIONS`.
    """
    if dirt:
        for make, rate in RATES.items():
            log = make(rng, log, int(np.ceil(rate * dirt * log.sales)))
    return log


def _missing_descriptions(rng: np.random.Generator, log: Log, count: int) -> Log:
    rows = _changeable(rng, log, count)
    description = log.lines.description.copy()
    description[rows] = -1
    return replace(log, lines=replace(log.lines, description=description))


def _messy_codes(rng: np.random.Generator, log: Log, count: int) -> Log:
    rows = _changeable(rng, log, count)
    code = log.lines.code.copy()
    code[rows] = code[rows] % _products(log) + _products(log)
    return replace(log, lines=replace(log.lines, code=code))


def _duplicates(rng: np.random.Generator, log: Log, count: int) -> Log:
    return add(log, take(log.lines, rng.integers(log.sales, size=count)))


def _zero_prices(rng: np.random.Generator, log: Log, count: int) -> Log:
    return add(log, replace(_on_sales(rng, log, count), price=np.zeros(count)))


def _missing_times(rng: np.random.Generator, log: Log, count: int) -> Log:
    return add(log, replace(_on_sales(rng, log, count), shift=np.full(count, MISSING_TIME)))


def _future_times(rng: np.random.Generator, log: Log, count: int) -> Log:
    # A century off, as a mistyped year is: beyond the end of the log and beyond today's date.
    return add(log, replace(_on_sales(rng, log, count), shift=np.full(count, _CENTURY)))


def _absurd_quantities(rng: np.random.Generator, log: Log, count: int) -> Log:
    # On a customer's invoice: the pair stands in his history, where features may trip over it.
    documents = log.documents
    invoices = np.flatnonzero((documents.kind == SALE) & (documents.customer != NOBODY))
    typed = replace(
        _on_sales(rng, log, count),
        document=rng.choice(invoices, count),
        quantity=np.resize(_ABSURD, count),
    )
    sale = take(documents, typed.document)
    minutes_later = sale.second + rng.integers(120, 1200, count)
    cancelled = replace(sale, second=minutes_later, kind=np.full(count, CANCELLATION))
    back = replace(typed, document=np.arange(count), quantity=-typed.quantity)
    return add(add(log, typed), back, cancelled)


def _no_products(rng: np.random.Generator, log: Log, count: int) -> Log:
    share = np.array([row[3] for row in _NO_PRODUCTS])
    which = rng.choice(share.size, count, p=share / share.sum())
    usual = np.array([row[2] for row in _NO_PRODUCTS])[which]
    price = np.round(usual * np.exp(0.5 * rng.standard_normal(count)), 2)
    on_sale = np.array([row[4] for row in _NO_PRODUCTS])[which]
    extra = _extra_lines(log, which, which, np.ones(count, dtype=np.int64), price)
    sale = log.lines.document[rng.integers(log.sales, size=count)]
    log = add(log, take(replace(extra, document=sale), on_sale))
    return _own_invoices(rng, log, take(extra, ~on_sale), SALE)


def _write_offs(rng: np.random.Generator, log: Log, count: int) -> Log:
    item = log.lines.code[rng.integers(log.sales, size=count)]
    note = len(_NO_PRODUCTS) + 1 + rng.integers(len(_WRITE_OFFS), size=count)
    quantity = -np.ceil(np.exp(2.5 + 1.5 * rng.standard_normal(count))).astype(np.int64)
    lines = replace(_extra_lines(log, note, note, quantity, np.zeros(count)), code=item)
    return _own_invoices(rng, log, lines, SALE)


def _bad_debts(rng: np.random.Generator, log: Log, count: int) -> Log:
    which = np.full(2 * count, len(_NO_PRODUCTS))
    price = np.tile([_BAD_DEBT[2], -_BAD_DEBT[2]], count)
    lines = _extra_lines(log, which, which, np.ones(2 * count, dtype=np.int64), price)
    return _own_invoices(rng, log, lines, ADJUSTMENT)


# Share of the true sales lines, as counted in Online Retail II; the last four are rarer there.
RATES: dict[Callable[[np.random.Generator, Log, int], Log], float] = {
    _missing_descriptions: 0.004,
    _messy_codes: 0.004,
    _duplicates: 0.011,
    _no_products: 0.006,
    _zero_prices: 0.0025,
    _write_offs: 0.0033,
    _missing_times: 0.0002,
    _future_times: 0.00005,
    _bad_debts: 0.00001,
    _absurd_quantities: 0.00001,
}


def _products(log: Log) -> int:
    return len(log.descriptions) - len(EXTRA_DESCRIPTIONS)


def _changeable(rng: np.random.Generator, log: Log, count: int) -> Ints:
    """Lines to change in place: any but the first of an invoice, which stays clean."""
    document = log.lines.document[: log.sales]
    rows = np.flatnonzero(document[1:] == document[:-1]) + 1
    return rng.choice(rows, min(count, rows.size), replace=False)


def _on_sales(rng: np.random.Generator, log: Log, count: int) -> Lines:
    """New lines on sales invoices: each like a sold line, but of another product."""
    lines = take(log.lines, rng.integers(log.sales, size=count))
    item = log.lines.code[rng.integers(log.sales, size=count)] % _products(log)
    return replace(lines, code=item, description=item)


def _extra_lines(log: Log, code: Ints, description: Ints, quantity: Ints, price: Floats) -> Lines:
    products = _products(log)
    return Lines(
        document=np.arange(code.size),
        code=2 * products + code,
        description=products + description,
        quantity=quantity,
        price=price,
        shift=np.zeros_like(quantity),
    )


def _own_invoices(rng: np.random.Generator, log: Log, lines: Lines, kind: int) -> Log:
    """Each line on an invoice of its own, with no customer, at any time the shop is open."""
    count = lines.code.size
    second = log.clock.unwarp(log.clock.warped[-1] * rng.random(count)).astype(np.int64)
    documents = Documents(
        second, np.full(count, kind), np.full(count, NOBODY), np.zeros(count, dtype=np.int64)
    )
    return add(log, replace(lines, document=np.arange(count)), documents)
