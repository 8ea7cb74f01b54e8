"""Process every month that is due, in order: `make operate`.

For each month: ingest → validate → score → judge → train when due → gate → promote. The running
service finds a new champion by itself.

A month is due when it is over and was not processed yet. All of it happens as of the day after the
month (`operations.today`): nothing sees a later row, also when several months are processed at
once. Each step finds what a killed command has finished, so the same command goes on after a kill,
and a month whose rows are not there yet stops it without harm.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any

from common.errors import UserError
from common.files import write_record
from common.terminal import console, visible
from configs.command import leave, run_command
from configs.make_command import make
from configs.settings import Settings
from flows.clock import as_of_month, read_day, today
from flows.exclusive import exclusive
from flows.finish import finished
from flows.judge import (
    broken_by,
    check_unchanged,
    judge,
    rebuild_altered,
    restate_from,
    unaccepted_until,
    watch_month,
)
from flows.kept_scores import Scores, read_scores, scores_folder
from flows.monitor import could_judge
from flows.retrain import decision_as_of, find_trigger, run_retraining, why_not, write_trigger_once
from flows.score import score_log
from flows.stopping import end_on_signals
from flows.watch import PAGE, NotWhole, Watched, check_there, folder_of, refuse_table
from ingestion.months import digest_of
from ingestion.outcome import ContractBroken
from ingestion.sources import check_source
from monitoring import state
from monitoring.alerts import clear_alert, raise_alert
from monitoring.delivery import check_receivers
from monitoring.facts import Reading, Verdict, add_months, end_of, month_of, months_between
from registry.champion import the_champion

ABOUT = "Process every month that is due: score, judge, retrain when there is a reason."
OPTIONS = {"restate": "a month whose rows were changed since: accept the changed rows (2026-02)"}
BY = "operate"
LATE = timedelta(days=7)  # rows that come within a week after their month raise no alert


@dataclass(frozen=True)
class Operated:
    """A month that was processed. scored: customers, 0 where the data was broken; champion: its
    version then; trigger: why it was trained, "" where it was not; deferred: why not, though there
    was a reason; decision: of the gate, with the version it is about."""

    month: str
    rows: int
    scored: int
    verdict: str
    champion: int
    trigger: str = ""
    deferred: str = ""
    decision: str = ""
    version: int | None = None
    run_id: str = ""


def main(settings: Settings, *, restate: str | None) -> None:
    end_on_signals()
    operate_and_finish(settings, print_line, restate=restate)
    shown = console()
    for head, text in (("Page", str(folder_of(settings) / PAGE)), ("Next", _next(settings))):
        shown.print(f"{head:9} {text}", soft_wrap=True, markup=False)


def operate_and_finish(
    settings: Settings, say: Callable[[str], None], *, restate: str | None = None
) -> list[Operated]:
    """What `make operate` does: the due months, then alerts, metrics and page.

    restate: a month whose rows were changed since it was judged.  Raises Busy when another command
    works on the same state, and what `operate` raises.
    """
    refuse_table(settings)
    changed = None if restate is None else month_of(read_day(restate, "RESTATE"))
    check_receivers(settings.alerts, os.environ)
    check_source(settings.source)
    with exclusive(settings, BY):
        the_champion(settings)  # before anything is read
        with finished(settings, BY):
            for line in [*reconcile_registry(settings), *rebuild_altered(settings, changed)]:
                say(line)
            if changed is not None:
                score = partial(_score_anew, say)
                for judged in restate_from(settings, changed, before=score):
                    say(f"{judged.verdict.month}: {judged.verdict.verdict}, judged anew")
            done = operate(settings, say)
            for line in promote_from_shadow(settings):
                say(line)
            if not done:
                say(nothing_due(settings))
    return done


def operate(settings: Settings, say: Callable[[str], None]) -> list[Operated]:
    """Process all due months, the oldest first; say: gets what happens, a line at a time.

    Raises UserError for a month whose rows are missing, held or changed, and whatever a stage
    raises: that is an alert too. The months before it are done by then.
    """
    folder, done = folder_of(settings), []
    for month in due_months(settings):
        try:
            done.append(operate_month(as_of_month(settings, month), month, say))
        except ContractBroken:
            raise  # an alert of the month's verdict
        except Exception as error:
            if isinstance(error, NotWhole) and today(settings) < end_of(month) + LATE:
                raise
            what, action = f"unexpected {type(error).__name__}: {error}", "see the log of the run"
            if isinstance(error, UserError):
                what, action = error.what, error.next_step
            with suppress(OSError):  # of a full disk; what failed is reported in any case
                raise_alert(folder, month, BY, what, action, today=end_of(month))
            raise
        clear_alert(folder, month, BY, today=end_of(month))
    return done


def operate_month(settings: Settings, month: str, say: Callable[[str], None]) -> Operated:
    """Process one month, in the order of its steps, with the clock on the day after it."""
    say(f"{month}: ingest, validate")
    watched = watch_month(settings, month)
    check_there(watched, month)
    check_unchanged(watched, month)
    scored, champion = _score(watched, month, say)
    verdict = judge(watched, month).verdict
    readings = state.read_facts(watched.folder, "readings", Reading, [month])
    for line in (verdict.verdict, *verdict.evidence, *could_judge(readings, settings)):
        say(f"{month}: {line}")
    rows = next(one.rows for one in watched.months if one.month == month)
    operated = Operated(month, rows, scored, verdict.verdict, champion)
    operated = replace(operated, **_retrain(watched, verdict, say))
    write_record(folder_of(settings) / "operated" / f"month={month}.json", asdict(operated))
    return operated


def _score(watched: Watched, month: str, say: Callable[[str], None]) -> tuple[int, int]:
    """Score everybody, and return how many, and the champion's version. Broken data is not scored:
    a list that is made from it is worse than one that comes late."""
    settings = watched.settings
    if broken_by(watched, month):
        say(f"{month}: not scored: its data is broken")
        return 0, the_champion(settings).version
    scores = _made_before(watched, end_of(month)) or score_log(
        settings, watched.validated, end_of(month), watched.months
    )
    for note in scores.notes:
        say(f"{month}: {note}")
    if broken := unaccepted_until(settings, month):
        say(f"{month}: the list is made from the broken rows of {', '.join(broken)} too")
    rows, version = scores.record["rows"], scores.record["version"]
    say(f"{month}: {rows:,} customers scored by version {version}: {scores.folder}")
    return rows, version


def _made_before(watched: Watched, as_of: date) -> Scores | None:
    """Return the official scores of the day, where they were made from the same rows: by a command
    that was killed, perhaps after it had promoted a champion that would score otherwise."""
    folder = scores_folder(watched.settings) / f"as_of={as_of}"
    record = read_scores(folder)
    if record is None or record["data_sha256"] != digest_of(watched.months):
        return None
    return Scores(folder, record, official=True, reused=True)


def _retrain(watched: Watched, verdict: Verdict, say: Callable[[str], None]) -> dict[str, Any]:
    """Train when there is a reason and nothing forbids it; the gate decides what follows. Returns
    what is to be recorded of it in `Operated`."""
    from registry import ledger
    from registry.tracking import open_store

    settings, month = watched.settings, verdict.month
    client, clock = open_store(settings), end_of(month)
    past = ledger.history(client, settings)
    trigger = find_trigger(settings, watched, verdict, past, clock)
    if trigger is None:
        return {}
    if forbidden := why_not(settings, watched, trigger, month, past, clock):
        say(f"{month}: no retraining ({trigger.reason}): {forbidden}")
        return {"deferred": f"{trigger.reason}: {forbidden}"}
    decided = decision_as_of(past, clock)
    if decided is None:
        write_trigger_once(settings, client, past, trigger, month, clock)
        say(f"{month}: retraining: {trigger.reason}")
        run_retraining(settings, lambda line: say(f"{month}: training: {line}"))
        decided = decision_as_of(ledger.history(client, settings), clock)
        assert decided is not None, "a training ends with a decision"
    verb = "is champion" if decided.action == "promote" else "is rejected"
    say(f"{month}: version {decided.to_version} {verb}")
    about = {"decision": decided.action, "version": decided.to_version, "run_id": decided.run_id}
    return {"trigger": trigger.kind, **about}


# --- which months are due -------------------------------------------------------------------------


def due_months(settings: Settings) -> list[str]:
    """Return the months that are over and were not processed, the oldest first. Raises UserError
    for a clock that went back."""
    last, clock = last_operated(settings), today(settings)
    newest = add_months(month_of(clock), -1)
    if last is not None:
        if end_of(last) > clock:
            raise UserError(
                f"the clock went back: {last} was processed already, and today is {clock}",
                where="operations.today" if settings.operations.today else "the system's clock",
                next_step="correct the clock",
            )
        first = add_months(last, 1)
    else:
        start = settings.operations.start
        first = newest if start is None else month_of(start)
    return months_between(first, newest)


def last_operated(settings: Settings) -> str | None:
    """Return the newest month that was processed."""
    files = sorted((folder_of(settings) / "operated").glob("month=*.json"))
    return files[-1].stem.removeprefix("month=") if files else None


def nothing_due(settings: Settings) -> str:
    last, clock = last_operated(settings), today(settings)
    which = f"{last} was the last" if last else f"operations.start is {settings.operations.start}"
    return f"No month is due: {which}, and today is {clock}."


# --- before and after the months ------------------------------------------------------------------


def reconcile_registry(settings: Settings) -> list[str]:
    """Finish what a killed training left in the registry, such as a decision that was recorded and
    not carried out; returns what was done."""
    from registry import runs
    from registry.carry_out import reconcile
    from registry.tracking import open_store

    client = open_store(settings)
    runs.close_dead_runs(client)
    return reconcile(client, settings)


def _score_anew(say: Callable[[str], None], watched: Watched, month: str) -> None:
    """Score a month again whose rows were changed since: beside the official scores, where there
    are any; official where there were none because the data was broken."""
    operated = folder_of(watched.settings) / "operated" / f"month={month}.json"
    if not operated.exists() or broken_by(watched, month):
        return
    scores = score_log(watched.settings, watched.validated, end_of(month), watched.months)
    if not scores.reused:
        which = "official" if scores.official else "beside the official ones"
        say(f"{month}: {scores.record['rows']:,} customers scored anew, {which}: {scores.folder}")


def promote_from_shadow(settings: Settings) -> list[str]:
    """Promote a version that the gate wanted to see in shadow first, when it has been there long
    enough; returns what was done."""
    if settings.gate.shadow_days is None:
        return []
    from flows.shadow import conclude_shadow, purchases_of
    from registry.tracking import open_store

    try:
        purchases = purchases_of(settings)
    except ContractBroken as error:  # rows of a month that is not over: not of interest today
        return [f"the version in shadow waits: {error.what}"]
    entry = conclude_shadow(open_store(settings), settings, purchases)
    return [f"version {entry.to_version} is champion: {entry.reason}"] if entry else []


def _next(settings: Settings) -> str:
    if settings.source.kind == "simulated" and settings.operations.today is None:
        return "the simulated log ends here; make simulate-year has twelve months"
    last = last_operated(settings)
    return make("operate", settings) + (f"  when {add_months(last, 1)} is over" if last else "")


def print_line(text: str) -> None:
    print(visible(text), flush=True)


if __name__ == "__main__":
    leave(run_command("flows.operate", ABOUT, main, options=OPTIONS))
