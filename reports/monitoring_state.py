"""Hold what the page of monitoring is made of: the values of `monitoring/facts.py`, and those that
only the page needs.

Days are written `2026-04-01`, months `2026-04`. Tuples may be in any order unless stated otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from monitoring.facts import Drift, Estimate, Performance, Quality, Reading, Requests, Verdict

Action = Literal["promote", "reject", "release", "rollback", "trigger"]


@dataclass(frozen=True)
class SensorNote:
    """What a sensor measures, the verdict that its alarm stands for, the unit of its values, and
    its limit of |z|. Made from an entry of SENSORS in `monitoring/measure.py`."""

    meaning: str
    verdict: str
    unit: str
    limit: float


@dataclass(frozen=True)
class Champion:
    """A version while it was champion. since, until: clock days, until None: it still is; roc_auc,
    low, high: on the test split of its training, with its interval."""

    version: int
    since: str
    until: str | None = None
    roc_auc: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Decision:
    """An entry of the ledger. day: the clock day or a time that begins with it; version: the one
    that it is about, None for a trigger."""

    day: str
    action: Action
    version: int | None
    reason: str


@dataclass(frozen=True)
class Run:
    """A training. winner: the model family; roc_auc, low, high: on the test split; decision: of
    the gate."""

    day: str
    run_id: str
    winner: str
    version: int | None
    roc_auc: float | None
    low: float | None
    high: float | None
    decision: Literal["promote", "reject", "release", ""]


@dataclass(frozen=True)
class Alert:
    """An alert, once per sensor (or verdict) and first month. last_month None: it is open."""

    sensor: str
    first_month: str
    severity: Literal["page", "ticket"]
    text: str
    action: str = ""
    last_month: str | None = None


@dataclass(frozen=True)
class Scores:
    """The official scores of an as-of date. path: as people type it, relative to the folder of the
    project."""

    as_of: str
    version: int
    rows: int
    path: str


@dataclass(frozen=True)
class Shadow:
    """A challenger that scored the champion's requests. text: how they compare, as sentences;
    figures: name -> the champion's and the challenger's, as they are shown."""

    champion: int
    challenger: int
    days: int
    rows: int
    text: tuple[str, ...] = ()
    figures: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class PageState:
    """Everything the page shows. made_at: as it is shown; day: the clock's; readings: every sensor
    in every month, the months of the baseline too; performance: of one as-of date each; pooled:
    that of several dates, as sentences; early_label: its readings; of_champion: those that say
    whether the champion is worse than its test; requests: the requests to the service in the latest
    month, None where it logged none; commands: make target -> what to type for it, where that is
    more than `make <target>` (TARGETS of `reports/monitoring.py`)."""

    dataset: str
    made_at: str
    day: str
    sensors: Mapping[str, SensorNote] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    readings: tuple[Reading, ...] = ()
    performance: tuple[Performance, ...] = ()
    pooled: tuple[str, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    champions: tuple[Champion, ...] = ()
    early_label: tuple[Reading, ...] = ()
    of_champion: tuple[Reading, ...] = ()
    drifts: tuple[Drift, ...] = ()
    decisions: tuple[Decision, ...] = ()
    runs: tuple[Run, ...] = ()
    alerts: tuple[Alert, ...] = ()
    scores: tuple[Scores, ...] = ()
    quality: tuple[Quality, ...] = ()
    requests: Requests | None = None
    shadow: Shadow | None = None
    commands: Mapping[str, str] = field(default_factory=dict)

    @property
    def latest(self) -> Verdict | None:
        """The verdict of the latest judged month."""
        return max(self.verdicts, key=lambda one: one.month, default=None)

    def of_month(self, month: str) -> list[Reading]:
        """What every sensor read in a month, and what was read of the champion."""
        every = (*self.readings, *self.of_champion, *self.early_label)
        return [one for one in every if one.month == month]


def in_order(state: PageState) -> PageState:
    """Put every list in the order of its time, so that nothing else sorts again."""
    return replace(
        state,
        verdicts=tuple(sorted(state.verdicts, key=lambda one: one.month)),
        readings=tuple(sorted(state.readings, key=lambda one: (one.month, one.sensor))),
        performance=tuple(sorted(state.performance, key=lambda one: (one.as_of, one.version))),
        estimates=tuple(sorted(state.estimates, key=lambda one: (one.as_of, one.version))),
        champions=tuple(sorted(state.champions, key=lambda one: (one.since, one.version))),
        early_label=tuple(sorted(state.early_label, key=lambda one: one.month)),
        of_champion=tuple(sorted(state.of_champion, key=lambda one: (one.month, one.sensor))),
        drifts=tuple(sorted(state.drifts, key=lambda one: (one.month, one.feature))),
        decisions=tuple(  # what started a training stands before what came of it
            sorted(
                state.decisions,
                key=lambda one: (one.day, one.action != "trigger", one.version or 0, one.reason),
            )
        ),
        runs=tuple(sorted(state.runs, key=lambda one: (one.day, one.run_id))),
        alerts=tuple(sorted(state.alerts, key=lambda one: (one.first_month, one.sensor))),
        scores=tuple(sorted(state.scores, key=lambda one: (one.as_of, one.version))),
        quality=tuple(sorted(state.quality, key=lambda one: one.month)),
    )
