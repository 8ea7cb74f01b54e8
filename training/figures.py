"""Pictures of a run: ROC curves, calibration, and the course of the search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from training.evaluate import Evaluation


def draw_figures(
    evaluation: Evaluation, results: dict[str, dict[str, Any]], folder: Path
) -> list[Path]:
    """Write roc.png, calibration.png and tuning.png into `folder`; returns their paths."""
    from matplotlib.figure import Figure

    y = evaluation.test.y
    assert y is not None
    roc = Figure(figsize=(5.5, 5), layout="constrained")
    axes = roc.add_subplot(
        xlabel="false positive rate", ylabel="true positive rate", title="ROC on the test split"
    )
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, p in evaluation.probabilities.items():
        ranked = y[np.argsort(-p, kind="stable")]
        hits, misses = np.cumsum(ranked) / ranked.sum(), np.cumsum(1 - ranked) / (1 - ranked).sum()
        axes.plot(misses, hits, label=f"{name}  {evaluation.scores[name]['roc_auc']:.3f}")
    axes.legend(loc="lower right")

    calibration = Figure(figsize=(5.5, 5), layout="constrained")
    axes = calibration.add_subplot(
        xlabel="predicted", ylabel="observed", title="Calibration on the test split"
    )
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, p in evaluation.probabilities.items():
        bins = np.array_split(np.argsort(p, kind="stable"), 10)
        axes.plot([p[b].mean() for b in bins], [y[b].mean() for b in bins], marker="o", label=name)
    axes.legend(loc="upper left")

    tuning = Figure(figsize=(6.5, 4), layout="constrained")
    axes = tuning.add_subplot(
        xlabel="trial", ylabel="best validation ROC AUC so far", title="Search"
    )
    for name, result in results.items():
        best = [(t["number"], t["best"]) for t in result["trials"] if t["best"] is not None]
        axes.step(*zip(*best, strict=True), where="post", label=name)
    axes.legend(loc="lower right")

    paths = []
    for name, figure in {"roc": roc, "calibration": calibration, "tuning": tuning}.items():
        figure.savefig(folder / f"{name}.png", dpi=110)
        paths.append(folder / f"{name}.png")
    return paths
