"""Decide the verdict of a month, one of four, and which alerts it and its readings call for.

broken data     a sensor of the data alarms: do not score the month, train nothing, page somebody
changed demand  customers buy more or less, or others do: retrain when labels after the change exist
worse           the champion ranks significantly worse than it did: retrain now
calendar        nothing alarms: retrain by the calendar

The first that applies counts, in this order: broken data show nothing about demand, and rows after
a change of demand have no labels to judge a champion by yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from common.terminal import short
from monitoring.facts import Reading, Verdict, VerdictName, add_months, end_of, first_day

# In the order in which they count.
ACTIONS: Mapping[VerdictName, str] = {
    "broken data": "the month is not scored, and nothing is trained; look at its rows, repair the"
    " source and accept the changed rows (RESTATE), or accept them as the new normal (make"
    " rebaseline)",
    "changed demand": "inform the users of the scores; retrain when labels from after the"
    " change are known",
    "worse": "retrain now",
    "calendar": "nothing to do; the next retraining comes by the calendar",
}

HELD = (
    "nothing is scored or trained by this batch; look at its rows, then release it (make"
    " accept-batch) or repair the source, and type the same command again"
)
Severity = Literal["page", "ticket"]
SEVERITY: dict[str, Severity] = {  # the calendar is not an alert
    "broken data": "page",
    "changed demand": "ticket",
    "worse": "ticket",
}
# A sensor in another state (learning, too_few, skipped) is not known: an open alert stays open.
OVER = ("ok", "pending", "baseline")
MOST_TEXT = 1000  # characters of a sentence in an alert


@dataclass(frozen=True)
class Condition:
    """Why a sensor alarms in a month."""

    severity: Severity
    verdict: str
    text: str
    action: str


def decide(
    month: str,
    readings: Sequence[Reading],
    verdict_of_alarm: Mapping[str, VerdictName],
    *,
    held: str = "",
    earlier: Sequence[Verdict] = (),
    champion: int | None = None,
    horizon_days: int,
    explained: Sequence[str] = (),
    learning: Sequence[str] = (),
) -> Verdict:
    """Decide the verdict of a month.

    readings: of its sensors and of the champion.  verdict_of_alarm: their names -> the verdict
    that an alarm means; what is not in it never counts.  held: why the contract holds the month's
    rows.  earlier: verdicts of the months before it, in order.  explained, learning: beside
    the verdict, in sentences.
    """
    evidence: dict[VerdictName, list[str]] = {name: [] for name in ACTIONS}
    if held:
        evidence["broken data"].append(held)
    for reading in readings:
        if reading.state == "alarm" and reading.sensor in verdict_of_alarm:
            evidence[verdict_of_alarm[reading.sensor]].append(reading.text)
    verdict = next(name for name in ACTIONS if evidence[name] or name == "calendar")
    since = _since(month, verdict, earlier)
    due = _due(month, evidence["changed demand"], earlier, horizon_days)
    return Verdict(
        month=month,
        verdict=verdict,
        action=HELD if held else _action(verdict, due),
        since=since,
        # Evidence of a lower verdict is shown too: broken data may hide a change of demand.
        evidence=tuple(sentence for sentences in evidence.values() for sentence in sentences),
        champion=champion,
        retrain_due=due,
        explained=tuple(explained) if verdict != "calendar" else (),
        learning=tuple(learning),
    )


def unaccepted(verdicts: Sequence[Verdict], since: str) -> list[str]:
    """List the months of broken data that were neither repaired nor accepted. since: the first
    month of the baseline that counts now."""
    return [v.month for v in verdicts if v.verdict == "broken data" and v.month >= since]


def conditions_of(
    readings: Sequence[Reading], verdict: Verdict, verdict_of_alarm: Mapping[str, VerdictName]
) -> dict[str, Condition | None]:
    """Find for each sensor and each verdict why it alarms in a month, or None where it does not.
    One that is not in the result is not known.

    verdict_of_alarm: the verdict that a sensor's alarm means. A verdict alarms under its own name
    where no alarming sensor stands for it.
    """
    conditions: dict[str, Condition | None] = {}
    explained: set[str] = set()  # verdicts that an alarming sensor stands for
    # A sensor that is not in `verdict_of_alarm` does not explain `worse`: labels do, not sensors.
    usual = "" if verdict.verdict == "worse" else verdict.verdict
    for reading in readings:
        if reading.state == "alarm":
            named = verdict_of_alarm.get(reading.sensor, verdict.verdict)
            explained.add(verdict_of_alarm.get(reading.sensor, usual))
            text = reading.text or f"{reading.sensor} is outside its limits"
            # Broken data may hide a change of demand, which needs another action.
            action = verdict.action if named == verdict.verdict else ACTIONS[named]
            conditions[reading.sensor] = condition_of(named, text, action)
        elif reading.state in OVER:
            conditions[reading.sensor] = None
    order = list(ACTIONS)
    for name in order[: order.index(verdict.verdict) + 1]:  # what comes after it was not judged
        if name == verdict.verdict and name in SEVERITY:
            if name not in explained:
                text = " ".join(verdict.evidence) or f"the verdict is: {name}"
                conditions[name] = condition_of(name, text, verdict.action)
        elif name in SEVERITY and name not in explained:
            conditions[name] = None
    return conditions


def condition_of(
    verdict: str, text: str, action: str, severity: Severity | None = None
) -> Condition:
    """Bound the texts of a condition. severity: None: the verdict's."""
    severity = severity or SEVERITY.get(verdict, "ticket")
    return Condition(severity, verdict, short(text, MOST_TEXT), short(action, MOST_TEXT))


def _since(month: str, verdict: VerdictName, earlier: Sequence[Verdict]) -> str:
    """The first month of the same verdict in a row."""
    last = earlier[-1] if earlier else None
    if last and last.month == add_months(month, -1) and last.verdict == verdict:
        return last.since
    return month


def _due(
    month: str, demand: Sequence[str], earlier: Sequence[Verdict], horizon_days: int
) -> str | None:
    """Compute the day from which a training can learn from the change of demand: its test date is a
    horizon after the change, and the labels of that date are known a horizon later. A change that
    was found before and is not over keeps its day."""
    last = earlier[-1] if earlier else None
    known = last.retrain_due if last and last.month == add_months(month, -1) else None
    if known is not None and (demand or known > end_of(month).isoformat()):
        return known
    if not demand:
        return None
    return (first_day(month) + timedelta(days=2 * horizon_days)).isoformat()


def _action(verdict: VerdictName, due: str | None) -> str:
    if verdict == "changed demand" and due:
        return f"{ACTIONS[verdict]}: from {due} on"
    return ACTIONS[verdict]
