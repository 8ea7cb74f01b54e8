"""A champion, a request that it answers, and the scoring: what every endpoint works with.

A request is answered by the champion that it began with, also when another one takes over
meanwhile. An endpoint knows nothing of HTTP: it is handed a Request, and raises Refused.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import count
from time import thread_time
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.bundle import Bundle
from serving.errors import Place, Problem, invalid, parameter
from serving.limits import Limits, Stop
from serving.problems import refuse_or_skip
from serving.responses import Model, Prediction, Sample, Skipped

if TYPE_CHECKING:  # DuckDB is loaded by those who need it
    from serving.requests import Customers, FeatureReader
    from serving.transactions import Transactions

# Of requests: each process begins somewhere else, so that two never have the same.
NUMBERS = count(secrets.randbits(62))
FATAL = 4  # of ONNX Runtime: a run that was ended is not an error to log


@dataclass(frozen=True)
class Champion:
    """A model version, verified, open and warm. Requests that began with it end with it."""

    model: Model
    bundle: Bundle
    reader: FeatureReader  # bytes of customers -> feature values
    transactions: Transactions | None  # invoice lines -> feature values; None: a labelled table
    reference: np.ndarray  # float32 (r, f): customers to explain against
    samples: list[Sample]
    loaded_at: str = ""  # time, ISO
    description: bytes = b""  # what GET /docs.json answers

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


def _ignore(_: Any) -> None:
    """Counts nothing."""


@dataclass(frozen=True)
class Request:
    """One request: its body, its query (names that are known, values as sent), who answers it.

    scored, rows_left_out, lines_left_out: called with what was answered, and by reason with the
    number of what was not.
    """

    body: bytes
    query: dict[str, str]
    champion: Champion
    limits: Limits
    scored: Callable[[Scored], None] = _ignore
    rows_left_out: Callable[[dict[str, int]], None] = _ignore
    lines_left_out: Callable[[dict[str, int]], None] = _ignore
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
        """Whether bad rows are left out. Raises Refused for an unknown mode."""
        return self.choice("on_error", ("refuse", "skip")) == "skip"

    def choice(self, name: str, values: tuple[str, ...]) -> str:
        """A parameter of the query, the first of the values when it was not sent. Raises
        Refused."""
        value = self.query.get(name, values[0])
        if value not in values:
            one_of = " or ".join(values)
            raise invalid(parameter(name, f"must be {one_of}", value, one_of))
        return value


def score(
    request: Request, customers: Customers, as_of: date | None = None
) -> tuple[list[Prediction], list[Skipped]]:
    """Predictions of the customers, and who was skipped, both by row. Raises Refused where the
    model has no answer: with `on_error=skip` only when it has none for anyone."""
    model, x, ids = request.champion.model, customers.x, customers.ids
    began = thread_time()  # on its core: a busy machine counts for nothing
    probability = request.predict(x)
    seconds, call_rows = thread_time() - began, len(x)
    skipped, rows, persons = customers.skipped, customers.rows, customers.persons
    answers: list[float] = probability.tolist()
    # NaN is neither; and of the few rows that most requests have, Python looks faster than NumPy.
    if not all(0 <= p <= 1 for p in answers):
        good: list[int] = np.flatnonzero((probability >= 0) & (probability <= 1)).tolist()
        none = sorted({*range(len(rows))} - {*good})
        lost = [Skipped(rows[at], ids[at], [_no_answer(rows[at])]) for at in none]
        refuse_or_skip(lost, bool(good), request.skip, "no_answer")
        skipped = sorted([*skipped, *lost], key=lambda one: one.row)
        probability, x, answers = probability[good], x[good], [answers[at] for at in good]
        ids, rows = [ids[at] for at in good], [rows[at] for at in good]
        persons = [persons[at] for at in good]
    request.scored(Scored(request.champion, persons, x, probability, as_of, seconds, call_rows))
    if skipped:
        request.rows_left_out(Counter(one.detail[0].reason for one in skipped))
    threshold = model.threshold
    return [
        Prediction(row, customer_id, p, None if threshold is None else p >= threshold)
        for row, customer_id, p in zip(rows, ids, answers, strict=True)
    ], skipped


def _no_answer(row: int) -> Problem:
    return Place(row).problem("no_answer", "the model has no probability for these values")
