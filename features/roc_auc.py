"""How well one column ranks the outcome by itself, and how surely: ROC AUC with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NORMAL_95 = 1.959964  # standard errors on each side of a 95 % interval


@dataclass(frozen=True)
class RocAuc:
    """score: .5 to 1, the better direction.  low: the lower end of its 95 % interval."""

    score: float
    low: float


def roc_auc_alone(values: np.ndarray, label: np.ndarray, group: np.ndarray) -> RocAuc:
    """ROC AUC of one column: ties count half, and it may point either way.

    values: (n,) with NaN where missing, which rank below or above all others, whichever is better.
    label: (n,) of 0 and 1. With one class only the score is .5.
    group: (n,) whole numbers from 0: rows with the same one are of one customer.

    The standard error is that of DeLong, DeLong & Clarke-Pearson (1988, doi:10.2307/2531595),
    summed over customers, whose rows are alike (Obuchowski 1997, doi:10.2307/2533958). With one
    row per customer the two are nearly the same.
    """
    missing = np.isnan(values)
    _, rank = np.unique(values[~missing], return_inverse=True)
    order = np.zeros(len(values), dtype=np.int64)
    found = []
    for place in (0, rank.max(initial=0) + 2):  # below all others, above all others
        order[missing], order[~missing] = place, rank + 1
        found.append(_roc_auc(order, label == 1, group))
        if not missing.any():
            break
    return max(found, key=lambda one: one.score)


def _roc_auc(order: np.ndarray, positive: np.ndarray, group: np.ndarray) -> RocAuc:
    """order: (n,) whole numbers from 0, equal where the values tie."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        return RocAuc(0.5, 0.5)
    size = order.max() + 1
    # DeLong's structural components: the share of the other class that a row stands right of.
    below = _below(np.bincount(order[~positive], minlength=size)) / negatives
    above = 1 - _below(np.bincount(order[positive], minlength=size)) / positives
    share = np.where(positive, below[order], above[order])
    score = float(share[positive].mean())
    weight = np.where(positive, 1 / positives, 1 / negatives)
    of_customer = np.bincount(group, weights=(share - score) * weight)
    customers = int(np.count_nonzero(np.bincount(group)))
    error = np.sqrt(customers / max(customers - 1, 1) * np.sum(of_customer**2))
    score = max(score, 1 - score)
    return RocAuc(score, max(0.5, score - NORMAL_95 * float(error)))


def _below(counts: np.ndarray) -> np.ndarray:
    """Of each place, how many stand below it; those that stand on it count half."""
    return np.cumsum(counts) - counts / 2
