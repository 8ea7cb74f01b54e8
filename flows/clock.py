"""The clock: `operations.today`, or the day it is."""

from __future__ import annotations

from datetime import UTC, date, datetime

from configs.errors import UserError
from configs.settings import Settings
from monitoring.facts import end_of
from registry.chain import Record


def today(settings: Settings) -> date:
    """The day it is (UTC), or the one that the settings say."""
    return settings.operations.today or datetime.now(UTC).date()


def read_day(text: str, where: str) -> date:
    """A day, or the first day of a month: `2026-05-01` or `2026-05`. Raises UserError."""
    try:
        return date.fromisoformat(text if len(text) > 7 else f"{text}-01")
    except ValueError:
        raise UserError(
            f"{text!r} is not a day",
            where=where,
            next_step="write it as YYYY-MM-DD, such as 2026-05-01",
        ) from None


def as_of_month(settings: Settings, month: str) -> Settings:
    """The settings with the clock on the day after the month."""
    clock = settings.operations.model_copy(update={"today": end_of(month)})
    return settings.model_copy(update={"operations": clock})


def clock_of(entry: Record) -> date | None:
    """The day of a training by the clock; None for records of other kinds. Earlier versions of the
    project wrote none down: theirs is the day of the record."""
    if entry.action not in ("promote", "reject") or not entry.run_id:
        return None
    return date.fromisoformat(entry.figures.get("clock", entry.time[:10]))
