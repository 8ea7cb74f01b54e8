"""Judge the last month that is over: `make monitor`.

valid rows → sensors, performance, estimate, drift → verdict → alerts, metrics, page

Everything is kept below var/monitoring/<data set>/ (`monitoring/state.py`). A month is judged from
the rows before its end and the scores that were made by then, so judging it again gives the same
files; one whose rows were changed since is not judged anew unless RESTATE names it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.command import make, run_command
from configs.duck import connect, parquet
from configs.errors import UserError
from configs.records import RecordAltered
from configs.settings import Settings
from configs.terminal import console, facts
from flows import data_stages
from flows.clock import as_of_month, read_day, today
from flows.lock import alone
from flows.score import read_scores
from ingestion.batches import dataset_of, find
from ingestion.ingest import check_source
from ingestion.months import Month, months_of
from ingestion.validate import QUARANTINE, TRANSACTIONS, ContractBroken
from monitoring import state
from monitoring.facts import (
    Drift,
    Estimate,
    Performance,
    Pooled,
    Quality,
    Reading,
    VerdictName,
    add_months,
    end_of,
    month_of,
    year_before,
)
from monitoring.state import Judged
from monitoring.verdict import decide
from registry.bundle import Bundle, load_bundle
from serving.batch import PARQUET

if TYPE_CHECKING:
    from rich.table import Table

    from monitoring.labels import Outcomes

ABOUT = "Judge the last month that is over: sensors, performance, drift; verdict, alerts, page."
OPTIONS = {"restate": "a month whose rows were changed since: take them over (2026-02)"}
EARLY_LABEL = "early_label"  # a reading that is shown and never counts
EXPLAINED = 5  # features that are named beside an alarm
PAGE = "page.html"


@dataclass(frozen=True)
class Watched:
    """What a month is judged from. validated: the folder of a validated batch, of the log as it
    stood when the month was over or later; batch: its name."""

    settings: Settings
    validated: Path
    batch: str

    @property
    def transactions(self) -> Path:
        return self.validated / TRANSACTIONS

    @property
    def quarantine(self) -> Path:
        return self.validated / QUARANTINE

    @property
    def folder(self) -> Path:
        return folder_of(self.settings)

    @cached_property
    def months(self) -> list[Month]:
        """The months of the log, up to the clock."""
        until = today(self.settings)
        return months_of(self.transactions, self.quarantine, until, self.settings.compute)


def main(settings: Settings, *, restate: str | None) -> None:
    refuse_table(settings)
    check_source(settings.source)
    with alone(settings.var, "monitor"):
        if restate is not None:
            restate_from(settings, restate)
        watched = watch(settings)
        whole = whole_months(watched)
        if not whole:
            raise UserError(
                f"no month of the log is over: its rows go from {watched.months[0].month} to"
                f" {watched.months[-1].last_day}"
                if watched.months
                else "the log has no valid row",
                where="source",
                next_step="bring the rows of a whole month",
            )
        judged, notes = judge(watched, whole[-1])
        finish(settings)
    tell(judged, settings, notes)


def refuse_table(settings: Settings) -> None:
    """Raises UserError for a labelled table, which has no months."""
    if settings.source.kind == "table":
        raise UserError(
            f"the source of {settings.name} is a labelled table, which has no months to judge",
            where="source.kind",
            next_step="its contract judges each file: "
            + make("score", settings, DATA="new.csv")
            + " holds one whose values are not those that were learnt from",
        )


def folder_of(settings: Settings) -> Path:
    """Where everything about the data set's months is kept."""
    return settings.var.absolute() / "monitoring" / dataset_of(settings)


def watch(settings: Settings) -> Watched:
    """Read what is new in the source, and validate it. Raises ContractBroken for a batch that is
    refused or held."""
    folder = folder_of(settings)
    folder.mkdir(parents=True, exist_ok=True)
    parts = data_stages.ingest(settings)
    stage = data_stages.validate(settings, parts, folder / "contract.html")
    return Watched(settings, stage.folder, parts.batch)


def whole_months(watched: Watched) -> list[str]:
    """The months of the log that are over and whole, in order: their rows reach to the last
    `late_days`, or later months have rows."""
    clock, late = today(watched.settings), watched.settings.operations.late_days
    months = watched.months
    return [
        month.month
        for place, month in enumerate(months)
        if end_of(month.month) <= clock
        and (
            place + 1 < len(months)
            or month.last_day >= end_of(month.month) - timedelta(days=late + 1)
        )
    ]


def restate_from(settings: Settings, restate: str) -> list[Judged]:
    """Judge a month anew whose rows were changed since, and those after it. Raises UserError for a
    month that was not judged."""
    month = month_of(read_day(restate, "RESTATE"))
    known = [one.verdict.month for one in state.read_judged(folder_of(settings))[0]]
    if month not in known:
        raise UserError(
            f"{month} was not judged yet, so there is nothing to take over",
            where="RESTATE",
            next_step=f"judged are {known[0]} to {known[-1]}" if known else "nothing was judged",
        )
    return [
        judge(watch(as_of_month(settings, later)), later, restate=month)[0]
        for later in known
        if later >= month
    ]


def judge(watched: Watched, month: str, *, restate: str | None = None) -> tuple[Judged, list[str]]:
    """The verdict of a month, found or made; and what is to be said about it.

    restate: a month whose rows were changed since it was judged, and are to be taken over.  Raises
    UserError where the rows of another month that was judged were changed.
    """
    folder, settings = watched.folder, watched.settings
    known, notes = state.read_judged(folder)
    now = {one.month: one.digest for one in watched.months if one.month <= month}
    changed = [m for m in state.changed_months(known, now) if m <= month and m != restate]
    if changed:
        raise UserError(
            f"the rows of {changed[0]} were changed after it was judged"
            + (f" (and those of {', '.join(changed[1:])})" if changed[1:] else ""),
            where=str(folder / "verdicts"),
            next_step="see what changed in the source; if it is right:"
            f" {make('monitor', settings, RESTATE=changed[0])}",
        )
    baseline = _baseline(watched, month)
    scores = scores_until(settings, end_of(month))
    inputs = {
        "months": now,
        "baseline": None if baseline is None else baseline["version"],
        "scores": {str(one.as_of): one.sha256 for one in scores},
        "horizon_days": settings.features.horizon_days,
        "pool_dates": settings.operations.pool_dates,
        "before": [one.verdict.verdict for one in known if one.verdict.month < month],
    }
    found = next((one for one in known if one.verdict.month == month), None)
    if found is not None and found.inputs == inputs:
        return _with_alerts(folder, found), notes
    judged = _judged(watched, month, baseline, scores, known, inputs)
    state.write_judged(folder, judged)
    return _with_alerts(folder, judged), notes


def _with_alerts(folder: Path, judged: Judged) -> Judged:
    """Take the month into the alerts, also where a command was killed before it did."""
    from monitoring.alerts import update

    month = judged.verdict.month
    readings = state.read_facts(folder, "readings", Reading, [month])
    counted = [one for one in readings if one.sensor != EARLY_LABEL]
    update(folder, month, counted, judged.verdict, stands_for=meanings(), today=end_of(month))
    return judged


def meanings() -> dict[str, VerdictName]:
    """The sensors, and what is read of the champion -> the verdict that an alarm stands for."""
    from monitoring.performance import GAIN, ROC_AUC
    from monitoring.sensors import SENSORS

    return {
        **{name: sensor.verdict for name, sensor in SENSORS.items()},
        GAIN: "worse",
        ROC_AUC: "worse",
    }


def _judged(
    watched: Watched,
    month: str,
    baseline: dict[str, Any] | None,
    scores: Sequence[Scored],
    known: Sequence[Judged],
    inputs: dict[str, Any],
) -> Judged:
    """Measure a month, write its facts, and come to its verdict."""
    folder, settings = watched.folder, watched.settings
    found = measure_champion(watched, month, scores)
    readings = [*read_sensors(watched, month, baseline), *found.readings]
    kinds: dict[str, tuple[type, Sequence[Any]]] = {
        "readings": (Reading, readings),
        "performance": (Performance, found.performance),
        "pooled": (Pooled, found.pooled),
        "estimates": (Estimate, found.estimates),
        "drift": (Drift, found.drift),
        "quality": (Quality, [_quality(watched, month)]),
    }
    written = {
        state.path_of(kind, month): state.write_facts(folder, kind, month, of, values)
        for kind, (of, values) in kinds.items()
    }
    verdict = decide(
        month,
        readings,
        meanings(),
        earlier=[one.verdict for one in known if one.verdict.month < month],
        champion=scores[-1].version if scores else None,
        horizon_days=settings.features.horizon_days,
        explained=[one.text for one in found.drift if one.text][:EXPLAINED],
        learning=[one.text for one in readings if one.state in ("learning", "too_few")],
    )
    return Judged(verdict, inputs, written)


@dataclass(frozen=True)
class Found:
    """What is known of the champion in a month."""

    readings: Sequence[Reading] = ()
    performance: Sequence[Performance] = ()
    pooled: Sequence[Pooled] = ()
    estimates: Sequence[Estimate] = ()
    drift: Sequence[Drift] = ()


def measure_champion(watched: Watched, month: str, scores: Sequence[Scored]) -> Found:
    """What the labels that are known by the end of the month say of the champion, and what can be
    said without labels. scores: the official ones, up to that day."""
    if not scores:
        return Found()
    from monitoring.drift import feature_drift, score_drift
    from monitoring.estimate import estimate
    from monitoring.labels import ripe
    from monitoring.performance import judge_performance, performance_of, pooled, reference

    settings, end = watched.settings, end_of(month)
    horizon, latest = settings.features.horizon_days, scores[-1]
    known = [one for one in scores if ripe(one.as_of, horizon, end)]
    performance: list[Performance] = []
    pools: list[Pooled] = []
    if known:
        version = known[-1].version
        last = [one for one in known if one.version == version][-settings.operations.pool_dates :]
        outcomes = _outcomes(watched, last, end)
        performance = [performance_of(one) for one in outcomes]
        pools = [one for one in [pooled(outcomes)] if one]
    # Of a champion that was replaced since, nothing is to be decided any more.
    mine = next((one for one in pools if one.version == latest.version), None)
    first = min(one.as_of for one in scores if one.version == latest.version)
    until = month_of(first + timedelta(days=horizon))
    described = latest.description(settings)
    readings = judge_performance(mine, reference(described), month, until=until)
    readings = [*readings, *_early_label(watched, month, scores)]
    drift = []
    before = {one.as_of: one.part for one in scores}
    year_ago, month_ago = year_before(end), end_of(add_months(month, -1))
    if latest.as_of == end:
        found = score_drift(
            latest.part, last_year=before.get(year_ago), previous=before.get(month_ago)
        )
        drift = [found] if found else []
    names = [feature["name"] for feature in described["features"]]
    drift += feature_drift(
        watched.transactions,
        end,
        names,
        settings.features,
        compute=settings.compute,
        folder=watched.folder,
    )
    return Found(readings, performance, pools, [estimate(latest.part)], drift)


def _outcomes(
    watched: Watched, scores: Sequence[Scored], known_until: date, days: int | None = None
) -> list[Outcomes]:
    from monitoring.labels import read_outcomes

    settings = watched.settings
    return read_outcomes(
        [one.part for one in scores],
        watched.transactions,
        settings.features,
        known_until=known_until,
        days=days,
        baseline=scores[0].description(settings).get("baseline"),
        compute=settings.compute,
        folder=watched.folder,
    )


def _early_label(watched: Watched, month: str, scores: Sequence[Scored]) -> list[Reading]:
    """The reading of the early label: of the newest scores whose first days are known, beside the
    same champion's scores of a year before, which are made for this where nobody made them."""
    from monitoring.early_label import EARLY_DAYS, early_label
    from monitoring.labels import ripe

    end = end_of(month)
    known = [one for one in scores if ripe(one.as_of, EARLY_DAYS, end)]
    if not known or known[-1].version != scores[-1].version:
        return []
    now, log_start = known[-1], watched.months[0].month
    before = year_before(now.as_of)
    outcomes = [now]
    if month_of(before) > log_start:
        outcomes.insert(0, _made_for_ayear_before(watched, now, before))
    found = _outcomes(watched, outcomes, end, EARLY_DAYS)
    return [early_label(found, month, as_of=now.as_of)]


def _made_for_ayear_before(watched: Watched, now: Scored, as_of: date) -> Scored:
    """The scores that this champion has for a past day, made once. They are no list that anyone was
    given, so they lie with what monitoring keeps."""
    from features.score_rows import rows_of_log
    from serving.batch import score

    settings = watched.settings
    folder = watched.folder / "year_before" / f"version-{now.version}" / f"as_of={as_of}"
    if not (folder / PARQUET).exists():
        bundle, section = now.bundle(settings), now.description(settings)["transactions"]
        aside = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        rows_of_log(
            watched.transactions,
            aside / "features.parquet",
            as_of,
            settings.features.model_copy(update=section["features"]),
            frozenset(section["declared"]),
            settings.compute,
            date.fromisoformat(section["log_start"]),
        )
        score(bundle, aside / "features.parquet", aside, version=now.version, explained=0)
        (aside / "features.parquet").unlink()
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    return replace(now, as_of=as_of, folder=folder)


def read_sensors(watched: Watched, month: str, baseline: dict[str, Any] | None) -> list[Reading]:
    """The readings of a month: without a baseline, all are learning."""
    from monitoring.sensors import SENSORS, measure_months, read_month

    settings = watched.settings
    if baseline is None:
        first = add_months(watched.months[0].month, settings.operations.baseline_months)
        return [
            Reading(
                name,
                month,
                "learning",
                until=first,
                text=f"{name}: the baseline needs {settings.operations.baseline_months} whole"
                f" months before the one that is judged; it judges from {first} on",
            )
            for name in SENSORS
        ]
    measured = measure_months(
        watched.transactions,
        watched.quarantine,
        until=end_of(month),
        declared=settings.source.declared,
        home_country=settings.features.home_country,
        compute=settings.compute,
        folder=watched.folder,
    )
    return read_month(measured, baseline["sensors"], month)


def freeze_baseline(
    watched: Watched, since: str, reason: str, version: int
) -> dict[str, Any] | None:
    """Freeze a baseline on the months before `since`, write it down and return it; None where the
    log has not enough whole months."""
    from monitoring.sensors import freeze, measure_months

    settings, count = watched.settings, watched.settings.operations.baseline_months
    wanted = [add_months(since, -n) for n in range(count, 0, -1)]
    have = [one.month for one in watched.months]
    if not set(wanted) <= set(have):
        return None
    measured = measure_months(
        watched.transactions,
        watched.quarantine,
        until=end_of(wanted[-1]),
        declared=settings.source.declared,
        home_country=settings.features.home_country,
        compute=settings.compute,
        folder=watched.folder,
    )
    content = {
        "version": version,
        "since": since,
        "reason": reason,
        "made_from": {one.month: one.digest for one in watched.months if one.month in wanted},
        "sensors": freeze(measured, wanted),
    }
    state.write_baseline(watched.folder, content)
    return content


def _baseline(watched: Watched, month: str) -> dict[str, Any] | None:
    try:
        found = state.baselines(watched.folder)
    except RecordAltered as error:
        raise UserError(
            f"a frozen baseline was altered: {error}",
            where=str(watched.folder / "baseline"),
            next_step="restore it from a copy; or remove it, and freeze a new one:"
            f" {make('rebaseline', watched.settings, REASON='why')}",
        ) from None
    if not found:
        return freeze_baseline(watched, month, "the first one", 1)
    return state.baseline_for(found, month)


@dataclass(frozen=True)
class Scored:
    """Official scores: their day, their folder, and the version that made them."""

    as_of: date
    folder: Path
    version: int
    rows: int
    sha256: str  # of part.parquet

    @property
    def part(self) -> Path:
        return self.folder / PARQUET

    def bundle(self, settings: Settings) -> Bundle:
        """The bundle that made them, verified. Raises UserError where it is gone."""
        from registry.models import find_version
        from registry.store import open_store

        version = find_version(open_store(settings), settings, self.version)
        if version is None:
            raise UserError(
                f"version {self.version}, which made the scores of {self.as_of}, is not registered",
                where=str(self.folder),
                next_step=f"see the versions: {make('models', settings)}",
            )
        return load_bundle(version.bundle, expected_sha256=version.bundle_sha256)

    def description(self, settings: Settings) -> dict[str, Any]:
        return self.bundle(settings).description


def scores_until(settings: Settings, until: date) -> list[Scored]:
    """The official scores made as of a day up to `until`, in order."""
    found = []
    for folder in (settings.var.absolute() / "scores" / dataset_of(settings)).glob("as_of=*"):
        day = date.fromisoformat(folder.name.removeprefix("as_of="))
        record = read_scores(folder) if day <= until else None
        if record is not None:
            made = (record["version"], record["rows"], record["files"][PARQUET])
            found.append(Scored(day, folder, *made))
    return sorted(found, key=lambda one: one.as_of)


def _quality(watched: Watched, month: str) -> Quality:
    """What the contract kept out of a month's rows."""
    within = f"invoiced_at >= DATE '{month}-01' AND invoiced_at < DATE '{end_of(month)}'"
    with connect(watched.folder, watched.settings.compute) as connection:
        ((valid,),) = connection.execute(
            f"SELECT count(*) FROM {parquet(watched.transactions)} WHERE {within}"
        ).fetchall()
        ((kept_out,),) = connection.execute(
            f"SELECT count(*) FROM {parquet(watched.quarantine)} WHERE {within}"
        ).fetchall()
        reasons = connection.execute(f"""
            SELECT reason, count(*) FROM (
                SELECT unnest(reasons) AS reason FROM {parquet(watched.quarantine)} WHERE {within}
            ) GROUP BY 1 ORDER BY 2 DESC, 1
        """).fetchall()
    batch = find(watched.settings.var.absolute(), dataset_of(watched.settings), watched.batch)
    return Quality(
        month,
        valid + kept_out,
        kept_out,
        batch.status if batch else "accepted",  # type: ignore[arg-type]
        tuple(f"{reason} {count:,}" for reason, count in reasons),
    )


def judge_held(settings: Settings, month: str, error: ContractBroken) -> Judged:
    """The verdict of a month whose batch the contract refuses or holds: broken data. Nothing of it
    is measured, and it is judged anew when the batch is released or repaired."""
    folder = folder_of(settings)
    known = [one.verdict for one in state.read_judged(folder)[0]]
    verdict = decide(
        month,
        (),
        {},
        held=error.what,
        earlier=[one for one in known if one.month < month],
        horizon_days=settings.features.horizon_days,
    )
    judged = Judged(verdict, {"held": error.what}, {})
    state.write_judged(folder, judged)
    return _with_alerts(folder, judged)


def finish(settings: Settings) -> None:
    """Deliver the alerts, and write the metrics and the page. Raises UserError, after all of it,
    where an alert could not be delivered: it is queued."""
    from flows.monitoring_page import write_metrics, write_monitoring_page
    from monitoring.delivery import deliver

    folder = folder_of(settings)
    try:
        delivery = deliver(folder, settings.alerts, os.environ)
    finally:
        write_metrics(settings)
        write_monitoring_page(settings)
    delivery.check(folder)


def tell(judged: Judged, settings: Settings, notes: Sequence[str]) -> None:
    """The verdict first, then what it rests on, and what to type next."""
    verdict, shown, folder = judged.verdict, console(), folder_of(settings)
    readings = state.read_facts(folder, "readings", Reading, [verdict.month])
    pools = state.read_facts(folder, "pooled", Pooled, [verdict.month])
    since = "" if verdict.since == verdict.month else f", since {verdict.since}"
    shown.print(
        facts(
            *(("Note", note) for note in notes),
            ("Month", f"{verdict.month}: {verdict.verdict}{since}"),
            *(("Because", text) for text in verdict.evidence),
            *(("Beside it", text) for text in verdict.explained),
            ("Champion", f"version {verdict.champion}" if verdict.champion else "no scores yet"),
            *(("", pool.text) for pool in pools),
            ("Do", verdict.action),
        )
    )
    shown.print()
    shown.print(_table(readings))
    for head, text in (
        ("Page", str(folder / PAGE)),
        ("Next", make("operate", settings)),
    ):
        shown.print(f"{head:9} {text}", soft_wrap=True, markup=False)


def _table(readings: Sequence[Reading]) -> Table:
    """Two lines of the terminal for each sensor would be too many: the sentence is on the page."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("sensor")
    table.add_column("state")
    for name in ("z", "limit", "rows"):
        table.add_column(name, justify="right")
    table.add_column("judges from")
    for one in readings:
        table.add_row(
            one.sensor,
            one.state.replace("_", " "),
            "" if one.z is None else f"{one.z:+.1f}",
            "" if one.limit is None else f"{one.limit:g}",
            f"{one.n:,}" if one.n else "",
            one.until or "",
        )
    return table


if __name__ == "__main__":
    sys.exit(run_command("flows.monitor", ABOUT, main, options=OPTIONS))
