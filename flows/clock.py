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
    """Return the day that the settings name. Without one it is the day after the log of a simulated
    shop, which may end years ago or years from now, and today (UTC) for a real source."""
    if settings.operations.today is not None:
        return settings.operations.today
    last = last_day(settings.source)
    return datetime.now(UTC).date() if last is None else last + timedelta(days=1)


def read_day(text: str, where: str) -> date:
    """Parse a day, or the first day of a month: `2026-05-01` or `2026-05`. Raises UserError."""
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
    """Return the settings with the clock on the day after the month."""
    clock = settings.operations.model_copy(update={"today": end_of(month)})
    return settings.model_copy(update={"operations": clock})


def clock_of(entry: Record) -> date | None:
    """Return the day of a training by the clock; None for records of other kinds, and of a training
    that ended without figures. Records of earlier versions have no clock: their own day counts."""
    if entry.action not in ("promote", "reject") or not entry.run_id or not entry.figures:
        return None
    return date.fromisoformat(day_of(entry))


def day_of(entry: Record) -> str:
    """Return the day of a record by the clock; of a manual promotion the day it was made."""
    return str(entry.figures.get("clock", entry.time[:10]))
