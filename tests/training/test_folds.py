"""Each validation date is a fold whose model learns only from its past."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rows import DAYS, HORIZON, make_rows

from common.errors import UserError
from features.table import Rows
from training.folds import draw_parts, join, make_folds, take

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


@pytest.mark.parametrize(
    ("train", "valid", "message", "remedy"),
    [
        (
            TRAIN,
            take(VALID, (VALID.as_of > VALID.as_of[0]) | (VALID.y == 1)),
            "the validation rows of the fold of 2024-05-01 hold only label 1",
            "features.valid_dates",
        ),
        (take(TRAIN, TRAIN.y == 0), VALID, "hold only label 0", "features.valid_dates"),
        (
            take(TRAIN, TRAIN.as_of == TRAIN.as_of[-1]),
            VALID,
            "the training rows of the fold of 2024-05-01 hold no row",
            "features.valid_dates",
        ),
        (TRAIN, take(VALID, VALID.y > 1), "no validation row", "features."),
        (
            take(UNDATED, TRAIN.y == 1),
            UNDATED,
            "the training rows of the fold hold only label 1",
            "both labels",
        ),
    ],
)
def test_a_fold_of_one_class_or_none_is_an_error_that_says_what_to_do(
    train, valid, message, remedy
):
    with pytest.raises(UserError, match=message) as caught:
        make_folds(train, valid, HORIZON)
    assert remedy in caught.value.next_step


@given(
    sizes=st.lists(st.integers(1, 9), min_size=20, max_size=60),
    count=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_parts_keep_groups_whole_and_hold_both_classes(sizes, count, seed):
    group = np.repeat([f"g{n}" for n in range(len(sizes))], sizes)
    shuffled = np.random.default_rng(seed).permutation(len(group))
    group = group[shuffled]
    y = (np.char.str_len(group) == 2).astype(np.int8)  # the first ten groups
    days = np.full(len(group), "NaT", "datetime64[D]")
    rows = Rows(np.zeros((len(group), 1), np.float32), y, np.arange(len(group)), days, group)
    parts = draw_parts(rows, count, seed)
    assert set(parts) == set(range(count))
    for name in set(group):
        assert len(set(parts[group == name])) == 1
    for part in range(count):
        assert set(y[parts == part]) == {0, 1}


def test_rows_side_by_side_are_not_copied():
    assert np.shares_memory(take(TRAIN, TRAIN.as_of <= TRAIN.as_of[0]).x, TRAIN.x)
