"""What an endpoint is handed, whom it asks, and how predictions are written.

An endpoint is a plain function `answer(asked) -> bytes` that raises Refused: it knows nothing of
HTTP, and answers all of a request from the one champion that it was handed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from registry.bundle import Bundle
from serving.refusal import Problem, Refused

if TYPE_CHECKING:
    from serving.schema import Decoder
    from serving.transactions import Transactions


class Model(msgspec.Struct, frozen=True):
    """Who answered."""

    name: str
    version: int
    bundle_sha256: str
    threshold: float


class Prediction(msgspec.Struct, frozen=True):
    """The answer for one customer. row: their place in the list that was sent."""

    row: int
    customer_id: str | None
    probability: float
    decision: bool


class Skipped(msgspec.Struct, frozen=True):
    """A customer who was left out, with `on_error=skip`."""

    row: int
    customer_id: str | None
    detail: list[Problem]


class Answer(msgspec.Struct, frozen=True):
    """Predictions in the order of the customers sent."""

    model: Model
    predictions: list[Prediction]
    skipped: list[Skipped] = []


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for."""

    max_rows: int
    max_lines: int
    max_explained: int


@dataclass(frozen=True)
class Champion:
    """A model version, verified, open and warm. Requests that began with it end with it."""

    model: Model
    bundle: Bundle
    decoder: Decoder  # bytes of customers -> feature values
    transactions: Transactions | None  # invoice lines -> feature values; None: a labelled table
    about: bytes  # what GET /model answers

    @property
    def features(self) -> list[dict[str, Any]]:
        return self.bundle.features


@dataclass(frozen=True)
class Asked:
    """One request: its body, its query (names that are known, values as sent), who answers it."""

    body: bytes
    query: dict[str, str]
    champion: Champion
    limits: Limits

    @property
    def skip(self) -> bool:
        """Whether bad rows are left out. Raises Refused for a mode that there is not."""
        return choice(self.query, "on_error", ("refuse", "skip")) == "skip"


def choice(query: dict[str, str], name: str, values: tuple[str, ...]) -> str:
    """A parameter of the query, the first of the values when it was not sent."""
    value = query.get(name, values[0])
    if value not in values:
        one_of = " or ".join(values)
        raise Refused(
            "invalid",
            "",
            Problem(what=f"must be {one_of}", where=f"query.{name}", value=value, expected=one_of),
        )
    return value


def probabilities(champion: Champion, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float64 (n,) of feature values float32 (n, f), and which are none, bool (n,)."""
    probability = champion.bundle.predict(x)
    return probability, ~((probability >= 0) & (probability <= 1))


def no_answer(row: int) -> Problem:
    return Problem(
        what="the model has no probability for these values", where=f"customers[{row}]", row=row
    )
