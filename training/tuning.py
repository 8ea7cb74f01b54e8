"""The search for one family's parameters: the same budget and the same rules for every family.

The objective is the ROC AUC on the validation split. Log loss is smoother, but here it would chase
the season: the validation date has another share of buyers than the training months, and the
parameters that happen to predict that level would win. Ranking does not know the level; the gate
watches the log loss of the winner.

The normal end is the number of trials, so that a run repeats exactly. The seconds are a ceiling for
slow machines; `Tuned.ended_by` says which of the two it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.metrics import point

if TYPE_CHECKING:
    import optuna

    from features.table import Rows
    from training.families import Family, Params

OBJECTIVE = "roc_auc"


@dataclass(frozen=True)
class TrialResult:
    """One trial. `params` hold the rounds or epochs found; a pruned or failed trial has the params
    it tried, and no metrics. `best` is the best validation ROC AUC so far, this trial included."""

    number: int
    state: str  # complete, pruned, failed
    params: Params
    metrics: dict[str, float]
    seconds: float
    best: float | None
    error: str | None = None


@dataclass(frozen=True)
class Tuned:
    """The outcome of a search. `metrics` are those of the best trial on the validation split."""

    params: Params
    metrics: dict[str, float]
    best_trial: int
    trials: tuple[TrialResult, ...]
    ended_by: str  # trials, seconds
    seconds: float


def tune(
    family: Family,
    train: Rows,
    valid: Rows,
    *,
    trials: int,
    seconds: float,
    seed: int,
    threads: int,
    storage: Any = None,
    name: str = "search",
    on_trial: Callable[[TrialResult], None] = lambda result: None,
) -> Tuned:
    """Search with TPE (Bergstra et al. 2011), the family's BASELINE first.

    storage: an Optuna storage or its URL; None keeps the study in memory. With a storage, a study
    of this `name` goes on where it stood, and only the trials still missing are run. Trials that
    raise are recorded as failed and the search goes on. Raises RuntimeError when not one completed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    started = time.perf_counter()
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        load_if_exists=True,
        direction="maximize",
        # Optuna's ten random trials would be half of a short search: a third of it, at most ten.
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, trials // 3 + 1)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=3),
    )
    if not study.trials:
        study.enqueue_trial(family.BASELINE)
    # A trial that died with its process has no result, and is run again under a new number.
    results = [_recall(trial) for trial in study.trials if "state" in trial.user_attrs]
    ended_by = "trials"
    while len(results) < trials:
        best = max((r.metrics[OBJECTIVE] for r in results if r.metrics), default=None)
        late = time.perf_counter() - started > seconds
        if late and best is not None:
            ended_by = "seconds"
            break
        deadline = started + seconds if best is not None else float("inf")
        result = _run(study, family, train, valid, seed, threads, deadline, best)
        results.append(result)
        on_trial(result)
    return _conclude(results, ended_by, time.perf_counter() - started)


def _run(
    study: optuna.Study,
    family: Family,
    train: Rows,
    valid: Rows,
    seed: int,
    threads: int,
    deadline: float,
    best: float | None,
) -> TrialResult:
    import optuna

    started = time.perf_counter()
    trial = study.ask()

    def report(step: int, value: float) -> None:
        trial.report(value, step)
        if trial.should_prune() or time.perf_counter() > deadline:
            raise optuna.TrialPruned

    assert valid.y is not None
    params: Params = {}
    metrics: dict[str, float] = {}
    error = None
    try:
        params = family.suggest(trial)
        model = family.fit(params, train, valid, seed=seed, threads=threads, report=report)
        params = model.params
        metrics = point(valid.y, family.predict(model, valid.x))
        state, best = "complete", max(metrics[OBJECTIVE], best or 0.0)
    except optuna.TrialPruned:
        state = "pruned"
    except Exception as failure:  # one bad corner of the space must not end the search
        state, error = "failed", f"{type(failure).__name__}: {failure}"
    spent = time.perf_counter() - started
    result = TrialResult(trial.number, state, params, metrics, spent, best, error)
    for key in ("state", "params", "metrics", "seconds", "best", "error"):
        trial.set_user_attr(key, getattr(result, key))
    states = optuna.trial.TrialState
    end = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[state]
    study.tell(trial, metrics.get(OBJECTIVE), state=end)
    return result


def _recall(trial: optuna.trial.FrozenTrial) -> TrialResult:
    return TrialResult(number=trial.number, **trial.user_attrs)


def _conclude(results: list[TrialResult], ended_by: str, seconds: float) -> Tuned:
    complete = [result for result in results if result.state == "complete"]
    if not complete:
        raise RuntimeError(
            f"not one of {len(results)} trials completed; the last said: {results[-1].error}"
        )
    best = max(complete, key=lambda result: result.metrics[OBJECTIVE])
    return Tuned(best.params, best.metrics, best.number, tuple(results), ended_by, seconds)
