"""Which as-of dates belong to which split: in order of time, with an embargo between splits.

The embargo is the horizon: the label windows of one split end before the first as-of date of the
next, so that no outcome is seen twice.

    train      train      train          valid              test
    |----------|----------|---horizon--->|---horizon------->|---horizon--->| end of the log
"""

from __future__ import annotations

from datetime import date, timedelta

from configs.errors import UserError
from configs.settings import Features


def as_of_dates(first_day: date, last_day: date, settings: Features) -> dict[str, list[date]]:
    """As-of dates per split, monthly, for a log from first_day to last_day, which may be cut short.

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
    train = [
        day for day in _before(min(valid), horizon, last, settings.train_dates) if day >= earliest
    ]
    if not train:
        nearest = _before(min(valid), horizon, last, 1)[0]
        needed = (last_day - nearest).days + settings.min_history_days
        asked = ", features.last_as_of" if settings.last_as_of else ""
        raise UserError(
            f"the log is too short: {(last_day - first_day).days} days, {first_day} to {last_day};"
            f" train, validation and test need {needed}",
            where=f"features.horizon_days, features.min_history_days{asked}",
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
