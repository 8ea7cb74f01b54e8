"""What an endpoint is handed, and whom it asks.

An endpoint is a plain function `answer(asked) -> bytes` that raises Refused: it knows nothing of
HTTP, and answers all of a request from the one champion that it was handed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.bundle import Bundle
from serving.messages import Model, Sample
from serving.refusal import invalid, parameter
from serving.stop import Stop

if TYPE_CHECKING:
    from serving.lines.transactions import Transactions
    from serving.values.schema import Decoder

# Of requests: each process begins somewhere else, so that two never have the same.
NUMBERS = count(secrets.randbits(62))
FATAL = 4  # of ONNX Runtime: that a run was ended is no error to log


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
    reference: np.ndarray  # float32 (r, f): customers to explain against
    samples: list[Sample]
    about: bytes = b""  # what GET /model answers
    described: bytes = b""  # and GET /docs.json

    @property
    def features(self) -> list[dict[str, Any]]:
        return self.bundle.features


@dataclass(frozen=True)
class Scored:
    """What was answered, for the metrics and the log of requests.

    ids: of n customers; from invoice lines as ingestion reads them, so that one customer is the
    same however they were written.  x: float32 (n, f).  probability: float64 (n,).  as_of: of
    invoice lines.  seconds: that the model's one call took on its core, for `call_rows` rows: those
    that have no answer are not among the n.  request: a number that no other request has.
    """

    champion: Champion
    ids: Sequence[str | None]
    x: np.ndarray
    probability: np.ndarray
    as_of: date | None = None
    seconds: float = 0.0
    call_rows: int = 0
    request: int = field(default_factory=NUMBERS.__next__)


def _unseen(_: Any) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Asked:
    """One request: its body, its query (names that are known, values as sent), who answers it.

    scored, rows_left_out, lines_left_out: told what was answered, and by reason what was not.
    """

    body: bytes
    query: dict[str, str]
    champion: Champion
    limits: Limits
    scored: Callable[[Scored], None] = _unseen
    rows_left_out: Callable[[dict[str, int]], None] = _unseen
    lines_left_out: Callable[[dict[str, int]], None] = _unseen
    stop: Stop = field(default_factory=Stop)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """`Bundle.predict` while there is time. Raises Refused after that, also where its graph
        loops for ever over these values."""
        from onnxruntime import RunOptions

        options = RunOptions()
        options.log_severity_level = FATAL
        try:
            with self.stop.calling(partial(setattr, options, "terminate", True)):
                return self.champion.bundle.predict(x, options)
        except Exception:
            self.stop.check()  # it was ended
            raise

    @property
    def skip(self) -> bool:
        """Whether bad rows are left out. Raises Refused for a mode that there is not."""
        return choice(self.query, "on_error", ("refuse", "skip")) == "skip"


def choice(query: dict[str, str], name: str, values: tuple[str, ...]) -> str:
    """A parameter of the query, the first of the values when it was not sent."""
    value = query.get(name, values[0])
    if value not in values:
        one_of = " or ".join(values)
        raise invalid(parameter(name, f"must be {one_of}", value, one_of))
    return value
