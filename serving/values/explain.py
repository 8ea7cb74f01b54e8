"""POST /explain: what each value of a customer adds to, or takes from, the probability.

    probability = base + contributions + rest        to the last digits that a float64 has

`base` is the model's mean probability for the reference rows: up to 64 customers of the validation
split, kept in the bundle. A contribution is a Shapley value: how much the probability changes when
the customer's own value takes the place of a reference customer's, on average over the reference
customers and over the orders in which the values may be exchanged (`shapley.py`). It asks
the exported graph and nothing else, so it is the same for every family of models.

What it does not say. It describes the model, not the customer: that a value raises the prediction
does not mean that changing it would make anyone buy. It compares with those reference customers:
others give other numbers. And values are exchanged one by one, so features that go together in life
(orders of 90 and of 180 days) are mixed into customers who cannot exist, and share between them
what either could have said alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from features.categories import decode
from serving.asked import Asked
from serving.messages import Contribution, Explained, Explanation, Method, Skipped
from serving.reading import refuse_or_skip
from serving.refusal import Place, Refused, invalid, parameter
from serving.values.shapley import SEED, NoAnswer, Shares, pairs_for, share_out

TOP = 10  # contributions shown when the request does not say how many
WHAT = (
    "Shapley values of the probability, by sampling: what the customer's value changes, on average,"
    " when it takes the place of the value of a reference customer (of the validation split)."
    " base + contributions + rest = probability. standard_error: how far a contribution would move"
    " with other reference customers and other orders. They describe the model: no causes."
)


def answer(asked: Asked) -> bytes:
    """Explain the customers of the body (as of /predict, at most `limits.max_explained`). Raises
    Refused where the model has no answer: with `on_error=skip` only when it has none for anyone."""
    champion = asked.champion
    top = _top(asked.query, len(champion.features))
    reference = champion.reference
    if not len(reference):
        raise Refused(
            "no_reference", "this model's bundle has no customers to compare with: train again"
        )
    limits = replace(asked.limits, max_rows=asked.limits.max_explained)
    customers = champion.decoder.read(asked.body, limits, asked.skip)
    explanations, skipped = [], []
    for row, customer_id, x in zip(customers.rows, customers.ids, customers.x, strict=True):
        try:
            shares = share_out(asked.predict, x, reference)
        except NoAnswer as none:
            problem = Place(row).problem("no_answer", str(none))
            skipped.append(Skipped(row, customer_id, [problem]))
        else:
            explanations.append(_told(shares, row, customer_id, x, champion.features, top))
    refuse_or_skip(skipped, bool(explanations), asked.skip, "no_answer")
    skipped = sorted([*customers.skipped, *skipped], key=lambda one: one.row)
    if skipped:
        asked.rows_left_out(Counter(one.detail[0].reason for one in skipped))
    method = Method(
        name="Shapley values by permutation sampling",
        what=WHAT,
        reference_rows=len(reference),
        permutations=2 * pairs_for(len(reference)),
        seed=SEED,
    )
    return msgspec.json.encode(Explained(champion.model, method, explanations, skipped))


def _top(query: dict[str, str], features: int) -> int:
    value = query.get("top")
    if value is None:
        return min(TOP, features)
    if value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= features:
        return int(value)
    expected = f"a whole number from 1 to {features}"
    raise invalid(parameter("top", f"must be {expected}", value, expected))


def _told(
    shares: Shares,
    row: int,
    customer_id: str | None,
    x: np.ndarray,
    features: list[dict[str, Any]],
    top: int,
) -> Explanation:
    largest = np.argsort(-np.abs(shares.contribution), kind="stable")
    return Explanation(
        row=row,
        customer_id=customer_id,
        probability=shares.probability,
        base=shares.base,
        contributions=[
            Contribution(
                feature=features[i]["name"],
                value=decode(float(x[i]), features[i]),
                contribution=float(shares.contribution[i]),
                standard_error=float(f"{shares.standard_error[i]:.3g}"),
            )
            for i in largest[:top]
        ],
        rest=float(shares.contribution[largest[top:]].sum()),
    )
