"""What the shop sells: codes, names, prices, and how popular each product is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from simulator.invoices import Floats
from simulator.streams import Streams

_PRICES = np.array([
    0.19, 0.29, 0.42, 0.55, 0.65, 0.85, 1.25, 1.65, 2.10, 2.55, 2.95, 3.75, 4.25, 4.95, 5.95,
    6.75, 7.95, 8.50, 9.95, 12.75, 14.95, 16.95, 19.95, 24.95, 29.95, 34.95, 39.95, 49.95,
])  # fmt: skip
_LOG_PRICE_MEAN, _LOG_PRICE_SD = 0.78, 0.92  # of the lines of Online Retail II
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
    log price, ``popularity`` the cumulative share of draws. `draws` (shape ``(k,)``) out of it
    give `distinct` different products on average.
    """

    code: tuple[str, ...]
    description: tuple[str, ...]
    price: Floats
    price_score: Floats
    popularity: Floats
    draws: Floats
    distinct: Floats

    def draws_for(self, distinct: Floats) -> Floats:
        """How many products to draw for a basket of so many different ones, three per one at most:
        the rarest products of a small catalogue would take for ever."""
        return np.minimum(np.interp(distinct, self.distinct, self.draws), 3 * distinct)


def draw_catalogue(streams: Streams, products: int) -> Catalogue:
    """Products with Zipf-like popularity (flat at the top) and lognormal, snapped prices.

    Three in four have a bare five-digit code; the rest are families of five that share the digits
    and differ in the letter.
    """
    numbers = iter(streams("product codes").permutation(90_000) + 10_000)
    families = products // 4 // 5
    code = [f"{number}{letter}" for number in _next(numbers, families) for letter in "ABCDE"]
    code += [str(number) for number in _next(numbers, products - len(code))]

    names = [" ".join(words) for words in product(_COLOURS, _MOTIFS, _THINGS)]
    chosen = streams("product names").permutation(max(products, len(names)))[:products]
    description = [
        names[i % len(names)] + (f" NO {1 + i // len(names)}" if i >= len(names) else "")
        for i in chosen
    ]
    score = streams("prices").standard_normal(products)
    log_price = _LOG_PRICE_MEAN + _LOG_PRICE_SD * score
    nearest = np.abs(np.log(_PRICES)[None, :] - log_price[:, None]).argmin(axis=1)
    rank = streams("popularity").permutation(products)
    weight = _weight(rank / products)
    share = weight / weight.sum()
    draws = np.unique(np.round(np.geomspace(1, 20 * products, 60)))
    left_out = np.log1p(-np.minimum(share, 1 - 1e-12))
    return Catalogue(
        code=tuple(sorted(code)),
        description=tuple(description),
        price=_PRICES[nearest],
        price_score=score,
        popularity=np.cumsum(share),
        draws=draws,
        distinct=np.array([-np.expm1(n * left_out).sum() for n in draws]),
    )


def _weight(rank: Floats) -> Floats:
    """Relative popularity; `rank` in [0, 1), the most popular first. The slope in a plot of logs
    falls from -.3 among the top hundredth to -1 and below, as in Online Retail II."""
    return (1 + rank / 0.0025) ** -0.3 * (1 + rank / 0.28) ** -2.0


def _next(numbers: Iterator[int], count: int) -> list[int]:
    return [next(numbers) for _ in range(count)]
