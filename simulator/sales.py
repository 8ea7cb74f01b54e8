"""The true sales of some customers: one invoice per purchase, those that nobody wrote down, and
what is in each: how many lines, and of each the product, quantity and price.

Whatever is drawn here is independent of purchase rates and drop-out: `simulator.py` says why.
The figures in this module are calibrated to Online Retail II (`docs/simulator.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from configs.source import Simulation
from simulator.catalogue import Catalogue
from simulator.drift import Drifted
from simulator.invoices import (
    NOBODY,
    SALE,
    Documents,
    Floats,
    Ints,
    Lines,
    Log,
    earlier_that_day,
    join,
    take,
)
from simulator.population import DAY, Purchases, WarpedClock
from simulator.streams import Streams

# Lines per invoice: 1 + Weibull, near to exponential, so that many invoices have a line or two.
_LINES_SHAPE = 0.95
_LINES_BY_CUSTOMER = 0.65  # its square: correlation of the scores of two invoices of a customer

# A line's quantity is a pack, picked by a score that adds up these, in units of log quantity.
_PACK_BY_CUSTOMER, _PACK_BY_INVOICE, _PACK_BY_LINE = 0.1, 0.21, 0.67
_TRADE = 0.55  # mean of the exponential part between customers: a few buy by the crate
_ABROAD = 0.59  # what is worth shipping
_MODEST = -1.15  # with the above, orders of half the value
_PACK_BY_ORDERS = 0.25  # per log of the orders so far: those who come back come to trust
_PACK_BY_LINES = -0.39  # long orders have small packs
_PACK_BY_PRICE = -0.77  # cheap things come in large packs
_PACK_MEAN, _PACK_SD = 0.53, 1.3  # of the score, over lines

# Nobody wrote the customer down: single sales, and a day's takings of a website in one invoice.
_STRANGERS_LINES = 3.6  # mean lines, times those of a known customer's invoice
_STRANGERS_SMALL, _STRANGERS_SMALL_LINES = 0.46, 0.075  # share of single sales, lines of the mean
_STRANGERS_PACK, _STRANGERS_PACK_SD = -1.47, 1.0

# pack size -> weight, for known customers; 1, 12, 2, 6, 4, 3, 24 are the common ones
_PACKS = {
    1: 19, 2: 15, 3: 7, 4: 8, 5: 2.5, 6: 10, 8: 4, 10: 5.5, 12: 15, 16: 1.5, 20: 2, 24: 7,
    36: 1.8, 48: 2, 72: 1, 100: 0.9, 144: 0.45, 200: 0.35, 288: 0.2, 500: 0.08, 1000: 0.012,
    2000: 0.004,
}  # fmt: skip
_SHARES = {
    "United Kingdom": 0.910, "EIRE": 0.020, "Germany": 0.019, "France": 0.016,
    "Netherlands": 0.010, "Spain": 0.007, "Belgium": 0.006, "Switzerland": 0.005,
    "Portugal": 0.004, "Australia": 0.003,
}  # fmt: skip
COUNTRIES = tuple(_SHARES)
_HOME = 0
_ORDERS_BEFORE, _ACQUAINTED_DAYS = 8.0, 60.0


@dataclass(frozen=True)
class Tastes:
    """How a customer buys (shape ``(customers,)``): scores of lines and of packs."""

    lines: Floats
    pack: Floats


def draw_tastes(streams: Streams, abroad: NDArray[np.bool_], modest: NDArray[np.bool_]) -> Tastes:
    """One taste per customer. `modest`: buys for about half as much (`drift.py`)."""
    pack = _PACK_BY_CUSTOMER * streams("taste in packs").standard_normal(abroad.size)
    trade = streams("trade").exponential(_TRADE, abroad.size) - _TRADE
    return Tastes(
        lines=streams("taste in lines").standard_normal(abroad.size),
        pack=pack + trade + _ABROAD * abroad + _MODEST * modest,
    )


def line_counts(streams: Streams, tastes: Tastes, customer: Ints, mean: float) -> Ints:
    """Lines of each invoice of a known customer; `customer` has shape ``(invoices,)``."""
    own = streams("lines").standard_normal(customer.size)
    score = _LINES_BY_CUSTOMER * tastes.lines[customer]
    score = score + np.sqrt(1 - _LINES_BY_CUSTOMER**2) * own
    return _rounded(streams, "lines", (mean - 1) * _weibull(_LINES_SHAPE)(score))


def strangers_line_counts(streams: Streams, count: int, mean: float) -> Ints:
    """Lines of `count` invoices without a customer: very short ones and very long ones."""
    mean = max(1.0, _STRANGERS_LINES * mean)
    small = streams("strangers' kind").random(count) < _STRANGERS_SMALL
    score = streams("strangers' lines").standard_normal(count)
    few = _STRANGERS_SMALL_LINES * mean
    many = (mean - _STRANGERS_SMALL * few) / (1 - _STRANGERS_SMALL)
    excess = np.where(
        small, max(few - 1, 0) * _weibull(0.75)(score), (many - 1) * _weibull(1.1)(score)
    )
    return _rounded(streams, "strangers' lines", np.minimum(excess, 20 * mean))


def fill(
    streams: Streams,
    catalogue: Catalogue,
    documents: Documents,
    counts: Ints,
    orders: Ints,
    tastes: Tastes,
    mean_lines: float,
) -> Lines:
    """The lines of `documents` (in the order of time), about `counts` of them each.

    `orders` numbers the invoices of each customer, from 1 or higher; `tastes` are those of the
    customers, and `mean_lines` the setting.
    """
    customers = documents.customer
    products = len(catalogue.code)
    draws = _rounded(streams, "draws", catalogue.draws_for(counts.astype(np.float64)) - 1)
    document = np.repeat(np.arange(draws.size), draws)
    drawn = np.searchsorted(
        catalogue.popularity, streams("products").random(document.size), side="right"
    )
    drawn = _once_more(streams, np.minimum(drawn, products - 1), document, customers)
    # A product stands once on an invoice: a repeat with the same quantity would be an exact
    # duplicate, and those are added on purpose, at a known rate.
    key = np.unique(document * products + drawn)
    document, item = key // products, key % products

    known = customers != NOBODY
    pack = _PACK_BY_INVOICE * streams("packs of invoices").standard_normal(counts.size)
    pack += np.where(known, tastes.pack[customers], 0)
    usual = np.log(mean_lines) + 0.42  # of the invoice that a line stands on
    pack += _PACK_BY_ORDERS * np.log(orders)
    pack += _PACK_BY_LINES * (np.log(counts) - usual)
    pack = (pack - _PACK_MEAN) / _PACK_SD
    pack = np.where(known, pack, _STRANGERS_PACK)
    spread = np.where(known, _PACK_BY_LINE / _PACK_SD, _STRANGERS_PACK_SD)
    score = pack[document] + _PACK_BY_PRICE / _PACK_SD * catalogue.price_score[item]
    score += spread[document] * streams("packs").standard_normal(document.size)
    return Lines(document, item, item, _packs(score), catalogue.price[item], np.zeros_like(item))


def _once_more(streams: Streams, drawn: Ints, document: Ints, customers: Ints) -> Ints:
    """Customers come back to what they know: replaces some draws by one from their earlier lines.

    After ``j`` lines on earlier invoices the next is a repeat with probability
    ``.1 ln(j) - .18``, which is how the variety of a customer of Online Retail II grows. Only
    earlier lines matter, so it tells nothing of the customer that these do not tell.
    """
    buyer = customers[document]
    order = np.argsort(buyer, kind="stable")  # by customer, and then by time
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    new = np.diff(buyer[order], prepend=-2) != 0
    begin = np.maximum.accumulate(np.where(new, np.arange(order.size), 0))
    first_of_invoice = np.searchsorted(document, document)
    earlier = place[first_of_invoice] - begin[place]
    chance = np.clip(0.1 * np.log(np.maximum(earlier, 1)) - 0.18, 0, 0.8)
    uniform = streams("once more").random(drawn.size)
    again = np.flatnonzero((uniform < chance) & (buyer != NOBODY))
    which = (uniform[again] / chance[again] * earlier[again]).astype(np.int64)
    source = np.arange(drawn.size)
    source[again] = order[begin[place[again]] + which]
    while True:  # a repeat of a repeat: up to the line that was drawn
        further = source[source]
        if (further == source).all():
            return drawn[source]
        source = further


def _rounded(streams: Streams, name: str, excess: Floats) -> Ints:
    # 1 + something rounded at random keeps the mean, also where it is close to 1.
    return 1 + np.floor(excess + streams(f"rounding of {name}").random(excess.size)).astype(
        np.int64
    )


class _weibull:
    """Standard normal scores to a Weibull variable of mean 1, by its quantiles."""

    def __init__(self, shape: float) -> None:
        self._score = np.linspace(-6, 6, 2001)
        tail = np.array([NormalDist().cdf(-score) for score in self._score])
        value = (-np.log(tail)) ** (1 / shape)
        weight = np.exp(-(self._score**2) / 2)
        self._value = value * weight.sum() / (value * weight).sum()

    def __call__(self, score: Floats) -> Floats:
        return np.interp(score, self._score, self._value)


def _packs(score: Floats) -> Ints:
    """Standard normal scores to pack sizes, so that each size has its share of the lines."""
    share = np.cumsum(list(_PACKS.values())) / sum(_PACKS.values())
    bounds = [NormalDist().inv_cdf(p) for p in share[:-1]]
    return np.array(list(_PACKS), dtype=np.int64)[np.searchsorted(bounds, score)]


def sales(
    streams: Streams,
    simulation: Simulation,
    catalogue: Catalogue,
    purchases: Purchases,
    clock: WarpedClock,
    drifted: Drifted,
    first_within: int | None,
) -> Log:
    """The sales in the order of time; customers are numbered as in `purchases`.

    Sales without a customer follow the known ones: they come to their share of the lines at any
    time, and each is on the day of a known one. `first_within`: see `Log`.
    """
    first = np.diff(purchases.customer, prepend=-1) != 0  # purchases come by customer, then time
    births = purchases.second[first]
    modest = drifted.modest(streams, births)
    country = _countries(streams, modest)
    tastes = draw_tastes(streams, abroad=country != _HOME, modest=modest)

    order = np.lexsort((purchases.customer, purchases.second))
    customer, second = purchases.customer[order], purchases.second[order]
    begin = np.flatnonzero(first)[purchases.customer]
    orders = (1 + np.arange(customer.size) - begin)[order]
    known = Documents(
        second=second,
        kind=np.full(second.size, SALE),
        customer=customer,
        country=country[customer],
        named=drifted.named(streams, second, orders),
    )
    orders = orders + _orders_before(streams, births)[customer]
    mean = simulation.lines_per_invoice
    counts = line_counts(streams, tastes, customer, mean)
    others, their_counts = _strangers(streams, simulation, clock, second, counts)

    documents = join(known, others)
    order = np.argsort(documents.second, kind="stable")
    documents, counts = take(documents, order), np.concatenate([counts, their_counts])[order]
    orders = np.concatenate([orders, np.ones_like(their_counts)])[order]
    lines = fill(streams, catalogue, documents, counts, orders, tastes, mean)
    lines = drifted.lines(documents, lines)
    return Log(
        documents=documents,
        lines=lines,
        sales=lines.document.size,
        clock=clock,
        products=len(catalogue.code),
        first_within=first_within,
    )


def _orders_before(streams: Streams, births: Ints) -> Ints:
    """Orders that lie before the log: whoever comes in its first weeks is likely no new customer.

    It only says how much is ordered (`fill`), and does not depend on how often.
    """
    usual = _ORDERS_BEFORE * np.exp(-births / (_ACQUAINTED_DAYS * DAY))
    return np.floor(usual * streams("orders before").standard_exponential(births.size)).astype(
        np.int64
    )


def _countries(streams: Streams, modest: np.ndarray) -> Ints:
    shares = np.cumsum(list(_SHARES.values()))
    home = shares[_HOME]
    uniform = shares[-1] * streams("countries").random(modest.size)
    uniform = np.where(modest, home + uniform / shares[-1] * (shares[-1] - home), uniform)
    return np.minimum(np.searchsorted(shares, uniform, side="right"), shares.size - 1)


def _strangers(
    streams: Streams, simulation: Simulation, clock: WarpedClock, second: Ints, counts: Ints
) -> tuple[Documents, Ints]:
    share, mean = simulation.anonymous_share, simulation.lines_per_invoice
    due = np.cumsum(counts) * share / (1 - share)  # lines without a customer, by known invoice
    enough = 20 + int(2 * due[-1] / mean)  # three times as many as will do: they are long
    theirs = strangers_line_counts(streams, enough, mean)
    middle = np.cumsum(theirs) - theirs / 2
    theirs = theirs[middle < due[-1]]
    document = np.searchsorted(due, middle[: theirs.size])
    times = earlier_that_day(streams("strangers' times"), clock, second, document)
    home = np.searchsorted(
        np.cumsum(list(_SHARES.values()))[:-1],
        streams("strangers' countries").random(theirs.size),
    )
    documents = Documents(
        second=times,
        kind=np.full(theirs.size, SALE),
        customer=np.full(theirs.size, NOBODY),
        country=home,
        named=np.zeros(theirs.size, dtype=bool),
    )
    return documents, theirs
