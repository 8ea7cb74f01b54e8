"""The frozen baseline of the sensors, and what they read against it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Any

from common.errors import UserError
from common.files import RecordAltered
from configs.command import make
from configs.settings import Settings
from flows.watch import Watched, folder_of
from monitoring import state
from monitoring.facts import Reading, add_months, end_of, month_of
from monitoring.measure import SENSORS, Measured, measure_months
from monitoring.sensors import freeze, read_month


def baselines_of(settings: Settings) -> list[dict[str, Any]]:
    """The frozen baselines, the oldest first. Raises UserError for one that was altered."""
    folder = folder_of(settings)
    try:
        return state.baselines(folder)
    except RecordAltered as error:
        raise UserError(
            f"a frozen baseline was altered: {error}",
            where=str(folder / "baseline"),
            next_step="restore it from a copy; or remove it, and freeze a new one:"
            f" {make('rebaseline', settings, REASON='why')}",
        ) from None


def baseline_of(watched: Watched, month: str) -> dict[str, Any] | None:
    """The baseline that judges this month; the first one is frozen here. None before it."""
    found = baselines_of(watched.settings)
    if found:
        return state.baseline_for(found, month)
    since = first_judged(watched, month)
    return freeze_baseline(watched, since, "the first one", 1) if since <= month else None


def first_judged(watched: Watched, month: str) -> str:
    """The first month that the first baseline judges: `operations.start`, or else the first month
    that anybody asks for, but not before the log has the months that a baseline is made of."""
    start = watched.settings.operations.start
    since = month if start is None else month_of(start)
    have = {one.month for one in watched.months}
    last = max(have, default=month)  # whether later months will have rows is not known
    while not all(one in have or one > last for one in _months_before(watched.settings, since)):
        since = add_months(since, 1)
    return since


def freeze_baseline(
    watched: Watched, since: str, reason: str, version: int
) -> dict[str, Any] | None:
    """Freeze a baseline on the months before `since`, write it down and return it; None where the
    log has not enough whole months."""
    wanted = _months_before(watched.settings, since)
    if not set(wanted) <= {one.month for one in watched.months}:
        return None
    measured = _measure(watched, end_of(wanted[-1]))
    sensors = freeze(measured, wanted)
    content = {
        "version": version,
        "since": since,
        "reason": reason,
        "made_from": {one.month: one.digest for one in watched.months if one.month in wanted},
        "sensors": sensors,
        # What it was made of, for the page.
        "readings": [asdict(one) for m in wanted for one in read_month(measured, sensors, m)],
    }
    state.write_baseline(watched.folder, content)
    return content


def read_sensors(watched: Watched, month: str, baseline: dict[str, Any] | None) -> list[Reading]:
    """The readings of a month: without a baseline, all are learning."""
    if baseline is not None:
        return read_month(_measure(watched, end_of(month)), baseline["sensors"], month)
    found = baselines_of(watched.settings)
    first = found[0]["since"] if found else first_judged(watched, month)
    count = watched.settings.operations.baseline_months
    text = f"Learning: the baseline is the {count} months before {first}; it judges from then on."
    return [Reading(name, month, "learning", until=first, text=text) for name in SENSORS]


def _months_before(settings: Settings, since: str) -> list[str]:
    count = settings.operations.baseline_months
    return [add_months(since, -n) for n in range(count, 0, -1)]


def _measure(watched: Watched, until: date) -> list[Measured]:
    settings = watched.settings
    return measure_months(
        watched.transactions,
        watched.quarantine,
        until=until,
        declared=settings.source.declared,
        home_country=settings.features.home_country,
        compute=settings.compute,
        folder=watched.folder,
    )
