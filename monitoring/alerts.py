"""Alerts: one per sensor and first month, and the announcement of its end.

    var/monitoring/<data set>/judged.json     what each month said of each sensor (a record)
    var/monitoring/<data set>/alerts.jsonl    the events, in the order in which they were announced

What is to be announced follows from the months in `judged.json` alone; an event is appended when it
differs from what was announced before. So a month that is judged again with the same result adds
nothing, one that is judged again with another result corrects what is open, and a command that is
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
from common.terminal import short
from monitoring.episodes import (
    MOST_TEXT,
    Condition,
    Event,
    Months,
    Severity,
    announced_of,
    judgement,
    missing,
    runs_of,
)
from monitoring.facts import Reading, Verdict, VerdictName
from monitoring.journal import append, read, read_repaired

log = logging.getLogger("golden_path")
EVENTS, JUDGED = "alerts.jsonl", "judged.json"
LOCK = ".alerts.lock"


@dataclass(frozen=True)
class Alert:
    """An alert as it stands. last_month: the last month that it was seen in; text, action: of that
    month; over: the month in which it was announced as over, None while it is open."""

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
    stands_for: Mapping[str, VerdictName] | None = None,
    today: date | None = None,
) -> list[Event]:
    """Take in the judgement of a month, and return the events that it adds.

    Each alarming sensor is an alert under its own name. The verdict is one under its name where no
    alarming sensor stands for it.

    Parameters
    ----------
    folder: of the data set, under var/monitoring.
    readings: of this month; those that only explain, such as the early label, are left out by the
        caller.
    stands_for: the verdict that a sensor's alarm means; for other sensors it is the month's.
    today: the day of the clock; None: the day at which the month is judged.

    Raises ValueError when a reading or the verdict is of another month, OSError when the folder
    cannot be written.
    """
    if {reading.month for reading in readings} | {verdict.month} != {month}:
        raise ValueError(f"readings or a verdict of another month than {month}")
    judged = judgement(readings, verdict, stands_for or {})
    return _change(folder, "judged", month, judged, today)


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
    condition = Condition(severity, verdict or "", short(text, MOST_TEXT), short(action, MOST_TEXT))
    return _change(folder, "raised", month, {sensor: condition}, today)


def clear_alert(folder: Path, month: str, sensor: str, *, today: date | None = None) -> list[Event]:
    """End what `raise_alert` opened, in this month or in an earlier one. Nothing to do when it is
    not open."""
    return _change(folder, "raised", month, {sensor: None}, today)


def events_of(folder: Path) -> list[Event]:
    """Every event, oldest first. Changes nothing; damaged lines are left out."""
    return _events(read(folder / EVENTS))


def alerts_of(folder: Path) -> list[Alert]:
    """Every alert, open and over, by first month. Changes nothing."""
    events = events_of(folder)
    try:
        months = _merged(_read_judged(folder))
    except (OSError, RecordAltered):
        months = _merged(_rebuilt(events))
    alerts = []
    for (sensor, first), told in sorted(announced_of(events).items(), key=lambda one: one[0][::-1]):
        event = told[-1]
        over = event.month if event.state == "resolved" else None
        firing = next(one for one in reversed(told) if one.state == "firing")
        last, now = event.last_month or first, (firing.verdict, firing.text, firing.action)
        for run in runs_of(months, sensor) if over is None else ():
            if run.first <= first <= run.last:
                why = run.conditions[-1]
                last, now = run.last, (why.verdict, why.text, why.action)
        alerts.append(Alert(sensor, first, last, over, firing.severity, *now))
    return alerts


def repair(folder: Path) -> list[Event]:
    """Every event, oldest first, after damaged lines were taken out and the events that follow from
    the judged months were announced again where they were lost. Their id is what it was."""
    with file_lock(folder / LOCK, wait=None):
        return _reconcile(folder, _judged(folder), None)[0]


def _change(
    folder: Path,
    part: str,
    month: str,
    said: dict[str, Condition | None],
    today: date | None,
) -> list[Event]:
    """Record what a month says, then announce what follows. The record comes first: a process that
    is killed between the two has lost nothing, as the next call announces it."""
    with file_lock(folder / LOCK, wait=None):
        judged = _judged(folder)
        before = judged[part].get(month, {})
        if part == "raised":
            known = {sensor for months in judged[part].values() for sensor in months}
            said = {**before, **{k: v for k, v in said.items() if v is not None or k in known}}
        if said != before:
            judged[part][month] = said
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
    """All events after those that are missing were appended, and the appended ones."""
    events = _events(read_repaired(folder / EVENTS))
    added = missing(folder.name, events, _merged(judged), today)
    for event in added:
        append(folder / EVENTS, asdict(event))
    return [*events, *added], added


def _judged(folder: Path) -> dict[str, Months]:
    """What the record says; where it was altered or is lost, what the events say."""
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
                month: {name: one and Condition(**one) for name, one in said.items()}
                for month, said in content[part].items()
            }
            for part in ("judged", "raised")
        }
    except (LookupError, TypeError, AttributeError):
        raise RecordAltered("it is not a record of judged months") from None


def _rebuilt(events: Sequence[Event]) -> dict[str, Months]:
    """The months as far as the events tell: the first and the last of each alert, and its end."""
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
    # Which of them were judged is not known: a judgement counts before what was raised.
    return {"judged": {}, "raised": months}


def _merged(judged: dict[str, Months]) -> Months:
    both: Months = {}
    for part in ("raised", "judged"):
        for month, said in judged[part].items():
            both.setdefault(month, {}).update(said)
    return both


def _events(lines: list[dict[str, Any]]) -> list[Event]:
    names = {field.name for field in fields(Event)}
    return [Event(**line) for line in lines if set(line) == names]
