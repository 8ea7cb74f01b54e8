"""Shapley values of one prediction, by sampling, from nothing but the model's answers.

A permutation starts at a reference row and exchanges its values for the customer's, feature by
feature in a random order, until the row is the customer's. The change of the probability at a step
is the contribution of that feature; a Shapley value is its mean over all orders (Shapley 1953).
Orders and reference rows are sampled together: Štrumbelj & Kononenko 2014,
doi:10.1007/s10115-013-0679-x. In antithetic pairs, each order forward and reversed: Mitchell et al.
2022, JMLR 23(43). Not with the package `shap`: it brings numba, pandas and scikit-learn into a
service that has none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# At least that many orders, each forward and reversed. With more, but the same 64 reference rows,
# the standard errors stay as they are: they come from the differences between the customers.
PAIRS = 64
SEED = 20_140_801  # the same request has the same response
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
    """Compute the Shapley values of one customer against the reference rows.

    x: float32 (f,).  reference: float32 (r, f), each row used equally often, so that the
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

    count = 2 * pairs_for(len(reference))
    start = np.arange(count) // 2 % len(reference)  # permutation -> reference row; a pair shares it
    place, order = _orders(count, len(x))
    # A step from a value to the same value is left out. Each other step is a row to compute, except
    # the last of a permutation, which ends at the customer.
    index, step = np.nonzero(np.take_along_axis(differs[start], order, axis=1))
    change = np.diff(index, prepend=-1, append=-1) != 0
    first, last = change[:-1], change[1:]
    after = np.full(len(index), probability)
    after[~last] = _probabilities(predict, x, reference[start], place, index[~last], step[~last])
    before = np.roll(after, 1)
    before[first] = from_reference[start[index[first]]]
    added = np.zeros((count, len(x)))
    added[index, order[index, step]] = after - before

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
    index: np.ndarray,
    step: np.ndarray,
) -> np.ndarray:
    """Compute the probabilities float64 (m,) after these steps of these permutations: with the
    customer's values in the features already exchanged, the reference row's in the others."""
    most = max(1, min(MOST_ROWS, MOST_VALUES // len(x)))
    probabilities = [
        predict(np.where(place[p] <= s[:, None], x, begins[p]))
        for p, s in ((index[i : i + most], step[i : i + most]) for i in range(0, len(index), most))
    ]
    return np.concatenate(probabilities) if probabilities else np.empty(0)


def answered(probability: np.ndarray) -> np.ndarray:
    """Return which of them are probabilities; NaN is not."""
    return (probability >= 0) & (probability <= 1)


def pairs_for(references: int) -> int:
    """Return the number of pairs: each reference row equally often, and at least PAIRS in all."""
    return references * -(-PAIRS // references)


@lru_cache(maxsize=8)
def _orders(count: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw permutations of the features: the place of each feature, and the feature at each place,
    both int (count, f). Permutation 2i + 1 is the reverse of permutation 2i."""
    draw = np.random.default_rng(SEED)
    forward = draw.permuted(np.tile(np.arange(features), (count // 2, 1)), axis=1)
    order = np.stack([forward, forward[:, ::-1]], axis=1).reshape(count, features)
    return np.argsort(order, axis=1), order
