"""A simulated invoice log whose truth is known, so that the best reachable score is computed.

What may be learned, and from where. A customer's future depends on two hidden numbers, the
purchase rate and the drop-out probability, and the log shows them through the purchase times
alone: by the number of repeat purchases ``x``, the time of the last ``t_x`` and the time observed
``T``, which are sufficient for them. Everything else (baskets, prices, order values, countries,
customer ids, cancellations, dirt) is drawn without them, given the purchase times. So no feature
whatever beats the closed form in `oracle.py`, and a model above it has seen the future.

How large. Customers are drawn in chunks of some hundred thousand lines, each from random numbers
of its own (`streams.py`), and sorted by time through files (`invoices.py`). So memory stays the
same however long the log, and the log depends on the settings and the seed alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.files import atomic_path, write_file
from configs.settings import Compute
from configs.source import Simulation, Source, Text
from ingestion.files import read_file
from simulator.catalogue import Catalogue, draw_catalogue
from simulator.dirt import EXTRA_CODES, EXTRA_DESCRIPTIONS, add_dirt, messy, with_cancellations
from simulator.drift import Drifted, drifted
from simulator.invoices import Words, records, spill, write
from simulator.population import WarpedClock, draw_purchases, population, season, warped_clock
from simulator.sales import COUNTRIES, sales
from simulator.streams import SHOP, Streams

ROWS = "rows.parquet"
_LINES_AT_A_TIME = 500_000  # a chunk's lines, at most; and about those that are sorted at once


class SimulatedLog(NamedTuple):
    """Where a simulation lies: the raw rows, and what only its maker knows."""

    raw: Path
    truth: Path


def simulate(simulation: Simulation, seed: int, folder: Path) -> SimulatedLog:
    """Writes ``raw.parquet`` and ``truth.json`` into `folder`, which is made if need be.

    The same settings and seed give the same bytes (with the same numpy and pyarrow). Rows come in
    the order of their invoices' times, which are whole seconds from ``start`` up to, and without,
    the end. Neither file is ever seen half written. Raises
    UserError where the drift's date is outside the log.
    """
    shop = Streams(seed, SHOP)
    catalogue = draw_catalogue(shop, simulation.products)
    planted = drifted(simulation, shop, catalogue)
    words = Words(
        codes=(*catalogue.code, *map(messy, catalogue.code), *EXTRA_CODES),
        descriptions=(*catalogue.description, *EXTRA_DESCRIPTIONS),
        customers=_customer_ids(shop, simulation.customers),
        countries=COUNTRIES,
    )
    clock = warped_clock(season(simulation.season), simulation.start, simulation.days)
    chunks = (
        _chunk(simulation, seed, number, customers, catalogue, clock, planted)
        for number, customers in enumerate(chunks_of_customers(simulation))
    )
    folder.mkdir(parents=True, exist_ok=True)
    written = SimulatedLog(folder / "raw.parquet", folder / "truth.json")
    truth = json.dumps(_truth(simulation, seed), indent=2) + "\n"
    write_file(written.truth, truth)
    with atomic_path(written.raw) as path:
        write(_in_order(simulation, chunks, folder), words, simulation.start, path)
    return written


def simulate_part(source: Source, seed: int, folder: Path, compute: Compute) -> None:
    """Write the part `rows.parquet`, and `truth.json`, which the oracle reads, into the folder."""
    log = simulate(source.simulation, seed, folder).raw
    # From here on a simulated log is a file like any other, in the simulator's own columns.
    plain: dict[str, Any] = {"columns": {}, "time_format": None, "text": Text()}
    read_file(source.model_copy(update=plain), log, folder / ROWS, compute, label="simulated")
    log.unlink()


def chunks_of_customers(simulation: Simulation) -> list[range]:
    """Which customers are drawn together: as many as have `_LINES_AT_A_TIME` lines, or fewer.

    Drift does not move these bounds, or it would change the log before its date.
    """
    weeks = simulation.days / 7
    # Nobody is expected to buy more often than one who comes on the first day and never leaves.
    purchases = 1 + weeks * simulation.purchase_shape / simulation.purchase_scale_weeks
    lines = purchases * simulation.lines_per_invoice / (1 - simulation.anonymous_share)
    size = max(1, int(_LINES_AT_A_TIME / lines))
    return [
        range(first, min(first + size, simulation.customers))
        for first in range(0, simulation.customers, size)
    ]


def _chunk(
    simulation: Simulation,
    seed: int,
    number: int,
    customers: range,
    catalogue: Catalogue,
    clock: WarpedClock,
    planted: Drifted,
) -> NDArray:
    streams = Streams(seed, SHOP + 1 + number)
    purchases = draw_purchases(
        streams, population(simulation), len(customers), clock, planted.change
    )
    # In the first chunk every kind of dirt comes at least once. Each customer has a line, so there
    # are as many lines, whatever else is drawn.
    early = len(customers) if number == 0 else None
    log = sales(streams, simulation, catalogue, purchases, clock, planted, first_within=early)
    named = 1 - simulation.anonymous_share
    log = with_cancellations(streams, log, simulation.cancelled_share, named)
    return records(add_dirt(streams, log, simulation.dirt), customers.start)


def _in_order(simulation: Simulation, chunks: Iterator[NDArray], folder: Path) -> Iterator[NDArray]:
    """The lines of all chunks in the order of time."""
    count = len(chunks_of_customers(simulation))
    first = next(chunks)
    if count == 1:
        yield first
        return
    with spill(folder, first, count) as files:
        files.add(first)
        del first
        for chunk in chunks:
            files.add(chunk)
        yield from files.sorted()


def _truth(simulation: Simulation, seed: int) -> dict[str, object]:
    return {
        "population": asdict(population(simulation)),
        "season": asdict(season(simulation.season)),
        "drift": simulation.drift.model_dump(mode="json"),
        "start": simulation.start.isoformat(),
        "end": (simulation.start + timedelta(days=simulation.days)).isoformat(),
        "seed": seed,
        "settings": simulation.model_dump(mode="json"),
    }


def _customer_ids(streams: Streams, customers: int) -> NDArray[np.int64]:
    # Five digits, more only where those run out; in no order, so that an id tells nothing.
    first = 10_000
    while customers > 9 * first:
        first *= 10
    return streams("customer ids").permutation(9 * first)[:customers] + first
