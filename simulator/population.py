"""Who buys when: the BG/NBD model of repeat purchases, drawn exactly, on a clock with a season.

Fader, Hardie & Lee (2005), "Counting Your Customers the Easy Way: An Alternative to the
Pareto/NBD Model", Marketing Science 24(2). A customer buys at a rate ``lambda ~ Gamma(r, alpha)``
while alive and drops out for good after each repeat purchase with probability ``p ~ Beta(a, b)``.
Neither is ever written down: only the times of the purchases tell of them.

The clock runs fast when the shop is busy and stands still when it is shut. A purchase process with
a season is hard to forecast in closed form; the same process in *warped time* is not: if purchases
come at rate ``lambda * w(t)`` in clock time, they come at the constant rate ``lambda`` in
``Lambda(t) = integral of w``. So the simulator draws in warped time and the oracle computes in
warped time, and both use the one table below.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.source import Simulation
from simulator.streams import Streams

Floats = NDArray[np.float64]

HOUR = 3600.0
DAY = 24 * HOUR

# Shapes of Online Retail II. Months at strength 1, when the peak month has twice the usual rate.
_MONTHS = (0.8, 0.8, 0.97, 0.9, 1.06, 1.0, 1.0, 0.9, 1.32, 1.52, 2.0, 1.6)
_WEEKDAYS = (0.155, 0.178, 0.180, 0.210, 0.145, 0.001, 0.130)
_HOURS = {8: 2, 9: 7, 10: 12, 11: 13, 12: 16, 13: 14, 14: 12, 15: 11, 16: 7, 17: 4}
# First purchases in Online Retail II: many in the first days, of customers from before the log,
# then fewer from month to month, and a steady trickle. Shares and mean days since the start:
_OPENING = 0.05, 15.0
_DECLINING = 0.56, 170.0


@dataclass(frozen=True)
class Season:
    """How busy the shop is: relative rates by month, weekday (Monday first) and hour of the day.

    ``closed`` is the yearly closure, first and last day as ``MM-DD``; it spans the new year.
    """

    months: tuple[float, ...]
    weekdays: tuple[float, ...]
    hours: tuple[float, ...]
    closed: tuple[str, str] = ("12-24", "01-03")


@dataclass(frozen=True)
class WarpedClock:
    """``Lambda(t)`` as a table: piecewise linear, one knot an hour.

    ``second`` (shape ``(n,)``) holds the knots in seconds after midnight of ``start``, ``warped``
    (shape ``(n,)``) their warped time in days. Over the years one warped day passes per day.
    """

    start: date
    second: Floats
    warped: Floats

    def warp(self, second: ArrayLike) -> Floats:
        """Warped days at `second` (any shape; seconds after midnight of `start`).

        Raises ValueError outside the table: to extrapolate would be to invent a season.
        """
        second = np.asarray(second, dtype=np.float64)
        if second.size and (second.min() < 0 or second.max() > self.second[-1]):
            raise ValueError(
                f"the warped clock covers {self.second[-1] / DAY:.0f} days from {self.start}, but "
                f"the call is for days {second.min() / DAY:.2f} to {second.max() / DAY:.2f}: build "
                "it with an earlier start or with more days"
            )
        return np.interp(second, self.second, self.warped)

    def unwarp(self, warped: ArrayLike) -> Floats:
        """The second at which the clock shows `warped` days, always while the shop is open.

        While it is shut `Lambda` is flat and one warped time has many clock times; the answer is
        the last of them, the moment it opens. Raises ValueError outside ``[0, warped[-1])``.
        """
        warped = np.asarray(warped, dtype=np.float64)
        if warped.size and not (warped.min() >= 0 and warped.max() < self.warped[-1]):
            raise ValueError(
                f"warped days must be in [0, {self.warped[-1]:.2f}), not "
                f"{warped.min():.2f} to {warped.max():.2f}"
            )
        knot = np.searchsorted(self.warped, warped, side="right") - 1
        gained = self.warped[knot + 1] - self.warped[knot]  # > 0: the last of equal knots
        return self.second[knot] + HOUR * (warped - self.warped[knot]) / gained


def season(strength: float) -> Season:
    """The shop's season. `strength` scales the months: 0 all alike, 1 November at twice the rate.

    Weekdays, opening hours and the closure over the new year do not depend on it.
    """
    return Season(
        months=tuple(1 + strength * (month - 1) for month in _MONTHS),
        weekdays=_WEEKDAYS,
        hours=tuple(float(_HOURS.get(hour, 0)) for hour in range(24)),
    )


def warped_clock(season: Season, start: date, days: int) -> WarpedClock:
    """The clock from midnight of `start` over `days` days: ``24 * days + 1`` knots."""
    hours = np.asarray(season.hours, dtype=np.float64) / sum(season.hours)
    first = np.datetime64(start, "D")
    daily = _daily(season, first, first + days) / _usual(season)
    warped: Floats = np.concatenate([[0.0], np.cumsum(np.outer(daily, hours).ravel())])
    return WarpedClock(start, np.arange(24 * days + 1, dtype=np.float64) * HOUR, warped)


def faster(clock: WarpedClock, second: float, factor: float) -> WarpedClock:
    """The clock on which purchase rates stay what they were, though from `second` on (an hour's
    knot) everybody buys `factor` times as often."""
    since = clock.warp(second)
    later = np.maximum(clock.warped - since, 0)
    return replace(clock, warped=clock.warped + (factor - 1) * later)


@lru_cache
def _usual(season: Season) -> float:
    # Over 28 years every date meets every weekday equally often, so the unit of warped time
    # depends on the season alone and not on where a log begins or ends.
    return float(_daily(season, np.datetime64("2001-01-01"), np.datetime64("2029-01-01")).mean())


def _daily(season: Season, first: np.datetime64, stop: np.datetime64) -> Floats:
    day = np.arange(first, stop)
    month = day.astype("datetime64[M]")
    month_number = month.astype(np.int64) % 12 + 1
    weekday = (day.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    date_number = 100 * month_number + (day - month).astype(np.int64) + 1
    shut_from, shut_to = (int(text.replace("-", "")) for text in season.closed)
    is_open = (date_number < shut_from) & (date_number > shut_to)
    rate = np.asarray(season.months)[month_number - 1] * np.asarray(season.weekdays)[weekday]
    return rate * is_open


@dataclass(frozen=True)
class Population:
    """BG/NBD parameters; `alpha` in warped days, the others without unit."""

    r: float
    alpha: float
    a: float
    b: float


@dataclass(frozen=True)
class Change:
    """From `second` on (after midnight of the log's first day) rates are `factor` times as high."""

    second: float
    factor: float


@dataclass(frozen=True)
class Purchases:
    """Every purchase, by customer and then by time; the first of a customer is the birth.

    ``customer`` (shape ``(n,)``, numbers from 0) and ``second`` (shape ``(n,)``, whole seconds
    after midnight of the log's first day).
    """

    customer: NDArray[np.int64]
    second: NDArray[np.int64]


def population(simulation: Simulation) -> Population:
    """The parameters that the settings ask for, the scale turned from weeks into days."""
    return Population(
        r=simulation.purchase_shape,
        alpha=7 * simulation.purchase_scale_weeks,
        a=simulation.dropout_a,
        b=simulation.dropout_b,
    )


def draw_purchases(
    streams: Streams,
    parameters: Population,
    customers: int,
    clock: WarpedClock,
    change: Change | None = None,
) -> Purchases:
    """Draws `customers` histories, each from birth to the end of `clock`.

    Births do not depend on rate or drop-out, and none lies before the log: no history is cut on
    the left. Times are whole seconds. The published data has minutes, but a second costs nothing
    and moves warped time by less than 0.001 days; and since the shop is shut at midnight, rounding
    never moves a purchase across an as-of date.

    `change` leaves births and every purchase before it as they are. Slower: each later purchase
    stays with probability `factor`. Faster: more purchases join, at ``(factor - 1)`` times the
    rate. Either way what results is again a Poisson process, on a clock that runs `factor` times
    as fast (`faster`).
    """
    end = float(clock.warped[-1])
    birth = _draw_births(streams, customers, end)
    rate = streams("purchase rates").gamma(parameters.r, 1 / parameters.alpha, customers)
    dropout = streams("drop-outs").beta(parameters.a, parameters.b, customers)

    # Which repeat purchases come while the customer is still alive is settled by an independent
    # draw: the number of the one that is the last. (The floor only keeps geometric() defined where
    # a tiny p underflows to 0; nobody makes a trillion purchases.)
    last = streams("last purchases").geometric(np.maximum(dropout, 1e-12))
    customer, warped = _poisson(streams, "purchases", rate, birth, end)
    if change:
        since = float(clock.warp(change.second))
        stays = streams("slower").random(warped.size) < change.factor
        stays |= warped < since
        more = _poisson(
            streams, "faster", rate * max(change.factor - 1, 0), np.maximum(birth, since), end
        )
        customer = np.concatenate([customer[stays], more[0]])
        warped = np.concatenate([warped[stays], more[1]])
    order = np.lexsort((warped, customer))
    customer, warped = customer[order], warped[order]
    points = np.bincount(customer, minlength=customers)
    number = np.arange(customer.size) - np.repeat(np.cumsum(points) - points, points)
    alive = number < last[customer]

    customer = np.concatenate([np.arange(customers), customer[alive]])
    warped = np.concatenate([birth, warped[alive]])
    # The largest float below the end: birth + window * u can round up onto the end itself.
    second = np.floor(clock.unwarp(np.minimum(warped, np.nextafter(end, 0)))).astype(np.int64)
    order = np.lexsort((second, customer))
    return Purchases(customer[order], second[order])


def _poisson(
    streams: Streams,
    name: str,
    rate: NDArray[np.float64],
    since: NDArray[np.float64],
    end: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A Poisson process for each customer: a Poisson number of points, each uniform on the span."""
    span = end - since
    points = streams(f"number of {name}").poisson(rate * span)
    customer = np.repeat(np.arange(rate.size), points)
    uniform = streams(f"times of {name}").random(customer.size)
    return customer, since[customer] + span[customer] * uniform


def _draw_births(streams: Streams, customers: int, end: float) -> NDArray[np.float64]:
    uniform = streams("births").random(customers)
    kind = streams("kinds of births").random(customers)
    opening, declining = (
        -days * np.log1p(-uniform * -np.expm1(-end / days)) for _, days in (_OPENING, _DECLINING)
    )
    bounds = np.cumsum([_OPENING[0], _DECLINING[0]])
    return np.select([kind < bounds[0], kind < bounds[1]], [opening, declining], uniform * end)
