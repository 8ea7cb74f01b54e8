"""What is added to the true sales: cancellations, and the dirt of a real log.

Cancellations are sold lines that come back, whole or in part, hours or days later.

Dirt, at the rates of Online Retail II, is added rows, or a changed code or description on a line
that is not the first of its invoice. So every true purchase keeps a clean sales line with its true
time, and no row with a customer makes a purchase that was none: added lines stand on the customer's
own invoices, or are cancellations, or have no customer. All of it is drawn without a look at
purchase rates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from simulator.invoices import (
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
    earlier_that_day,
    take,
)
from simulator.streams import Streams, every

# Of the cancelling invoices of Online Retail II half have one line and some have many.
_TAIL = 1.5
_WHOLE = 0.7
_DAYS = 8.0
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
_ABSURD, _ABSURD_PRICE = (80995, 74215), 2.08
_CENTURY = 36_525 * 86_400


def with_cancellations(streams: Streams, log: Log, share: float, named: float) -> Log:
    """Takes back sold lines, so that cancelling ones come to about `share` of all.

    `named` is the share of lines that have a customer; lines of nobody stay. Customers differ in
    how much they send back. A cancellation takes some lines of one invoice, that stand together on
    it. What would come back after the log's end does not.
    """
    if not share:
        return log
    sale = log.lines.document[: log.sales]
    lines_of = np.bincount(sale)
    begin = np.cumsum(lines_of) - lines_of
    buyer = log.documents.customer[sale]
    # An invoice of n lines gives back min(L, n) of them; this many on average:
    longest = int(lines_of.max(initial=1))
    given_back = np.cumsum(np.arange(1, longest + 1) ** -_TAIL)[np.maximum(lines_of, 1) - 1]
    propensity = streams("propensity to cancel").standard_exponential(int(buyer.max(initial=0)) + 1)
    weight = np.where(buyer != NOBODY, propensity[buyer] / given_back[sale], 0)
    # Two may choose the same line, which comes back once: as many more are chosen.
    rate = -np.log1p(-min(share / (1 - share) / named, 0.95))
    total = np.cumsum(weight)
    at = np.searchsorted(total, every(streams("cancelled"), rate, float(total[-1])), side="right")
    run = np.minimum(
        np.floor((1 - streams("lines cancelled").random(at.size)) ** (-1 / _TAIL)),
        lines_of[sale[at]],
    ).astype(np.int64)
    rows, document = _runs(at, run, begin[sale[at]], lines_of[sale[at]])

    sold, documents = take(log.lines, rows), take(log.documents, sale[at])
    due = log.clock.warp(documents.second) + 0.02
    due += streams("days to cancel").exponential(_DAYS, at.size)
    in_time = due < log.clock.warped[-1]
    second = log.clock.unwarp(due[in_time]).astype(np.int64)
    documents = replace(
        take(documents, in_time), second=second, kind=np.full(second.size, CANCELLATION)
    )
    part = np.ceil(streams("part cancelled").random(rows.size) * sold.quantity).astype(np.int64)
    whole = streams("whole cancelled").random(rows.size) < _WHOLE
    back = replace(
        sold,
        document=(np.cumsum(in_time) - 1)[document],
        quantity=-np.where(whole, sold.quantity, np.maximum(part, 1)),
    )
    return add(log, take(back, in_time[document]), documents)


def _runs(at: Ints, run: Ints, begin: Ints, size: Ints) -> tuple[Ints, Ints]:
    """Rows `at`, `at + 1` and so on, `run` of them, round the invoice's end to its begin; and the
    number of the run that each is of. A row that an earlier run has is left out."""
    document = np.repeat(np.arange(at.size), run)
    step = np.arange(document.size) - np.repeat(np.cumsum(run) - run, run)
    rows = begin[document] + (at[document] - begin[document] + step) % size[document]
    _, kept = np.unique(rows, return_index=True)
    kept.sort()
    return rows[kept], document[kept]


def messy(code: str) -> str:
    """The same product code as a careless hand types it: ``84029e`` or ``'47503 '``."""
    return code.lower() if code[-1].isalpha() else code + " "


def add_dirt(streams: Streams, log: Log, dirt: float) -> Log:
    """Every kind of `RATES`, at `dirt` times its rate; nothing if `dirt` is 0.

    `log.first_within` lines have one of each kind. Codes are numbered as `write` reads them: the
    products, then their messy forms, then `EXTRA_CODES`; descriptions are those of the products,
    then `EXTRA_DESCRIPTIONS`.
    """
    if dirt:
        for make, rate in RATES.items():
            log = make(Draws(streams, make.__name__, rate * dirt), log)
    return log


@dataclass(frozen=True)
class Draws:
    """Where a kind of dirt comes, and streams for what it needs besides."""

    streams: Streams
    kind: str
    rate: float

    def __call__(self, what: str) -> np.random.Generator:
        return self.streams(f"{self.kind}: {what}")

    def rows(self, log: Log) -> Ints:
        """True sales lines, in the order of time: one in each stretch of ``1 / rate`` of them."""
        return self.among(log, log.sales)

    def among(self, log: Log, size: int) -> Ints:
        return every(self("rows"), self.rate, size, log.first_within).astype(np.int64)


def _missing_descriptions(draws: Draws, log: Log) -> Log:
    rows = _changeable(draws, log)
    description = log.lines.description.copy()
    description[rows] = -1
    return replace(log, lines=replace(log.lines, description=description))


def _messy_codes(draws: Draws, log: Log) -> Log:
    rows = _changeable(draws, log)
    code = log.lines.code.copy()
    code[rows] = code[rows] % log.products + log.products
    return replace(log, lines=replace(log.lines, code=code))


def _duplicates(draws: Draws, log: Log) -> Log:
    return add(log, take(log.lines, draws.rows(log)))


def _zero_prices(draws: Draws, log: Log) -> Log:
    lines = _on_sales(draws, log)
    return add(log, replace(lines, price=np.zeros_like(lines.price)))


def _missing_times(draws: Draws, log: Log) -> Log:
    lines = _on_sales(draws, log)
    return add(log, replace(lines, shift=np.full_like(lines.shift, MISSING_TIME)))


def _future_times(draws: Draws, log: Log) -> Log:
    # A century off, as a mistyped year is: beyond the end of the log and beyond today's date.
    lines = _on_sales(draws, log)
    return add(log, replace(lines, shift=np.full_like(lines.shift, _CENTURY)))


def _absurd_quantities(draws: Draws, log: Log) -> Log:
    # On a customer's invoice: the pair stands in his history, where features may trip over it.
    known = np.flatnonzero(log.documents.customer[log.lines.document[: log.sales]] != NOBODY)
    typed = _like(draws, log, known[draws.among(log, known.size)])
    count = typed.code.size
    price = np.minimum(typed.price, _ABSURD_PRICE)
    typed = replace(typed, quantity=np.resize(_ABSURD, count), price=price)
    sale = take(log.documents, typed.document)
    minutes_later = sale.second + draws("seconds").integers(120, 1200, count)
    cancelled = replace(sale, second=minutes_later, kind=np.full(count, CANCELLATION))
    back = replace(typed, document=np.arange(count), quantity=-typed.quantity)
    return add(add(log, typed), back, cancelled)


def _no_products(draws: Draws, log: Log) -> Log:
    rows = draws.rows(log)
    share = np.array([row[3] for row in _NO_PRODUCTS])
    which = draws("which").choice(share.size, rows.size, p=share / share.sum())
    usual = np.array([row[2] for row in _NO_PRODUCTS])[which]
    price = np.round(usual * np.exp(0.5 * draws("price").standard_normal(rows.size)), 2)
    on_sale = np.array([row[4] for row in _NO_PRODUCTS])[which]
    extra = _extra_lines(log, which, which, np.ones_like(which), price)
    sale = log.lines.document[rows]
    log = add(log, take(replace(extra, document=sale), on_sale))
    return _own_invoices(draws, log, take(extra, ~on_sale), sale[~on_sale], SALE)


def _write_offs(draws: Draws, log: Log) -> Log:
    rows = draws.rows(log)
    item = _other_products(draws, log, rows)
    note = len(_NO_PRODUCTS) + 1 + draws("note").integers(len(_WRITE_OFFS), size=rows.size)
    size = np.exp(2.5 + 1.5 * draws("quantity").standard_normal(rows.size))
    quantity = -np.ceil(size).astype(np.int64)
    lines = replace(_extra_lines(log, note, note, quantity, np.zeros(rows.size)), code=item)
    return _own_invoices(draws, log, lines, log.lines.document[rows], SALE)


def _bad_debts(draws: Draws, log: Log) -> Log:
    rows = np.repeat(draws.rows(log), 2)  # booked, and booked back
    which = np.full(rows.size, len(_NO_PRODUCTS))
    price = np.resize([_BAD_DEBT[2], -_BAD_DEBT[2]], rows.size)
    lines = _extra_lines(log, which, which, np.ones_like(rows), price)
    return _own_invoices(draws, log, lines, log.lines.document[rows], ADJUSTMENT)


# Share of the true sales lines, as counted in Online Retail II; times that are missing or in the
# future are rarer there (it has none), and bad debts are about as rare.
RATES: dict[Callable[[Draws, Log], Log], float] = {
    _missing_descriptions: 0.004,
    _messy_codes: 0.004,
    _duplicates: 0.011,
    _no_products: 0.006,
    _zero_prices: 0.0025,
    _write_offs: 0.0033,
    _missing_times: 0.0002,
    _future_times: 0.00005,
    _bad_debts: 0.00001,
    _absurd_quantities: 0.000002,
}


def _changeable(draws: Draws, log: Log) -> Ints:
    """Lines to change in place: any but the first of an invoice, which stays clean."""
    document = log.lines.document[: log.sales]
    rows = np.flatnonzero(document[1:] == document[:-1]) + 1
    next_one = np.searchsorted(rows, draws.rows(log))
    return rows[next_one[next_one < rows.size]]


def _on_sales(draws: Draws, log: Log) -> Lines:
    """New lines on sales invoices: each like a sold line, but of another product."""
    return _like(draws, log, draws.rows(log))


def _like(draws: Draws, log: Log, rows: Ints) -> Lines:
    item = _other_products(draws, log, rows)
    return replace(take(log.lines, rows), code=item, description=item)


def _other_products(draws: Draws, log: Log, rows: Ints) -> Ints:
    """The product of an earlier line, for each of `rows`: popular ones are met more often."""
    earlier = (draws("product").random(rows.size) * rows).astype(np.int64)
    return log.lines.code[earlier] % log.products


def _extra_lines(log: Log, code: Ints, description: Ints, quantity: Ints, price: Floats) -> Lines:
    return Lines(
        document=np.arange(code.size),
        code=2 * log.products + code,
        description=log.products + description,
        quantity=quantity,
        price=price,
        shift=np.zeros_like(quantity),
    )


def _own_invoices(draws: Draws, log: Log, lines: Lines, near: Ints, kind: int) -> Log:
    """Each line on an invoice of its own, with no customer, on the day of the invoice `near`."""
    count = lines.code.size
    sales = int(log.lines.document[log.sales - 1]) + 1  # sales come first, in the order of time
    second = earlier_that_day(draws("time"), log.clock, log.documents.second[:sales], near)
    documents = Documents(
        second=second,
        kind=np.full(count, kind),
        customer=np.full(count, NOBODY),
        country=np.zeros(count, dtype=np.int64),
        named=np.zeros(count, dtype=bool),
    )
    return add(log, replace(lines, document=np.arange(count)), documents)
