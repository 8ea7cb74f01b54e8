"""Compute the permutation importance of any exported model, and summarise the contributions (SHAP
values) of a family that gives them.

Both describe the model, not causes: neither shows the effect of a feature on customers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.statistics import ranks
from features.categories import missing_name
from features.table import Rows
from training.export import INPUT, OUTPUT
from training.metrics import point

REPEATS = 3
ROWS, ROWS_OF_A_NETWORK = 1500, 600  # a network takes ten times as long for a row as trees do
LARGE = 10_000  # numbers in a graph's initializers: that many is a network
CORRELATED = 0.8  # rank correlation from which two features can replace each other
BINS = 8
CAVEAT = (
    "A feature that another one repeats looks unimportant: with its values shuffled, the model"
    " still has the other."
)
WITHIN_DATES = (
    "Values are shuffled among rows of the same as-of date, so a feature that is the same for all"
    " of them, such as the season, shows 0 here whatever the model does with it."
)


def permutation_importance(
    predict: Callable[[np.ndarray], np.ndarray],
    rows: Rows,
    names: Sequence[str],
    *,
    seed: int,
    repeats: int = REPEATS,
    most_rows: int = ROWS,
) -> dict[str, Any]:
    """Compute the mean loss of ROC AUC and rise of log loss with a feature's values shuffled
    (Breiman 2001, doi:10.1023/A:1010933404324; Fisher, Rudin & Dominici 2019, arXiv:1801.01489).

    predict: x float32 (n, f) -> probabilities (n,), each row by itself.  rows: with labels of both
    classes; at most `most_rows`, evenly spaced, are used.  Returns JSON values: rows, repeats, the
    undisturbed roc_auc and log_loss, and per feature, most important first, its name,
    roc_auc_loss and log_loss_rise with their standard errors over the repeats (`*_error`), and
    correlated: the other features with a rank correlation of at least `CORRELATED` in size.
    """
    assert rows.y is not None
    used = np.linspace(0, len(rows) - 1, min(len(rows), most_rows)).astype(int)
    x, y, date = rows.x[used], rows.y[used], rows.as_of[used]
    whole = np.asarray(predict(x), dtype=np.float64)
    reference = point(y, whole)
    rng = np.random.default_rng(seed)
    shuffles = [_shuffle(date, rng) for _ in range(repeats)]
    correlated = _correlated(x, names)
    features: list[dict[str, Any]] = []
    for column, name in enumerate(names):
        shuffled = [point(y, p) for p in _disturbed(predict, x, whole, column, shuffles)]
        lost = np.array([reference["roc_auc"] - one["roc_auc"] for one in shuffled])
        rise = np.array([one["log_loss"] - reference["log_loss"] for one in shuffled])
        features.append(
            {
                "name": name,
                "roc_auc_loss": float(lost.mean()),
                "roc_auc_error": _error(lost),
                "log_loss_rise": float(rise.mean()),
                "log_loss_error": _error(rise),
                "correlated": correlated[name],
            }
        )
    features.sort(key=lambda one: (-one["roc_auc_loss"], one["name"]))
    return {
        "rows": len(used),
        "repeats": repeats,
        "roc_auc": reference["roc_auc"],
        "log_loss": reference["log_loss"],
        "features": features,
    }


def exported(model: Path) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Return the predict function of an exported graph, and the number of rows for its importance:
    by the size of the graph and not by the clock, so that the figures can be reproduced."""
    import onnx
    import onnxruntime

    graph = onnx.load(str(model)).graph
    numbers = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def predict(x: np.ndarray) -> np.ndarray:
        (p,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(x, dtype=np.float32)})
        return np.clip(np.asarray(p, dtype=np.float64), 0, 1)  # rounding may lead past 1

    return predict, ROWS_OF_A_NETWORK if numbers > LARGE else ROWS


def summarise_contributions(
    contributions: np.ndarray, x: np.ndarray, schema: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Summarise each feature, the largest mean first: name, mean_size (mean |contribution|,
    log-odds), direction (rank correlation of value and contribution: above 0, larger values raise
    the prediction; None for categories and constant values), and bins: the contribution by value.

    contributions: (m, f + 1), the last column the bias.  x: float32 (m, f), the same rows.
    SHAP values: Lundberg & Lee 2017, arXiv:1705.07874; of trees: Lundberg et al. 2020,
    doi:10.1038/s42256-019-0138-9.  A bin has label, rows, and the mean and the quarters (low, high)
    of its contributions.  Raises ValueError when the shapes do not fit.
    """
    shape = (len(x), len(schema) + 1)
    if contributions.shape != shape:
        raise ValueError(f"contributions have shape {contributions.shape}, they must have {shape}")
    summaries = []
    for column, feature in enumerate(schema):
        value, contribution = x[:, column], contributions[:, column].astype(np.float64)
        categories = tuple(feature.get("categories") or ())
        summaries.append(
            {
                "name": str(feature["name"]),
                "mean_size": float(np.abs(contribution).mean()),
                "direction": None if categories else _correlation(value, contribution),
                "bins": _bins(value, contribution, categories),
            }
        )
    return sorted(summaries, key=lambda one: (-one["mean_size"], one["name"]))


def contribution_rows(n: int, m: int) -> np.ndarray:
    """Return which of n test rows the m rows of contributions.npy are (`training/fit.py`)."""
    return np.linspace(0, n - 1, m).astype(int)


def _shuffle(date: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each row the row whose value it gets: one of the same as-of date, or any row of a
    table without dates."""
    _, group = np.unique(date, return_inverse=True)
    source = np.empty(len(date), dtype=int)
    # Sorted by date, the places are the same before and after; only within one they are mixed.
    source[np.argsort(group, kind="stable")] = np.lexsort((rng.random(len(date)), group))
    return source


def _disturbed(
    predict: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    whole: np.ndarray,
    column: int,
    shuffles: list[np.ndarray],
) -> list[np.ndarray]:
    """Predict with one column shuffled, for each shuffle. Rows that keep their value are not
    predicted again: for a flag or a count that is most rows."""
    values = x[:, column]
    moved = [
        np.flatnonzero(~((values[s] == values) | (np.isnan(values[s]) & np.isnan(values))))
        for s in shuffles
    ]
    changed = np.concatenate([x[rows] for rows in moved])
    if not len(changed):
        return [whole] * len(shuffles)
    changed[:, column] = np.concatenate(
        [values[s[rows]] for s, rows in zip(shuffles, moved, strict=True)]
    )
    answers = np.split(np.asarray(predict(changed)), np.cumsum([len(rows) for rows in moved])[:-1])
    predictions = []
    for rows, answer in zip(moved, answers, strict=True):
        p = whole.copy()
        p[rows] = answer
        predictions.append(p)
    return predictions


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _correlated(x: np.ndarray, names: Sequence[str]) -> dict[str, list[str]]:
    ranked = np.column_stack([ranks(column) for column in x.T])
    ranked -= ranked.mean(axis=0)
    size = np.sqrt((ranked**2).sum(axis=0))
    size[size == 0] = np.inf
    correlation = np.abs((ranked.T @ ranked) / np.outer(size, size))
    return {
        name: [
            names[other]
            for other in np.argsort(-correlation[i], kind="stable")
            if other != i and correlation[i, other] >= CORRELATED
        ]
        for i, name in enumerate(names)
    }


def _correlation(value: np.ndarray, contribution: np.ndarray) -> float | None:
    known = ~np.isnan(value)
    a, b = ranks(value[known]), ranks(contribution[known])
    if len(a) < 3 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _bins(
    value: np.ndarray, contribution: np.ndarray, categories: tuple[str, ...]
) -> list[dict[str, Any]]:
    known = ~np.isnan(value)
    parts: list[tuple[str, np.ndarray]] = []
    if categories:
        parts = [(str(name), value == i) for i, name in enumerate(categories)]
        parts.append(("another value", value >= len(categories)))
    elif known.any():
        ends = np.unique(value[known])
        if len(ends) > BINS:
            ends = np.unique(np.quantile(value[known], np.linspace(0, 1, BINS + 1)[1:]))
        place = np.searchsorted(ends, value, side="left")
        for i in range(len(ends)):
            rows = known & (place == i)
            if rows.any():
                low, high = value[rows].min(), value[rows].max()
                parts.append((_shown(low) + (f" to {_shown(high)}" if high > low else ""), rows))
    parts.append((missing_name(categories), ~known))
    bins = []
    for label, rows in parts:
        if rows.any():
            low, high = np.quantile(contribution[rows], [0.25, 0.75])
            bins.append(
                {
                    "label": label,
                    "rows": int(rows.sum()),
                    "mean": float(contribution[rows].mean()),
                    "low": float(low),
                    "high": float(high),
                }
            )
    return bins


def _shown(value: float) -> str:
    if abs(value) >= 100 or value == round(value):
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.0e}"
