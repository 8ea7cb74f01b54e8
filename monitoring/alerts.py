"""Keep the alerts: one per sensor and run of months in which it alarms, announced once.

    var/monitoring/<data set>/judged.json     the conditions of each month, by sensor (a record)
    var/monitoring/<data set>/alerts.jsonl    the events, in the order in which they were announced

An alert has the first month of its run; repeats are silent; it is over in the first month in which
the sensor is known not to alarm. Which events there have to be follows from the months in
`judged.json` alone, and those that were not announced yet are appended. So a month that is judged
again with the same result adds nothing, one that is judged again with another result corrects what
is open, and a command that is killed at any moment and run again announces each event once.
`monitoring/delivery.py` sends them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from common.files import RecordAltered, read_record, write_record
from common.locks import file_lock
from monitoring.facts import Reading, Verdict, VerdictName, end_of
from monitoring.journal import append, read, read_repaired
from monitoring.verdict import Condition, Severity, condition_of, conditions_of

log = logging.getLogger("golden_path")
EVENTS, JUDGED = "alerts.jsonl", "judged.json"
LOCK = ".alerts.lock"


@dataclass(frozen=True)
class Event:
    """What is announced: that an alert began (firing) or is over (resolved).

    id: 32 hexadecimal digits, of the data set, sensor, first month and state; an event that is
    announced again because a month was judged again has another one.  sensor: of the reading, a
    verdict's name, or what `raise_alert` was given.  month: the one whose judgement the event
    comes from.  last_month: the last month of the alert, where it is over.  clock: the day of the
    clock, ISO.  time: of the wall clock, ISO, UTC.
    """

    id: str
    sensor: str
    first_month: str
    month: str
    last_month: str | None
    state: Literal["firing", "resolved"]
    severity: Severity
    verdict: str
    text: str
    action: str
    clock: str
    time: str


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


@dataclass(frozen=True)
class Run:
    """Months in a row in which a sensor alarms. over: the next month, in which it is known not to;
    None while there is none."""

    first: str
    last: str
    over: str | None
    conditions: tuple[Condition, ...]


# Of a month, what is known of each sensor: why it alarms, or None where it does not.
Months = dict[str, dict[str, Condition | None]]


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


# --- what has to be announced ---------------------------------------------------------------------


def unannounced(
    dataset: str, events: list[Event], months: Months, today: date | None
) -> list[Event]:
    """Make the events that have to be added to those announced, so that both agree with the months.

    dataset: its name is part of the ids, so that two data sets may share a receiver.
    """
    announced = announced_of(events)
    added: list[Event] = []

    def announce(event: Event) -> None:
        added.append(event)
        announced.setdefault((event.sensor, event.first_month), []).append(event)

    matched: set[tuple[str, str]] = set()
    sensors = dict.fromkeys(name for conditions in months.values() for name in conditions)
    for sensor in sensors:
        for run in runs_of(months, sensor):
            inside = [f for s, f in announced if s == sensor and run.first <= f <= run.last]
            # An open alert continues, whichever months before it were judged again.
            first = min(inside, key=lambda f: (not is_open(announced[sensor, f]), f), default="")
            first = first or run.first
            matched.add((sensor, first))
            past, why = announced.get((sensor, first), []), run.conditions[0]
            rises = why.severity == "page" and bool(past) and past[-1].severity != "page"
            if not past or (run.over is None and (not is_open(past) or rises)):
                announce(_firing(dataset, sensor, first, past, why, today))
            past = announced[sensor, first]
            if run.over is not None and is_open(past):
                announce(_resolved(dataset, past, run.last, run.over, today))
    for (sensor, first), past in list(announced.items()):
        if (sensor, first) not in matched and is_open(past):
            announce(_resolved(dataset, past, None, first, today))
    return added


def announced_of(events: Sequence[Event]) -> dict[tuple[str, str], list[Event]]:
    """Group the events by alert, in their order. An alert whose beginning was lost is left out."""
    announced: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        key = (event.sensor, event.first_month)
        if event.state == "firing" or key in announced:
            announced.setdefault(key, []).append(event)
    return announced


def is_open(past: list[Event]) -> bool:
    """Whether the alert with these events is not over."""
    return bool(past) and past[-1].state == "firing"


def runs_of(months: Months, sensor: str) -> list[Run]:
    """Find the runs of months in which a sensor alarms. A month in which nothing is known of it
    neither continues a run nor ends it."""
    runs: list[Run] = []
    for month in sorted(months):
        if sensor not in months[month]:
            continue
        condition = months[month][sensor]
        if runs and runs[-1].over is None:
            run = runs[-1]
            if condition is None:
                runs[-1] = replace(run, over=month)
            else:
                runs[-1] = replace(run, last=month, conditions=(*run.conditions, condition))
        elif condition is not None:
            runs.append(Run(month, month, None, (condition,)))
    return runs


def _firing(
    dataset: str, sensor: str, first: str, past: list[Event], why: Condition, today: date | None
) -> Event:
    return Event(
        *(_id(dataset, sensor, first, "firing", past), sensor, first, first, None, "firing"),
        *(why.severity, why.verdict, why.text, why.action, *_times(today, first)),
    )


def _resolved(
    dataset: str, past: list[Event], last: str | None, month: str, today: date | None
) -> Event:
    """last: of the alert; None: its first month was judged again, and is not an alarm any more."""
    began = past[-1]
    sensor, first = began.sensor, began.first_month
    if last is None:
        last, text = first, f"{sensor}: over. {first} was judged again, without it."
    else:
        months = f"Its month was {first}" if last == first else f"Its months were {first} to {last}"
        text = f"{sensor}: over in {month}. {months}."
    return Event(
        *(_id(dataset, sensor, first, "resolved", past), sensor, first, month, last, "resolved"),
        *(began.severity, began.verdict, text, "", *_times(today, month)),
    )


def _id(dataset: str, sensor: str, first: str, state: str, past: list[Event]) -> str:
    again = sum(event.state == state for event in past)
    parts = [dataset, sensor, first, state, *([again] if again else [])]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _times(today: date | None, month: str) -> tuple[str, str]:
    clock = today or end_of(month)
    return clock.isoformat(), datetime.now(UTC).isoformat(timespec="seconds")
