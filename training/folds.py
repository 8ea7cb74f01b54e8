"""Rolling origin: one fold per validation date, each seen only by a model of its past.

A choice by one month is a choice by accident. So every trial is judged on several validation dates
(Tashman 2000, International Journal of Forecasting): the model of a date learns from all rows whose
label window ends before it, exactly as the model that is shipped learns from all rows before today.
A table without dates has one fold: train, and the validation rows. `fit_folds` is one trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from features.table import Rows
from training.metrics import point

if TYPE_CHECKING:
    from training.families import Family, Params

OBJECTIVE = "recalibrated_log_loss"  # the less, the better
FOLD = 10_000  # step FOLD x k is the end of fold k; those below FOLD are within the first fold
# Takes the value of a step of the first fold, or of the end of a fold; None as the step in later
# folds. Raises `optuna.TrialPruned` when the trial is to end.
Report = Callable[[float, int | None], None]


@dataclass(frozen=True)
class Fold:
    """train, valid: rows with labels.  place: int (len(valid),), where `valid` stands among all
    validation rows.  as_of: the validation date; None for a table without dates."""

    train: Rows
    valid: Rows
    place: np.ndarray
    as_of: date | None


@dataclass(frozen=True)
class Fitted:
    """A trial that was fitted on every fold: its params with what each fold found, newest first,
    the means of its metrics, and its models, which are empty if another process has them."""

    params: Params
    metrics: dict[str, float]
    models: tuple[Any, ...] = ()


def make_folds(train: Rows, valid: Rows, horizon_days: int) -> tuple[Fold, ...]:
    """The folds, newest first: the fold of date v learns from rows of both splits with an as-of
    date at least a horizon before v.

    Raises UserError when a fold has nothing to learn from, or only one class on either side.
    """
    if np.isnat(valid.as_of).any():
        folds = [Fold(train, valid, np.arange(len(valid)), None)]
    else:
        both, horizon, folds = join(train, valid), np.timedelta64(horizon_days, "D"), []
        for day in np.unique(valid.as_of)[::-1]:
            now = valid.as_of == day
            folds.append(
                Fold(
                    take(both, both.as_of <= day - horizon),
                    take(valid, now),
                    np.flatnonzero(now),
                    day.item(),
                )
            )
    for fold in folds:
        _check(fold)
    if not folds:
        raise UserError(
            "there is no validation row",
            where="the split `valid` of the training table",
            next_step="check the settings of the splits: features.* (source.table.* of a table)",
        )
    return tuple(folds)


def fit_folds(
    family: Family,
    folds: Sequence[Fold],
    params: Params,
    report: Report,
    *,
    seed: int,
    threads: int,
) -> Fitted:
    """Fit `params` on every fold. The newest comes first: it is the most like the date that the
    model is for, so a hopeless trial shows there."""
    scores: list[dict[str, float]] = []
    models: list[Any] = []
    best = float("inf")

    def within(step: int, value: float) -> None:
        nonlocal best
        if not np.isfinite(value):
            raise ValueError(f"the validation log loss of step {step} is {value}")
        best = min(best, value)
        report(best, step if not scores and step < FOLD else None)

    for number, fold in enumerate(folds, start=1):
        assert fold.valid.y is not None
        model = family.fit(
            params, fold.train, fold.valid, seed=seed, threads=threads, report=within
        )
        scores.append(point(fold.valid.y, family.predict(model, fold.valid.x)))
        models.append(model)
        if number < len(folds):
            report(fmean(score[OBJECTIVE] for score in scores), FOLD * number)
    # What the fits found and `params` did not say, such as rounds: a list with one per fold.
    added = [name for name in models[0].params if name not in params]
    return Fitted(
        params | {name: [model.params[name] for model in models] for name in added},
        {name: fmean(score[name] for score in scores) for name in scores[0]},
        tuple(models),
    )


def of_fold(params: Params, suggested: Sequence[str], position: int) -> Params:
    """Give a complete trial's params as they were for one fold; `suggested` are those searched."""
    return {name: value if name in suggested else value[position] for name, value in params.items()}


def of_all(params: Params, suggested: Sequence[str]) -> Params:
    """Give them for the fit on all rows: the median over the folds. More rows would allow slightly
    more rounds, but a single fold must not decide them."""
    return {
        name: value if name in suggested else round(median(value)) for name, value in params.items()
    }


def join(first: Rows, second: Rows) -> Rows:
    """Concatenate the rows of both, in order."""
    parts: dict[str, Any] = {}
    for field in fields(Rows):
        a, b = getattr(first, field.name), getattr(second, field.name)
        parts[field.name] = None if a is None or b is None else np.concatenate([a, b])
    return Rows(**parts)


def take(rows: Rows, selected: np.ndarray) -> Rows:
    """Select the rows where `selected` (n,) is true; without a copy where they are adjacent, as the
    rows before a date do in a table sorted by date."""
    places = np.flatnonzero(selected)
    one_run = len(places) > 0 and places[-1] - places[0] + 1 == len(places)
    chosen = slice(places[0], places[-1] + 1) if one_run else places
    parts: dict[str, Any] = {field.name: getattr(rows, field.name) for field in fields(Rows)}
    for name, part in parts.items():
        parts[name] = None if part is None else part[chosen]
    return Rows(**parts)


def draw_parts(rows: Rows, count: int, seed: int) -> np.ndarray:
    """A part, 0 to count - 1, for each row (n,), drawn by chance: rows of one unit are in one part,
    and units of one class, of the other and of both are spread evenly over the parts."""
    assert rows.y is not None
    _, first, unit = np.unique(rows.unit, return_index=True, return_inverse=True)
    order = np.argsort(first)  # units as they come
    rate = (np.bincount(unit, weights=rows.y) / np.bincount(unit))[order]
    part, drawn = np.empty(len(order), dtype=int), np.random.default_rng(seed)
    for kind in (rate == 0, rate == 1, (rate > 0) & (rate < 1)):
        of_kind = np.flatnonzero(kind)
        part[order[drawn.permutation(of_kind)]] = np.arange(len(of_kind)) % count
    return part[unit]


def _check(fold: Fold) -> None:
    when = f" of {fold.as_of}" if fold.as_of else ""
    for rows, name in ((fold.train, "training"), (fold.valid, "validation")):
        assert rows.y is not None
        labels = np.unique(rows.y)
        if len(labels) == 2:
            continue
        content = f"only label {labels[0]}, {len(rows)} times" if len(labels) else "no row"
        raise UserError(
            f"the {name} rows of the fold{when} hold {content}: nothing can be learnt or judged",
            where="features.valid_dates, features.horizon_days"
            if fold.as_of
            else "the table's label and splits",
            next_step="bring more rows, or validate on fewer dates (features.valid_dates)"
            if fold.as_of
            else "bring more rows, or another split in which both labels occur everywhere",
        )
