from __future__ import annotations

import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from made_rows import make_rows

from training.tuning import tune

TRAIN, VALID = make_rows(50, 1), make_rows(400, 2)
BUDGET = {"trials": 8, "seconds": 60.0, "seed": 5, "threads": 1}


def made_family(fit=None):
    """A family whose ROC AUC rises with `skill`: probabilities are the label plus noise."""

    def default_fit(params, train, valid, *, seed, threads, report=None):
        return SimpleNamespace(params={**params, "rounds": 11})

    def predict(model, x):
        noise = np.random.default_rng(0).random(len(x))
        return np.clip(model.params["skill"] * VALID.y + (1 - model.params["skill"]) * noise, 0, 1)

    return SimpleNamespace(
        BASELINE={"skill": 0.3},
        suggest=lambda trial: {"skill": trial.suggest_float("skill", 0.0, 0.9)},
        fit=fit or default_fit,
        predict=predict,
    )


def test_the_baseline_comes_first_and_the_best_is_returned():
    seen = []
    tuned = tune(made_family(), TRAIN, VALID, on_trial=seen.append, **BUDGET)
    assert tuple(seen) == tuned.trials
    assert seen[0].params == {"skill": 0.3, "rounds": 11}
    assert tuned.ended_by == "trials" and len(seen) == 8
    best = max(seen, key=lambda result: result.metrics["roc_auc"])
    assert (tuned.params, tuned.metrics, tuned.best_trial) == (
        best.params,
        best.metrics,
        best.number,
    )
    climbing = [result.best for result in seen]
    assert climbing == sorted(climbing) and climbing[-1] == tuned.metrics["roc_auc"]


def without_seconds(tuned):
    return [dataclasses.replace(result, seconds=0) for result in tuned.trials]


def test_the_same_seed_searches_the_same_way():
    first, second = (tune(made_family(), TRAIN, VALID, **BUDGET) for _ in range(2))
    assert without_seconds(first) == without_seconds(second)
    other = tune(made_family(), TRAIN, VALID, **{**BUDGET, "seed": 6})
    assert without_seconds(other) != without_seconds(first)


def test_seconds_end_the_search_and_it_says_so():
    def slow(params, *_, **__):
        time.sleep(0.1)
        return SimpleNamespace(params=params)

    tuned = tune(made_family(slow), TRAIN, VALID, **{**BUDGET, "trials": 500, "seconds": 0.5})
    assert tuned.ended_by == "seconds"
    assert 1 <= len(tuned.trials) < 20 and tuned.seconds < 5


def test_at_least_one_trial_is_run_however_few_the_seconds():
    tuned = tune(made_family(), TRAIN, VALID, **{**BUDGET, "seconds": 1e-9})
    assert (tuned.ended_by, len(tuned.trials)) == ("seconds", 1)


def test_seconds_end_a_long_trial_too():
    def endless(params, *_, report, **__):
        if params["skill"] == 0.3:
            return SimpleNamespace(params=params)
        for step in range(1, 1000):
            report(step, 0.99)
            time.sleep(0.01)
        raise AssertionError("nobody ended this trial")

    tuned = tune(made_family(endless), TRAIN, VALID, **{**BUDGET, "seconds": 0.5})
    assert tuned.ended_by == "seconds" and tuned.trials[-1].state == "pruned"


def test_hopeless_trials_are_pruned():
    def fit(params, *_, report, **__):
        for step in range(1, 11):
            report(step, params["skill"])
        return SimpleNamespace(params=params)

    tuned = tune(made_family(fit), TRAIN, VALID, **{**BUDGET, "trials": 20})
    pruned = [result for result in tuned.trials if result.state == "pruned"]
    assert pruned and all(result.metrics == {} for result in pruned)
    assert all(result.params["skill"] < tuned.params["skill"] for result in pruned)


def test_a_failed_trial_is_recorded_and_the_search_goes_on():
    def fit(params, *_, **__):
        if params["skill"] > 0.5:
            raise MemoryError("too skilled")
        return SimpleNamespace(params=params)

    tuned = tune(made_family(fit), TRAIN, VALID, **{**BUDGET, "trials": 12})
    failed = [result for result in tuned.trials if result.state == "failed"]
    assert failed and failed[0].error == "MemoryError: too skilled"
    assert tuned.params["skill"] <= 0.5 and len(tuned.trials) == 12


def test_nothing_but_failures_is_an_error_that_says_why():
    def fit(*_, **__):
        raise OSError("disk full")

    with pytest.raises(RuntimeError, match=r"not one of 8 trials completed.*disk full"):
        tune(made_family(fit), TRAIN, VALID, **BUDGET)


def test_a_stored_search_goes_on_where_it_stood():
    storage = optuna.storages.InMemoryStorage()
    tune(made_family(), TRAIN, VALID, storage=storage, **{**BUDGET, "trials": 3})
    seen = []
    tuned = tune(made_family(), TRAIN, VALID, storage=storage, on_trial=seen.append, **BUDGET)
    assert [result.number for result in seen] == [3, 4, 5, 6, 7]
    assert [result.number for result in tuned.trials] == list(range(8))
