"""Keep the alerts: one per sensor and run of months in which it alarms, announced once.

    var/monitoring/<data set>/judged.json     the conditions of each month, by sensor (a record)
    var/monitoring/<data set>/alerts.jsonl    the events, in the order in which they were announced

Which events there have to be follows from the months in `judged.json` alone
(`monitoring/events.py`), and those that were not announced yet are appended. So a command that is
killed at any moment and run again announces each event once. `monitoring/delivery.py` sends them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

from common.files import RecordAltered, read_record, write_record
from common.locks import file_lock
from monitoring.events import Event, Months, announced_of, runs_of, unannounced
from monitoring.facts import Reading, Verdict, VerdictName
from monitoring.journal import append, read, read_repaired
from monitoring.verdict import Condition, Severity, condition_of, conditions_of

log = logging.getLogger("golden_path")
EVENTS, JUDGED = "alerts.jsonl", "judged.json"
LOCK = ".alerts.lock"


@dataclass(frozen=True)
class Alert:
    """The current state of an alert. last_month: the last month that it was seen in; text, action:
    of that month; over: the month in which it was announced as over, None while it is open."""

    sensor: str
    first_month: str
    last_month: str
    over: str | None
    severity: Severity
    verdict: str
    text: str
    action: str


def update(
    folder: Path,
    month: str,
    readings: Sequence[Reading],
    verdict: Verdict,
    *,
    verdict_of_alarm: Mapping[str, VerdictName] | None = None,
    today: date | None = None,
) -> list[Event]:
    """Take in the readings and the verdict of a month, and return the events that this adds.

    Each alarming sensor is an alert under its own name, and so is the verdict where no alarming
    sensor stands for it.

    Parameters
    ----------
    folder: of the data set, under var/monitoring.
    readings: of this month; those that only explain, such as the early label, are left out by the
        caller.
    verdict_of_alarm: the verdict that a sensor's alarm means; for other sensors it is the month's.
    today: the day of the clock; None: the day at which the month is judged.

    Raises ValueError when a reading or the verdict is of another month, OSError when the folder
    cannot be written.
    """
    if {reading.month for reading in readings} | {verdict.month} != {month}:
        raise ValueError(f"readings or a verdict of another month than {month}")
    conditions = conditions_of(readings, verdict, verdict_of_alarm or {})
    return _change(folder, "judged", month, conditions, today)


def raise_alert(
    folder: Path,
    month: str,
    sensor: str,
    text: str,
    action: str,
    *,
    verdict: VerdictName | None = None,
    severity: Severity = "page",
    today: date | None = None,
) -> list[Event]:
    """Open an alert that no reading stands for, such as `batch` (the month's data was held) or
    `operate` (a month could not be processed). Repeats, and following months, add no event.

    sensor: a name that is not a sensor's or a verdict's.
    """
    condition = condition_of(verdict or "", text, action, severity)
    return _change(folder, "raised", month, {sensor: condition}, today)


def clear_alert(folder: Path, month: str, sensor: str, *, today: date | None = None) -> list[Event]:
    """End what `raise_alert` opened, in this month or in an earlier one. Nothing to do when it is
    not open."""
    return _change(folder, "raised", month, {sensor: None}, today)


def events_of(folder: Path) -> list[Event]:
    """Read every event, oldest first. Changes nothing; damaged lines are left out."""
    return _events(read(folder / EVENTS))


def alerts_of(folder: Path) -> list[Alert]:
    """List every alert, open and over, by first month. Changes nothing."""
    events = events_of(folder)
    try:
        months = _merged(_read_judged(folder))
    except (OSError, RecordAltered):
        months = _merged(_rebuilt(events))
    alerts = []
    for (sensor, first), past in sorted(announced_of(events).items(), key=lambda one: one[0][::-1]):
        event = past[-1]
        over = event.month if event.state == "resolved" else None
        firing = next(one for one in reversed(past) if one.state == "firing")
        last, now = event.last_month or first, (firing.verdict, firing.text, firing.action)
        for run in runs_of(months, sensor) if over is None else ():
            if run.first <= first <= run.last:
                why = run.conditions[-1]
                last, now = run.last, (why.verdict, why.text, why.action)
        alerts.append(Alert(sensor, first, last, over, firing.severity, *now))
    return alerts


def repair(folder: Path) -> list[Event]:
    """Read every event, oldest first, after damaged lines were taken out and lost events were made
    again from the judged months, with the same ids."""
    with file_lock(folder / LOCK, wait=None):
        return _reconcile(folder, _judged(folder), None)[0]


def _change(
    folder: Path,
    part: str,
    month: str,
    conditions: dict[str, Condition | None],
    today: date | None,
) -> list[Event]:
    """Record the conditions of a month, then announce what follows. The record comes first: a
    process that is killed between the two has lost nothing, as the next call announces it."""
    with file_lock(folder / LOCK, wait=None):
        judged = _judged(folder)
        before = judged[part].get(month, {})
        if part == "raised":
            known = {sensor for months in judged[part].values() for sensor in months}
            news = {k: v for k, v in conditions.items() if v is not None or k in known}
            conditions = {**before, **news}
        if conditions != before:
            judged[part][month] = conditions
            content = {
                part: {
                    month: {name: one and asdict(one) for name, one in months.items()}
                    for month, months in sorted(judged[part].items())
                }
                for part in judged
            }
            write_record(folder / JUDGED, content)
        return _reconcile(folder, judged, today)[1]


def _reconcile(
    folder: Path, judged: dict[str, Months], today: date | None
) -> tuple[list[Event], list[Event]]:
    """Append the events that are missing; returns all events, and the appended ones."""
    events = _events(read_repaired(folder / EVENTS))
    added = unannounced(folder.name, events, _merged(judged), today)
    for event in added:
        append(folder / EVENTS, asdict(event))
    return [*events, *added], added


def _judged(folder: Path) -> dict[str, Months]:
    """Read the record; where it was altered or is lost, make it again from the events."""
    try:
        return _read_judged(folder)
    except (OSError, RecordAltered) as error:
        events = _events(read_repaired(folder / EVENTS))
        if events or not isinstance(error, FileNotFoundError):
            log.warning("%s: %s; it is made again from %s", folder / JUDGED, error, EVENTS)
        return _rebuilt(events)


def _read_judged(folder: Path) -> dict[str, Months]:
    content = read_record(folder / JUDGED)
    try:
        return {
            part: {
                month: {name: one and Condition(**one) for name, one in conditions.items()}
                for month, conditions in content[part].items()
            }
            for part in ("judged", "raised")
        }
    except (LookupError, TypeError, AttributeError):
        raise RecordAltered("it is not a record of judged months") from None


def _rebuilt(events: Sequence[Event]) -> dict[str, Months]:
    """Make the months again as far as the events allow: the first and last of each alert, and its
    end."""
    months: Months = {}
    for event in events:
        first, sensor = event.first_month, event.sensor
        if event.state == "firing":
            why = Condition(event.severity, event.verdict, event.text, event.action)
            months.setdefault(first, {})[sensor] = why
        elif first in months:
            if event.last_month not in (None, first):
                months.setdefault(str(event.last_month), {})[sensor] = months[first].get(sensor)
            months.setdefault(event.month, {})[sensor] = None
    # Which of them were judged is not known; judged months take precedence over raised alerts.
    return {"judged": {}, "raised": months}


def _merged(judged: dict[str, Months]) -> Months:
    both: Months = {}
    for part in ("raised", "judged"):
        for month, conditions in judged[part].items():
            both.setdefault(month, {}).update(conditions)
    return both


def _events(lines: list[dict[str, Any]]) -> list[Event]:
    names = {field.name for field in fields(Event)}
    return [Event(**line) for line in lines if set(line) == names]
