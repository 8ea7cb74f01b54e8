"""What is in the invoices: the catalogue, and lines of product, quantity and price.

Whatever is drawn here is independent of purchase rates and drop-out: `simulator.py` says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist

import numpy as np

from ingestion.simulation.invoices import Floats, Ints, Lines, take

# Online Retail II: log order value has sd .66 between customers and .44 within one; an order with
# more lines has smaller packs, so line counts spread more (sd .85) than their effect on value.
BETWEEN_CUSTOMERS, WITHIN_CUSTOMER = 0.66, 0.25
_LINES_SD, _LINES_SHARE = 0.85, 0.6
_ANONYMOUS_LINES, _ANONYMOUS_LINES_SD = 3.9, 1.6  # times the usual mean; on the log scale
_QUANTITY_SD = 1.22
_PRICE_EFFECT = -0.5  # cheap things come in large packs

# pack size -> weight, for known customers; 1, 12, 2, 6, 4, 3, 24 are the common ones
_PACKS = {
    1: 17, 2: 14, 3: 7, 4: 8, 5: 2, 6: 10, 8: 5, 10: 6, 12: 16, 16: 1.5, 20: 2.5, 24: 6.5,
    36: 1.8, 48: 2, 72: 1, 100: 0.9, 144: 0.5, 200: 0.4, 288: 0.25, 500: 0.12, 1000: 0.03,
}  # fmt: skip
_PRICES = np.array([
    0.19, 0.29, 0.42, 0.55, 0.65, 0.85, 1.25, 1.65, 2.10, 2.55, 2.95, 3.75, 4.25, 4.95, 5.95,
    6.75, 7.95, 8.50, 9.95, 12.75, 14.95, 16.95, 19.95, 24.95, 29.95, 34.95, 39.95, 49.95,
])  # fmt: skip
_COLOURS = (
    "RED", "BLUE", "PINK", "IVORY", "WHITE", "GREEN", "BLACK", "SILVER", "GOLD", "RETRO",
    "VINTAGE", "RUSTIC",
)  # fmt: skip
_MOTIFS = (
    "HEART", "SPOTTY", "STAR", "ROSE", "BIRD", "DAISY", "PAISLEY", "CIRCUS", "WOODLAND",
    "FELTCRAFT", "POLKADOT", "STRAWBERRY", "REINDEER", "SNOWFLAKE", "LACE", "GINGHAM", "OWL",
)  # fmt: skip
_THINGS = (
    "T-LIGHT HOLDER", "LUNCH BAG", "CAKE STAND", "MUG", "BUNTING", "JUMBO BAG", "DOORMAT",
    "TEA TOWEL", "WALL CLOCK", "PHOTO FRAME", "CANDLE", "NOTEBOOK", "GIFT TAG SET", "APRON",
    "TEACUP AND SAUCER", "STORAGE TIN", "CUSHION COVER", "LANTERN", "COAT HOOK", "KEY RING",
)  # fmt: skip


@dataclass(frozen=True)
class Catalogue:
    """Products in the order of their codes (arrays of shape ``(products,)``).

    ``code`` and ``description`` are text, ``price`` is pounds, ``price_score`` the standardised
    log price, ``popularity`` the cumulative share of lines.
    """

    code: tuple[str, ...]
    description: tuple[str, ...]
    price: Floats
    price_score: Floats
    popularity: Floats


def draw_catalogue(rng: np.random.Generator, products: int) -> Catalogue:
    """Products with Zipf-like popularity (flat at the top) and lognormal, snapped prices.

    Three in four have a bare five-digit code; the rest are families of five that share the digits
    and differ in the letter.
    """
    numbers = iter(rng.permutation(90_000) + 10_000)
    families = products // 4 // 5
    code = [f"{number}{letter}" for number in _next(numbers, families) for letter in "ABCDE"]
    code += [str(number) for number in _next(numbers, products - len(code))]

    names = [" ".join(words) for words in product(_COLOURS, _MOTIFS, _THINGS)]
    chosen = rng.permutation(max(products, len(names)))[:products]
    description = [
        names[i % len(names)] + (f" NO {1 + i // len(names)}" if i >= len(names) else "")
        for i in chosen
    ]
    score = rng.standard_normal(products)
    nearest = np.abs(np.log(_PRICES)[None, :] - (0.78 + 0.92 * score)[:, None]).argmin(axis=1)
    rank = rng.permutation(products)
    weight = (1 + rank / (0.05 * products)) ** -1.3
    return Catalogue(
        code=tuple(sorted(code)),
        description=tuple(description),
        price=_PRICES[nearest],
        price_score=score,
        popularity=np.cumsum(weight) / weight.sum(),
    )


def customer_baskets(
    rng: np.random.Generator, catalogue: Catalogue, customer: Ints, mean_lines: float
) -> Lines:
    """Lines for the invoices of known customers; `customer` (shape ``(invoices,)``) numbers them.

    `mean_lines` counts a product that is drawn twice into a basket twice; it comes out as one line.
    """
    between = BETWEEN_CUSTOMERS * rng.standard_normal(customer.max() + 1)
    value = between[customer] + WITHIN_CUSTOMER * rng.standard_normal(customer.size)
    explained = _LINES_SHARE**2 * (BETWEEN_CUSTOMERS**2 + WITHIN_CUSTOMER**2)
    spread = np.sqrt(_LINES_SD**2 - explained) * rng.standard_normal(customer.size)
    lines = _line_counts(rng, _LINES_SHARE * value + spread, _LINES_SD, mean_lines)
    usual = np.log(mean_lines) - _LINES_SD**2 / 2
    return _fill(rng, catalogue, lines, value - (np.log(lines) - usual))


def anonymous_baskets(
    rng: np.random.Generator, catalogue: Catalogue, target: float, mean_lines: float
) -> Lines:
    """About `target` lines of invoices without a customer: long ones, in small quantities."""
    mean_lines = max(1.0, _ANONYMOUS_LINES * mean_lines)
    sd = _ANONYMOUS_LINES_SD
    # One invoice of hundreds of lines moves the sum: draw too many, then cut at the target.
    effect = sd * rng.standard_normal(20 + int(1.5 * target / mean_lines))
    counts = np.minimum(_line_counts(rng, effect, sd, mean_lines), 20 * round(mean_lines))
    lines = _fill(rng, catalogue, counts, np.full(counts.size, -1.3))
    documents = np.searchsorted(np.cumsum(np.bincount(lines.document)), target)
    return take(lines, lines.document < documents)


def _line_counts(rng: np.random.Generator, effect: Floats, sd: float, mean: float) -> Ints:
    # 1 + a lognormal rounded at random keeps the mean, also where it is close to 1.
    excess = (mean - 1) * np.exp(effect - sd**2 / 2)
    return 1 + np.floor(excess + rng.random(effect.size)).astype(np.int64)


def _fill(
    rng: np.random.Generator, catalogue: Catalogue, counts: Ints, pack_effect: Floats
) -> Lines:
    products = len(catalogue.code)
    document = np.repeat(np.arange(counts.size), counts)
    drawn = np.searchsorted(catalogue.popularity, rng.random(document.size), side="right")
    # A product stands once on an invoice: a repeat with the same quantity would be an exact
    # duplicate, and those are added on purpose, at a known rate.
    key = np.unique(document * products + np.minimum(drawn, products - 1))
    document, item = key // products, key % products
    systematic = pack_effect[document] / _QUANTITY_SD + _PRICE_EFFECT * catalogue.price_score[item]
    score = systematic + np.sqrt(0.36) * rng.standard_normal(document.size)
    return Lines(document, item, item, _packs(score), catalogue.price[item], np.zeros_like(item))


def _packs(score: Floats) -> Ints:
    """Standard normal scores to pack sizes, so that each size has its share of the lines."""
    share = np.cumsum(list(_PACKS.values())) / sum(_PACKS.values())
    bounds = [NormalDist().inv_cdf(p) for p in share[:-1]]
    return np.array(list(_PACKS), dtype=np.int64)[np.searchsorted(bounds, score)]


def _next(numbers: Iterator[int], count: int) -> list[int]:
    return [next(numbers) for _ in range(count)]
