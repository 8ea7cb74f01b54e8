"""How well one column ranks the outcome by itself, and how surely: ROC AUC with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NORMAL_95 = 1.959964  # standard errors on each side of a 95 % interval
ONLY = 0.99  # with one of the two labels only, but for mistakes
FEWEST = 30  # customers (or rows, in a table): fewer say nothing


@dataclass(frozen=True)
class RocAuc:
    """score: .5 to 1, the better direction.  low: the lower end of its 95 % interval.

    direction: 1 where larger values go with the label 1, -1 where smaller ones do.
    missing: where rows without a value stand in that ranking: last, or first.
    """

    score: float
    low: float
    direction: int = 1
    missing: str = "last"


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
        score, low, direction = _roc_auc(order, label == 1, group)
        last = (place == 0) == (direction == 1) or not missing.any()
        found.append(RocAuc(score, low, direction, "last" if last else "first"))
        if not missing.any():
            break
    return max(found, key=lambda one: one.score)


def category_alone(codes: np.ndarray, label: np.ndarray, group: np.ndarray) -> RocAuc:
    """ROC AUC of a category, which has no order: half of the customers give one
    (`category_rates`), the other half are ranked by it. An order that was learnt on the rows that
    it ranks would flatter a column of many rare categories.

    codes: float (n,), NaN where missing.  label, group: as in `roc_auc_alone`.
    """
    learn = group % 2 == 0
    rates = category_rates(codes[learn], label[learn], int(np.nanmax(codes, initial=0)) + 1)
    return roc_auc_alone(rates[places(codes[~learn])], label[~learn], group[~learn])


def category_rates(codes: np.ndarray, label: np.ndarray, count: int) -> np.ndarray:
    """How often the label is 1, float (count + 1,): first where the category is missing, then for
    each of the codes 0 to count - 1. A code that does not occur has the mean of all rows, and few
    rows are drawn towards it."""
    place = places(codes)
    rows = np.bincount(place, minlength=count + 1)
    hits = np.bincount(place, weights=label, minlength=count + 1)
    return (hits + (label.mean() if len(label) else 0.5)) / (rows + 1)


def places(codes: np.ndarray) -> np.ndarray:
    """Where each code (n,) stands in `category_rates`: 0 where it is missing."""
    return np.where(np.isnan(codes), 0, codes + 1).astype(int)


def presence_alone(values: np.ndarray, label: np.ndarray, group: np.ndarray) -> RocAuc | None:
    """How well it tells the label that a value is there, or that it is missing; None where neither
    is found (nearly) only with one of the two labels.

    A reason for leaving that only some of those who left gave says little about all rows, so the
    ROC AUC of the column is low. But whoever has one left. So what is measured here is the
    probability of that label among the rows with (without) a value, were both labels equally
    frequent: .5 when it tells nothing, 1 when it tells all. Arguments as in `roc_auc_alone`.
    """
    there, found = ~np.isnan(values), []
    for marked in (there, ~there):
        for one in (0, 1):
            ours, others = label == one, label != one
            if len(np.unique(group[marked & ours])) < FEWEST:
                continue
            a, low, _ = _share(marked, ours, group)
            b, _, high = _share(marked, others, group)
            if a >= ONLY * (a + b):
                found.append(RocAuc(a / (a + b), low / (low + high)))
    return max(found, key=lambda one: one.low, default=None)


def _share(marked: np.ndarray, rows: np.ndarray, group: np.ndarray) -> tuple[float, float, float]:
    """The share of marked ones among the rows, and its 95 % interval (Wilson 1927,
    doi:10.1080/01621459.1927.10502953) with as many observations as there are customers."""
    n = max(len(np.unique(group[rows])), 1)
    share = float(marked[rows].mean()) if rows.any() else 0.0
    spread = NORMAL_95**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = np.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return share, max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def _roc_auc(
    order: np.ndarray, positive: np.ndarray, group: np.ndarray
) -> tuple[float, float, int]:
    """Score, its lower end, and the direction. order: (n,) whole numbers from 0, equal where the
    values tie."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        return 0.5, 0.5, 1
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
    direction, score = (1, score) if score >= 0.5 else (-1, 1 - score)
    return score, max(0.5, score - NORMAL_95 * float(error)), direction


def _below(counts: np.ndarray) -> np.ndarray:
    """Of each place, how many stand below it; those that stand on it count half."""
    return np.cumsum(counts) - counts / 2
