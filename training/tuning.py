"""The search for one family's parameters: the same budget and the same rules for every family.

The objective is the levelled log loss (`training/metrics.py`), its mean over the validation dates
(`training/folds.py`). Plain log loss would chase the season: a date has another share of buyers
than the months before it, and the parameters that happen to predict that level would win. So the
level is taken out; calibration mends it afterwards, and the gate watches the winner's log loss.

Every family gets the same number of trials and the same seconds. The normal end is the number of
trials, so that a run repeats exactly. The seconds are a ceiling for slow machines;
`Tuned.ended_by` says which of the two it was.

A search that was killed goes on (`training/studies.py`) and comes out as if it had not been: the
sampler of a trial is made anew from the seed and the trial's position, and sees the finished trials
before it, so nothing it suggests depends on when a process died. With helpers
(`training/workers.py`) the order in which trials end is chance, and so is what is suggested next:
nothing repeats then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from training import studies
from training.trial import OBJECTIVE, Course, Outcome, make_bars, of_all, run_trial

if TYPE_CHECKING:
    import optuna

    from training.families import Family, Params
    from training.folds import Fold

TRIES = 2  # a trial whose process dies is run again, but one that kills again has failed


@dataclass(frozen=True)
class TrialResult:
    """One trial, as an event and in result.json. `params` hold a list of what each fold found, such
    as rounds; a pruned or failed trial has the params it tried, and no metrics. `best` is the best
    value of the objective so far, this trial included. `course`: see `training.trial.Outcome`."""

    number: int
    state: str  # complete, pruned, failed
    params: Params
    metrics: dict[str, float]
    seconds: float
    best: float | None
    course: Course
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


@dataclass
class Task:
    """A trial to run, here or in a helper. bars: see `training.trial.make_bars`."""

    trial: optuna.Trial
    params: Params
    bars: Course
    seconds: float
    tries: int = 0


class HelperLost(Exception):
    """The process that ran a trial is gone."""


OnTrial = Callable[[TrialResult, bool], None]  # the result, and whether an earlier run found it
Helper = Callable[[Task], Outcome]


def tune(
    family: Family,
    folds: Sequence[Fold],
    *,
    trials: int,
    seconds: float,
    seed: int,
    threads: int,
    place: studies.Place | None = None,
    helpers: Sequence[Helper] = (),
    on_trial: OnTrial = lambda result, recalled: None,
) -> Tuned:
    """Search with TPE (Bergstra et al. 2011), the family's BASELINE first.

    place: of the stored study; None keeps it in memory. A study that is there goes on where it
    stood, and only the trials still missing are run; the seconds of those it has are spent.
    helpers: what runs trials beside this process. Trials that raise are recorded as failed and the
    search goes on. Raises RuntimeError when not one completed, and UserError when the storage
    does not work.
    """
    search = _Search(family, trials, seconds, seed, place, 1 + len(helpers), on_trial)

    def here(task: Task) -> Outcome:
        return run_trial(
            family,
            folds,
            task.params,
            task.bars,
            seed=seed,
            threads=threads,
            seconds=task.seconds,
        )

    beside = [threading.Thread(target=search.work, args=(helper,)) for helper in helpers]
    for thread in beside:
        thread.start()
    try:
        search.work(here)
    except BaseException:
        search.stop()
        raise
    for thread in beside:
        thread.join()
    return search.conclude()


class _Search:
    """The state that this process and the threads of its helpers share, under one lock."""

    def __init__(
        self,
        family: Family,
        trials: int,
        seconds: float,
        seed: int,
        place: studies.Place | None,
        workers: int,
        on_trial: OnTrial,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.family, self.trials, self.seconds, self.seed = family, trials, seconds, seed
        self.place, self.on_trial = place, on_trial
        self.turn = threading.Condition()
        self.under_way, self.returned = 0, list[Task]()
        self.ended_by = "trials"
        self.failure: BaseException | None = None
        self.models: tuple[int, tuple[Any, ...]] = (-1, ())
        self.started = time.perf_counter()
        # Sampled from memory: a question to a database costs more than the answer.
        self.study = optuna.create_study(direction="minimize")
        self.stored = studies.open_study(place) if place else None
        before = studies.kept(self.stored)[:trials] if self.stored else []
        self.study.add_trials(before)
        self.asked = len(before)
        self.results = [TrialResult(**trial.user_attrs[studies.RESULT]) for trial in before]
        self.started -= sum(result.seconds for result in self.results) / workers
        for result in self.results:
            on_trial(result, True)
        if not before:
            self.study.enqueue_trial(family.BASELINE)

    def work(self, run: Helper) -> None:
        """Run trials until there are no more."""
        while (task := self._next()) is not None:
            try:
                outcome = run(task)
            except HelperLost as lost:
                return self._give_back(task, lost)
            except Exception as error:
                with self.turn:  # nobody may wait for a trial that will not end; `conclude` raises
                    self.failure = error
                    self.turn.notify_all()
                return
            self._record(task, outcome)

    def stop(self) -> None:
        with self.turn:
            self.trials = 0
            self.turn.notify_all()

    @property
    def best(self) -> float | None:
        return min((r.metrics[OBJECTIVE] for r in self.results if r.metrics), default=None)

    def _next(self) -> Task | None:
        with self.turn:
            while len(self.results) < self.trials and self.failure is None:
                left = self.started + self.seconds - time.perf_counter()
                if left < 0 and self.best is not None:
                    self.ended_by = "seconds"
                    return None
                task = None
                if self.returned:
                    task = self.returned.pop()
                elif len(self.results) + self.under_way < self.trials:
                    task = self._ask()
                else:
                    self.turn.wait()
                if task is not None:
                    self.under_way += 1
                    task.seconds = float("inf") if self.best is None else left
                    task.bars = make_bars([r.course for r in self.results if r.state == "complete"])
                    return task
            return None

    def _ask(self) -> Task | None:
        """The next trial; None when the family could not even suggest one, which is recorded."""
        import optuna

        seed = np.random.SeedSequence([self.seed, self.asked]).generate_state(1)[0]
        self.study.sampler = optuna.samplers.TPESampler(
            seed=int(seed),
            # Optuna's ten random trials would be half of a short search: a third of it, at most ten
            n_startup_trials=min(10, self.trials // 3 + 1),
        )
        self.asked += 1
        task = Task(self.study.ask(), {}, {}, 0.0)
        try:
            task.params = self.family.suggest(task.trial)
        except Exception as failure:
            self.under_way += 1
            reason = f"{type(failure).__name__}: {failure}"
            self._record(task, Outcome("failed", {}, {}, 0.0, {}, reason))
            return None
        return task

    def _give_back(self, task: Task, lost: HelperLost) -> None:
        task.tries += 1
        if task.tries == TRIES:
            self._record(task, Outcome("failed", task.params, {}, 0.0, {}, str(lost)))
            return
        with self.turn:
            self.under_way -= 1
            self.returned.append(task)
            self.turn.notify_all()

    def _record(self, task: Task, outcome: Outcome) -> None:
        import optuna

        with self.turn:
            self.under_way -= 1
            best = min(
                (v for v in (self.best, outcome.metrics.get(OBJECTIVE)) if v is not None),
                default=None,
            )
            result = TrialResult(
                len(self.results),
                outcome.state,
                outcome.params,
                outcome.metrics,
                outcome.seconds,
                best,
                outcome.course,
                outcome.error,
            )
            if outcome.models and best == outcome.metrics[OBJECTIVE] != self.best:
                self.models = (result.number, outcome.models)
            states = optuna.trial.TrialState
            end = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}
            if outcome.state == "pruned":  # the sampler ranks by how far it came
                within, after = outcome.course["within"], outcome.course["after"]
                if within or after:
                    task.trial.report((after or within)[-1], 1000 * len(after) + len(within))
            task.trial.set_user_attr(studies.RESULT, asdict(result))
            self.study.tell(task.trial, outcome.metrics.get(OBJECTIVE), state=end[outcome.state])
            try:
                if self.stored is not None and self.place is not None:
                    frozen = self.study.get_trials(deepcopy=False)[task.trial.number]
                    with studies.explained(self.place):
                        self.stored.add_trial(frozen)
                self.results.append(result)
                self.on_trial(result, False)
            except BaseException as error:
                self.failure = error
                raise
            finally:
                self.turn.notify_all()

    def conclude(self) -> Tuned:
        if self.failure is not None:  # in the thread of a helper
            raise self.failure
        complete = [result for result in self.results if result.state == "complete"]
        if not complete:
            if self.stored is not None and self.place is not None:
                with studies.explained(self.place):
                    studies.forget(self.stored)  # once the cause is mended, all are tried again
            raise RuntimeError(
                f"not one of {len(self.results)} trials completed; the last said:"
                f" {self.results[-1].error}"
            )
        best = min(complete, key=lambda result: result.metrics[OBJECTIVE])
        suggested = tuple(self.family.BASELINE)
        return Tuned(
            params=of_all(best.params, suggested),
            fold_params=best.params,
            suggested=suggested,
            metrics=best.metrics,
            best_trial=best.number,
            trials=tuple(self.results),
            ended_by=self.ended_by,
            seconds=time.perf_counter() - self.started,
            models=self.models[1] if self.models[0] == best.number else (),
        )
