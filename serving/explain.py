"""POST /explain: what each value of a customer adds to, or takes from, the probability.

    probability = base + sum of contributions        to the last digit that a float64 has

`base` is the model's mean probability for the reference rows: up to 64 customers of the validation
split, kept in the bundle. A contribution is a Shapley value: how much the probability changes when
the customer's own value takes the place of a reference customer's, on average over the reference
customers and over the orders in which the values may be exchanged. It asks the exported graph and
nothing else, so it is the same for every family of models.

What it does not say. It describes the model, not the customer: that a value raises the prediction
does not mean that changing it would make anyone buy. It compares with those reference customers:
others give other numbers. And values are exchanged one by one, so features that go together in life
(orders of 90 and of 180 days) are mixed into customers who cannot exist, and share between them
what either could have said alone.

By sampling (Štrumbelj & Kononenko 2014, doi:10.1007/s10115-013-0679-x), in antithetic pairs: each
order is walked there and back (Mitchell et al. 2022, JMLR 23(43)). Not with the package `shap`: it
brings numba, pandas and scikit-learn into a service that has none of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from features.categories import decode
from registry.bundle import Bundle
from serving.asked import Asked, Champion
from serving.messages import Contribution, Explained, Explanation, Method, Skipped
from serving.refusal import Problem, Refused, shown

PAIRS = 64  # at least that many orders, each there and back
TOP = 10  # contributions shown when the request does not say how many
SEED = 20_140_801  # the same question has the same answer
# Of one call of the graph, whatever the number of features: about 16 MB of input.
MOST_ROWS, MOST_VALUES = 20_000, 4_000_000
WHAT = (
    "Shapley values of the probability, by sampling: what the customer's value changes, on average,"
    " when it takes the place of the value of a reference customer (of the validation split)."
    " base + contributions = probability. standard_error: how far a contribution would move with"
    " other reference customers and other orders. They describe the model: no causes."
)


class NoAnswer(Exception):
    """The model has no probability where one is needed."""


@dataclass(frozen=True)
class Shares:
    """probability and base in [0, 1]; contribution and standard_error: float64 (f,)."""

    probability: float
    base: float
    contribution: np.ndarray
    standard_error: np.ndarray


def answer(asked: Asked) -> bytes:
    """Explain the customers of the body (as of /predict, at most `limits.max_explained`). Raises
    Refused where the model has no answer: with `on_error=skip` only when it has none for anyone."""
    champion = asked.champion
    top = _top(asked.query, len(champion.features))
    reference = reference_rows(champion)
    limits = replace(asked.limits, max_rows=asked.limits.max_explained)
    customers = champion.decoder.read(asked.body, limits, asked.skip)
    explanations, skipped = [], []
    for row, customer_id, x in zip(customers.rows, customers.ids, customers.x, strict=True):
        try:
            shares = explain(champion.bundle, x, reference)
        except NoAnswer as none:
            problem = Problem(
                what=str(none), where=f"customers[{row}]", reason="no_answer", row=row
            )
            skipped.append(Skipped(row, customer_id, [problem]))
        else:
            explanations.append(_told(shares, row, customer_id, x, champion.features, top))
    if skipped and not (asked.skip and explanations):
        raise Refused("no_answer", "", *(one.detail[0] for one in skipped))
    skipped = sorted([*customers.skipped, *skipped], key=lambda one: one.row)
    if skipped:
        asked.rows_left_out(Counter(one.detail[0].reason for one in skipped))
    method = Method(
        name="Shapley values by permutation sampling",
        what=WHAT,
        reference_rows=len(reference),
        permutations=2 * _pairs(len(reference)),
        seed=SEED,
    )
    return msgspec.json.encode(Explained(champion.model, method, explanations, skipped))


def reference_rows(champion: Champion) -> np.ndarray:
    """The bundle's reference rows for which the model has a probability, float32 (r, f).

    Raises Refused when there are none: an older bundle, which can be predicted with all the same.
    """
    rows = champion.bundle.examples.get("reference") or []
    x = np.array(rows, dtype=np.float32).reshape(-1, len(champion.features))  # None becomes NaN
    if len(x):
        x = x[_answered(champion.bundle.predict(x))]
    if not len(x):
        raise Refused(
            "no_reference", "this model's bundle has no customers to compare with: train again"
        )
    return x


def explain(bundle: Bundle, x: np.ndarray, reference: np.ndarray) -> Shares:
    """Shapley values of one customer against the reference rows.

    x: float32 (f,).  reference: float32 (r, f), each row walked equally often, so that the
    contributions add up to probability - base.  A value that is that of every reference row
    contributes exactly 0. Raises NoAnswer.
    """
    ends = bundle.predict(np.vstack([x, reference]))
    probability, from_reference = ends[0], ends[1:]
    if not _answered(probability):
        raise NoAnswer("the model has no probability for these values")
    differs = ~((reference == x) | (np.isnan(reference) & np.isnan(x)))
    # The same row has the same answer, wherever it stands in a batch.
    from_reference = np.where(differs.any(axis=1), from_reference, probability)

    walks = 2 * _pairs(len(reference))
    start = np.arange(walks) // 2 % len(reference)  # walk -> its reference row; a pair shares it
    place, order = _orders(walks, len(x))
    # A step from a value to the same value is none: each moving one is a row to ask about, but for
    # the last of a walk, which ends at the customer.
    walk, step = np.nonzero(np.take_along_axis(differs[start], order, axis=1))
    change = np.diff(walk, prepend=-1, append=-1) != 0
    first, last = change[:-1], change[1:]
    after = np.full(len(walk), probability)
    after[~last] = _predict(bundle, x, reference[start], place, walk[~last], step[~last])
    before = np.roll(after, 1)
    before[first] = from_reference[start[walk[first]]]
    added = np.zeros((walks, len(x)))
    added[walk, order[walk, step]] = after - before

    # Pairs from one reference row are no independent draws: each row counts once.
    drawn = added.reshape(-1, len(reference), 2, len(x)).mean(axis=2)
    drawn = drawn.mean(axis=0) if len(reference) > 1 else drawn[:, 0]
    if not np.isfinite(drawn).all():
        raise NoAnswer("the model has no probability for these values amid those of others")
    return Shares(
        probability=float(probability),
        base=float(from_reference.mean()),
        contribution=drawn.mean(axis=0),
        standard_error=drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn)),
    )


def _predict(
    bundle: Bundle,
    x: np.ndarray,
    begins: np.ndarray,
    place: np.ndarray,
    walk: np.ndarray,
    step: np.ndarray,
) -> np.ndarray:
    """Probabilities float64 (m,) of where the walks stand after these steps: the customer's values
    in the features that have had their turn, the reference row's in the others."""
    most = max(1, min(MOST_ROWS, MOST_VALUES // len(x)))
    found = [
        bundle.predict(np.where(place[w] <= s[:, None], x, begins[w]))
        for w, s in ((walk[i : i + most], step[i : i + most]) for i in range(0, len(walk), most))
    ]
    return np.concatenate(found) if found else np.empty(0)


def _answered(probability: np.ndarray) -> np.ndarray:
    return (probability >= 0) & (probability <= 1)


def _pairs(references: int) -> int:
    """Every reference row equally often, and at least PAIRS in all."""
    return references * -(-PAIRS // references)


@lru_cache(maxsize=8)
def _orders(walks: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """The walks as the place of each feature and as the feature at each place, both int (w, f).
    Walks 2i and 2i + 1 are a pair: the second takes the features the other way round."""
    draw = np.random.default_rng(SEED)
    there = draw.permuted(np.tile(np.arange(features), (walks // 2, 1)), axis=1)
    order = np.stack([there, there[:, ::-1]], axis=1).reshape(walks, features)
    return np.argsort(order, axis=1), order


def _top(query: dict[str, str], features: int) -> int:
    value = query.get("top")
    if value is None:
        return min(TOP, features)
    if value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= features:
        return int(value)
    expected = f"a whole number from 1 to {features}"
    raise Refused(
        "invalid",
        "",
        Problem(
            what=f"must be {expected}", where="query.top", value=shown(value), expected=expected
        ),
    )


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
