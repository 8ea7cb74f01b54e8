"""The verdict of a month as the page says it: what it is, since when, how sure, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from monitoring.facts import Reading, Verdict, VerdictName, add_months, month_of
from reports import svg, words
from reports.state import PageState

# What to type next: a target of make.
NEXT: dict[VerdictName, str] = {
    "broken data": "quarantine",
    "changed demand": "operate",
    "worse": "train",
    "calendar": "operate",
}
HEADLINES = {
    "broken data": "The data are broken",
    "changed demand": "Demand has changed",
    "worse": "The champion ranks worse",
    "calendar": "No finding",
}
MEANS = {
    "broken data": "a data sensor is in alarm, or the data contract holds the rows; the month is"
    " not scored, and nothing is trained",
    "changed demand": "a demand sensor is in alarm; retrain when labels of the time after it are"
    " complete",
    "worse": "the labels show that the champion ranks worse; train now",
    "calendar": "nothing was found; retrain by the calendar",
}
KINDS = {"broken data": "bad", "changed demand": "warn", "worse": "worse", "calendar": "good"}


@dataclass(frozen=True)
class Month:
    """A month of the strip. kind: its colour and icon; notes: what was pending or not judged."""

    verdict: Verdict
    kind: str
    word: str
    notes: tuple[str, ...]


def latest_verdict(state: PageState) -> dict[str, Any] | None:
    """The latest month's: what, since when, how sure, what to do, what is not judged yet."""
    latest = state.latest
    if latest is None:
        return None
    readings = state.of_month(latest.month)
    judged = month_of_strip(state, latest)
    # The newest month that is over.
    over = add_months(month_of(date.fromisoformat(state.day[:10])), -1)
    months = svg.at_month(latest.month) - svg.at_month(latest.since) + 1
    return {
        "latest": latest,
        "kind": judged.kind,
        "headline": _headline(judged),
        "months": months,
        "sure": _how_sure(state, latest, readings),
        "next": NEXT[latest.verdict],
        "waiting": [*_not_judged(state, latest), *_early(state, latest.month)],
        "late": over if over > latest.month else None,
        "champion": max(state.champions, key=lambda one: one.since, default=None),
        "open": sum(one.last_month is None for one in state.alerts),
        "scored": max(state.scores, key=lambda one: one.as_of, default=None),
    }


def month_of_strip(state: PageState, verdict: Verdict) -> Month:
    """Green, `good`, is only a month in which everything could be judged that can raise an alarm;
    the early label cannot."""
    readings = [one for one in state.readings if one.month == verdict.month]
    waiting = _not_judged(state, verdict)
    kind = KINDS[verdict.verdict]
    if verdict.verdict == "calendar":
        if not any(one.state in words.JUDGED for one in readings):
            kind = "unjudged"
        elif waiting:
            kind = "partly"
    pending = sum(one.state == "pending" for one in readings)
    notes = [f"{pending} pending"] if pending else []
    notes += [f"{len(waiting)} not judged"] if waiting else []
    return Month(verdict, kind, verdict.verdict, tuple(notes))


def _headline(judged: Month) -> str:
    """The verdict as a headline. Where nothing could be judged, `calendar` does not mean that all
    is well."""
    if judged.kind == "unjudged":
        return "Nothing could be judged yet"
    if judged.kind == "partly":
        return "No finding in what could be judged"
    return HEADLINES[judged.verdict.verdict]


def _not_judged(state: PageState, verdict: Verdict) -> list[str]:
    """What could not be judged, as sentences: the sensors, and whatever else the verdict names."""
    readings = [one for one in state.of_month(verdict.month) if one.state in words.NOT_JUDGED]
    early = {one.sensor for one in state.early_label}
    said = [_waits(one) for one in readings if one.sensor not in early]
    texts = {one.text for one in readings}
    return said + [text for text in verdict.learning if text not in texts]


def _early(state: PageState, month: str) -> list[str]:
    found = [one for one in state.early_label if one.month == month]
    return [_waits(one) for one in found if one.state in words.NOT_JUDGED]


def _waits(one: Reading) -> str:
    """Why a sensor has not judged, and until when."""
    until = f"can judge from {words.month_name(one.until)} on" if one.until else ""
    few = words.plural(one.n, "row") if one.state == "too_few" else ""
    why = one.text or ", ".join(part for part in (words.STATES[one.state], few, until) if part)
    return f"{words.sensor_name(one.sensor)}: {why}"


def _how_sure(state: PageState, latest: Verdict, readings: Sequence[Reading]) -> list[str]:
    """How far the sensors that alarm are from what was expected, and what the labels say."""
    loud = [one for one in readings if one.state in ("alarm", "pending") and words.is_number(one.z)]
    loud.sort(key=lambda one: one.state)  # alarms first
    pending = {"pending": " (pending)", "alarm": ""}
    shown_only = {one.sensor for one in state.early_label}
    said = [
        f"{words.sensor_name(one.sensor)}"
        f"{' (never an alarm)' if one.sensor in shown_only else pending[one.state]}:"
        f" {words.distance(one)}"
        for one in loud
    ]
    for one in state.quality:
        if one.month == latest.month and one.stopped:
            said.append(
                f"the data contract {one.status} the batch: {one.quarantined:,} of the month's"
                f" {words.plural(one.rows, 'row')} are in quarantine, and nothing else was measured"
            )
    sensors = [one for one in state.readings if one.month == latest.month]
    calm = [one for one in sensors if one.state == "ok" and words.is_number(one.z) and one.limit]
    if not loud and calm:
        nearest = max(calm, key=lambda one: abs(one.z or 0) / (one.limit or 1))
        share = abs(nearest.z or 0) / (nearest.limit or 1)
        said.append(
            f"{words.plural(len(calm), 'sensor')} judged; the closest to its limit is"
            f" {words.sensor_name(nearest.sensor)}, at {100 * share:.0f} % of it"
        )
    known = [one for one in state.performance if one.roc_auc is not None]
    if known:
        newest = max(known, key=lambda one: one.as_of)
        said.append(
            f"ROC AUC {words.figure(newest.roc_auc)}"
            f" ({words.interval(newest.roc_auc_low, newest.roc_auc_high)}) as of {newest.day},"
            " the newest date with complete labels"
        )
    return said
