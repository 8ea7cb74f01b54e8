"""A simulated invoice log whose truth is known, so that the best reachable score is computed.

What may be learned, and from where. A customer's future depends on two hidden numbers, the
purchase rate and the drop-out probability, and the log shows them through the purchase times
alone: by the number of repeat purchases ``x``, the time of the last ``t_x`` and the time observed
``T``, which are sufficient for them. Everything else (baskets, prices, order values, countries,
customer ids, cancellations, dirt) is drawn without them, given the purchase times. So no feature
whatever beats the closed form in `oracle.py`, and a model above it has seen the future.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from configs.settings import Simulation
from ingestion.simulation.baskets import anonymous_baskets, customer_baskets, draw_catalogue
from ingestion.simulation.dirt import EXTRA_CODES, EXTRA_DESCRIPTIONS, add_dirt, messy
from ingestion.simulation.invoices import (
    CANCELLATION,
    NOBODY,
    SALE,
    Documents,
    Log,
    add,
    take,
    write_log,
)
from ingestion.simulation.population import Purchases, draw_purchases, population
from ingestion.simulation.season import WarpedClock, season, warped_clock

_COUNTRIES = {
    "United Kingdom": 0.910, "EIRE": 0.020, "Germany": 0.019, "France": 0.016,
    "Netherlands": 0.010, "Spain": 0.007, "Belgium": 0.006, "Switzerland": 0.005,
    "Portugal": 0.004, "Australia": 0.003,
}  # fmt: skip


class SimulatedLog(NamedTuple):
    """Where a simulation lies: the raw rows, and what only its maker knows."""

    raw: Path
    truth: Path


def simulate(simulation: Simulation, seed: int, folder: Path) -> SimulatedLog:
    """Writes ``raw.parquet`` and ``truth.json`` into `folder`, which is made if need be.

    The same settings and seed give the same bytes (with the same numpy and pyarrow). Rows come in
    the order of their invoices' times, which are whole seconds from ``start`` up to, and without,
    the end. Both files are written aside and renamed: neither is ever seen half written.
    """
    rng = np.random.default_rng(seed)
    shop = season(simulation.season)
    people = population(simulation)
    clock = warped_clock(shop, simulation.start, simulation.days)
    purchases = draw_purchases(rng, people, simulation.customers, clock)
    log = _sales(rng, simulation, purchases, clock)
    share = simulation.cancelled_share
    log = _with_cancellations(rng, log, round(log.sales * share / (1 - share)))
    log = add_dirt(rng, log, simulation.dirt)

    truth = {
        "population": asdict(people),
        "season": asdict(shop),
        "start": simulation.start.isoformat(),
        "end": (simulation.start + timedelta(days=simulation.days)).isoformat(),
        "seed": seed,
        "settings": simulation.model_dump(mode="json"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = SimulatedLog(folder / "raw.parquet", folder / "truth.json")
    _replace(written.truth, lambda path: path.write_text(json.dumps(truth, indent=2) + "\n"))
    _replace(written.raw, lambda path: write_log(log, path))
    return written


def _sales(
    rng: np.random.Generator, simulation: Simulation, purchases: Purchases, clock: WarpedClock
) -> Log:
    """The true sales: one invoice per purchase, then those of customers nobody wrote down."""
    catalogue = draw_catalogue(rng, simulation.products)
    mean_lines, share = simulation.lines_per_invoice, simulation.anonymous_share
    named = customer_baskets(rng, catalogue, purchases.customer, mean_lines)
    target = named.document.size * share / (1 - share)
    anonymous = anonymous_baskets(rng, catalogue, target, mean_lines)

    customers, visits = simulation.customers, int(anonymous.document.max(initial=-1)) + 1
    probability = np.array(list(_COUNTRIES.values()))
    home = rng.choice(probability.size, customers + visits, p=probability / probability.sum())
    visited = clock.unwarp(clock.warped[-1] * rng.random(visits)).astype(np.int64)
    log = Log(
        documents=Documents(
            second=purchases.second,
            kind=np.full(purchases.second.size, SALE),
            customer=purchases.customer,
            country=home[purchases.customer],
        ),
        lines=named,
        sales=named.document.size + anonymous.document.size,
        clock=clock,
        codes=(*catalogue.code, *map(messy, catalogue.code), *EXTRA_CODES),
        descriptions=(*catalogue.description, *EXTRA_DESCRIPTIONS),
        customers=_customer_ids(rng, customers),
        countries=tuple(_COUNTRIES),
    )
    strangers = Documents(visited, np.full(visits, SALE), np.full(visits, NOBODY), home[customers:])
    return add(log, anonymous, strangers)


def _with_cancellations(rng: np.random.Generator, log: Log, count: int) -> Log:
    """Takes back about `count` sold lines, whole or in part, hours or days later.

    The lines of one invoice come back together; what would come back after the log's end does not.
    """
    sold_to = log.documents.customer[log.lines.document[: log.sales]]
    named = np.flatnonzero(sold_to != NOBODY)
    sold = take(log.lines, np.sort(rng.choice(named, min(count, named.size), replace=False)))
    invoice, position = np.unique(sold.document, return_inverse=True)
    documents = take(log.documents, invoice)
    due = log.clock.warp(documents.second) + 0.02 + rng.exponential(8.0, invoice.size)
    in_time = due < log.clock.warped[-1]
    second = log.clock.unwarp(due[in_time]).astype(np.int64)
    documents = replace(
        take(documents, in_time), second=second, kind=np.full(second.size, CANCELLATION)
    )
    part = np.ceil(rng.random(sold.quantity.size) * sold.quantity).astype(np.int64)
    whole = rng.random(sold.quantity.size) < 0.7
    back = replace(
        sold,
        document=(np.cumsum(in_time) - 1)[position],
        quantity=-np.where(whole, sold.quantity, np.maximum(part, 1)),
    )
    return add(log, take(back, in_time[position]), documents)


def _customer_ids(rng: np.random.Generator, customers: int) -> tuple[str, ...]:
    # Five digits, more only where those run out; in no order, so that an id tells nothing.
    first = 10_000
    while customers > 9 * first:
        first *= 10
    return tuple(map(str, rng.choice(9 * first, customers, replace=False) + first))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
