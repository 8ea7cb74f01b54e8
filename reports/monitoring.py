"""The page of monitoring: one HTML file that needs nothing else, no script, font or network.

The verdict of the latest month stands first, then what it rests on. Everything is rendered from
the values of a `PageState`; nothing is read or measured here, so the same state gives the same
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import write_file
from common.terminal import on_page, short
from monitoring.facts import Reading, Verdict
from reports import champion_charts, month_charts, svg, verdict, words
from reports.sensor_chart import band, sensor_chart
from reports.state import (
    Alert,
    Champion,
    Decision,
    PageState,
    Run,
    Scores,
    SensorNote,
    Shadow,
    in_order,
)

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = [
    "TARGETS",
    "Alert",
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
TARGETS = {  # of make, named on the page; what is typed for them where the state does not say
    "train": "make train",
    "operate": "make operate",
    "quarantine": "make quarantine",
    "rebaseline": 'make rebaseline REASON="why"',
}
SCORE = "probability"  # the name of the score among the drifts
EARLY = "early_label"  # and of the early label among the sensors
OWN = SensorNote("", "", words.LOG_RATIO, 0.0)  # of the early label, where the state says none
LONGEST = 80  # characters of a name
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
OPTIONAL = ("requests", "shadow")  # sections that are there where the service logs what it answers


def write_page(target: Path, state: PageState) -> None:
    """Write the page, or leave what stood there before. Raises OSError."""
    state = in_order(state)
    with svg.own_style():
        page = _template().render(
            state=state,
            verdict=verdict.latest_verdict(state),
            months=[verdict.month_of_strip(state, one) for one in state.verdicts],
            sensors=_sensors(state),
            performance=_performance(state),
            early=_early(state),
            explanation=_explanation(state),
            predictions=_predictions(state),
            quality=_quality(state),
            requests=_requests(state),
            runs=_runs(state),
            alerts=sorted(state.alerts[::-1], key=lambda one: one.last_month is not None),
            scores=state.scores[::-1],
            commands=TARGETS | dict(state.commands),
            chapters={
                anchor: title
                for anchor, title in SECTIONS.items()
                if anchor not in OPTIONAL or getattr(state, anchor)
            },
        )
    write_file(target, page)


@cache
def _template() -> Template:
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
        "sensor": words.sensor_name,
        "capital": lambda text: text[:1].upper() + text[1:],
        "rail": lambda value, high: f"{100 * min(max(value or 0, 0) / high, 1):.1f}",
    }
    environment.globals |= {
        "interval": words.interval,
        "in_unit": words.in_unit,
        "plural": words.plural,
        "BATCHES": words.BATCHES,
        "STATES": words.STATES,
        "GATE": champion_charts.GATE,
        "MARKERS": svg.MARKERS,
        "MEANS": verdict.MEANS,
        "KINDS": verdict.KINDS,
        "ROWS": ROWS,
        "STRIP": STRIP,
    }
    return environment.get_template("monitoring.html.jinja")


# --- the sections ------------------------------------------------------------------------------


def _sensors(state: PageState) -> list[dict[str, Any]]:
    """Every sensor with its chart, in the order of `state.sensors`, unknown ones after them."""
    by_sensor: dict[str, list[Reading]] = {name: [] for name in state.sensors}
    for one in state.readings:
        by_sensor.setdefault(one.sensor, []).append(one)
    months = [one.month for one in state.readings]
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
    """What the template shows of a sensor. alarming: whether a value beyond the limit is an alarm;
    of the early label it is not."""
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
    """Drawn from the first month or as-of date that there is, until the clock's day."""
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
        "chart": champion_charts.performance(state, first, last) if drawn else None,
        "versions": sorted(versions)[-svg.SERIES :],
        "more": len(versions) > svg.SERIES,
        "used": [shown for action, shown in champion_charts.GATE.items() if action in actions],
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
        chart = champion_charts.buyers(state.performance, state.estimates)
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
    for one in state.verdicts:
        if one.verdict == "calendar" or not one.explained:
            continue
        same = explained and explained[-1][1].explained == one.explained
        if same and explained[-1][1].verdict == one.verdict:
            explained[-1][0].append(one.month)
        else:
            explained.append(([one.month], one))
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
    return {"rows": drifts[::-1], "chart": month_charts.mean_score(drifts) if known else None}


def _quality(state: PageState) -> dict[str, Any]:
    charts = (month_charts.quality_rows, month_charts.quality_shares) if state.quality else ()
    return {
        "rows": state.quality[::-1],
        "charts": [chart(state.quality) for chart in charts],
        "stopped": [one for one in state.quality[::-1] if one.stopped],
    }


def _requests(state: PageState) -> dict[str, Any] | None:
    """The requests to the service, and the features whose missing or unseen values moved."""
    found = state.requests
    if found is None:
        return None
    moved = sorted(
        (one for one in found.features if one.moved >= MOVED), key=lambda one: -one.moved
    )
    return {
        "found": found,
        "chart": month_charts.score_tenths(found) if found.deciles else None,
        "moved": moved[:SHARES],
        "more": len(moved) - SHARES,
        "compared": any(one.missing_before is not None for one in found.features),
    }


def _runs(state: PageState) -> dict[str, Any]:
    known = any(one.roc_auc is not None for one in state.runs)
    chart = champion_charts.trend(state.runs) if known else None
    return {"rows": state.runs[::-1], "chart": chart}
