"""The verdict of a month, from the rows before its end and the scores that were made by then.

sensors, champion, quality → facts → verdict → alerts

Everything is kept below var/monitoring/<data set>/ (`monitoring/state.py`). Judging a month again
gives the same bytes; one whose rows were changed since is refused unless RESTATE names it, and one
whose verdict or facts were altered is judged anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from common.duck import connect, parquet
from common.errors import UserError
from configs.make_command import make
from configs.settings import Settings
from flows import data_stages
from flows.acceptance import last_refused
from flows.champion_facts import ChampionFacts, Scored, measure_champion, scores_until
from flows.clock import as_of_month, today
from flows.watch import (
    Watched,
    baseline_of,
    baselines_of,
    check_there,
    folder_of,
    read_sensors,
    watch,
)
from ingestion.batches import find
from ingestion.outcome import QUARANTINE, TRANSACTIONS, ContractBroken
from monitoring import state
from monitoring.facts import (
    Drift,
    Estimate,
    Performance,
    Quality,
    Reading,
    Verdict,
    VerdictName,
    add_months,
    end_of,
)
from monitoring.labels import EARLY_LABEL
from monitoring.state import Judged
from monitoring.verdict import decide, unaccepted

EXPLAINED = 5  # features that are named beside an alarm


def judge(watched: Watched, month: str, *, restate: str | None = None) -> Judged:
    """Return the verdict of a month, read back or made now.

    restate: the first month whose rows were changed since it was judged, and are to be taken over.
    Raises UserError where rows before it were changed.
    """
    folder, settings = watched.folder, watched.settings
    check_unchanged(watched, month, restate=restate)
    known = state.read_judged(folder)[0]
    earlier = [one.verdict for one in known if one.verdict.month < month]
    baseline = baseline_of(watched, month)
    scores = scores_until(settings, end_of(month))
    previous = _previous_early_label(folder, month, earlier, scores)
    inputs = {
        "months": {one.month: one.digest for one in watched.months if one.month <= month},
        "baseline": None if baseline is None else baseline["version"],
        "scores": {str(one.as_of): one.sha256 for one in scores},
        "horizon_days": settings.features.horizon_days,
        "pool_dates": settings.operations.pool_dates,
        "before": [one.verdict for one in earlier],
        "early_label_before": previous and previous.z,
    }
    judged = next((one for one in known if one.verdict.month == month), None)
    if judged is None or judged.inputs != inputs:
        last = next((one for one in earlier if one.month == add_months(month, -1)), None)
        alarmed_since = last.since if last and last.verdict != "calendar" else None
        measured = measure_champion(watched, month, scores, previous, alarmed_since)
        readings = [*read_sensors(watched, month, baseline), *measured.readings]
        verdict = decide(
            month,
            readings,
            verdicts_of_alarms(),
            earlier=earlier,
            champion=scores[-1].version if scores else None,
            horizon_days=settings.features.horizon_days,
            explained=[one.text for one in measured.drift if one.text][:EXPLAINED],
            learning=[one.text for one in readings if one.state in ("learning", "too_few")],
        )
        judged = Judged(verdict, inputs, _write_facts(watched, month, readings, measured))
        state.write_judged(folder, judged)
    _take_into_alerts(folder, judged)
    return judged


def check_unchanged(watched: Watched, month: str, *, restate: str | None = None) -> None:
    """Raise UserError where the rows of a month up to this one are not those that it, or a later
    month, was judged by. restate: from this month on they may differ."""
    known = state.read_judged(watched.folder)[0]
    now = {one.month: one.digest for one in watched.months}
    changed = [
        one
        for one in state.changed_months(known, now)
        if one <= month and (restate is None or one < restate)
    ]
    if changed:
        others = f" (and those of {', '.join(changed[1:])})" if changed[1:] else ""
        raise UserError(
            f"the rows of {changed[0]} were changed after they were judged by{others}",
            where=str(watched.folder / "verdicts"),
            next_step="see what changed in the source; if it is right:"
            f" {make(_who_restates(watched), watched.settings, RESTATE=changed[0])}",
        )


def _who_restates(watched: Watched) -> str:
    """Name the command: operate scores the months anew too; where it was never run, it would start
    processing months."""
    return "operate" if (watched.folder / "operated").exists() else "monitor"


def broken_by(watched: Watched, month: str) -> list[str]:
    """Return what the sensors say is broken in a month's data, in sentences: it is known without
    scores, before they are made."""
    verdict_of_alarm = verdicts_of_alarms()
    return [
        one.text
        for one in read_sensors(watched, month, baseline_of(watched, month))
        if one.state == "alarm" and verdict_of_alarm[one.sensor] == "broken data"
    ]


def watch_month(settings: Settings, month: str) -> Watched:
    """Open the log as it stood at the end of the month; the clock of the settings is on the day
    after it. Raises ContractBroken, with the month judged as broken data, for a batch that is
    refused or held."""
    try:
        return watch(settings)
    except ContractBroken as error:
        judge_held(settings, month, error)
        raise


def judge_held(settings: Settings, month: str, error: ContractBroken) -> Judged:
    """Judge a month whose batch the contract refuses or holds: broken data. Its rows are counted
    and nothing else of it is measured; it is judged anew when the batch is released or repaired."""
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
    quality, facts = _quality_of_held(settings, month, error), {}
    if quality is not None:
        sha256 = state.write_facts(folder, "quality", month, Quality, [quality])
        facts = {state.path_of("quality", month): sha256}
    judged = Judged(verdict, {"held": error.what}, facts)
    state.write_judged(folder, judged)
    _take_into_alerts(folder, judged)
    return judged


def unaccepted_until(settings: Settings, month: str) -> list[str]:
    """Return the months of broken data up to this one that nobody has repaired or accepted."""
    baselines = baselines_of(settings)
    judged = [one.verdict for one in state.read_judged(folder_of(settings))[0]]
    since = baselines[-1]["since"] if baselines else ""
    return unaccepted([one for one in judged if one.month <= month], since)


def restate_from(
    settings: Settings,
    month: str,
    before: Callable[[Watched, str], None] = lambda watched, month: None,
) -> list[Judged]:
    """Judge anew what was judged by a month's rows, which were changed since: the month, where it
    was judged, and those after it. before: called before each is. Raises UserError for a month that
    no verdict rests on."""
    known = state.read_judged(folder_of(settings))[0]
    judged = [one.verdict.month for one in known]
    read = {name for one in known for name in one.inputs.get("months", {})}
    if month not in read.union(judged):
        raise UserError(
            f"{month} was not judged, nor any month by its rows: there is nothing to take over",
            where="RESTATE",
            next_step=f"judged are {judged[0]} to {judged[-1]}, by the rows from {min(read)} on"
            if read
            else "nothing was judged yet",
        )
    anew = []
    for later in judged:
        if later >= month:
            watched = watch(as_of_month(settings, later))
            check_there(watched, later)
            before(watched, later)
            anew.append(judge(watched, later, restate=month))
    return anew


def rebuild_altered(settings: Settings, restate: str | None = None) -> list[str]:
    """Judge anew the months whose verdict or facts were altered, and return
    sentences about them. restate: see `judge`. Raises UserError where that cannot be done."""
    lines = []
    for altered in state.read_judged(folder_of(settings))[1]:
        if altered.month is None or end_of(altered.month) > today(settings):
            renamed = altered.file.with_name(f"{altered.file.name}.altered")
            altered.file.rename(renamed)
            text = f"{altered.text}; nothing of it is used, and it was renamed to {renamed.name}"
            lines.append(text)
            continue
        at = as_of_month(settings, altered.month)
        try:
            watched = watch(at)
        except ContractBroken as error:
            judged = judge_held(at, altered.month, error)
        else:
            check_there(watched, altered.month)
            judged = judge(watched, altered.month, restate=restate)
        lines.append(f"{altered.text}; {altered.month} was judged anew: {judged.verdict.verdict}")
    return lines


def verdicts_of_alarms() -> Mapping[str, VerdictName]:
    """Return the verdict that an alarm means, for each sensor and each measure of the champion."""
    from monitoring.measure import SENSORS
    from monitoring.performance import GAIN, ROC_AUC

    champion: dict[str, VerdictName] = {GAIN: "worse", ROC_AUC: "worse"}
    return {name: sensor.verdict for name, sensor in SENSORS.items()} | champion


def _previous_early_label(
    folder: Path, month: str, earlier: Sequence[Verdict], scores: Sequence[Scored]
) -> Reading | None:
    """Return the early label of the month before, where it is of the same champion."""
    before = add_months(month, -1)
    version = scores[-1].version if scores else None
    if version is None or (before, version) not in [(one.month, one.champion) for one in earlier]:
        return None
    readings = state.read_facts(folder, "readings", Reading, [before])
    return next((one for one in readings if one.sensor == EARLY_LABEL), None)


def _take_into_alerts(folder: Path, judged: Judged) -> None:
    """Update the alerts, also for a verdict that was read back: a command may have been killed
    before it updated them."""
    from monitoring.alerts import update

    month = judged.verdict.month
    readings = state.facts_of(folder, [judged], "readings", Reading)
    counted = [
        one for one in readings if one.sensor != EARLY_LABEL
    ]  # it is shown, and never counts
    update(
        folder,
        month,
        counted,
        judged.verdict,
        verdict_of_alarm=verdicts_of_alarms(),
        today=end_of(month),
    )


def _write_facts(
    watched: Watched, month: str, readings: Sequence[Reading], measured: ChampionFacts
) -> dict[str, str]:
    """Write the facts of a month; returns path -> SHA-256."""
    kinds: dict[str, tuple[type, Sequence[Any]]] = {
        "readings": (Reading, readings),
        "performance": (Performance, measured.performance),
        "pooled": (Performance, measured.pooled),
        "estimates": (Estimate, measured.estimates),
        "drift": (Drift, measured.drift),
        "quality": (Quality, [_quality(watched, month)]),
    }
    return {
        state.path_of(kind, month): state.write_facts(watched.folder, kind, month, of, values)
        for kind, (of, values) in kinds.items()
    }


def _quality(watched: Watched, month: str) -> Quality:
    """Count what the contract kept out of a month's rows."""
    settings = watched.settings
    valid, kept_out, reasons = _count_rows(
        settings, [watched.transactions], watched.quarantine, month
    )
    batch = find(settings.var.absolute(), settings.dataset, watched.batch)
    status = batch.status if batch else "accepted"
    return Quality(month, valid + kept_out, kept_out, status, reasons)  # type: ignore[arg-type]


def _quality_of_held(settings: Settings, month: str, error: ContractBroken) -> Quality | None:
    """Count what the contract kept out of a month of the batch that it holds or refuses; None where
    it stopped before it had judged the rows."""
    parts, seen = data_stages.ingest(settings), last_refused(settings)
    if seen is None or seen.batch != parts.batch:
        return None
    rows, kept_out, reasons = _count_rows(settings, parts.paths, seen.folder / QUARANTINE, month)
    # A batch that is refused as a whole has no valid rows.
    status: Literal["held", "refused"] = "refused"
    if (seen.folder / TRANSACTIONS).exists():
        status = "held"
    return Quality(month, rows, kept_out, status, reasons, error.what)


def _count_rows(
    settings: Settings, files: list[Path], quarantine: Path, month: str
) -> tuple[int, int, tuple[str, ...]]:
    """Return how many rows of a month these files hold, how many are in quarantine, and those by
    reason."""
    within = f"invoiced_at >= DATE '{month}-01' AND invoiced_at < DATE '{end_of(month)}'"
    with connect(folder_of(settings), settings.compute) as connection:
        ((rows,),) = connection.execute(
            f"SELECT count(*) FROM {parquet(files)} WHERE {within}"
        ).fetchall()
        ((kept_out,),) = connection.execute(
            f"SELECT count(*) FROM {parquet(quarantine)} WHERE {within}"
        ).fetchall()
        reasons = connection.execute(f"""
            SELECT reason, count(*) FROM (
                SELECT unnest(reasons) AS reason FROM {parquet(quarantine)} WHERE {within}
            ) GROUP BY 1 ORDER BY 2 DESC, 1
        """).fetchall()
    return rows, kept_out, tuple(f"{reason} {count:,}" for reason, count in reasons)
