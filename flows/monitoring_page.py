"""Gather what the page of monitoring shows from what the commands kept, and write it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from common.errors import UserError
from configs.make_command import make
from configs.settings import Settings
from flows.champion_facts import scores_until
from flows.clock import clock_of, day_of, today
from flows.run import log
from flows.watch import PAGE, baselines_of, folder_of
from monitoring import alerts as alerts_kept
from monitoring import state
from monitoring.facts import (
    Drift,
    Estimate,
    Performance,
    Quality,
    Reading,
    Requests,
    add_months,
    end_of,
    first_day,
)
from monitoring.labels import EARLY_LABEL
from registry.chain import Record
from reports import monitoring as page
from reports.monitoring_state import (
    Action,
    Alert,
    Champion,
    Decision,
    PageState,
    Run,
    Scores,
    SensorNote,
    Shadow,
)

T = TypeVar("T")


def write_monitoring_page(settings: Settings) -> Path:
    """Write the page of the data set, and return its path."""
    target = folder_of(settings) / PAGE
    page.write_page(target, gather(settings))
    return target


def gather(settings: Settings) -> PageState:
    """Gather everything that the page shows."""
    from monitoring.measure import SENSORS
    from monitoring.performance import GAIN, ROC_AUC
    from registry import ledger
    from registry.tracking import open_store

    folder = folder_of(settings)
    judged, _ = state.read_judged(folder)
    months = [one.verdict.month for one in judged]

    def kept(kind: str, of: type[T]) -> list[T]:
        return state.facts_of(folder, judged, kind, of)

    readings = [*_of_the_baseline(settings, months), *kept("readings", Reading)]
    of_champion = (GAIN, ROC_AUC)
    past = ledger.history(open_store(settings), settings)
    return PageState(
        dataset=settings.dataset,
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        day=today(settings).isoformat(),
        sensors={
            name: SensorNote(one.meaning, one.verdict, one.unit, one.c)
            for name, one in SENSORS.items()
        },
        verdicts=tuple(one.verdict for one in judged),
        readings=tuple(one for one in readings if one.sensor not in (EARLY_LABEL, *of_champion)),
        performance=_once(kept("performance", Performance), lambda one: (one.as_of, one.version)),
        pooled=tuple(
            one.text for one in state.facts_of(folder, judged[-1:], "pooled", Performance)
        ),
        estimates=_once(kept("estimates", Estimate), lambda one: (one.as_of, one.version)),
        champions=champions(past),
        early_label=tuple(one for one in readings if one.sensor == EARLY_LABEL),
        of_champion=tuple(one for one in readings if one.sensor in of_champion),
        drifts=tuple(kept("drift", Drift)),
        decisions=decisions(past),
        runs=runs(settings, past),
        alerts=tuple(
            Alert(
                alert.sensor,
                alert.first_month,
                alert.severity,
                alert.text,
                alert.action,
                alert.last_month if alert.over else None,
            )
            for alert in alerts_kept.alerts_of(folder)
        ),
        scores=tuple(
            Scores(one.as_of.isoformat(), one.version, one.rows, _shown(one.folder))
            for one in scores_until(settings, today(settings))
        ),
        quality=tuple(kept("quality", Quality)),
        requests=requests(settings, months[-1]) if months else None,
        shadow=shadow(settings),
        commands={name: make(name, settings) for name in page.TARGETS},
    )


def _of_the_baseline(settings: Settings, judged: Sequence[str]) -> list[Reading]:
    """Return the readings of the months that the newest baseline is made of, without those that
    were judged."""
    newest = baselines_of(settings)[-1:]
    readings = [Reading(**one) for baseline in newest for one in baseline.get("readings", ())]
    return [one for one in readings if one.month not in judged]


def requests(settings: Settings, month: str) -> Requests | None:
    """The requests to the service in a month, by its log, beside the scores of the month's first
    day and the month before; None where it logged none."""
    from monitoring.requests import read_requests
    from registry.bundle import load_bundle
    from registry.champion import champion_now, model_name

    folder = settings.var.absolute() / "serving" / "log"
    if not folder.is_dir():
        return None
    since, until = first_day(month), end_of(month)
    scores = [one for one in scores_until(settings, until) if one.as_of == since]
    champion = champion_now(settings)
    try:
        bundle = champion and load_bundle(champion.bundle, expected_sha256=champion.bundle_sha256)
        logged = read_requests(
            folder,
            model_name(settings),
            since,
            until,
            features=bundle.features if bundle else (),
            scores=[one.part for one in scores],
            earlier=(first_day(add_months(month, -1)), since),
            compute=settings.compute,
            spill=folder_of(settings),
        )
    except UserError as error:
        log.warning("the page does not show the requests to the service: %s", error.what)
        return None
    return None if logged.state == "none" and not logged.left_out else logged


def shadow(settings: Settings) -> Shadow | None:
    """The challenger beside the champion, as far as the service logged both; None where it logged
    none, or where the log of today cannot be read."""
    from flows.shadow import evidence_of, on_page, purchases_of
    from registry.champion import CHALLENGER, alias_now, champion_now

    if not (settings.var.absolute() / "serving" / "shadow").is_dir():
        return None
    champion = champion_now(settings)
    challenger = alias_now(settings, CHALLENGER)
    if champion is None or challenger is None or challenger.version == champion.version:
        return None
    try:
        versions = (champion.version, challenger.version)
        evidence, comparison = evidence_of(settings, *versions, purchases_of(settings))
    except UserError as error:
        log.warning("the page has no comparison with the challenger: %s", error.what)
        return None
    return on_page(comparison, evidence.harm)


def champions(past: Sequence[Record]) -> tuple[Champion, ...]:
    """Return each version with the time in which it was champion, by the ledger."""
    periods: list[Champion] = []
    for entry in past:
        if not entry.moves or entry.to_version is None:
            continue
        day = day_of(entry)
        if periods:
            last = periods.pop()
            periods.append(Champion(**{**vars(last), "until": day}))
        figures = {name: _number(entry.figures.get(f"roc_auc{end}")) for name, end in ENDS.items()}
        periods.append(Champion(entry.to_version, day, None, **figures))
    return tuple(periods)


ENDS = {"roc_auc": "", "low": "_low", "high": "_high"}


def decisions(past: Sequence[Record]) -> tuple[Decision, ...]:
    """Return the ledger's entries that the page shows on the axis of time."""
    shown = get_args(Action)
    return tuple(
        Decision(
            day_of(entry),
            cast(Action, entry.action),
            entry.to_version,
            entry.reason.replace("\n", "; "),
        )
        for entry in past
        if entry.action in shown
    )


def runs(settings: Settings, past: Sequence[Record]) -> tuple[Run, ...]:
    """Return the trainings that ended with a decision. The family is in the run's summary, if it is
    still there."""
    trainings = []
    for entry in past:
        day = clock_of(entry)
        if day is None:
            continue
        figures = {name: _number(entry.figures.get(f"roc_auc{end}")) for name, end in ENDS.items()}
        winner = _winner(settings.var.absolute() / "runs" / entry.run_id / "summary.json")
        trainings.append(
            Run(
                day.isoformat(),
                entry.run_id,
                winner,
                entry.to_version,
                **figures,
                decision=cast(Any, entry.action),
            )
        )
    return tuple(trainings)


def _winner(summary: Path) -> str:
    try:
        return str(json.loads(summary.read_text(encoding="utf-8"))["winner"])
    except (OSError, ValueError, LookupError):
        return ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _once(values: Iterable[T], key: Callable[[T], Any]) -> tuple[T, ...]:
    """Return the latest of those with the same key: a month's facts repeat dates of the month
    before."""
    return tuple({key(value): value for value in values}.values())


def _shown(folder: Path) -> str:
    """Shorten a path to what a person types."""
    try:
        return str(folder.relative_to(Path.cwd()))
    except ValueError:
        return str(folder)
