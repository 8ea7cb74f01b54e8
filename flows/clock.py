"""The clock: `operations.today`, or the day it is."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from common.errors import UserError
from configs.settings import Settings
from ingestion.sources import last_day
from monitoring.facts import end_of
from registry.chain import Record

DAY = re.compile(r"(\d{4}-\d{2})(-\d{2})?", re.ASCII)


def today(settings: Settings) -> date:
    """The day that the settings say. Without one, of a simulated shop the day after its log, which
    may end years ago or years from now; of a real source the day it is (UTC)."""
    if settings.operations.today is not None:
        return settings.operations.today
    last = last_day(settings.source)
    return datetime.now(UTC).date() if last is None else last + timedelta(days=1)


def read_day(text: str, where: str) -> date:
    """A day, or the first day of a month: `2026-05-01` or `2026-05`. Raises UserError."""
    match = DAY.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        return date.fromisoformat(f"{match[1]}{match[2] or '-01'}")
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
    """The day of a training by the clock; None for records of other kinds, and of a training that
    came to no figures. Earlier versions of the project wrote no day down: theirs is the day of the
    record."""
    if entry.action not in ("promote", "reject") or not entry.run_id or not entry.figures:
        return None
    return date.fromisoformat(day_of(entry))


def day_of(entry: Record) -> str:
    """The day of a record by the clock; of a manual promotion the day it was made."""
    return str(entry.figures.get("clock", entry.time[:10]))
