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

from configs.settings import Simulation
from ingestion.simulation.season import WarpedClock

# New customers in Online Retail II: many in the first months, then fewer, then a steady trickle.
_STEADY_SHARE = 0.35
_DECAY_DAYS = 120.0


@dataclass(frozen=True)
class Population:
    """BG/NBD parameters; `alpha` in warped days, the others without unit."""

    r: float
    alpha: float
    a: float
    b: float


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
    rng: np.random.Generator, parameters: Population, customers: int, clock: WarpedClock
) -> Purchases:
    """Draws `customers` histories, each from birth to the end of `clock`.

    Births do not depend on rate or drop-out, and none lies before the log: no history is cut on
    the left. Times are whole seconds. The published data has minutes, but a second costs nothing
    and moves warped time by less than 0.001 days; and since the shop is shut at midnight, rounding
    never moves a purchase across an as-of date.
    """
    end = float(clock.warped[-1])
    birth = _draw_births(rng, customers, end)
    rate = rng.gamma(parameters.r, 1 / parameters.alpha, customers)
    dropout = rng.beta(parameters.a, parameters.b, customers)

    # A Poisson process on a window: a Poisson number of points, each uniform on it. Which points
    # come while the customer is still alive is settled by a second, independent draw: the number
    # of the repeat purchase that is the last. (The floor only keeps geometric() defined where a
    # tiny p underflows to 0; nobody makes a trillion purchases.)
    window = end - birth
    points = rng.poisson(rate * window)
    last = rng.geometric(np.maximum(dropout, 1e-12))
    customer = np.repeat(np.arange(customers), points)
    warped = birth[customer] + window[customer] * rng.random(customer.size)
    order = np.lexsort((warped, customer))
    customer, warped = customer[order], warped[order]
    number = np.arange(customer.size) - np.repeat(np.cumsum(points) - points, points)
    alive = number < last[customer]

    customer = np.concatenate([np.arange(customers), customer[alive]])
    warped = np.concatenate([birth, warped[alive]])
    # The largest float below the end: birth + window * u can round up onto the end itself.
    second = np.floor(clock.unwarp(np.minimum(warped, np.nextafter(end, 0)))).astype(np.int64)
    order = np.lexsort((second, customer))
    return Purchases(customer[order], second[order])


def _draw_births(rng: np.random.Generator, customers: int, end: float) -> NDArray[np.float64]:
    uniform = rng.random(customers)
    decaying = -_DECAY_DAYS * np.log1p(-uniform * -np.expm1(-end / _DECAY_DAYS))
    return np.where(rng.random(customers) < _STEADY_SHARE, uniform * end, decaying)
