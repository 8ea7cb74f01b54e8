"""Which as-of dates belong to which split: in order of time, with an embargo of one horizon.

Validation rolls through time: each validation date is a fold, whose model learns only from dates at
least a horizon before it (`training/folds.py`), so that no outcome is seen twice. The label windows
of train and validation all end before the first test date.

    train  train  train  train  train  valid  valid  valid                test
    |------|------|------|------|------|------|------|-----horizon------->|--horizon--->| end
                                              |      fold 1 learns up to a horizon before it
                                       |      fold 2: the same, one month earlier
                                |      fold 3
"""

from __future__ import annotations

from datetime import date, timedelta

from common.errors import UserError
from configs.settings import Features


def as_of_dates(first_day: date, last_day: date, settings: Features) -> dict[str, list[date]]:
    """As-of dates per split, monthly, for a log from first_day to last_day, which may be cut short.

    Of `valid_dates` the earliest are left out for which no train date lies a horizon before them:
    the log is short, or `train_dates` are few.

    Raises UserError when the log is too short for one date in each split, or when the last date
    asked for has no complete label window.
    """
    horizon = timedelta(days=settings.horizon_days)
    latest = last_day - horizon
    last = settings.last_as_of or latest
    if last > latest:
        raise UserError(
            f"the last test date {last} has no complete label window: the log ends on {last_day}",
            where="features.last_as_of",
            next_step=f"set it to {latest} or earlier, or leave it out",
        )
    earliest = first_day + timedelta(days=settings.min_history_days)
    test = [_months_before(last, i) for i in range(settings.test_dates)]
    valid = _before(min(test), horizon, last, settings.valid_dates)
    train: list[date] = []
    while valid:
        before = [
            day
            for day in _before(valid[0], horizon, last, len(valid) + settings.train_dates)
            if day not in valid and day >= earliest
        ]
        train = before[: settings.train_dates]
        if train and min(train) <= min(valid) - horizon:
            break  # every fold has a date to learn from
        train = []
        valid.pop()  # the earliest
    if not train:
        last_valid = _before(min(test), horizon, last, 1)[0]
        nearest = _before(last_valid, horizon, last, 1)[0]
        needed = (last_day - nearest).days + settings.min_history_days
        chosen = ", features.last_as_of" if settings.last_as_of else ""
        raise UserError(
            f"the log is too short: {(last_day - first_day).days} days, {first_day} to {last_day};"
            f" train, validation and test need {needed}",
            where=f"features.horizon_days, features.min_history_days{chosen}",
            next_step="bring a longer log, or shorten the horizon or the history",
        )
    return {"train": sorted(train), "valid": sorted(valid), "test": sorted(test)}


def _before(day: date, horizon: timedelta, anchor: date, count: int) -> list[date]:
    """The latest `count` monthly dates (counted from the anchor) at least a horizon before day."""
    months = 0
    while _months_before(anchor, months) > day - horizon:
        months += 1
    return [_months_before(anchor, months + i) for i in range(count)]


def _months_before(day: date, months: int) -> date:
    """The same day of the month, `months` earlier; the 28th where a month is too short for it."""
    index = day.year * 12 + day.month - 1 - months
    year, month = divmod(index, 12)
    try:
        return date(year, month + 1, day.day)
    except ValueError:
        return date(year, month + 1, 28)
