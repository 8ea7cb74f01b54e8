"""Score and judge past months: `make backfill FROM=2025-06 TO=2026-03`.

Each month is scored and judged as of the day after it, by the champion of today; nothing is trained
and nothing promoted. Months that were scored or judged before stay as they are, and in whatever
order months are filled in, the files come out the same.
"""

from __future__ import annotations

import sys

from configs.command import make, run_command
from configs.errors import UserError
from configs.settings import Settings
from flows.clock import as_of_month, read_day, today
from flows.lock import alone
from flows.monitor import finish, folder_of, judge, refuse_table, watch
from flows.operate import check_there, print_line
from flows.score import score_log
from ingestion.ingest import check_source
from monitoring import state
from monitoring.facts import add_months, end_of, month_of
from registry.alias import the_champion

ABOUT = "Score and judge past months with the champion of today; nothing is trained."
OPTIONS = {"from": "the first month (2025-06)", "to": "the last month; none: the last that is over"}


def main(settings: Settings, **asked: str | None) -> None:
    refuse_table(settings)
    months = _months(settings, asked["from"], asked["to"])
    check_source(settings.source)
    with alone(settings.var, "backfill"):
        the_champion(settings)
        for month in months:
            at = as_of_month(settings, month)
            watched = watch(at)
            check_there(watched, month)
            scores = score_log(at, watched.validated, end_of(month))
            found = "found" if scores.reused else "scored"
            print_line(f"{month}: {scores.record['rows']:,} customers {found}")
        known, _ = state.read_judged(folder_of(settings))
        # Later months were judged without the scores that are there now.
        later = {one.verdict.month for one in known if one.verdict.month >= months[0]}
        for month in sorted({*months, *later}):
            judged, notes = judge(watch(as_of_month(settings, month)), month)
            for line in (*notes, judged.verdict.verdict):
                print_line(f"{month}: {line}")
        finish(settings)


def _months(settings: Settings, first: str | None, last: str | None) -> list[str]:
    """The months asked for, in order. Raises UserError for one that is not over."""
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
    return [month for n in range(1200) if (month := add_months(begin, n)) <= end]


if __name__ == "__main__":
    sys.exit(run_command("flows.backfill", ABOUT, main, options=OPTIONS))
