"""Compute the curves of labels (n,) of 0 and 1 and probabilities (n,), as points.

Tied probabilities count as ties everywhere: no curve depends on the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.statistics import NORMAL_95, wilson

POINTS = 240  # of a curve are drawn: more cannot be distinguished on a page
BINS = 10


@dataclass(frozen=True)
class Bin:
    """Rows of like probability: mean prediction, observed share and its 95 % interval (Wilson)."""

    predicted: float
    observed: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class Contact:
    """What contacting every row from `threshold` on would have brought.

    value: sale_value times the positives contacted, less contact_cost times all contacted, per row
    of the split. low, high: its 95 % interval.
    """

    threshold: float
    contacted: int
    true_positives: int  # positives contacted
    false_negatives: int  # positives not contacted
    true_negatives: int  # negatives not contacted
    value: float
    low: float
    high: float


def roc(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rate, from (0, 0) to (1, 1)."""
    taken, hits = _from_the_top(y, p)
    return _thin(np.r_[0, (taken - hits) / (len(y) - hits[-1])], np.r_[0, hits / hits[-1]])


def precision_recall(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision, from the highest probability down."""
    taken, hits = _from_the_top(y, p)
    return _thin(hits / hits[-1], hits / taken)


def gain(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of the rows taken, from the highest probability down, and of the
    positives."""
    taken, hits = _from_the_top(y, p)
    return _thin(np.r_[0, taken / len(y)], np.r_[0, hits / hits[-1]])


def _from_the_top(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each probability that occurs, the highest first: the rows with it or a higher one, and the
    positives among them.

    scikit-learn's curves are the same (a test compares them), but its import takes a second, and
    nothing else in the process that writes the report needs it.
    """
    order = np.argsort(-p, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(p[order]) != 0, True])
    return last + 1, np.cumsum(y[order], dtype=float)[last]


def reliability(y: np.ndarray, p: np.ndarray) -> list[Bin]:
    """Make up to 10 bins of equal count, from the lowest probability; ties stay in one bin.

    scikit-learn's `calibration_curve` gives no counts, which the intervals need, and cuts at
    quantiles of the values, so that ties make other bins.
    """
    order = np.argsort(p, kind="stable")
    y, p = np.asarray(y, dtype=float)[order], np.asarray(p, dtype=float)[order]
    starts = np.flatnonzero(np.r_[True, p[1:] != p[:-1]])
    first = starts[np.flatnonzero(np.diff(starts * BINS // len(p), prepend=-1))]
    return [
        Bin(float(q.mean()), float(z.mean()), *wilson(float(z.mean()), len(z)), len(z))
        for z, q in zip(np.split(y, first[1:]), np.split(p, first[1:]), strict=True)
    ]


def values(
    y: np.ndarray, p: np.ndarray, contact_cost: float, sale_value: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return thresholds 0, .01, …, 1, and the value per row of contacting from each on."""
    thresholds = np.arange(101) / 100
    order = np.argsort(p, kind="stable")
    worth = np.r_[0, np.cumsum((sale_value * np.asarray(y, float)[order] - contact_cost)[::-1])]
    contacted = len(p) - np.searchsorted(p[order], thresholds, side="left")
    return thresholds, worth[contacted] / len(p)


def contact(
    y: np.ndarray,
    p: np.ndarray,
    threshold: float,
    contact_cost: float,
    sale_value: float,
    groups: np.ndarray | None = None,
) -> Contact:
    """Compute what contacting from a threshold on brings. groups: (n,), such as customers, whose
    rows are alike: the interval sums over them."""
    y = np.asarray(y, dtype=float)
    taken = p >= threshold
    worth = np.where(taken, sale_value * y - contact_cost, 0.0)
    _, group = np.unique(np.arange(len(y)) if groups is None else groups, return_inverse=True)
    apart = np.bincount(group, weights=worth - worth.mean())
    count = len(apart)
    error = np.sqrt(count / max(count - 1, 1) * np.sum(apart**2)) / len(y)
    mean = float(worth.mean())
    return Contact(
        threshold=threshold,
        contacted=int(taken.sum()),
        true_positives=int(y[taken].sum()),
        false_negatives=int(y[~taken].sum()),
        true_negatives=int((1 - y[~taken]).sum()),
        value=mean,
        low=mean - NORMAL_95 * float(error),
        high=mean + NORMAL_95 * float(error),
    )


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(x) <= POINTS:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, POINTS).round().astype(int))
    return x[kept], y[kept]
