"""The one place that opens the labels of the test split: all candidates scored on the same rows.

The winner is chosen on validation, before the test split is opened: a test score that chose the
winner would flatter it.

What any model has to beat is the baseline: the one column that says most by itself. It is found on
the training rows, as the leak check finds it (`features/roc_auc.py`): a number as a ranking, a
category by how often the label is 1 in each of its values. No column is left out because it is
good, such as one that holds a whole formula: it can be used without a model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from features.categories import encoder
from features.roc_auc import category_alone, category_rates, places, roc_auc_alone
from features.table import Rows, read_rows
from training.export import latency, max_difference, run_onnx
from training.metrics import Resampled, difference, point, resample, with_intervals
from training.slices import score_slices, slice_rows


@dataclass(frozen=True)
class Baseline:
    """One feature as a ranking. direction: 1 where more means more likely, -1 where less; None of a
    category.  missing: where rows without a value are ranked, first or last; None of a category,
    where they are one more value.  roc_auc: on the test rows."""

    feature: str
    direction: int | None
    missing: str | None
    roc_auc: float


@dataclass(frozen=True)
class Evaluation:
    """Figures on the test split. All but arrays and rows are plain JSON values."""

    test: Rows
    winner: str
    probabilities: dict[str, np.ndarray]  # per candidate, float64 (n,)
    scores: dict[str, dict[str, float]]
    before_calibration: dict[str, dict[str, float]]
    export_difference: dict[str, float]
    between: dict[str, dict[str, dict[str, float]]]  # "a - b" -> metric -> difference
    baseline: Baseline
    against_baseline: dict[str, float]  # winner's ROC AUC minus the baseline's
    champion: np.ndarray | None  # its probabilities (n,) of the same rows
    against_champion: dict[str, dict[str, float]] | None
    slices: list[dict[str, Any]]  # of the winner
    latency: dict[str, float]  # of one row through the winner's graph: p50_ms, p99_ms


def choose_winner(results: dict[str, dict[str, Any]]) -> str:
    """The candidate with the least recalibrated log loss on validation
    (`common/statistics.py`), the first of equals; `results` are the result.json of each."""
    return min(results, key=lambda name: results[name]["valid_metrics"]["recalibrated_log_loss"])


def evaluate(
    table: Path,
    schema: Sequence[dict[str, Any]],
    candidates: dict[str, Path],
    *,
    bootstrap: int,
    seed: int,
    slice_min_rows: int,
    champion: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Evaluation:
    """Score every candidate's exported model on the test split.

    schema: the features, as `table.facts.described` has them.  candidates: name -> the folder that
    `training/fit.py` or `training/ensemble.py` wrote.  champion: raw test features float32 (n, f)
    -> probabilities, scored on the same rows.  What a graph differs by from its original on any
    test row is reported; the gate judges it.
    """
    features = tuple(str(feature["name"]) for feature in schema)
    winner = choose_winner({name: _result(folder) for name, folder in candidates.items()})
    test = read_rows(table, ("test",), features)
    assert test.y is not None
    labels = test.y

    def resampled(p: np.ndarray) -> Resampled:
        return resample(labels, p, bootstrap=bootstrap, seed=seed, groups=test.unit)

    probabilities, differences, raw = {}, {}, {}
    for name, folder in candidates.items():
        probabilities[name] = run_onnx(folder / "model.onnx", test.x)
        native = np.load(folder / "test_native.npy", allow_pickle=False)
        differences[name] = max_difference(native, probabilities[name])
        if not np.isfinite(differences[name]):
            raise UserError(
                f"the exported graph of {name} gives no number for some test row",
                where=str(folder / "model.onnx"),
                next_step=f"repair to_onnx in training/families/{name}.py, or leave the family out",
            )
        raw[name] = point(labels, np.load(folder / "test_raw.npy", allow_pickle=False))
    models = {name: resampled(np.clip(p, 0, 1)) for name, p in probabilities.items()}
    baseline, ranking = find_baseline(read_rows(table, ("train",), features), test, schema)
    champion_p = champion(test.x) if champion else None
    return Evaluation(
        test=test,
        winner=winner,
        probabilities=probabilities,
        scores={name: with_intervals(model) for name, model in models.items()},
        before_calibration=raw,
        export_difference=differences,
        between={
            f"{a} - {b}": difference(models[a], models[b]) for a, b in combinations(candidates, 2)
        },
        baseline=baseline,
        against_baseline=difference(models[winner], resampled(ranking))["roc_auc"],
        champion=champion_p,
        against_champion=(
            None if champion_p is None else difference(models[winner], resampled(champion_p))
        ),
        slices=score_slices(
            labels,
            probabilities[winner],
            slice_rows(test.x, schema),
            bootstrap=bootstrap,
            seed=seed,
            groups=test.unit,
            champion=champion_p,
            min_rows=slice_min_rows,
        ),
        latency=latency(candidates[winner] / "model.onnx", test.x),
    )


def find_baseline(
    train: Rows, test: Rows, schema: Sequence[dict[str, Any]]
) -> tuple[Baseline, np.ndarray]:
    """The baseline, and its ranking of the test rows, float (n,) in [0, 1].

    train, test: rows with labels of both classes.  schema: of their columns, at least one.
    """
    assert train.y is not None and test.y is not None
    _, group = np.unique(train.unit, return_inverse=True)
    alone = [
        (category_alone if feature.get("categories") else roc_auc_alone)(
            train.x[:, column].astype(float), train.y, group
        )
        for column, feature in enumerate(schema)
    ]
    column = max(range(len(alone)), key=lambda place: alone[place].score)
    feature, best, values = schema[column], alone[column], test.x[:, column].astype(float)
    name = str(feature["name"])
    if categories := feature.get("categories"):
        codes = train.x[:, column].astype(float)
        ranking = category_rates(codes, train.y, len(categories) + 1)[places(values)]
        return Baseline(name, None, None, point(test.y, ranking)["roc_auc"]), ranking
    ranking = _ranking(values, best.direction, best.missing)
    roc_auc = point(test.y, ranking)["roc_auc"]
    return Baseline(name, best.direction, best.missing, roc_auc), ranking


def _ranking(values: np.ndarray, direction: int, missing: str) -> np.ndarray:
    """A column (n,) as ranks in [0, 1], the same for ties: its ROC AUC is the column's own."""
    gap = np.inf if missing == "first" else -np.inf
    ranked = np.where(np.isnan(values), gap, direction * values)
    distinct, rank = np.unique(ranked, return_inverse=True)
    return rank / max(len(distinct) - 1, 1)


def in_terms_of(
    theirs: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that converts x (n, f) of schema `ours` to schema `theirs`: the columns in
    its order, and categories as its codes. Raises ValueError when a feature that it reads is
    missing, or has changed from a number to a category or the other way round."""
    names = [feature["name"] for feature in ours]
    missing = [feature["name"] for feature in theirs if feature["name"] not in names]
    if missing:
        raise ValueError(f"it needs the feature {missing[0]}, which the table no longer has")
    order = [names.index(feature["name"]) for feature in theirs]
    for feature, source in zip(theirs, order, strict=True):
        if bool(feature.get("categories")) != bool(ours[source].get("categories")):
            kinds = ("a category", "a number")
            was, now = kinds if feature.get("categories") else reversed(kinds)
            raise ValueError(f"it reads the feature {feature['name']} as {was}, which is {now} now")

    def place(x: np.ndarray) -> np.ndarray:
        placed = x[:, order]
        for column, (feature, source) in enumerate(zip(theirs, order, strict=True)):
            known, today = feature.get("categories") or [], ours[source].get("categories") or []
            if list(known) != list(today):
                encode = encoder(feature)
                code = np.array([*map(encode, today), len(known)], dtype=np.float32)
                present = ~np.isnan(placed[:, column])
                placed[present, column] = code[placed[present, column].astype(int)]
        return placed

    return place


def _result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))
