"""What the best trial says of the validation rows: each date by a model of its past, calibrated.

Calibration is part of what is judged, so it is never judged on rows that it was fitted on: `season`
is fitted on the fold's own training rows, `platt` on the predictions of the other folds, and where
there is one fold, on its other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from training.calibration import Calibration, fit_calibration
from training.folds import draw_parts, join, take
from training.metrics import point
from training.trial import of_fold

if TYPE_CHECKING:
    from features.table import Rows
    from training.families import Family
    from training.folds import Fold
    from training.tuning import Tuned


PARTS = 5  # of the rows of a single fold


@dataclass(frozen=True)
class Validated:
    """raw, calibrated: probabilities float64 (n,) of all validation rows, in their order.
    folds: JSON values, oldest first.  metrics: means over the folds, after calibration."""

    raw: np.ndarray
    calibrated: np.ndarray
    folds: list[dict[str, Any]]
    metrics: dict[str, float]


def validate(
    family: Family,
    tuned: Tuned,
    folds: Sequence[Fold],
    numeric: Sequence[Fold],
    kind: str,
    names: Sequence[str],
    *,
    seed: int,
    threads: int,
) -> Validated:
    """Predict, calibrate and judge every fold. `numeric` are the folds as the family takes them.

    The models that the search kept are used; after a resume, or when a helper fitted them, they are
    fitted again with the rounds that they had found, which makes the same models.
    """
    models = tuned.models or [
        family.fit(
            of_fold(tuned.fold_params, tuned.suggested, position),
            fold.train,
            None,
            seed=seed,
            threads=threads,
        )
        for position, fold in enumerate(numeric)
    ]
    raw = [family.predict(model, fold.valid.x) for model, fold in zip(models, numeric)]
    calibrated: list[np.ndarray] = []
    entries: list[dict[str, Any]] = []
    for position, fold in enumerate(folds):
        if kind == "season":
            fitted = family.predict(models[position], numeric[position].train.x)
            step = fit_calibration(kind, fitted, fold.train, raw[position], fold.valid, names)
            calibrated.append(step.apply(raw[position], fold.valid.x))
        elif len(folds) > 1:
            step = _of_the_others(kind, raw, folds, position, names)
            calibrated.append(step.apply(raw[position], fold.valid.x))
        else:
            calibrated.append(_crossed(kind, raw[position], fold.valid, names, seed))
        assert fold.valid.y is not None
        entries.append(
            {
                "as_of": str(fold.as_of) if fold.as_of else None,
                "train_rows": len(fold.train),
                "rows": len(fold.valid),
                "metrics": point(fold.valid.y, calibrated[-1]),
                "metrics_raw": point(fold.valid.y, raw[position]),
            }
        )
    return Validated(
        raw=_in_order(raw, folds),
        calibrated=_in_order(calibrated, folds),
        folds=entries[::-1],
        metrics={
            name: fmean(entry["metrics"][name] for entry in entries)
            for name in entries[0]["metrics"]
        },
    )


def _of_the_others(
    kind: str, raw: list[np.ndarray], folds: Sequence[Fold], position: int, names: Sequence[str]
) -> Calibration:
    others = [at for at in range(len(folds)) if at != position]
    p = np.concatenate([raw[at] for at in others])
    rows = reduce(join, [folds[at].valid for at in others])
    return fit_calibration(kind, p, rows, p, rows, names)


def _crossed(kind: str, p: np.ndarray, rows: Rows, names: Sequence[str], seed: int) -> np.ndarray:
    """The only fold of a table without dates: each fifth calibrated by the other four, so that the
    family that needs calibration most does not look best for having seen the answers."""
    parts, result = draw_parts(rows, PARTS, seed), np.empty(len(p))
    for part in range(PARTS):
        inside = parts == part
        others = take(rows, ~inside)
        step = fit_calibration(kind, p[~inside], others, p[~inside], others, names)
        result[inside] = step.apply(p[inside], rows.x[inside])
    return result


def _in_order(parts: list[np.ndarray], folds: Sequence[Fold]) -> np.ndarray:
    whole = np.empty(sum(len(part) for part in parts))
    for part, fold in zip(parts, folds):
        whole[fold.place] = part
    return whole
