"""ROC AUC and what each row adds to it, from one sort: for intervals of any number of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranked:
    """A ranking against outcomes. below, above: float64 (n,), of each row the share of the negative
    ones that it stands above, and of the positive ones that stand above it; ties count half.
    positives, negatives: how many there are, or their weights."""

    roc_auc: float
    below: np.ndarray
    above: np.ndarray
    positives: float
    negatives: float


def rank(ranking: np.ndarray, positive: np.ndarray) -> Ranked | None:
    """ranking: (n,) without NaN, more is more likely.  positive: (n,) in [0, 1], an outcome of 0 or
    1, or its probability. None where one of the two outcomes does not occur."""
    weight = np.asarray(positive, dtype=np.float64)
    positives = float(weight.sum())
    negatives = float(len(weight) - positives)
    if positives <= 0 or negatives <= 0:
        return None
    values, place = np.unique(ranking, return_inverse=True)
    below = _below(np.bincount(place, weights=1 - weight, minlength=len(values))) / negatives
    above = 1 - _below(np.bincount(place, weights=weight, minlength=len(values))) / positives
    roc_auc = float(np.sum(weight * below[place]) / positives)
    return Ranked(roc_auc, below[place], above[place], positives, negatives)


def components(ranked: Ranked, positive: np.ndarray) -> np.ndarray:
    """What each row (n,) adds to the error of the ROC AUC: DeLong's structural components (DeLong,
    DeLong & Clarke-Pearson 1988, doi:10.2307/2531595), centred and divided by the class's size.
    Summed over the rows of a customer and squared, they give its variance (Obuchowski 1997,
    doi:10.2307/2533958)."""
    share = np.where(positive == 1, ranked.below, ranked.above)
    size = np.where(positive == 1, ranked.positives, ranked.negatives)
    return (share - ranked.roc_auc) / size


def clustered_error(parts: np.ndarray, customer: np.ndarray) -> float:
    """The standard error of a sum of parts (n,) whose expectation is zero, where the rows of one
    customer (n, whole numbers from 0) are alike and those of two are not."""
    by_customer = np.bincount(customer, weights=parts)
    customers = int(np.count_nonzero(np.bincount(customer)))
    return float(np.sqrt(customers / max(customers - 1, 1) * np.sum(by_customer**2)))


def _below(weights: np.ndarray) -> np.ndarray:
    """Of each place, the weight below it; that on it counts half."""
    return np.cumsum(weights) - weights / 2
