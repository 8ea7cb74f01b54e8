"""The page of monitoring: one HTML file that needs nothing else, no script, font or network.

The verdict of the latest month stands first, then what it rests on. Everything is rendered from
the values of a `PageState`; nothing is read or measured here, so the same state gives the same
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from configs.records import write_file
from configs.terminal import on_page, short
from monitoring.facts import Drift, Reading, Verdict, add_months, month_of
from reports import monitoring_charts as charts
from reports import svg, words
from reports.state import (
    NEXT,
    Alert,
    Batch,
    Champion,
    Decision,
    PageState,
    Run,
    Scores,
    SensorNote,
    Shadow,
)

__all__ = [
    "TARGETS",
    "Alert",
    "Batch",
    "Champion",
    "Decision",
    "PageState",
    "Run",
    "Scores",
    "SensorNote",
    "Shadow",
    "write_page",
]

FOLDER = Path(__file__).parent
TARGETS = ("train", "operate", "quarantine", "rebaseline")  # of make, named on the page
SCORE = "probability"  # the name of the score among the drifts
LONGEST = 80  # characters of a name
SHOWN, ROWS = 10, 12  # features, and newest rows of a list, that are shown without unfolding
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
    "shadow": "Shadow",
    "alerts": "Alerts",
    "scores": "Scores",
}
HEADLINES = {
    "broken data": "The data are broken",
    "changed demand": "Demand has changed",
    "worse": "The champion ranks worse",
    "calendar": "No finding",
}
MEANS = {
    "broken data": "a data sensor is in alarm; hold the month, do not retrain on it",
    "changed demand": "a demand sensor is in alarm; retrain when labels of the time after it are"
    " complete",
    "worse": "the labels show that the champion ranks worse; train now",
    "calendar": "nothing was found; retrain by the calendar",
}
KINDS = {"broken data": "bad", "changed demand": "warn", "worse": "worse", "calendar": "good"}


@dataclass(frozen=True)
class Month:
    """A month of the strip. kind: its colour and icon; notes: what else is to be said of it."""

    verdict: Verdict
    kind: str
    word: str
    notes: tuple[str, ...]


def write_page(target: Path, state: PageState) -> None:
    """Write the page, or leave what stood there before. Raises OSError."""
    with svg.own_style():
        page = _render(state)
    write_file(target, page)


def _render(state: PageState) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=on_page,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "n": words.count,
        "f": words.figure,
        "signed": lambda value, digits=3: words.figure(value, digits, "+"),
        "percent": words.percent,
        "month": words.month_name,
        "short_month": words.short_month,
        "ranges": words.month_ranges,
        "short": lambda text: short(text, LONGEST),
        "sentence": words.sentence,
        "rail": lambda value, high: f"{100 * min(max(value or 0, 0) / high, 1):.1f}",
    }
    environment.globals |= {
        "interval": words.interval,
        "in_unit": words.in_unit,
        "plural": words.plural,
        "STATES": words.STATES,
        "NOT_JUDGED": words.NOT_JUDGED,
        "GATE": charts.GATE,
        "MARKERS": svg.MARKERS,
        "HEADLINES": HEADLINES,
        "MEANS": MEANS,
        "KINDS": KINDS,
        "ROWS": ROWS,
    }
    sections = {
        "verdict": _verdict(state),
        "months": [_month(state, verdict) for verdict in _in_order(state.verdicts)],
        "sensors": _sensors(state),
        "performance": _performance(state),
        "early": _early(state),
        "explanation": _explanation(state),
        "predictions": _predictions(state),
        "quality": _quality(state),
        "runs": _runs(state),
        "alerts": sorted(
            state.alerts,
            key=lambda one: (one.last_month is None, one.first_month, one.sensor),
            reverse=True,
        ),
        "scores": sorted(state.scores, key=lambda one: (one.as_of, one.version), reverse=True),
    }
    return environment.get_template("monitoring.html.jinja").render(
        **sections,
        state=state,
        commands={target: state.commands.get(target, f"make {target}") for target in TARGETS},
        chapters={
            name: title for name, title in SECTIONS.items() if name != "shadow" or state.shadow
        },
    )


# --- the sections ------------------------------------------------------------------------------


def _verdict(state: PageState) -> dict[str, Any] | None:
    """The latest month's: what, since when, how sure, what to do, what is not judged yet."""
    latest = state.latest
    if latest is None:
        return None
    readings = state.of_month(latest.month)
    judged = _month(state, latest)
    over = add_months(month_of(_day(state.day)), -1)  # the newest month that is over
    months = svg.at_month(latest.month) - svg.at_month(latest.since) + 1
    return {
        "latest": latest,
        "kind": judged.kind,
        "headline": _headline(judged, readings),
        "months": months,
        "sure": _how_sure(state, latest, readings),
        "next": NEXT[latest.verdict],
        "waiting": _not_judged(latest, readings),
        "late": over if over > latest.month else None,
        "champion": max(state.champions, key=lambda one: one.since, default=None),
        "open": sum(one.last_month is None for one in state.alerts),
        "scored": max(state.scores, key=lambda one: (one.as_of, one.official), default=None),
    }


def _headline(judged: Month, readings: Sequence[Reading]) -> str:
    """What the month comes to. A month in which nothing could be judged has no verdict to trust."""
    if judged.kind == "unjudged":
        return "Nothing could be judged yet"
    if judged.kind == "partly":
        return "No finding in what could be judged"
    return HEADLINES[judged.verdict.verdict]


def _month(state: PageState, verdict: Verdict) -> Month:
    readings = state.of_month(verdict.month)
    judged = [one for one in readings if one.state in words.JUDGED]
    waiting = _not_judged(verdict, readings)
    kind, word = KINDS[verdict.verdict], verdict.verdict
    if verdict.verdict == "calendar" and waiting:
        kind = "partly" if judged else "unjudged"
    pending = sum(one.state == "pending" for one in readings)
    notes = (f"{pending} pending",) if pending else ()
    return Month(verdict, kind, word, notes + ((f"{len(waiting)} not judged",) if waiting else ()))


def _not_judged(verdict: Verdict, readings: Sequence[Reading]) -> list[str]:
    """What cannot be judged yet, or not in this month, as sentences; each sensor once."""
    said = list(verdict.learning)
    for one in readings:
        if one.state in words.NOT_JUDGED and not any(one.sensor in text for text in said):
            until = f", can judge from {words.month_name(one.until)} on" if one.until else ""
            few = f": {words.plural(one.n, 'row')}" if one.state == "too_few" else ""
            said.append(f"{one.sensor}: {words.STATES[one.state]}{few or until}")
    return said


def _how_sure(state: PageState, latest: Verdict, readings: Sequence[Reading]) -> list[str]:
    """The distance of the sensors that speak from what was expected, and what the labels say."""
    loud = [one for one in readings if one.state in ("alarm", "pending") and one.z is not None]
    loud.sort(key=lambda one: one.state)  # alarms first
    pending = {"pending": " (pending)", "alarm": ""}
    said = [f"{one.sensor}{pending[one.state]}: {words.distance(one)}" for one in loud]
    calm = [one for one in readings if one.state == "ok" and one.z is not None and one.limit]
    if not loud and calm:
        nearest = max(calm, key=lambda one: abs(one.z or 0) / (one.limit or 1))
        share = abs(nearest.z or 0) / (nearest.limit or 1)
        said.append(
            f"{words.plural(len(calm), 'sensor')} judged; the closest to its limit is"
            f" {nearest.sensor}, at {100 * share:.0f} % of it"
        )
    known = [one for one in state.performance if one.official and one.roc_auc is not None]
    if known:
        newest = max(known, key=lambda one: one.as_of)
        said.append(
            f"ROC AUC {words.figure(newest.roc_auc)}"
            f" ({words.interval(newest.roc_auc_low, newest.roc_auc_high)}) on {newest.as_of},"
            " the newest date with complete labels"
        )
    return said


def _sensors(state: PageState) -> list[dict[str, Any]]:
    """Every sensor with its chart, in the order of `state.sensors`, unknown ones after them."""
    by_sensor: dict[str, list[Reading]] = {name: [] for name in state.sensors}
    for one in sorted(state.readings, key=lambda one: one.month):
        by_sensor.setdefault(one.sensor, []).append(one)
    months = [one.month for one in state.readings]
    cards = []
    for place, (name, readings) in enumerate(by_sensor.items()):
        if readings:
            note = state.sensors.get(name)
            cards.append(_card(f"sensor-{place}", name, note, readings, (min(months), max(months))))
    return cards


def _card(
    anchor: str,
    name: str,
    note: SensorNote | None,
    readings: Sequence[Reading],
    months: tuple[str, str],
) -> dict[str, Any]:
    unit, width = note.unit if note else "", svg.NARROW if note else svg.MEDIUM
    return {
        "name": name,
        "note": note,
        "unit": unit,
        "newest": readings[-1],
        "distance": words.distance(readings[-1]),
        "alarms": [one.month for one in readings if one.state == "alarm"],
        "skipped": all(one.state == "skipped" for one in readings),
        "rows": [(one, charts.band(one)) for one in reversed(readings)],
        "chart": charts.sensor(anchor, name, unit, readings, *months, width),
    }


def _performance(state: PageState) -> dict[str, Any]:
    months = [
        *(one.as_of[:7] for one in (*state.performance, *state.estimates)),
        *(verdict.month for verdict in state.verdicts),
        *(one.day[:7] for one in state.decisions if state.verdicts),
    ]
    first = min(one.month for one in state.verdicts) if state.verdicts else min(months, default="")
    first = min([first, *(one.as_of[:7] for one in state.performance)]) if first else ""
    last = max([*months, state.day[:7]]) if months else ""
    drawn = bool(state.performance or state.estimates or (state.champions and months))
    estimates = sorted(state.estimates, key=lambda one: (one.as_of, one.version))
    made_by = (*state.performance, *state.estimates, *state.champions)
    versions = sorted({one.version for one in made_by})
    actions = {one.action for one in state.decisions}
    return {
        "chart": charts.performance(state, first, last) if drawn else None,
        "versions": versions[-svg.SERIES :],
        "more": len(versions) > svg.SERIES,
        "used": [shown for action, shown in charts.GATE.items() if action in actions],
        "rows": sorted(
            state.performance, key=lambda one: (one.as_of, one.official, one.version), reverse=True
        ),
        "estimates": estimates[::-1],
        "champions": sorted(state.champions, key=lambda one: one.since, reverse=True),
        "decisions": sorted(state.decisions, key=lambda one: one.day)[::-1],
    }


def _early(state: PageState) -> dict[str, Any]:
    readings = sorted(state.early_label, key=lambda one: one.month)
    official = [one for one in state.performance if one.official]
    card = None
    if readings:
        months = (readings[0].month, readings[-1].month)
        card = _card("early-label", "early label", None, readings, months)
    return {
        "card": card,
        "buyers": charts.buyers(official, state.estimates) if official or state.estimates else None,
        "rows": sorted(official, key=lambda one: one.as_of, reverse=True),
    }


def _explanation(state: PageState) -> dict[str, Any]:
    """The features of the latest month beside last year, and what was said of every alarm."""
    features = [one for one in state.drifts if one.feature != SCORE]
    month = max((one.month for one in features), default=None)
    latest = sorted(
        (one for one in features if one.month == month),
        key=lambda one: (one.psi is None, -(one.psi or 0), one.feature),
    )
    explained: list[tuple[list[str], Verdict]] = []  # months in a row with the same explanation
    for one in _in_order(state.verdicts):
        if one.verdict == "calendar" or not one.explained:
            continue
        if explained and explained[-1][1].explained == one.explained:
            explained[-1][0].append(one.month)
        else:
            explained.append(([one.month], one))
    newest = state.latest
    return {
        "month": month,
        "beside": latest[0].beside if latest else None,
        "features": latest,
        "alarm": newest is not None and newest.verdict != "calendar",
        "highest": max((one.psi or 0 for one in latest), default=0) or 1,
        "explained": explained[::-1],
        "shown": SHOWN,
    }


def _predictions(state: PageState) -> dict[str, Any]:
    drifts: list[Drift] = sorted(
        (one for one in state.drifts if one.feature == SCORE), key=lambda one: one.month
    )
    known = any(one.mean is not None for one in drifts)
    return {"rows": drifts[::-1], "chart": charts.mean_score(drifts) if known else None}


def _quality(state: PageState) -> dict[str, Any]:
    batches = sorted(state.batches, key=lambda one: one.month)
    return {
        "rows": batches[::-1],
        "charts": [charts.batch_rows(batches), charts.batch_shares(batches)] if batches else [],
        "held": [one for one in batches[::-1] if one.status == "held"],
    }


def _runs(state: PageState) -> dict[str, Any]:
    found = sorted(state.runs, key=lambda one: (one.day, one.run_id))
    known = any(one.roc_auc is not None for one in found)
    chart: Markup | None = charts.trend(found) if known else None
    return {"rows": found[::-1], "chart": chart}


# --- small parts -------------------------------------------------------------------------------


def _in_order(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return sorted(verdicts, key=lambda one: one.month)


def _day(day: str) -> Any:
    from datetime import date

    return date.fromisoformat(day[:10])
