"""The curves of labels (n,) of 0 and 1 and probabilities (n,), as points. Nothing is drawn here.

Tied probabilities count as ties everywhere: no curve depends on the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.report.table import wilson

POINTS = 240  # of a curve are drawn: more cannot be told apart on a page
BINS = 10
Z = 1.959964  # of a 95 % interval


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
    found: int  # positives among them
    missed: int  # positives not contacted
    spared: int  # negatives not contacted
    value: float
    low: float
    high: float


def roc(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rate, from (0, 0) to (1, 1)."""
    hits, misses = _descending(y, p)
    return _thin(np.r_[0, misses / max(misses[-1], 1)], np.r_[0, hits / max(hits[-1], 1)])


def precision_recall(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision, from the highest probability down."""
    hits, misses = _descending(y, p)
    return _thin(hits / max(hits[-1], 1), hits / (hits + misses))


def gain(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the rows taken, highest probability first, and share of the positives among them."""
    hits, misses = _descending(y, p)
    return _thin(np.r_[0, (hits + misses) / len(y)], np.r_[0, hits / max(hits[-1], 1)])


def reliability(y: np.ndarray, p: np.ndarray) -> list[Bin]:
    """Up to 10 bins of equal count, from the lowest probability; ties stay in one bin."""
    order = np.argsort(p, kind="stable")
    y, p = np.asarray(y, dtype=float)[order], np.asarray(p, dtype=float)[order]
    starts = np.flatnonzero(np.r_[True, p[1:] != p[:-1]])
    first = starts[np.flatnonzero(np.diff(starts * BINS // len(p), prepend=-1))]
    return [
        Bin(float(q.mean()), float(z.mean()), *wilson(int(z.sum()), len(z)), len(z))
        for z, q in zip(np.split(y, first[1:]), np.split(p, first[1:]), strict=True)
    ]


def values(
    y: np.ndarray, p: np.ndarray, contact_cost: float, sale_value: float
) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds 0, .01, …, 1, and the value per row of contacting from each on."""
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
    """groups: (n,), such as customers, whose rows are alike: the interval sums over them."""
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
        found=int(y[taken].sum()),
        missed=int(y[~taken].sum()),
        spared=int((1 - y[~taken]).sum()),
        value=mean,
        low=mean - Z * float(error),
        high=mean + Z * float(error),
    )


def _descending(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives so far, at the end of each run of ties, highest first."""
    order = np.argsort(-np.asarray(p), kind="stable")
    ordered, y = np.asarray(p)[order], np.asarray(y, dtype=float)[order]
    ends = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    return np.cumsum(y)[ends], np.cumsum(1 - y)[ends]


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(x) <= POINTS:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, POINTS).round().astype(int))
    return x[kept], y[kept]
