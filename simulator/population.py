"""Who buys when: the BG/NBD model of repeat purchases, drawn exactly, in warped time.

Fader, Hardie & Lee (2005), "Counting Your Customers the Easy Way: An Alternative to the
Pareto/NBD Model", Marketing Science 24(2). A customer buys at a rate ``lambda ~ Gamma(r, alpha)``
while alive and drops out for good after each repeat purchase with probability ``p ~ Beta(a, b)``.
Neither is ever written down: only the times of the purchases tell of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.source import Simulation
from simulator.season import WarpedClock
from simulator.streams import Streams

# First purchases in Online Retail II: many in the first days, of customers from before the log,
# then fewer from month to month, and a steady trickle. Shares and mean days since the start:
_OPENING = 0.05, 15.0
_DECLINING = 0.56, 170.0


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
    as fast (`season.faster`).
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
