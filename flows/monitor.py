"""Judge the last month that is over: `make monitor`.

valid rows → sensors, performance, estimate, drift → verdict → alerts, metrics, page
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from common.errors import UserError
from common.terminal import console, facts
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from flows import data_stages
from flows.clock import read_day, today
from flows.exclusive import exclusive
from flows.finish import finished
from flows.judge import judge, judge_held, rebuild_altered, restate_from
from flows.watch import PAGE, folder_of, refuse_table, watch
from ingestion.cut import spans
from ingestion.outcome import ContractBroken
from ingestion.sources import check_source
from monitoring import state
from monitoring.delivery import check_receivers
from monitoring.facts import Performance, Reading, add_months, end_of, month_of
from monitoring.state import Judged

if TYPE_CHECKING:
    from rich.table import Table

ABOUT = "Judge the last month that is over: sensors, performance, drift; verdict, alerts, page."
OPTIONS = {
    "restate": "a month whose rows were changed since: accept the changed rows (2026-02)",
    "month": "show what a month was judged, and judge nothing (2026-02)",
}


def main(settings: Settings, *, restate: str | None, month: str | None) -> None:
    if month is not None:
        if restate is not None:
            raise UserError(
                "MONTH only shows a verdict, and RESTATE judges the month again",
                where="MONTH, RESTATE",
                next_step="pass one of them",
            )
        print_judged(judged_before(settings, month_of(read_day(month, "MONTH"))), settings, [])
        return
    judge_last(settings, restate, lambda judged, notes: print_judged(judged, settings, notes))


def judged_before(settings: Settings, month: str) -> Judged:
    """Return the verdict that a month was given. Raises UserError where there is none, or it was
    altered."""
    refuse_table(settings)
    known, altered = state.read_judged(folder_of(settings))
    for one in altered:
        if one.month == month:
            raise UserError(
                one.text, where="MONTH", next_step=f"judge it anew: {make('monitor', settings)}"
            )
    judged_month = next((one for one in known if one.verdict.month == month), None)
    if judged_month is None:
        judged = [one.verdict.month for one in known]
        over = end_of(month) <= today(settings)
        raise UserError(
            f"{month} was not judged"
            + (f": judged are {judged[0]} to {judged[-1]}" if judged else ""),
            where="MONTH",
            next_step=f"judge it: {make('backfill', settings, FROM=month, TO=month)}"
            if over
            else f"it is not over: today is {today(settings)}",
        )
    return judged_month


def judge_last(
    settings: Settings,
    restate: str | None = None,
    show: Callable[[Judged, list[str]], None] = lambda judged, notes: None,
) -> tuple[Judged, list[str]]:
    """What `make monitor` does: the verdict of the last month that is over, and notes about
    it; then alerts, metrics and page. show: gets both before an alert that cannot be
    delivered ends the command.

    Raises Busy when another command works on the same state, and what `judge` raises.
    """
    refuse_table(settings)
    changed = None if restate is None else month_of(read_day(restate, "RESTATE"))
    check_receivers(settings.alerts, os.environ)
    check_source(settings.source)
    with exclusive(settings, "monitor"), finished(settings, "monitor"):
        notes = rebuild_altered(settings, changed)
        if changed is not None:
            notes += [
                f"{judged.verdict.month} was judged anew: {judged.verdict.verdict}"
                for judged in restate_from(settings, changed)
            ]
        try:
            watched = watch(settings)
        except ContractBroken as error:
            _judge_held(settings, error)
            raise
        if not watched.whole:
            raise UserError(
                f"no month of the log is over: its rows go from {watched.months[0].month} to"
                f" {watched.months[-1].last_day}"
                if watched.months
                else "the log has no valid row",
                where="source",
                next_step="bring the rows of a whole month",
            )
        judged = judge(watched, watched.whole[-1])
        show(judged, notes)
    return judged, notes


def _judge_held(settings: Settings, error: ContractBroken) -> None:
    """Judge the last month that is over as broken data, because its batch is held. A month that was
    judged before is left: then the contract holds later rows."""
    clock = today(settings)
    last = [spans(path)[1] for path in data_stages.ingest(settings).paths]
    days = [day for day in last if day is not None and day < clock]
    if not days:
        return
    month = month_of(max(days))
    month = month if end_of(month) <= clock else add_months(month, -1)
    known = {one.verdict.month: one for one in state.read_judged(folder_of(settings))[0]}
    if month not in known or "held" in known[month].inputs:
        judge_held(settings, month, error)


def print_judged(judged: Judged, settings: Settings, notes: Sequence[str]) -> None:
    """Print the verdict, then what it rests on, and what to type next."""
    verdict, shown, folder = judged.verdict, console(), folder_of(settings)
    readings = state.facts_of(folder, [judged], "readings", Reading)
    pools = state.facts_of(folder, [judged], "pooled", Performance)
    no_champion = (
        "not judged: the month's batch is held"
        if "held" in judged.inputs
        else f"not judged: there are no scores as of {end_of(verdict.month)} or before"
    )
    since = "" if verdict.since == verdict.month else f", since {verdict.since}"
    shown.print(
        facts(
            *(("Note", note) for note in [*notes, *could_judge(readings, settings)]),
            ("Month", f"{verdict.month}: {verdict.verdict}{since}"),
            *(("Because", text) for text in verdict.evidence),
            *(("Also", text) for text in verdict.explained),
            ("Champion", f"version {verdict.champion}" if verdict.champion else no_champion),
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


def could_judge(readings: Sequence[Reading], settings: Settings) -> list[str]:
    """Return what to do about sensors that the frozen baseline does not have, and a new one
    would."""
    from monitoring.measure import SENSORS

    waiting = [
        one.sensor
        for one in readings
        if one.sensor in SENSORS  # the champion learns from its scores, whatever the baseline
        and one.state == "learning"
        and one.until is not None
        and one.until <= one.month
    ]
    if not waiting:
        return []
    reason = f"the log is long enough for {' and '.join(waiting)}"
    return [
        f"{', '.join(waiting)}: the log has the months of a baseline by now; freeze one:"
        f" {make('rebaseline', settings, REASON=reason)}"
    ]


def _table(readings: Sequence[Reading]) -> Table:
    """Make the table of sensors, a line each: their sentences are on the page."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("sensor")
    table.add_column("state")
    for name in ("z", "limit", "rows"):
        table.add_column(name, justify="right")
    table.add_column("judges from")
    for reading in readings:
        table.add_row(
            reading.sensor,
            reading.state.replace("_", " "),
            "" if reading.z is None else f"{reading.z:+.1f}",
            "" if reading.limit is None else f"{reading.limit:g}",
            f"{reading.n:,}" if reading.n else "",
            reading.until or "",
        )
    return table


if __name__ == "__main__":
    sys.exit(run_command("flows.monitor", ABOUT, main, options=OPTIONS))
