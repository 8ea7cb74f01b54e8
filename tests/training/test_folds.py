"""Each validation date is a fold whose model learns only from its past."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from statistics import fmean
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rows import DAYS, HORIZON, make_rows

from common.errors import UserError
from features.table import Rows
from training.folds import draw_parts, fit_folds, join, make_folds, of_all, of_fold, take
from training.metrics import point

TRAIN, VALID = make_rows(600, 1, DAYS["train"]), make_rows(200, 2, DAYS["valid"])


@given(horizon=st.integers(1, 150), days=st.lists(st.integers(0, 400), min_size=2, unique=True))
def test_no_fold_learns_from_what_lies_less_than_a_horizon_before_it(horizon, days):
    dates = [str(np.datetime64("2023-01-01") + day) for day in sorted(days)]
    train, valid = make_rows(200, 1, (dates[0],)), make_rows(60 * len(days), 2, tuple(dates[1:]))
    try:
        folds = make_folds(train, valid, horizon)
    except UserError as error:
        assert "no row" in error.what
        assert np.datetime64(dates[1]) - horizon < np.datetime64(dates[0])
        return
    both = join(train, valid)
    assert [str(fold.as_of) for fold in folds] == dates[:0:-1]  # newest first
    for fold in folds:
        latest = np.datetime64(fold.as_of) - horizon
        assert fold.train.as_of.max() <= latest
        assert len(fold.train) == (both.as_of <= latest).sum()
        assert (fold.valid.as_of == np.datetime64(fold.as_of)).all()
        assert np.array_equal(valid.x[fold.place], fold.valid.x, equal_nan=True)
    places = np.sort(np.concatenate([fold.place for fold in folds]))
    assert np.array_equal(places, np.arange(len(valid)))


UNDATED = replace(TRAIN, as_of=np.full(600, "NaT", "datetime64[D]"))


def test_a_short_horizon_lets_a_fold_learn_from_earlier_validation_dates():
    june, may = make_folds(TRAIN, VALID, 30)
    assert (june.as_of, len(june.train)) == (date(2024, 6, 1), 700)
    assert (may.as_of, len(may.train)) == (date(2024, 5, 1), 600)


def test_a_table_without_dates_has_one_fold():
    (fold,) = make_folds(UNDATED, take(UNDATED, np.arange(600) < 300), HORIZON)
    assert fold.train is UNDATED and len(fold.valid) == 300 and fold.as_of is None
    assert np.array_equal(fold.place, np.arange(300))


WITH_DATES = (
    "features.valid_dates, features.horizon_days",
    "bring more rows, or validate on fewer dates (features.valid_dates)",
)
WITHOUT_DATES = (
    "the table's label and splits",
    "bring more rows, or another split in which both labels occur everywhere",
)


@pytest.mark.parametrize(
    ("train", "valid", "what", "where", "next_step"),
    [
        (
            TRAIN,
            take(VALID, (VALID.as_of > VALID.as_of[0]) | (VALID.y == 1)),
            "the validation rows of the fold of 2024-05-01 hold only label 1,"
            f" {VALID.y[:100].sum()} times: nothing can be learnt or judged",
            *WITH_DATES,
        ),
        (
            take(TRAIN, TRAIN.y == 0),
            VALID,
            "the training rows of the fold of 2024-06-01 hold only label 0,"
            f" {(TRAIN.y == 0).sum()} times: nothing can be learnt or judged",
            *WITH_DATES,
        ),
        (
            take(TRAIN, TRAIN.as_of == TRAIN.as_of[-1]),
            VALID,
            "the training rows of the fold of 2024-05-01 hold no row:"
            " nothing can be learnt or judged",
            *WITH_DATES,
        ),
        (
            take(UNDATED, TRAIN.y == 1),
            UNDATED,
            f"the training rows of the fold hold only label 1, {TRAIN.y.sum()} times:"
            " nothing can be learnt or judged",
            *WITHOUT_DATES,
        ),
        *(
            (
                *(train, take(train, train.y > 1), "there is no validation row"),
                "the split `valid` of the training table",
                "check the settings of the splits: features.* (source.table.* of a table)",
            )
            for train in (TRAIN, UNDATED)
        ),
    ],
)
def test_a_fold_of_one_class_or_none_is_an_error_that_says_what_to_do(
    train, valid, what, where, next_step
):
    with pytest.raises(UserError) as caught:
        make_folds(train, valid, HORIZON)
    error = caught.value
    assert (error.what, error.where, error.next_step) == (what, where, next_step)


# --- a trial, on every fold -----------------------------------------------------------------

THREE = make_folds(TRAIN, make_rows(300, 3, ("2024-05-01", "2024-06-01", "2024-07-01")), 30)


def fit_plainly(folds, report, losses=()):
    """A trial of a family whose fits report these losses by step, find rounds of 10, 20, …, and
    predict by the first feature; and what each fit was called with."""
    fits = []

    def fit(params, train, valid, *, seed, threads, report):
        fits.append((params, train, valid, seed, threads))
        for step, loss in losses:
            report(step, loss)
        return SimpleNamespace(params={**params, "rounds": 10 * len(fits)})

    family = SimpleNamespace(fit=fit, predict=predict_plainly)
    return fit_folds(family, folds, {"depth": 3}, report, seed=7, threads=2), fits


def predict_plainly(model, x):
    return np.where(x[:, 0] < 9 * model.params["rounds"], 0.7, 0.4)


@pytest.mark.parametrize("count", [1, 3])
def test_a_trial_is_fitted_on_every_fold_and_gives_what_each_found_and_the_means(count):
    reports = []
    fitted, fits = fit_plainly(THREE[:count], lambda *report: reports.append(report))
    assert fits == [({"depth": 3}, fold.train, fold.valid, 7, 2) for fold in THREE[:count]]
    assert fitted.params == {"depth": 3, "rounds": [10, 20, 30][:count]}
    assert [model.params["rounds"] for model in fitted.models] == fitted.params["rounds"]
    each = [
        point(fold.valid.y, predict_plainly(model, fold.valid.x))
        for fold, model in zip(THREE, fitted.models)
    ]
    assert fitted.metrics == {name: fmean(one[name] for one in each) for name in each[0]}
    losses = [one["recalibrated_log_loss"] for one in each]
    assert len(set(losses)) == count  # no two folds are alike
    # After each fold but the last, the mean so far: there the trial may be ended.
    assert reports == [(fmean(losses[:k]), 10_000 * k) for k in range(1, count)]


def test_within_a_fold_the_best_loss_so_far_is_reported_and_steps_are_those_of_the_first_fold():
    losses = [(1, 0.7), (2, 0.8), (9_999, 0.6), (10_000, 0.5), (10_001, 0.6)]
    reports = []
    fit_plainly(THREE[:2], lambda *report: reports.append(report), losses)
    first, (_, ends), second = reports[:5], reports[5], reports[6:]
    assert first == [(0.7, 1), (0.7, 2), (0.6, 9_999), (0.5, None), (0.5, None)]
    assert ends == 10_000 and second == [(0.5, None)] * 5


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_the_trial_unreported(loss):
    reports = []
    with pytest.raises(ValueError, match=f"^the validation log loss of step 2 is {loss}$"):
        fit_plainly(THREE, lambda *report: reports.append(report), [(1, 0.7), (2, loss)])
    assert reports == [(0.7, 1)]


def test_what_the_folds_found_is_given_for_one_fold_and_as_their_median_for_all_rows():
    params = {"depth": 3, "rounds": [10, 40, 12]}
    assert of_fold(params, ["depth"], 1) == {"depth": 3, "rounds": 40}
    assert of_all(params, ["depth"]) == {"depth": 3, "rounds": 12}
    assert repr(of_all({"rounds": [10, 13]}, [])) == "{'rounds': 12}"  # a whole number


# --- rows -----------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(2, 9), min_size=20, max_size=60),
    count=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_parts_keep_groups_whole_and_hold_groups_of_every_kind_evenly(sizes, count, seed):
    """Every third group has one class, every third the other, and every third both."""
    names = [f"g{n}" for n in range(len(sizes))]
    kinds, first = np.arange(len(sizes)) % 3, np.cumsum(sizes) - sizes
    y = np.repeat(kinds > 0, sizes).astype(np.int8)
    y[first[kinds == 2]] = 0
    shuffled = np.random.default_rng(seed).permutation(len(y))
    group, y = np.repeat(names, sizes)[shuffled], y[shuffled]
    days = np.full(len(group), "NaT", "datetime64[D]")
    rows = Rows(np.zeros((len(group), 1), np.float32), y, np.arange(len(group)), days, group)
    parts = draw_parts(rows, count, seed)
    assert parts.dtype == int and set(parts) == set(range(count))
    of_group = [set(parts[group == name]) for name in names]
    assert all(len(found) == 1 for found in of_group)
    for kind in range(3):
        held = Counter(part for found in of_group[kind::3] for part in found)
        assert len(held) == count and max(held.values()) - min(held.values()) <= 1
    for part in range(count):
        assert set(y[parts == part]) == {0, 1}
    assert np.array_equal(parts, draw_parts(rows, count, seed)), "the same seed draws the same"


def test_another_seed_draws_other_parts():
    assert (draw_parts(TRAIN, 2, 1) != draw_parts(TRAIN, 2, 2)).any()


def test_rows_side_by_side_are_not_copied():
    for day in np.unique(TRAIN.as_of):
        assert np.shares_memory(take(TRAIN, TRAIN.as_of == day).x, TRAIN.x)


def test_rows_with_labels_joined_to_rows_without_have_none():
    for first, second in ((TRAIN, replace(VALID, y=None)), (replace(TRAIN, y=None), VALID)):
        both = join(first, second)
        assert both.y is None and len(both) == 800
