"""Decide which events have to be announced: begun and ended alerts that were not announced yet.

An alert has the first month of its run; repeats are silent; it is over in the first month in which
the sensor is known not to alarm. Which events there have to be follows from the months alone, so
judging a month again with the same result adds nothing, and with another result it corrects what is
open. Functions of plain values: `monitoring/alerts.py` keeps the months and the events.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Literal

from monitoring.facts import end_of
from monitoring.verdict import Condition, Severity


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
class Run:
    """Months in a row in which a sensor alarms. over: the next month, in which it is known not to;
    None while there is none."""

    first: str
    last: str
    over: str | None
    conditions: tuple[Condition, ...]


# Of a month, what is known of each sensor: why it alarms, or None where it does not.
Months = dict[str, dict[str, Condition | None]]


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
