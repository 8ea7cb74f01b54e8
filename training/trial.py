"""One trial: a set of parameters, fitted and judged on every fold, ended early when it is hopeless.

The newest fold comes first, because it is the most like the date that the model is for. A trial is
compared with what the completed ones had reached at the same point of their course: within the
first fold (rounds, epochs), and after each fold by the mean so far. Behind the median it is ended
(Golovin et al. 2017, KDD): most of the time of a search goes to trials that may still win.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from training.metrics import point

if TYPE_CHECKING:
    from training.families import Family, Params
    from training.folds import Fold

OBJECTIVE = "levelled_log_loss"  # the less, the better
WARM_UP = 3  # steps of the first fold, and completed trials, before a trial may be ended
Course = dict[str, list[float]]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended. JSON values but for `models`, one per fold of a complete trial.

    params: with the rounds or epochs that each fold found, newest fold first.  metrics: means over
    the folds.  course: `within` the first fold the best value so far at each step, and `after` each
    fold the mean so far: what later trials are compared with.
    """

    state: str  # complete, pruned, failed
    params: Params
    metrics: dict[str, float]
    seconds: float
    course: Course
    error: str | None = None
    models: tuple[Any, ...] = field(default=(), compare=False, repr=False)


def run_trial(
    family: Family,
    folds: Sequence[Fold],
    params: Params,
    bars: Course,
    *,
    seed: int,
    threads: int,
    seconds: float,
) -> Outcome:
    """Fit `params` on every fold. Whatever the family raises makes a failed trial with its reason.

    bars: the medians to keep up with (`make_bars`).  seconds: most the trial may take.
    """
    import optuna

    started = time.perf_counter()
    course: Course = {"within": [], "after": []}
    scores: list[dict[str, float]] = []
    models: list[Any] = []
    error, state = None, "complete"

    def check(value: float, bar: float | None) -> None:
        if (bar is not None and value > bar) or time.perf_counter() - started > seconds:
            raise optuna.TrialPruned

    def report(step: int, value: float) -> None:
        if not np.isfinite(value):
            raise ValueError(f"the validation log loss of step {step} is {value}")
        if scores:  # a later fold: compared at its end
            return check(value, None)
        within = course["within"]
        within.append(min(value, within[-1]) if within else value)
        check(within[-1], _at(bars["within"], step) if step >= WARM_UP else None)

    try:
        for position, fold in enumerate(folds):
            assert fold.valid.y is not None
            model = family.fit(
                params, fold.train, fold.valid, seed=seed, threads=threads, report=report
            )
            scores.append(point(fold.valid.y, family.predict(model, fold.valid.x)))
            models.append(model)
            course["after"].append(fmean(score[OBJECTIVE] for score in scores))
            if position < len(folds) - 1:
                check(course["after"][-1], _at(bars["after"], position + 1))
    except optuna.TrialPruned:
        state = "pruned"
    except Exception as failure:  # one bad corner of the space must not end the search
        state, error = "failed", f"{type(failure).__name__}: {failure}"
    spent = time.perf_counter() - started
    if state != "complete":
        return Outcome(state, params, {}, spent, course, error)
    metrics = {name: fmean(score[name] for score in scores) for name in scores[0]}
    return Outcome(
        state, params | found(params, models), metrics, spent, course, None, tuple(models)
    )


def make_bars(courses: Sequence[Course]) -> Course:
    """Medians of the courses of the completed trials; empty while they are fewer than WARM_UP. A
    trial that stopped early keeps its last value."""
    if len(courses) < WARM_UP:
        return {"within": [], "after": []}
    return {
        name: [
            median(course[name][min(step, len(course[name]) - 1)] for course in known)
            for step in range(max(len(course[name]) for course in known))
        ]
        if (known := [course for course in courses if course[name]])
        else []
        for name in ("within", "after")
    }


def found(params: Params, models: Sequence[Any]) -> Params:
    """What the fits found and `params` did not say, such as rounds: a list with one per fold."""
    names = [name for name in models[0].params if name not in params]
    return {name: [model.params[name] for model in models] for name in names}


def of_fold(params: Params, suggested: Sequence[str], position: int) -> Params:
    """A complete trial's params as they were for one fold; `suggested` names those searched."""
    return {name: value if name in suggested else value[position] for name, value in params.items()}


def of_all(params: Params, suggested: Sequence[str]) -> Params:
    """For the fit on all rows: the median of what the folds found. More rows would bear a little
    more rounds, but one fold's luck must not set them."""
    return {
        name: value if name in suggested else round(median(value)) for name, value in params.items()
    }


def _at(bars: list[float], step: int) -> float | None:
    return bars[min(step, len(bars)) - 1] if bars else None
