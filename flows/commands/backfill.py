"""Score and judge past months: `make backfill FROM=2025-06 TO=2026-03`.

Each month is scored and judged as of the day after it, by the champion of today; nothing is trained
and nothing promoted. Scores that are there stay the official ones. In whatever order months are
filled in, the files come out the same: a later month that was judged without them is judged anew,
and the first baseline ends before `operations.start`, where that is set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from common.errors import UserError
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from flows.clock import as_of_month, read_day, today
from flows.exclusive import exclusive
from flows.finish import finished
from flows.judge import check_unchanged, judge, rebuild_altered, watch_month
from flows.operate import print_line
from flows.score import score_log
from flows.watch import PAGE, baselines_of, check_there, folder_of, refuse_table, watch
from ingestion.sources import check_source
from monitoring import state
from monitoring.delivery import check_receivers
from monitoring.facts import add_months, end_of, first_day, month_of, months_between
from registry.champion import the_champion

ABOUT = "Score and judge past months with the champion of today; nothing is trained."
OPTIONS = {"from": "the first month (2025-06)", "to": "the last month; none: the last that is over"}


def main(settings: Settings, **words: str | None) -> None:
    refuse_table(settings)
    months = _months(settings, words["from"], words["to"])
    check_receivers(settings.alerts, os.environ)
    check_source(settings.source)
    with exclusive(settings, "backfill"):
        the_champion(settings)
        with finished(settings):
            backfill(settings, months, print_line)
    print_line(f"Page      {folder_of(settings) / PAGE}")


def backfill(settings: Settings, months: Sequence[str], say: Callable[[str], None]) -> None:
    """Score these months, in order, then judge them and the later ones that were judged without
    their scores. say: gets what happens, a line at a time."""
    for line in rebuild_altered(settings):
        say(line)
    frozen = baselines_of(settings)
    if frozen and months[0] < frozen[0]["since"]:
        say(
            f"The sensors judge from {frozen[0]['since']} on, where the first baseline was frozen."
            f" For earlier months, set operations.start to {first_day(months[0])} and remove"
            f" {folder_of(settings) / 'baseline'}"
        )
    watched = {}
    for month in months:
        at = as_of_month(settings, month)
        log = watched[month] = watch_month(at, month)
        check_there(log, month)
        check_unchanged(log, month)
        scores = score_log(at, log.validated, end_of(month), log.months)
        say(
            f"{month}: {scores.record['rows']:,} customers"
            f" {'reused' if scores.reused else 'scored'}"
        )
    known, _ = state.read_judged(folder_of(settings))
    later = {
        one.verdict.month
        for one in known
        if one.verdict.month > months[-1] and "held" not in one.inputs
    }
    for month in sorted({*months, *later}):
        log = watched.get(month) or watch(as_of_month(settings, month))
        say(f"{month}: {judge(log, month).verdict.verdict}")


def _months(settings: Settings, first: str | None, last: str | None) -> list[str]:
    """The months from FROM to TO, in order. Raises UserError for one that is not over."""
    if first is None:
        raise UserError(
            "no first month is named",
            where="FROM",
            next_step=make("backfill", settings, FROM="2025-06", TO="2026-03"),
        )
    newest = add_months(month_of(today(settings)), -1)
    begin = month_of(read_day(first, "FROM"))
    end = newest if last is None else month_of(read_day(last, "TO"))
    if begin > end:
        raise UserError(
            f"FROM is {begin}, after TO, {end}", where="FROM, TO", next_step="exchange them"
        )
    if end > newest:
        raise UserError(
            f"{end} is not over: today is {today(settings)}",
            where="TO",
            next_step=f"name a month up to {newest}",
        )
    return months_between(begin, end)


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.backfill", ABOUT, main, options=OPTIONS))
