"""Drift that is planted at a date: what changes, and nothing before.

Each effect is a pure function of what was drawn without it and of streams of its own, so that up
to the date the log is, row for row, the log without drift. What the effects are is written where
they are set: `configs.settings.Drift`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from configs.source import Drift, Simulation
from simulator.catalogue import Catalogue
from simulator.invoices import Documents, Ints, Lines
from simulator.population import DAY, Change
from simulator.streams import Streams

DOZEN = 12


@dataclass(frozen=True)
class Drifted:
    """The effects of `drift` from `second` on; `broken` (shape ``(products,)``) says whose unit."""

    drift: Drift
    second: float
    broken: NDArray[np.bool_]

    @property
    def change(self) -> Change | None:
        """Of the purchase rates."""
        if self.drift.purchase_rate == 1 or np.isinf(self.second):
            return None
        return Change(self.second, self.drift.purchase_rate)

    def modest(self, streams: Streams, births: Ints) -> NDArray[np.bool_]:
        """Which customers are of the other mix: some of those who come after the date."""
        chosen = streams("mix").random(births.size) < self.drift.customer_mix
        return chosen & (births >= self.second)

    def lines(self, documents: Documents, lines: Lines) -> Lines:
        """Prices at the new level, rounded to pennies, and broken units."""
        after = documents.second[lines.document] >= self.second
        dearer = np.maximum(np.round(lines.price * self.drift.price_level, 2), 0.01)
        broken = after & self.broken[lines.code]
        return replace(
            lines,
            price=np.where(after, dearer, lines.price),
            quantity=np.where(broken, DOZEN * lines.quantity, lines.quantity),
        )

    def named(self, streams: Streams, second: Ints, orders: Ints) -> NDArray[np.bool_]:
        """Which purchases have their customer written down; `orders` numbers those of each, from 1.

        The first always has: it is then that a customer is taken down.
        """
        lost = streams("lost customers").random(orders.size) < self.drift.missing_customers
        return ~(lost & (second >= self.second) & (orders > 1))


def drifted(simulation: Simulation, streams: Streams, catalogue: Catalogue) -> Drifted:
    """The drift that the settings ask for; without a date, none.

    Raises UserError where the date is not within the log, or there are effects and no date.
    """
    drift = simulation.drift
    popularity = np.diff(catalogue.popularity, prepend=0)
    order = streams("broken units").permutation(popularity.size)
    broken = np.zeros(popularity.size, dtype=bool)
    # Whole products, as many as it takes for the share of the lines.
    broken[order] = np.cumsum(popularity[order]) - popularity[order] / 2 < drift.broken_unit
    return Drifted(drift, drift_second(simulation), broken)


def drift_second(simulation: Simulation) -> float:
    """Midnight of the drift's date, in seconds after the log's first; infinity if there is none."""
    drift, on = simulation.drift, simulation.drift.on
    if on is None:
        if drift != Drift():
            named = ", ".join(sorted(drift.model_dump(exclude_defaults=True)))
            raise UserError(
                f"the drift has no date, so {named} would change nothing",
                where="settings 'source.simulation.drift'",
                next_step="set source.simulation.drift.on to its first day",
            )
        return np.inf
    day = (on - simulation.start).days
    if not 0 < day < simulation.days:
        first, last = simulation.start, simulation.start + timedelta(days=simulation.days - 1)
        raise UserError(
            f"the drift begins on {on}, but the simulated log runs from {first} to {last}",
            where="setting 'source.simulation.drift.on'",
            next_step=f"choose a date from {first + timedelta(days=1)} to {last}, or none",
        )
    return day * DAY
