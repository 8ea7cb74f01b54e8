"""Freeze a new baseline of the sensors: `make rebaseline REASON="prices were raised on purpose"`.

The months that were judged keep their verdicts. From the next one on the sensors compare with the
last `operations.baseline_months` whole months, and months of broken data before it count as
accepted: they no longer forbid a retraining. Of a change that has just come, most of these months
are of before it: what its sensor takes for usual is a mixture until a later baseline.
"""

from __future__ import annotations

import sys

from common.errors import UserError
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from flows.exclusive import exclusive
from flows.kept_scores import read_scores, scores_folder
from flows.monitoring_page import write_monitoring_page
from flows.watch import baselines_of, folder_of, freeze_baseline, refuse_table, watch
from ingestion.sources import check_source
from monitoring import state
from monitoring.facts import add_months, end_of

ABOUT = "Freeze a new baseline of the sensors, from the last whole months."
OPTIONS = {"reason": "why the months before are the new normal; it is written down"}


def main(settings: Settings, *, reason: str | None) -> None:
    refuse_table(settings)
    if not reason or not reason.strip():
        raise UserError(
            "no reason is given",
            where="REASON",
            next_step=make("rebaseline", settings, REASON="why the months before are normal"),
        )
    check_source(settings.source)
    with exclusive(settings, "rebaseline"):
        baselines = baselines_of(settings)
        watched = watch(settings)
        whole = watched.whole
        version = baselines[-1]["version"] + 1 if baselines else 1
        since = add_months(whole[-1], 1) if whole else ""
        if baselines and baselines[-1]["since"] >= since:
            last = baselines[-1]
            raise UserError(
                f"baseline {last['version']} judges from {last['since']} on, and no month was"
                " judged by it yet",
                where=str(folder_of(settings) / "baseline"),
                next_step=f"judge a month first: {make('monitor', settings)}",
            )
        content = freeze_baseline(watched, since, reason.strip(), version) if whole else None
        if content is None:
            count = settings.operations.baseline_months
            raise UserError(
                f"the log has {len(whole)} whole months, and a baseline is made of {count}",
                where="operations.baseline_months",
                next_step="wait for more months",
            )
        write_monitoring_page(settings)
    made = sorted(content["made_from"])
    print(f"Baseline {version} is frozen on {made[0]} to {made[-1]}; it judges from {since} on.")
    before = baselines[-1]["since"] if baselines else ""
    for line in _not_scored(settings, before):
        print(line)
    print(f"Next: {make('operate', settings)}, when {since} is over")


def _not_scored(settings: Settings, before: str) -> list[str]:
    """Return lines about months that are accepted now, and were not scored because their data was
    broken. before: the first month of the baseline until now."""
    folder, runs = folder_of(settings), list[list[str]]()
    for one in state.read_judged(folder)[0]:
        month = one.verdict.month
        place = scores_folder(settings) / f"as_of={end_of(month)}"
        if (
            one.verdict.verdict != "broken data"
            or "held" in one.inputs
            or month < before
            or not (folder / "operated" / f"month={month}.json").exists()
            or read_scores(place) is not None
        ):
            continue
        if runs and runs[-1][-1] == add_months(month, -1):
            runs[-1].append(month)
        else:
            runs.append([month])
    if not runs:
        return []
    return ["Not scored while their data was broken, and accepted now; to score them:"] + [
        f"  {make('backfill', settings, FROM=run[0], TO=run[-1])}" for run in runs
    ]


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.rebaseline", ABOUT, main, options=OPTIONS))
