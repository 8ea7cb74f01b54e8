"""The search on a made family whose log loss falls with its one parameter."""

from __future__ import annotations

import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from made_rows import HORIZON, make_rows

from training.folds import fit_folds, make_folds
from training.studies import Place
from training.tuning import HelperLost, TrialFailed, _Search, tune

TRAIN = make_rows(50, 1, ("2024-01-01",))
VALID = make_rows(800, 2, ("2024-05-01", "2024-06-01"))
FOLDS = make_folds(TRAIN, VALID, HORIZON)
BUDGET = {"trials": 8, "seconds": 60.0, "seed": 5, "threads": 1}


def made_family(fit=None):
    """Probabilities are the label plus noise: the more `skill`, the less noise."""

    def default_fit(params, train, valid, *, seed, threads, report=None):
        return SimpleNamespace(params={**params, "rounds": 10 + valid.as_of[0].item().month})

    def predict(model, x):
        (fold,) = (fold for fold in FOLDS if fold.valid.x is x)
        noise, skill = np.random.default_rng(0).random(len(x)), model.params["skill"]
        return np.clip(skill * fold.valid.y + (1 - skill) * noise, 0, 1)

    return SimpleNamespace(
        BASELINE={"skill": 0.3},
        suggest=lambda trial: {"skill": trial.suggest_float("skill", 0.0, 0.9)},
        fit=fit or default_fit,
        predict=predict,
    )


def search(family=None, **changes):
    seen = []
    tuned = tune(
        family or made_family(),
        FOLDS,
        on_trial=lambda result, recalled: seen.append((result, recalled)),
        **(BUDGET | changes),
    )
    return tuned, seen


def answering(params, *_, **__):
    return SimpleNamespace(params=params)


def slow(params, *_, **__):
    time.sleep(0.01)
    return SimpleNamespace(params=params)


def without_seconds(tuned):
    return [dataclasses.replace(result, seconds=0) for result in tuned.trials]


def test_the_baseline_comes_first_and_the_best_is_returned():
    tuned, seen = search()
    results = [result for result, _ in seen]
    assert tuple(results) == tuned.trials
    assert [result.number for result in results] == list(range(8))
    assert results[0].params == {"skill": 0.3, "rounds": [16, 15]}  # newest fold first
    assert tuned.ended_by == "trials"
    best = min(results, key=lambda result: result.metrics.get("recalibrated_log_loss", 9))
    assert (tuned.fold_params, tuned.metrics) == (best.params, best.metrics)
    assert tuned.best_trial == best.number
    assert tuned.params == {"skill": best.params["skill"], "rounds": 16}  # the median
    falling = [result.best for result in results]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == tuned.metrics["recalibrated_log_loss"]


def test_the_objective_is_the_mean_over_the_folds():
    how = {"report": lambda value, step: None, "seed": 1, "threads": 1}
    of_each = [fit_folds(made_family(), [fold], {"skill": 0.3}, **how) for fold in FOLDS]
    losses = [one.metrics["recalibrated_log_loss"] for one in of_each]
    assert search(trials=1)[0].metrics["recalibrated_log_loss"] == np.mean(losses)


def test_the_same_seed_searches_the_same_way():
    first, second = search()[0], search()[0]
    assert without_seconds(first) == without_seconds(second)
    assert without_seconds(search(seed=6)[0]) != without_seconds(first)


def test_seconds_end_the_search_after_at_least_one_trial_and_it_says_so():
    tuned, _ = search(made_family(slow), trials=500, seconds=0.2)
    assert tuned.ended_by == "seconds"
    assert 1 <= len(tuned.trials) < 20 and tuned.seconds < 5
    tuned, _ = search(seconds=1e-9)
    assert (tuned.ended_by, len(tuned.trials)) == ("seconds", 1)


def test_seconds_end_a_long_trial_too():
    def endless(params, *_, report, **__):
        if params["skill"] == 0.3:
            return SimpleNamespace(params=params)
        for step in range(1, 1000):
            report(step, 0.99)
            time.sleep(0.01)
        raise AssertionError("nobody ended this trial")

    tuned, _ = search(made_family(endless), seconds=0.2)
    assert tuned.ended_by == "seconds" and tuned.trials[-1].state == "pruned"


@pytest.mark.parametrize("steps", [10, 0], ids=["within the first fold", "after the first fold"])
def test_hopeless_trials_are_ended(steps):
    fitted = []

    def fit(params, train, valid, *, report, **__):
        fitted.append(valid.as_of[0].item().month)
        for step in range(1, steps + 1):
            report(step, 1 - params["skill"])
        return SimpleNamespace(params=params)

    tuned, _ = search(made_family(fit), trials=20)
    pruned = [result for result in tuned.trials if result.state == "pruned"]
    assert pruned and all(result.metrics == {} for result in pruned)
    assert all(result.params["skill"] < tuned.params["skill"] for result in pruned)
    assert fitted[:2] == [6, 5]  # the newest date first
    assert fitted.count(6) == 20 and fitted.count(5) == 20 - len(pruned)


def broken(params, *_, **__):
    if params["skill"] > 0.5:
        raise MemoryError("too skilled")
    return SimpleNamespace(params=params)


def unfinite(params, *_, **__):
    return SimpleNamespace(params={"skill": np.nan if params["skill"] > 0.5 else params["skill"]})


def unsure(params, *_, report, **__):
    report(1, float("nan") if params["skill"] > 0.5 else 0.7)
    return SimpleNamespace(params=params)


@pytest.mark.parametrize(
    ("fit", "reason"),
    [
        (broken, "MemoryError: too skilled"),
        (unfinite, "ValueError: p must lie in [0, 1]"),
        (unsure, "ValueError: the validation log loss of step 1 is nan"),
    ],
)
def test_a_trial_that_raises_or_gives_no_number_is_recorded_and_the_search_goes_on(fit, reason):
    tuned, _ = search(made_family(fit), trials=12)
    failed = [result for result in tuned.trials if result.state == "failed"]
    assert failed and failed[0].error.startswith(reason)
    assert tuned.params["skill"] <= 0.5 and len(tuned.trials) == 12


def test_a_space_that_cannot_be_drawn_from_is_a_failed_trial_too():
    family, drawn = made_family(), []
    draw = family.suggest

    def suggest(trial):
        drawn.append(trial)
        if len(drawn) == 2:
            raise ValueError("low > high")
        return draw(trial)

    family.suggest = suggest
    tuned, _ = search(family)
    assert [result.state for result in tuned.trials].count("failed") == 1
    assert tuned.trials[1].error == "ValueError: low > high" and len(tuned.trials) == 8


@pytest.mark.slow
def test_nothing_but_failures_is_an_error_that_says_why_and_is_tried_again(tmp_path):
    def fit(*_, **__):
        raise OSError("disk full")

    place = Place(f"sqlite:///{tmp_path / 'studies.db'}", "search")
    with pytest.raises(RuntimeError, match=r"none of the 8 trials completed.*disk full"):
        search(made_family(fit), place=place)
    tuned, seen = search(place=place)  # the disk is not full any more
    assert len(tuned.trials) == 8 and not any(recalled for _, recalled in seen)


# --- a search that was interrupted ----------------------------------------------------------


class Killed(BaseException):
    """What no `except Exception` sees, as no process sees SIGKILL."""


def interrupted(after: int, *, within: bool):
    """A family that dies after so many fits: within a trial, or between its folds."""
    fits = []

    def fit(params, train, valid, *, report, **_):
        fits.append(valid)
        if len(fits) > after:
            if within:
                report(1, 0.7)
            raise Killed
        return SimpleNamespace(params=params)

    return made_family(fit)


@pytest.mark.slow
@pytest.mark.parametrize(("fits", "within"), [(0, False), (1, True), (7, False), (7, True)])
def test_an_interrupted_search_comes_out_as_one_that_was_not(tmp_path, fits, within):
    family = made_family(answering)
    whole, _ = search(family, trials=10)
    place = Place(f"sqlite:///{tmp_path / 'studies.db'}", "search")
    with pytest.raises(Killed):
        search(interrupted(fits, within=within), trials=10, place=place)
    tuned, seen = search(family, trials=10, place=place)
    assert without_seconds(tuned) == without_seconds(whole)
    assert (tuned.params, tuned.best_trial) == (whole.params, whole.best_trial)
    recalled = [result.number for result, recalled in seen if recalled]
    assert recalled == list(range(len(recalled))) and len(recalled) >= (fits - 1) // 2
    again, seen = search(family, trials=10, place=place)
    assert all(recalled for _, recalled in seen) and len(seen) == 10
    assert without_seconds(again) == without_seconds(whole) and again.models == ()


def test_seconds_that_were_spent_before_count(tmp_path):
    place = Place(f"sqlite:///{tmp_path / 'studies.db'}", "search")
    search(made_family(slow), place=place, trials=3)
    late, _ = search(made_family(slow), place=place, trials=100, seconds=0.05)
    assert (len(late.trials), late.ended_by) == (3, "seconds")
    more, _ = search(made_family(slow), place=place, trials=4)
    assert (len(more.trials), more.ended_by) == (4, "trials")


# --- helpers --------------------------------------------------------------------------------


def test_with_helpers_the_budget_is_exact_and_every_trial_is_reported_once():
    helped = []

    def helper(params, report):
        helped.append(params)
        fitted = fit_folds(made_family(slow), FOLDS, params, report, seed=1, threads=1)
        return dataclasses.replace(fitted, models=())

    tuned, seen = search(made_family(slow), trials=25, helpers=[helper, helper])
    assert len(tuned.trials) == 25 and 1 <= len(helped) < 25
    assert [result.number for result, _ in seen] == list(range(25))
    best = min(r.metrics["recalibrated_log_loss"] for r, _ in seen if r.metrics)
    assert tuned.metrics["recalibrated_log_loss"] == best


def test_the_trial_of_a_helper_that_dies_is_run_by_another():
    lost = []

    def dying(params, report):
        lost.append(params)
        raise HelperLost("its process ended with code -9")

    tuned, _ = search(made_family(slow), trials=10, helpers=[dying])
    assert len(tuned.trials) == 10 and len(lost) == 1
    assert [result.params["skill"] for result in tuned.trials].count(lost[0]["skill"]) == 1
    assert all(result.state != "failed" for result in tuned.trials)


def test_a_trial_that_kills_twice_has_failed():
    def dying(params, report):
        raise HelperLost("its process ended with code -9")

    study = optuna.create_study()
    whole = _Search(
        made_family(), study, None, 1, 60.0, [dying, dying], lambda result, recalled: None
    )
    study.optimize(whole.objective, 1, catch=(TrialFailed,), callbacks=[whole.record])
    assert [(result.state, result.error) for result in whole.results] == [
        ("failed", "its process ended with code -9")
    ]
