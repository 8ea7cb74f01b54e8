"""Shapley values of one prediction, by sampling, from nothing but the model's answers.

A walk begins at a reference row and exchanges its values for the customer's, feature by feature in
a random order, until it stands at the customer. What the probability changes by at a step is that
feature's share; a Shapley value is its mean over all orders (Shapley 1953). By sampling orders and
reference rows together: Štrumbelj & Kononenko 2014, doi:10.1007/s10115-013-0679-x. In antithetic
pairs, each order there and back: Mitchell et al. 2022, JMLR 23(43). Not with the package `shap`: it
brings numba, pandas and scikit-learn into a service that has none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# At least that many orders, each there and back. With more, but the same 64 reference rows, the
# standard errors stay as they are: it is the reference customers that differ.
PAIRS = 64
SEED = 20_140_801  # the same question has the same answer
# Of one call of the graph, whatever the number of features: about 16 MB of input.
MOST_ROWS, MOST_VALUES = 20_000, 4_000_000

Predict = Callable[[np.ndarray], np.ndarray]  # float32 (n, f) -> probabilities float64 (n,)


class NoAnswer(Exception):
    """The model has no probability where one is needed."""


@dataclass(frozen=True)
class ShapleyValues:
    """probability and base in [0, 1]; contribution and standard_error: float64 (f,)."""

    probability: float
    base: float
    contribution: np.ndarray
    standard_error: np.ndarray


def shapley_values(predict: Predict, x: np.ndarray, reference: np.ndarray) -> ShapleyValues:
    """Shapley values of one customer against the reference rows.

    x: float32 (f,).  reference: float32 (r, f), each row walked equally often, so that the
    contributions add up to probability - base.  A value that is that of every reference row
    contributes exactly 0. Raises NoAnswer.
    """
    ends = predict(np.vstack([x, reference]))
    probability, from_reference = ends[0], ends[1:]
    if not answered(probability):
        raise NoAnswer("the model has no probability for these values")
    differs = ~((reference == x) | (np.isnan(reference) & np.isnan(x)))
    # The same row has the same answer, wherever it stands in a batch.
    from_reference = np.where(differs.any(axis=1), from_reference, probability)

    walks = 2 * pairs_for(len(reference))
    start = np.arange(walks) // 2 % len(reference)  # walk -> its reference row; a pair shares it
    place, order = _orders(walks, len(x))
    # A step from a value to the same value is none: each moving one is a row to ask about, but for
    # the last of a walk, which ends at the customer.
    walk, step = np.nonzero(np.take_along_axis(differs[start], order, axis=1))
    change = np.diff(walk, prepend=-1, append=-1) != 0
    first, last = change[:-1], change[1:]
    after = np.full(len(walk), probability)
    after[~last] = _probabilities(predict, x, reference[start], place, walk[~last], step[~last])
    before = np.roll(after, 1)
    before[first] = from_reference[start[walk[first]]]
    added = np.zeros((walks, len(x)))
    added[walk, order[walk, step]] = after - before

    # Pairs from one reference row are not independent draws: each row counts once.
    drawn = added.reshape(-1, len(reference), 2, len(x)).mean(axis=2)
    drawn = drawn.mean(axis=0) if len(reference) > 1 else drawn[:, 0]
    if not np.isfinite(drawn).all():
        raise NoAnswer(
            "the model has no probability for these values mixed with those of reference customers"
        )
    return ShapleyValues(
        probability=float(probability),
        base=float(from_reference.mean()),
        contribution=drawn.mean(axis=0),
        standard_error=drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn)),
    )


def _probabilities(
    predict: Predict,
    x: np.ndarray,
    begins: np.ndarray,
    place: np.ndarray,
    walk: np.ndarray,
    step: np.ndarray,
) -> np.ndarray:
    """Probabilities float64 (m,) of where the walks stand after these steps: the customer's values
    in the features that have had their turn, the reference row's in the others."""
    most = max(1, min(MOST_ROWS, MOST_VALUES // len(x)))
    probabilities = [
        predict(np.where(place[w] <= s[:, None], x, begins[w]))
        for w, s in ((walk[i : i + most], step[i : i + most]) for i in range(0, len(walk), most))
    ]
    return np.concatenate(probabilities) if probabilities else np.empty(0)


def answered(probability: np.ndarray) -> np.ndarray:
    """Which of them are probabilities; NaN is not."""
    return (probability >= 0) & (probability <= 1)


def pairs_for(references: int) -> int:
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
