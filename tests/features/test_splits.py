"""Splits in order of time, with at least the horizon between them, for any log and settings."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from configs.settings import Features
from features.splits import as_of_dates

SETTINGS = st.builds(
    Features,
    horizon_days=st.sampled_from([28, 30, 31, 61]) | st.integers(1, 365),
    min_history_days=st.integers(1, 400),
    train_dates=st.integers(1, 30),
    valid_dates=st.integers(1, 4),
    test_dates=st.integers(1, 4),
)
LAST_DAYS = st.dates(date(1990, 1, 1), date(2090, 12, 31))


def moved(day: date, months: int, day_of_month: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    try:
        return date(index // 12, index % 12 + 1, day_of_month)
    except ValueError:
        return date(index // 12, index % 12 + 1, 28)


@given(settings=SETTINGS, last_day=LAST_DAYS, days=st.integers(1, 4000), earlier=st.integers(0, 90))
def test_every_label_window_ends_before_the_next_split_begins(settings, last_day, days, earlier):
    first_day, horizon = last_day - timedelta(days), timedelta(settings.horizon_days)
    if earlier:
        last_as_of = last_day - horizon - timedelta(earlier)
        settings = settings.model_copy(update={"last_as_of": last_as_of})
    try:
        dates = as_of_dates(first_day, last_day, settings)
    except UserError as error:
        assert "too short" in error.what
        return
    train, valid, test = dates["train"], dates["valid"], dates["test"]

    assert list(dates) == ["train", "valid", "test"]
    assert valid[-1] + horizon <= test[0]
    assert train[-1] + horizon <= valid[-1]
    assert test[-1] + horizon <= last_day
    assert test[-1] == last_day - horizon - timedelta(earlier)
    assert train[0] >= first_day + timedelta(settings.min_history_days)
    assert train[0] + horizon <= valid[0]  # every validation date has something to learn from
    assert train[-1] < valid[0]

    assert len(test) == settings.test_dates
    assert 1 <= len(valid) <= settings.valid_dates
    assert 1 <= len(train) <= settings.train_dates
    anchor = test[-1].day
    for split in dates.values():  # in order, one a month, on the same day of the month
        assert all(later == moved(day, 1, anchor) for day, later in pairwise(split))

    # and no more is given away than has to be
    following = moved(train[-1], 1, anchor)
    assert following + horizon > valid[-1] or following == valid[0]
    assert moved(valid[-1], 1, anchor) + horizon > test[0]
    earliest = first_day + timedelta(settings.min_history_days)
    if len(train) < settings.train_dates:
        assert moved(train[0], -1, anchor) < earliest
    if len(valid) < settings.valid_dates:  # one more would have had nothing to learn from
        assert train[0] + horizon > moved(valid[0], -1, anchor)


@given(settings=SETTINGS, last_day=LAST_DAYS)
def test_the_length_that_the_error_asks_for_is_enough_and_a_day_less_is_not(settings, last_day):
    with pytest.raises(UserError) as caught:
        as_of_dates(last_day - timedelta(1), last_day, settings)
    needed = int(caught.value.what.split()[-1])
    assert as_of_dates(last_day - timedelta(needed), last_day, settings)["train"]
    with pytest.raises(UserError):
        as_of_dates(last_day - timedelta(needed - 1), last_day, settings)


@pytest.mark.parametrize(
    ("last_as_of", "message"),
    [
        (None, "the log is too short: 180 days, 2025-01-01 to 2025-06-30"),
        (date(2025, 3, 1), "the log is too short: 180 days, 2025-01-01 to 2025-06-30"),
        (
            date(2025, 4, 2),
            "the last test date 2025-04-02 has no complete label window: the log ends on 2025-06",
        ),
    ],
)
def test_a_log_that_is_too_short_is_refused_with_its_days_and_the_settings_to_change(
    last_as_of, message
):
    with pytest.raises(UserError) as caught:
        as_of_dates(date(2025, 1, 1), date(2025, 6, 30), Features(last_as_of=last_as_of))
    assert caught.value.what.startswith(message)
    named = caught.value.where.split(", ")
    lengths = ["features.horizon_days", "features.min_history_days"]
    assert named == (lengths if "short" in message else []) + ["features.last_as_of"] * bool(
        last_as_of
    )
    latest = "set it to 2025-04-01 or earlier, or leave it out"  # its label window is complete
    longer = "bring a longer log, or shorten the horizon or the history"
    assert caught.value.next_step == (longer if "short" in message else latest)


def test_months_that_lack_the_31st_have_the_28th():
    settings = Features(last_as_of=date(2025, 3, 31), test_dates=6, horizon_days=1)
    test = as_of_dates(date(2022, 1, 1), date(2025, 6, 30), settings)["test"]
    assert " ".join(f"{day:%m-%d}" for day in test) == "10-31 11-28 12-31 01-31 02-28 03-31"


def test_the_dates_of_online_retail():
    settings = Features(last_as_of=date(2011, 9, 9))
    dates = as_of_dates(date(2009, 12, 1), date(2011, 12, 9), settings)
    assert (dates["train"][0], dates["train"][-1]) == (date(2010, 6, 9), date(2011, 3, 9))
    assert dates["valid"] == [date(2011, 4, 9), date(2011, 5, 9), date(2011, 6, 9)]
    assert dates["test"] == [date(2011, 9, 9)]
