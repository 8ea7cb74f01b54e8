"""The one place that opens the labels of the test split: all contestants scored on the same rows.

The winner is chosen on validation, before the test split is opened: a test score that chose the
winner would flatter it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from features.table import Rows, read_rows
from training.export import max_difference, run_onnx
from training.metrics import paired_difference, point, score

BASELINE_FEATURE = "orders_365d"


@dataclass(frozen=True)
class Evaluation:
    """Figures on the test split. `scores` and `differences` are plain JSON values."""

    test: Rows
    winner: str
    probabilities: dict[str, np.ndarray]  # per family, float64 (n,)
    scores: dict[str, dict[str, float]]
    export_difference: dict[str, float]
    between_families: dict[str, dict[str, dict[str, float]]]  # "a - b" -> metric -> difference
    baseline_roc_auc: float
    against_baseline: dict[str, float]  # winner's ROC AUC minus the baseline's
    against_champion: dict[str, dict[str, float]] | None


def choose_winner(results: dict[str, dict[str, Any]]) -> str:
    """The family with the best validation ROC AUC; `results` are the result.json of each."""
    return max(results, key=lambda name: results[name]["valid_metrics"]["roc_auc"])


def evaluate(
    table: Path,
    features: tuple[str, ...],
    families: dict[str, Path],
    *,
    bootstrap: int,
    seed: int,
    champion: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Evaluation:
    """Score every family's exported model on the test split.

    families: name -> the folder that `training/fit.py` wrote.  champion: raw test features
    float32 (n, f) -> probabilities, scored on the same rows.  What a graph differs by from its
    original on any test row is reported; the gate judges it.
    """
    winner = choose_winner({name: _result(folder) for name, folder in families.items()})
    test = read_rows(table, ("test",), features)
    assert test.y is not None
    draw: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "groups": test.customer_id}
    probabilities, differences = {}, {}
    for name, folder in families.items():
        probabilities[name] = run_onnx(folder / "model.onnx", test.x)
        native = np.load(folder / "test_native.npy", allow_pickle=False)
        differences[name] = max_difference(native, probabilities[name])
        if not np.isfinite(differences[name]):
            raise UserError(
                f"the exported graph of family {name} gives no number for some test row",
                where=str(folder / "model.onnx"),
                next_step=f"mend to_onnx in training/families/{name}.py, or leave the family out",
            )
    baseline = _as_probability(test.x[:, features.index(BASELINE_FEATURE)])
    versus_baseline = paired_difference(test.y, probabilities[winner], baseline, **draw)["roc_auc"]
    return Evaluation(
        test=test,
        winner=winner,
        probabilities=probabilities,
        scores={name: score(test.y, p, **draw) for name, p in probabilities.items()},
        export_difference=differences,
        between_families={
            f"{a} - {b}": paired_difference(test.y, probabilities[a], probabilities[b], **draw)
            for a, b in combinations(families, 2)
        },
        baseline_roc_auc=point(test.y, baseline)["roc_auc"],
        against_baseline=versus_baseline,
        against_champion=(
            paired_difference(test.y, probabilities[winner], champion(test.x), **draw)
            if champion
            else None
        ),
    )


def _result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def _as_probability(value: np.ndarray) -> np.ndarray:
    """Any ranking as numbers in (0, 1): the ROC AUC does not change."""
    return value.astype(np.float64) / (1.0 + value.astype(np.float64))
