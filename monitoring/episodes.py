"""What has to be announced, from what the months say: pure functions, no files.

An alert is one per sensor and run of months in which it alarms. It has the first month of the run;
repeats are silent; it is over in the first month that says that the sensor does not alarm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from common.terminal import short
from monitoring.facts import Reading, Verdict, VerdictName, end_of
from monitoring.verdict import ACTIONS

MOST_TEXT = 1000  # characters of a sentence in an event
Severity = Literal["page", "ticket"]
# Of the verdicts of monitoring/facts.py; calendar is not an alert.
SEVERITY: dict[str, Severity] = {
    "broken data": "page",
    "changed demand": "ticket",
    "worse": "ticket",
}
# A sensor in another state (learning, too_few, skipped) says nothing: an open alert stays open.
OVER = ("ok", "pending", "baseline")


@dataclass(frozen=True)
class Event:
    """What is announced: that an alert began (firing) or is over (resolved).

    id: 32 hexadecimal digits, of the data set, sensor, first month and state; an event that is
    announced again because a month was judged anew has another one.  sensor: of the reading, a
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
class Condition:
    """Why a sensor alarms in a month."""

    severity: Severity
    verdict: str
    text: str
    action: str


@dataclass(frozen=True)
class Run:
    """Months in a row in which a sensor alarms. over: the next month, which says that it does not;
    None while there is none."""

    first: str
    last: str
    over: str | None
    conditions: tuple[Condition, ...]


# Of a month, what is known of each sensor: why it alarms, or None where it does not.
Months = dict[str, dict[str, Condition | None]]


def judgement(
    readings: Sequence[Reading], verdict: Verdict, stands_for: Mapping[str, VerdictName]
) -> dict[str, Condition | None]:
    """What a month says of each sensor and each verdict. One that is not in it is not known."""
    said: dict[str, Condition | None] = {}
    explained: set[str] = set()  # verdicts that an alarming sensor stands for
    # A sensor that is not in `stands_for` does not explain `worse`: labels do, not sensors.
    usual = "" if verdict.verdict == "worse" else verdict.verdict
    for reading in readings:
        if reading.state == "alarm":
            named = stands_for.get(reading.sensor, verdict.verdict)
            explained.add(stands_for.get(reading.sensor, usual))
            text = reading.text or f"{reading.sensor} is outside its limits"
            # Broken data may hide a change of demand, which asks for something else.
            action = verdict.action if named == verdict.verdict else ACTIONS[named]
            said[reading.sensor] = condition_of(named, text, action)
        elif reading.state in OVER:
            said[reading.sensor] = None
    order = list(ACTIONS)
    for name in order[: order.index(verdict.verdict) + 1]:  # what comes after it was not judged
        if name == verdict.verdict and name in SEVERITY:
            if name not in explained:
                text = " ".join(verdict.evidence) or f"the verdict is: {name}"
                said[name] = condition_of(name, text, verdict.action)
        elif name in SEVERITY and name not in explained:
            said[name] = None
    return said


def condition_of(verdict: str, text: str, action: str) -> Condition:
    severity = SEVERITY.get(verdict, "ticket")
    return Condition(severity, verdict, short(text, MOST_TEXT), short(action, MOST_TEXT))


def missing(dataset: str, events: list[Event], months: Months, today: date | None) -> list[Event]:
    """The events to announce, so that they say what the months do.

    dataset: its name is part of the ids, so that two data sets may tell the same receiver.
    """
    announced = announced_of(events)
    added: list[Event] = []

    def announce(event: Event) -> None:
        added.append(event)
        announced.setdefault((event.sensor, event.first_month), []).append(event)

    matched: set[tuple[str, str]] = set()
    sensors = dict.fromkeys(name for said in months.values() for name in said)
    for sensor in sensors:
        for run in runs_of(months, sensor):
            inside = [f for s, f in announced if s == sensor and run.first <= f <= run.last]
            # An alert that is open goes on, whatever months before it were judged anew.
            first = min(inside, key=lambda f: (not is_open(announced[sensor, f]), f), default="")
            first = first or run.first
            matched.add((sensor, first))
            told, why = announced.get((sensor, first), []), run.conditions[0]
            rises = why.severity == "page" and bool(told) and told[-1].severity != "page"
            if not told or (run.over is None and (not is_open(told) or rises)):
                announce(_firing(dataset, sensor, first, told, why, today))
            told = announced[sensor, first]
            if run.over is not None and is_open(told):
                announce(_resolved(dataset, told, run.last, run.over, today))
    for (sensor, first), told in list(announced.items()):
        if (sensor, first) not in matched and is_open(told):
            announce(_resolved(dataset, told, None, first, today))
    return added


def announced_of(events: Sequence[Event]) -> dict[tuple[str, str], list[Event]]:
    """The events of each alert, in their order. An alert whose beginning was lost is left out."""
    announced: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        key = (event.sensor, event.first_month)
        if event.state == "firing" or key in announced:
            announced.setdefault(key, []).append(event)
    return announced


def is_open(told: list[Event]) -> bool:
    return bool(told) and told[-1].state == "firing"


def runs_of(months: Months, sensor: str) -> list[Run]:
    """The months that do not say anything of the sensor neither go on with a run nor end it."""
    runs: list[Run] = []
    for month in sorted(months):
        if sensor not in months[month]:
            continue
        condition = months[month][sensor]
        open_run = runs[-1] if runs and runs[-1].over is None else None
        if open_run is not None:
            runs.pop()
            first, found = open_run.first, open_run.conditions
            if condition is None:
                runs.append(Run(first, open_run.last, month, found))
            else:
                runs.append(Run(first, month, None, (*found, condition)))
        elif condition is not None:
            runs.append(Run(month, month, None, (condition,)))
    return runs


def _firing(
    dataset: str, sensor: str, first: str, told: list[Event], why: Condition, today: date | None
) -> Event:
    return Event(
        *(_id(dataset, sensor, first, "firing", told), sensor, first, first, None, "firing"),
        *(why.severity, why.verdict, why.text, why.action, *_times(today, first)),
    )


def _resolved(
    dataset: str, told: list[Event], last: str | None, month: str, today: date | None
) -> Event:
    """last: of the alert; None: its first month was judged anew, and is no alarm."""
    began = told[-1]
    sensor, first = began.sensor, began.first_month
    if last is None:
        last, text = first, f"{sensor}: over. {first} was looked at again, without it."
    else:
        months = f"Its month was {first}" if last == first else f"Its months were {first} to {last}"
        text = f"{sensor}: over in {month}. {months}."
    return Event(
        *(_id(dataset, sensor, first, "resolved", told), sensor, first, month, last, "resolved"),
        *(began.severity, began.verdict, text, "", *_times(today, month)),
    )


def _id(dataset: str, sensor: str, first: str, state: str, told: list[Event]) -> str:
    again = sum(event.state == state for event in told)
    parts = [dataset, sensor, first, state, *([again] if again else [])]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _times(today: date | None, month: str) -> tuple[str, str]:
    clock = today or end_of(month)
    return clock.isoformat(), datetime.now(UTC).isoformat(timespec="seconds")
