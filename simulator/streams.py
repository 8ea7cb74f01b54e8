"""Random numbers that do not depend on what else is drawn, or when.

Every quantity of every chunk has a stream of its own, keyed by the seed, the chunk's number and
the quantity's name. Two rules follow for whoever draws:

- one call per stream, so that adding a quantity moves no other;
- one number per purchase, line or document, in the order of time. Then a change of the process at
  a date (`drift.py`) leaves every draw before that date as it was: it changes how many numbers a
  stream gives, and the first ones stay the first ones.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

SHOP = 0  # what every chunk shares, such as the catalogue; the chunks count from 1


class Streams:
    """``streams("births")`` is the generator of that quantity; a name is given out once."""

    def __init__(self, seed: int, chunk: int) -> None:
        self._key = (seed, chunk)
        self._given: set[str] = set()

    def __call__(self, name: str) -> np.random.Generator:
        if name in self._given:
            raise ValueError(f"the stream {name!r} is drawn from twice: the draws would be equal")
        self._given.add(name)
        return np.random.default_rng([*self._key, crc32(name.encode())])


def every(
    rng: np.random.Generator, rate: float, size: float, first_within: float | None = None
) -> NDArray[np.float64]:
    """Positions in ``[0, size)``, rising: one at random in each stretch of length ``1 / rate``.

    About ``rate * size`` of them. A longer `size` adds positions at the end and moves none.
    `first_within` puts the first one that early, so that there is one however small the rate.
    """
    rng_positions = rng.random(int(np.ceil(rate * size)))
    positions = (np.arange(rng_positions.size) + rng_positions) / rate
    if first_within is not None and positions.size:
        positions[0] = rng_positions[0] * min(1 / rate, first_within)
    return positions[positions < size]
