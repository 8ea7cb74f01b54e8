"""How well one column ranks the outcome by itself: ROC AUC with its interval.

The leak checks and the baseline use it. The ROC AUC itself is in `common/statistics.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.statistics import NORMAL_95, clustered_error, components, rank, wilson

ONLY = 0.99  # with one of the two labels only, except for mistakes
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
    missing, positive = np.isnan(values), label == 1
    _, place = np.unique(values[~missing], return_inverse=True)
    order, both = np.zeros(len(values), dtype=np.int64), []
    for gap in (0, place.max(initial=0) + 2):  # below all others, above all others
        order[missing], order[~missing] = gap, place + 1
        score, low, direction = _either_way(order, positive, group)
        last = (gap == 0) == (direction == 1) or not missing.any()
        both.append(RocAuc(score, low, direction, "last" if last else "first"))
        if not missing.any():
            break
    return max(both, key=lambda one: one.score)


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
    """Return the place of each code (n,) in `category_rates`: 0 where it is missing."""
    return np.where(np.isnan(codes), 0, codes + 1).astype(int)


def presence_alone(values: np.ndarray, label: np.ndarray, group: np.ndarray) -> RocAuc | None:
    """Measure how well the presence or the absence of a value alone predicts the label; None where
    neither occurs (nearly) only with one of the two labels.

    Take a column with the reason for leaving, given by some of the customers who left: it has a
    low ROC AUC, as most rows have no value, but every row with a value is a customer who left. So
    the score is the probability of the label among the rows with (or without) a value, if both
    labels were equally frequent: .5 without any relation, 1 for a perfect one. Arguments as in
    `roc_auc_alone`.
    """
    present, scores = ~np.isnan(values), []
    for marked in (present, ~present):
        for outcome in (0, 1):
            ours, others = label == outcome, label != outcome
            if len(np.unique(group[marked & ours])) < FEWEST:
                continue
            a, low, _ = _share(marked, ours, group)
            b, _, high = _share(marked, others, group)
            if a >= ONLY * (a + b):
                scores.append(RocAuc(a / (a + b), low / (low + high)))
    return max(scores, key=lambda score: score.low, default=None)


def _share(marked: np.ndarray, rows: np.ndarray, group: np.ndarray) -> tuple[float, float, float]:
    """Compute the share of marked rows among `rows`, and its 95 % interval, which counts customers
    as the observations."""
    share = float(marked[rows].mean()) if rows.any() else 0.0
    return share, *wilson(share, max(len(np.unique(group[rows])), 1))


def _either_way(
    order: np.ndarray, positive: np.ndarray, group: np.ndarray
) -> tuple[float, float, int]:
    """Score, its lower end, and the direction. order: (n,) numbers, equal where the values tie."""
    ranked = rank(order, positive)
    if ranked is None:
        return 0.5, 0.5, 1
    error = clustered_error(components(ranked, positive), group)
    direction = 1 if ranked.roc_auc >= 0.5 else -1
    score = max(ranked.roc_auc, 1 - ranked.roc_auc)
    return score, max(0.5, score - NORMAL_95 * error), direction
