"""Render the page of monitoring from the values of a `PageState`.

The verdict of the latest month stands first, then what it rests on. Nothing is read or measured
here, so the same state gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from monitoring.facts import Reading, Verdict, VerdictName, add_months, month_of
from reports import charts, monitoring_charts, page, svg, words
from reports.monitoring_state import PageState, SensorNote, in_order
from reports.sensor_charts import band, sensor_chart

TARGETS = {  # of make, named on the page; what is typed for them where the state does not say
    "train": "make train",
    "operate": "make operate",
    "quarantine": "make quarantine",
    "rebaseline": 'make rebaseline REASON="why"',
}
SCORE = "probability"  # the name of the score among the drifts
EARLY = "early_label"  # and of the early label among the sensors
OWN = SensorNote("", "", words.LOG_RATIO, 0.0)  # of the early label, where the state says none
SHOWN, ROWS = 10, 12  # features, and newest rows of a list, that are shown without unfolding
LEAST = {"moved": 0.1, "psi": 0.2}  # that fills the bar of a feature
MOVED, SHARES = 0.01, 5  # the least change of a share of missing or unseen values, and how many
STRIP = 24  # months of the strip that are shown without unfolding
SECTIONS = {
    "verdict": "Verdict",
    "months": "Months",
    "sensors": "Sensors",
    "performance": "Performance",
    "early": "Early label",
    "explanation": "Explanation",
    "scores-drift": "Prediction drift",
    "quality": "Data quality",
    "runs": "Runs",
    "requests": "Requests",
    "shadow": "Shadow",
    "alerts": "Alerts",
    "scores": "Scores",
}
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
OPTIONAL = ("requests", "shadow")  # sections that are shown if the service logs its responses
CONSTANTS = {  # that the template shows
    "BATCHES": words.BATCHES,
    "STATES": words.STATES,
    "GATE": monitoring_charts.GATE,
    "MARKERS": charts.MARKERS,
    "MEANS": MEANS,
    "KINDS": KINDS,
    "ROWS": ROWS,
    "STRIP": STRIP,
}


@svg.own_style()
def write_page(target: Path, state: PageState) -> None:
    """Write the page, or leave what stood there before. Raises OSError."""
    state = in_order(state)
    context = {
        "state": state,
        "verdict": _verdict(state),
        "months": [_month_of_strip(state, one) for one in state.verdicts],
        "sensors": _sensors(state),
        "performance": _performance(state),
        "early": _early(state),
        "explanation": _explanation(state),
        "predictions": _predictions(state),
        "quality": _quality(state),
        "requests": _requests(state),
        "runs": _runs(state),
        "alerts": sorted(state.alerts[::-1], key=lambda one: one.last_month is not None),
        "scores": state.scores[::-1],
        "commands": TARGETS | dict(state.commands),
        "chapters": {
            anchor: title
            for anchor, title in SECTIONS.items()
            if anchor not in OPTIONAL or getattr(state, anchor)
        },
    }
    page.write_page(target, "monitoring.html.jinja", context | CONSTANTS)


# --- the verdict -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Month:
    """A month of the strip. kind: its colour and icon; notes: what was pending or not judged."""

    verdict: Verdict
    kind: str
    word: str
    notes: tuple[str, ...]


def _verdict(state: PageState) -> dict[str, Any] | None:
    """Summarise the latest verdict: its months, the evidence, what to do, what is not judged."""
    latest = state.latest
    if latest is None:
        return None
    readings = state.of_month(latest.month)
    judged = _month_of_strip(state, latest)
    # The newest month that is over.
    over = add_months(month_of(date.fromisoformat(state.day[:10])), -1)
    months = charts.at_month(latest.month) - charts.at_month(latest.since) + 1
    return {
        "latest": latest,
        "kind": judged.kind,
        "headline": _headline(judged),
        "months": months,
        "sure": _evidence(state, latest, readings),
        "next": NEXT[latest.verdict],
        "waiting": [*_not_judged(state, latest), *_early_not_judged(state, latest.month)],
        "late": over if over > latest.month else None,
        "champion": max(state.champions, key=lambda one: one.since, default=None),
        "open": sum(one.last_month is None for one in state.alerts),
        "scored": max(state.scores, key=lambda one: one.as_of, default=None),
    }


def _month_of_strip(state: PageState, verdict: Verdict) -> Month:
    """Return a month of the strip. It is green (`good`) only if every sensor that can raise an
    alarm could be judged; the early label cannot raise one."""
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
    """Write the verdict as a headline. Where nothing could be judged, `calendar` does not mean that
    there is no problem."""
    if judged.kind == "unjudged":
        return "Nothing could be judged yet"
    if judged.kind == "partly":
        return "No finding in what could be judged"
    return HEADLINES[judged.verdict.verdict]


def _not_judged(state: PageState, verdict: Verdict) -> list[str]:
    """List what could not be judged, as sentences: sensors, and other texts of the verdict."""
    readings = [one for one in state.of_month(verdict.month) if one.state in words.NOT_JUDGED]
    early = {one.sensor for one in state.early_label}
    waiting = [_why_not_judged(one) for one in readings if one.sensor not in early]
    texts = {one.text for one in readings}
    return waiting + [text for text in verdict.learning if text not in texts]


def _early_not_judged(state: PageState, month: str) -> list[str]:
    readings = [one for one in state.early_label if one.month == month]
    return [_why_not_judged(one) for one in readings if one.state in words.NOT_JUDGED]


def _why_not_judged(reading: Reading) -> str:
    """Describe why a sensor has not judged, and until when."""
    until = f"can judge from {words.month_name(reading.until)} on" if reading.until else ""
    few = words.plural(reading.n, "row") if reading.state == "too_few" else ""
    parts = (words.STATES[reading.state], few, until)
    why = reading.text or ", ".join(part for part in parts if part)
    return f"{words.sensor_name(reading.sensor)}: {why}"


def _evidence(state: PageState, latest: Verdict, readings: Sequence[Reading]) -> list[str]:
    """Describe how far the sensors in alarm are from their expected values, and the newest ROC AUC
    with complete labels."""
    loud = [one for one in readings if one.state in ("alarm", "pending") and words.is_number(one.z)]
    loud.sort(key=lambda one: one.state)  # alarms first
    pending = {"pending": " (pending)", "alarm": ""}
    shown_only = {reading.sensor for reading in state.early_label}
    texts = [
        f"{words.sensor_name(reading.sensor)}"
        f"{' (never an alarm)' if reading.sensor in shown_only else pending[reading.state]}:"
        f" {words.distance(reading)}"
        for reading in loud
    ]
    for one in state.quality:
        if one.month == latest.month and one.stopped:
            texts.append(
                f"the data contract {one.status} the batch: {one.quarantined:,} of the month's"
                f" {words.plural(one.rows, 'row')} are in quarantine, and nothing else was measured"
            )
    sensors = [one for one in state.readings if one.month == latest.month]
    calm = [one for one in sensors if one.state == "ok" and words.is_number(one.z) and one.limit]
    if not loud and calm:
        nearest = max(calm, key=lambda one: abs(one.z or 0) / (one.limit or 1))
        share = abs(nearest.z or 0) / (nearest.limit or 1)
        texts.append(
            f"{words.plural(len(calm), 'sensor')} judged; the closest to its limit is"
            f" {words.sensor_name(nearest.sensor)}, at {100 * share:.0f} % of it"
        )
    known = [one for one in state.performance if one.roc_auc is not None]
    if known:
        newest = max(known, key=lambda one: one.as_of)
        texts.append(
            f"ROC AUC {words.figure(newest.roc_auc)}"
            f" ({words.interval(newest.roc_auc_low, newest.roc_auc_high)}) as of {newest.day},"
            " the newest date with complete labels"
        )
    return texts


# --- the other sections ------------------------------------------------------------------------


def _sensors(state: PageState) -> list[dict[str, Any]]:
    """Every sensor with its chart, in the order of `state.sensors`, unknown ones after them."""
    by_sensor: dict[str, list[Reading]] = {name: [] for name in state.sensors}
    for reading in state.readings:
        by_sensor.setdefault(reading.sensor, []).append(reading)
    months = [reading.month for reading in state.readings]
    cards = []
    for place, (name, readings) in enumerate(by_sensor.items()):
        if readings:
            note = state.sensors.get(name)
            ends = (min(months), max(months))
            cards.append(_card(f"sensor-{place}", name, note, readings, ends, svg.NARROW))
    return cards


def _card(
    anchor: str,
    name: str,
    note: SensorNote | None,
    readings: Sequence[Reading],
    months: tuple[str, str],
    width: int,
    alarming: bool = True,
) -> dict[str, Any]:
    """Return the values that the template shows of a sensor. alarming: whether a value beyond the
    limit is an alarm; for the early label it is not."""
    unit = note.unit if note else ""
    return {
        "name": name,
        "note": note,
        "unit": unit,
        "newest": readings[-1],
        "distance": words.distance(readings[-1]),
        "alarming": alarming,
        "alarms": [one.month for one in readings if one.state == "alarm"],
        "skipped": all(one.state == "skipped" for one in readings),
        "rows": [(one, band(one, unit)) for one in reversed(readings)],
        "chart": sensor_chart(anchor, name, unit, readings, *months, width, alarming),
    }


def _performance(state: PageState) -> dict[str, Any]:
    """Return the section of performance. The chart runs from the first known month or as-of date to
    the clock's day."""
    months = [one.month for one in state.verdicts]
    months += [one.day[:7] for one in state.performance]
    months += [one.as_of[:7] for one in state.estimates]
    versions = {one.version for one in state.performance}
    versions |= {one.version for one in state.estimates}
    versions |= {one.version for one in state.champions}
    actions = {one.action for one in state.decisions}
    first, last = min(months, default=""), max([*months, state.day[:7]])
    drawn = months and versions
    return {
        "chart": monitoring_charts.performance(state, first, last) if drawn else None,
        "versions": sorted(versions)[-charts.SERIES :],
        "more": len(versions) > charts.SERIES,
        "used": [shown for action, shown in monitoring_charts.GATE.items() if action in actions],
        "rows": state.performance[::-1],
        "estimates": state.estimates[::-1],
        "champions": state.champions[::-1],
        "decisions": state.decisions[::-1],
    }


def _early(state: PageState) -> dict[str, Any]:
    readings, card, chart = state.early_label, None, None
    if readings:
        months, note = (readings[0].month, readings[-1].month), state.sensors.get(EARLY, OWN)
        card = _card("early-label", "early label", note, readings, months, svg.MEDIUM, False)
    if state.performance or state.estimates:
        chart = monitoring_charts.buyers(state.performance, state.estimates)
    return {"card": card, "buyers": chart, "rows": state.performance[::-1]}


def _explanation(state: PageState) -> dict[str, Any]:
    """The features of the latest month beside last year, and the explanations of every alarm."""
    features = [one for one in state.drifts if one.feature != SCORE]
    month = max((one.month for one in features), default=None)
    latest = sorted(
        (one for one in features if one.month == month),
        key=lambda one: one.explains,
        reverse=True,
    )
    explained: list[tuple[list[str], Verdict]] = []  # months in a row with the same explanation
    for verdict in state.verdicts:
        if verdict.verdict == "calendar" or not verdict.explained:
            continue
        same = explained and explained[-1][1].explained == verdict.explained
        if same and explained[-1][1].verdict == verdict.verdict:
            explained[-1][0].append(verdict.month)
        else:
            explained.append(([verdict.month], verdict))
    newest = state.latest
    by = "moved" if any(one.moved is not None for one in latest) else "psi"
    return {
        "month": month,
        "beside": latest[0].beside if latest else None,
        "features": latest,
        "alarm": newest is not None and newest.verdict != "calendar" and newest.month == month,
        "calm": newest is not None and newest.verdict == "calendar",
        "by": by,
        # So that a bar is long only where something has changed.
        "highest": max([LEAST[by], *(getattr(one, by) or 0 for one in latest)]),
        "explained": explained[::-1],
        "shown": SHOWN,
    }


def _predictions(state: PageState) -> dict[str, Any]:
    drifts = [one for one in state.drifts if one.feature == SCORE]
    known = any(one.mean is not None for one in drifts)
    return {"rows": drifts[::-1], "chart": monitoring_charts.mean_score(drifts) if known else None}


def _quality(state: PageState) -> dict[str, Any]:
    drawn = (monitoring_charts.quality_rows, monitoring_charts.quality_shares)
    return {
        "rows": state.quality[::-1],
        "charts": [draw(state.quality) for draw in drawn] if state.quality else [],
        "stopped": [one for one in state.quality[::-1] if one.stopped],
    }


def _requests(state: PageState) -> dict[str, Any] | None:
    """The requests to the service, and the features whose missing or unseen values moved."""
    requests = state.requests
    if requests is None:
        return None
    moved = sorted(
        (one for one in requests.features if one.moved >= MOVED), key=lambda one: -one.moved
    )
    return {
        "measured": requests,
        "chart": monitoring_charts.score_tenths(requests) if requests.deciles else None,
        "moved": moved[:SHARES],
        "more": len(moved) - SHARES,
        "compared": any(one.missing_before is not None for one in requests.features),
    }


def _runs(state: PageState) -> dict[str, Any]:
    known = any(one.roc_auc is not None for one in state.runs)
    chart = monitoring_charts.trend(state.runs) if known else None
    return {"rows": state.runs[::-1], "chart": chart}
