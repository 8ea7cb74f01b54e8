"""The search for one family's parameters: Optuna's loop, storage, sampler and pruner.

The objective is log loss after intercept recalibration (`common/statistics.py`), its mean over the
validation dates (`training/folds.py`). Plain log loss would chase the season: a date has another
share of buyers than the months before it, and the parameters that happen to predict that level
would win. So the level is taken out; calibration repairs it afterwards, and the gate watches the
winner's log loss.

Every family gets the same number of trials and the same seconds. The normal end is the number of
trials, so that a run repeats exactly. The seconds are a ceiling for slow machines;
`Tuned.ended_by` says which of the two it was.

A search that was killed continues where it stopped, with the result of one that was not: each
finished trial is in the study's storage (`training/studies.py`), and what is suggested next depends
on these alone (`SeededTPE`). The search itself runs on a copy in memory: Optuna asks its database
so often that a trial with twenty steps takes 225 ms of computing time there, against 55 ms.

With several processes (`training/workers.py`) the order in which trials end is chance, and so is
what is suggested next: nothing repeats then.
"""

from __future__ import annotations

import copy
import queue
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from training import studies
from training.folds import FOLD, OBJECTIVE, Fitted, Report, fit_folds, of_all

if TYPE_CHECKING:
    from training.families import Family, Params
    from training.folds import Fold

WARM_UP = 3  # steps of the first fold, and completed trials, before a trial may be pruned
TRIES = 2  # a trial whose process dies is run again, but one that kills again has failed
# What a stored trial says besides what Optuna keeps: its parameters with what the folds found, its
# metrics, why it failed, and whether the seconds ended it.
PARAMS, METRICS, ERROR, CLOCK = "params", "metrics", "error", "ended_by_seconds"


@dataclass(frozen=True)
class TrialResult:
    """One trial, as an event and in result.json. `params` hold a list of what each fold found, such
    as rounds; a pruned or failed trial has the params it tried, and no metrics. `best` is the best
    value of the objective so far, this trial included."""

    number: int
    state: str  # complete, pruned, failed
    params: Params
    metrics: dict[str, float]
    seconds: float
    best: float | None
    error: str | None = None


@dataclass(frozen=True)
class Tuned:
    """The outcome of a search.

    params: of the best trial, for the fit on all rows.  fold_params: the same with what each fold
    found.  metrics: its means over the folds.  models: its models, newest fold first; empty when
    another process fitted them.  seconds: of the search, those of an interrupted run included.
    """

    params: Params
    fold_params: Params
    suggested: tuple[str, ...]
    metrics: dict[str, float]
    best_trial: int
    trials: tuple[TrialResult, ...]
    ended_by: str  # trials, seconds
    seconds: float
    models: tuple[Any, ...] = field(default=(), compare=False, repr=False)


class TrialFailed(Exception):
    """A trial failed, for the reason in the message; the search goes on."""


class HelperLost(Exception):
    """The process that ran a trial is gone."""


Runner = Callable[["Params", Report], Fitted]
OnTrial = Callable[[TrialResult, bool], None]  # the result, and whether an earlier run found it


def tune(
    family: Family,
    folds: Sequence[Fold],
    *,
    trials: int,
    seconds: float,
    seed: int,
    threads: int,
    place: studies.Place | None = None,
    helpers: Sequence[Runner] = (),
    on_trial: OnTrial = lambda result, recalled: None,
) -> Tuned:
    """Search with TPE (Bergstra et al. 2011), the family's BASELINE first.

    place: of the stored study; None keeps it in memory. A study that exists continues where it
    stopped, and only the trials still missing are run; the seconds of those it has are spent.
    helpers: what runs trials beside this process. Trials that raise are recorded as failed and the
    search goes on. Raises RuntimeError when not one completed, and UserError when the storage
    does not work.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Optuna's ten random trials would be half of a short search: a third of it, at most ten.
    sampler, pruner = SeededTPE(seed, min(10, trials // 3 + 1)), FoldPruner()
    local = partial(fit_folds, family, folds, seed=seed, threads=threads)
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    with studies.explained(place) if place else nullcontext():
        stored = studies.open_study(place) if place else None
        search = _Search(family, study, stored, trials, seconds, [local, *helpers], on_trial)
        search.recall()
        if not search.results:
            study.enqueue_trial(family.BASELINE)
        if not search.out_of_time():
            study.optimize(
                search.objective,
                n_trials=trials - len(search.results),
                n_jobs=1 + len(helpers),
                catch=(TrialFailed,),
                callbacks=[search.record],
            )
        if search.failure is not None:  # of the last threads, whose errors Optuna drops
            raise search.failure
        if place and not search.completed:
            studies.delete_study(place)  # once the cause is repaired, all are tried again
    return search.conclude()


class SeededTPE(optuna.samplers.TPESampler):
    """TPE that is made anew before each trial, seeded by the run's seed and the trial's number in
    the search: what it suggests depends on the finished trials and not on when a process died."""

    def __init__(self, run_seed: int, startup: int) -> None:
        self.run_seed, self.startup = run_seed, startup
        super().__init__(n_startup_trials=startup)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        seed = np.random.SeedSequence([self.run_seed, trial.number]).generate_state(1)[0]
        super().__init__(seed=int(seed), n_startup_trials=self.startup)
        super().before_trial(study, trial)


class FoldPruner(optuna.pruners.BasePruner):
    """Optuna's median pruner (Golovin et al. 2017, KDD), within the first fold and at the end of
    each: a trial behind the median of the completed ones at the same step is pruned.

    The median pruner takes the best value of a trial so far. That of the first fold is not a mean
    over folds, so it is shown the values of one kind at a time.
    """

    def __init__(self) -> None:
        self._median = optuna.pruners.MedianPruner(
            n_startup_trials=WARM_UP, n_warmup_steps=WARM_UP, n_min_trials=WARM_UP
        )

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if trial.last_step is None:
            return False
        shown, newest = copy.copy(trial), trial.last_step // FOLD
        values = trial.intermediate_values.items()
        shown.intermediate_values = {step: v for step, v in values if step // FOLD == newest}
        return self._median.prune(study, shown)


class _Search:
    """The state of a search, its objective, and what is done after each trial.

    Trials run in one thread for each runner; all but the first runner are other processes.
    """

    def __init__(
        self,
        family: Family,
        study: optuna.Study,
        stored: optuna.Study | None,
        trials: int,
        seconds: float,
        runners: Sequence[Runner],
        on_trial: OnTrial,
    ) -> None:
        self.family, self.study, self.stored = family, study, stored
        self.trials, self.seconds, self.on_trial = trials, seconds, on_trial
        self.workers = len(runners)
        self.runners: queue.SimpleQueue[Runner] = queue.SimpleQueue()
        for runner in runners:
            self.runners.put(runner)
        self.lock = Lock()
        self.results: list[TrialResult] = []
        self.failure: BaseException | None = None
        self.cut = False  # whether the seconds ended a trial
        self.kept: tuple[Params, tuple[Any, ...]] = ({}, ())  # the best trial's params and models
        self.started = time.perf_counter()

    def recall(self) -> None:
        """Take over the trials of earlier runs; their seconds are spent."""
        if self.stored is None:
            return
        for trial in self.stored.get_trials(deepcopy=False)[: self.trials]:
            self.study.add_trial(trial)
            self._add(trial, recalled=True)
        self.started -= sum(result.seconds for result in self.results) / self.workers

    @property
    def completed(self) -> list[TrialResult]:
        return [result for result in self.results if result.state == "complete"]

    @property
    def best(self) -> float | None:
        return min((result.metrics[OBJECTIVE] for result in self.completed), default=None)

    def out_of_time(self) -> bool:
        """Whether the seconds are over; never before one trial is complete."""
        return self.best is not None and time.perf_counter() > self.started + self.seconds

    def objective(self, trial: optuna.Trial) -> float:
        def report(value: float, step: int | None) -> None:
            if step is not None:
                trial.report(value, step)
                if trial.should_prune():
                    raise optuna.TrialPruned
            if self.out_of_time():
                trial.set_user_attr(CLOCK, True)
                raise optuna.TrialPruned

        try:
            params = self.family.suggest(trial)
            trial.set_user_attr(PARAMS, params)
            fitted = self._run(params, report)
        except optuna.TrialPruned:
            raise
        except Exception as error:  # one bad corner of the space must not end the search
            known = isinstance(error, TrialFailed | HelperLost)
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            trial.set_user_attr(ERROR, reason)
            raise TrialFailed(reason) from error
        trial.set_user_attr(PARAMS, fitted.params)
        trial.set_user_attr(METRICS, fitted.metrics)
        with self.lock:
            value, best = fitted.metrics[OBJECTIVE], self.best
            if fitted.models and (best is None or value < best):
                self.kept = (fitted.params, fitted.models)
        return value

    def record(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Store a finished trial and report it; Optuna calls this after each."""
        with self.lock:
            try:
                if self.stored is not None:
                    self.stored.add_trial(trial)
                self._add(trial, recalled=False)
            except BaseException as error:
                self.failure = error
                raise
        if self.out_of_time():
            study.stop()

    def conclude(self) -> Tuned:
        if not self.completed:
            raise RuntimeError(
                f"none of the {len(self.results)} trials completed; the last one failed with:"
                f" {self.results[-1].error}"
            )
        best = min(self.completed, key=lambda result: result.metrics[OBJECTIVE])
        suggested = tuple(self.family.BASELINE)
        kept_params, models = self.kept
        return Tuned(
            params=of_all(best.params, suggested),
            fold_params=best.params,
            suggested=suggested,
            metrics=best.metrics,
            best_trial=best.number,
            trials=tuple(self.results),
            ended_by="seconds" if self.cut or len(self.results) < self.trials else "trials",
            seconds=time.perf_counter() - self.started,
            models=models if kept_params == best.params else (),
        )

    def _run(self, params: Params, report: Report) -> Fitted:
        """Run a trial on the next free runner; one that is lost is not used again."""
        for tried in range(1, TRIES + 1):
            runner = self.runners.get()
            try:
                fitted = runner(params, report)
            except HelperLost:
                if tried == TRIES:
                    raise
                continue
            except BaseException:
                self.runners.put(runner)
                raise
            self.runners.put(runner)
            return fitted
        raise AssertionError("not reached")

    def _add(self, trial: FrozenTrial, *, recalled: bool) -> None:
        attributes = trial.user_attrs
        complete = trial.state == TrialState.COMPLETE
        metrics = attributes[METRICS] if complete else {}
        known = [value for value in (self.best, metrics.get(OBJECTIVE)) if value is not None]
        states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
        result = TrialResult(
            number=len(self.results),
            state=states.get(trial.state, "failed"),
            params=attributes.get(PARAMS, trial.params),
            metrics=metrics,
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
            best=min(known, default=None),
            error=attributes.get(ERROR),
        )
        self.cut = self.cut or CLOCK in attributes
        self.results.append(result)
        self.on_trial(result, recalled)
