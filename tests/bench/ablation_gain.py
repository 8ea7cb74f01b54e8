"""What one set of features gains over another in the mean of several dates, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gain:
    """ROC AUC of the larger set of features less that of the smaller, with a 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        mean, low, high = (round(v, 4) + 0.0 for v in (self.mean, self.low, self.high))  # no -0.0
        return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def draw(customers_of: list[np.ndarray], bootstrap: int) -> list[np.ndarray]:
    """How often each row is in each resample, (1 + bootstrap, n) per date; the first is the sample
    itself.

    A customer is drawn once for all dates: the dates share their customers, so a draw per date
    would make the mean look surer than it is.
    """
    customers = np.unique(np.concatenate(customers_of))
    rng = np.random.default_rng(1)
    drawn = rng.integers(len(customers), size=(bootstrap, len(customers)))
    counts = [np.bincount(row, minlength=len(customers)) for row in drawn]
    weights = np.stack([np.ones(len(customers), int), *counts]).astype(np.float32)
    return [weights[:, np.searchsorted(customers, of_date)] for of_date in customers_of]


def roc_auc(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ROC AUC (r,) under weights (r, n); ties count half."""
    order = np.argsort(p, kind="stable")
    y, p, weights = y[order], p[order], weights[:, order].astype(np.float64)
    ties = np.flatnonzero(np.r_[True, p[1:] != p[:-1]])
    buyers = np.add.reduceat(weights * y, ties, axis=1)
    others = np.add.reduceat(weights * (1 - y), ties, axis=1)
    below = np.cumsum(others, axis=1) - others / 2
    return (buyers * below).sum(axis=1) / (buyers.sum(axis=1) * others.sum(axis=1))


def rolling_gain(
    labels: list[np.ndarray],
    larger: list[np.ndarray],
    smaller: list[np.ndarray],
    resamples: list[np.ndarray],
) -> Gain:
    """Every list has an entry per date. Both sets of features are judged on the same resamples."""
    differences = [
        roc_auc(y, p, weights) - roc_auc(y, q, weights)
        for y, p, q, weights in zip(labels, larger, smaller, resamples, strict=True)
    ]
    mean = np.mean(differences, axis=0)
    low, high = np.quantile(mean[1:], [0.025, 0.975])
    return Gain(float(mean[0]), float(low), float(high))
