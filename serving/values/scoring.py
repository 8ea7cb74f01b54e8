"""Feature values → probabilities and decisions: `POST /predict`, and the last step of
`POST /predict_transactions`."""

from __future__ import annotations

from collections import Counter
from datetime import date
from time import thread_time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from serving.asked import Asked, Scored
from serving.messages import Answer, Prediction, Skipped
from serving.reading import refuse_or_skip
from serving.refusal import Place, Problem

if TYPE_CHECKING:
    from serving.values.schema import Customers

encode = msgspec.json.Encoder().encode


def answer(asked: Asked) -> bytes:
    """Probability and decision, if the model takes any, for each customer, in the order sent."""
    customers = asked.champion.decoder.read(asked.body, asked.limits, asked.skip)
    predictions, skipped = score(asked, customers)
    return encode(Answer(asked.champion.model, predictions, skipped))


def score(
    asked: Asked, customers: Customers, as_of: date | None = None
) -> tuple[list[Prediction], list[Skipped]]:
    """Predictions of the customers, and who was skipped, both by row. Raises Refused where the
    model has no answer: with `on_error=skip` only when it has none for anyone."""
    model, x, ids = asked.champion.model, customers.x, customers.ids
    began = thread_time()  # on its core: a busy machine counts for nothing
    probability = asked.predict(x)
    seconds, call_rows = thread_time() - began, len(x)
    skipped, rows, persons = customers.skipped, customers.rows, customers.persons
    said: list[float] = probability.tolist()
    # NaN is neither; and of the few rows that most requests have, Python looks faster than NumPy.
    if not all(0 <= p <= 1 for p in said):
        good: list[int] = np.flatnonzero((probability >= 0) & (probability <= 1)).tolist()
        none = sorted({*range(len(rows))} - {*good})
        lost = [Skipped(rows[at], ids[at], [_no_answer(rows[at])]) for at in none]
        refuse_or_skip(lost, bool(good), asked.skip, "no_answer")
        skipped = sorted([*skipped, *lost], key=lambda one: one.row)
        probability, x, said = probability[good], x[good], [said[at] for at in good]
        ids, rows = [ids[at] for at in good], [rows[at] for at in good]
        persons = [persons[at] for at in good]
    asked.scored(Scored(asked.champion, persons, x, probability, as_of, seconds, call_rows))
    if skipped:
        asked.rows_left_out(Counter(one.detail[0].reason for one in skipped))
    threshold = model.threshold
    return [
        Prediction(row, customer_id, p, None if threshold is None else p >= threshold)
        for row, customer_id, p in zip(rows, ids, said, strict=True)
    ], skipped


def _no_answer(row: int) -> Problem:
    return Place(row).problem("no_answer", "the model has no probability for these values")
