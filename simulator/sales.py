"""The true sales of some customers: one invoice per purchase, and those that nobody wrote down."""

from __future__ import annotations

import numpy as np

from configs.source import Simulation
from simulator.baskets import draw_tastes, fill, line_counts, strangers_line_counts
from simulator.catalogue import Catalogue
from simulator.drift import Drifted
from simulator.invoices import (
    NOBODY,
    SALE,
    Documents,
    Ints,
    Log,
    earlier_that_day,
    join,
    take,
)
from simulator.population import Purchases
from simulator.season import DAY, WarpedClock
from simulator.streams import Streams

_SHARES = {
    "United Kingdom": 0.910, "EIRE": 0.020, "Germany": 0.019, "France": 0.016,
    "Netherlands": 0.010, "Spain": 0.007, "Belgium": 0.006, "Switzerland": 0.005,
    "Portugal": 0.004, "Australia": 0.003,
}  # fmt: skip
COUNTRIES = tuple(_SHARES)
_HOME = 0
_ORDERS_BEFORE, _ACQUAINTED_DAYS = 8.0, 60.0


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

    It only says how much is ordered (`baskets.py`), and does not depend on how often.
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
    found = earlier_that_day(streams("strangers' times"), clock, second, document)
    home = np.searchsorted(
        np.cumsum(list(_SHARES.values()))[:-1],
        streams("strangers' countries").random(theirs.size),
    )
    documents = Documents(
        second=found,
        kind=np.full(theirs.size, SALE),
        customer=np.full(theirs.size, NOBODY),
        country=home,
        named=np.zeros(theirs.size, dtype=bool),
    )
    return documents, theirs
