"""Which months are due, why a training is started, and what forbids it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from common.errors import UserError
from common.files import write_record
from configs.load import load
from flows import operate, retrain
from flows.clock import as_of_month
from flows.watch import Watched, folder_of
from monitoring import state
from monitoring.facts import Reading, Verdict, add_months, end_of
from monitoring.state import Judged
from registry.chain import Record

CALM = Verdict("2026-04", "calendar", "nothing", "2026-04", (), 1)


@pytest.fixture
def settings(tmp_path):
    return load("online_retail", ["--var", str(tmp_path), "--operations.today", "2026-08-15"], {})


@pytest.fixture
def watched(settings, tmp_path):
    return Watched(settings, tmp_path, "batch")


def entry(action="reject", clock="2026-04-01", run_id="run", **figures) -> Record:
    told = {"clock": clock, **figures} if clock else figures
    blank = dict.fromkeys(Record.__dataclass_fields__, "")
    return Record(
        **{
            **blank,
            "sequence": 1,
            "time": "2026-01-05T10:00:00+00:00",
            "action": action,
            "figures": told,
            "rules": [],
            "run_id": run_id,
            "from_version": None,
            "to_version": 1,
        }
    )


def worked_off(settings, *months):
    for month in months:
        write_record(folder_of(settings) / "operated" / f"month={month}.json", {"month": month})


def judged(settings, *verdicts):
    for verdict in verdicts:
        state.write_judged(folder_of(settings), Judged(verdict, {}, {}))


# --- due months -------------------------------------------------------------------------------


def test_at_first_the_latest_month_that_is_over_is_due(settings):
    assert operate.due_months(settings) == ["2026-07"]


def test_or_all_since_the_start_that_is_set(settings):
    start = settings.operations.model_copy(update={"start": date(2026, 5, 20)})
    settings = settings.model_copy(update={"operations": start})
    assert operate.due_months(settings) == ["2026-05", "2026-06", "2026-07"]


def test_months_that_were_missed_are_due_in_their_order(settings):
    worked_off(settings, "2026-03", "2026-04")
    assert operate.due_months(settings) == ["2026-05", "2026-06", "2026-07"]


def test_no_month_is_due_twice(settings):
    worked_off(settings, "2026-07")
    assert operate.due_months(settings) == []


def test_a_month_is_due_from_the_day_after_it_on(settings):
    worked_off(settings, "2026-06")
    for day, due in ((date(2026, 7, 31), []), (date(2026, 8, 1), ["2026-07"])):
        clock = settings.operations.model_copy(update={"today": day})
        at = settings.model_copy(update={"operations": clock})
        assert operate.due_months(at) == due


def test_a_clock_that_went_back_is_refused(settings):
    worked_off(settings, "2026-09")
    with pytest.raises(UserError, match="clock went back: 2026-09 was processed"):
        operate.due_months(settings)


# --- triggers ---------------------------------------------------------------------------------


def trigger(settings, watched, verdict=CALM, past=(), clock=date(2026, 8, 1)):
    return retrain.find_trigger(settings, watched, verdict, past, clock)


def test_the_calendar_asks_for_a_training_after_so_many_months(settings, watched):
    past = [entry(clock="2026-05-01")]
    assert trigger(settings, watched, past=past).kind == "calendar"  # three months
    assert trigger(settings, watched, past=past, clock=date(2026, 7, 1)) is None


def test_or_never(settings, watched):
    never = settings.operations.model_copy(update={"retrain_months": 0})
    settings = settings.model_copy(update={"operations": never})
    assert trigger(settings, watched, past=[entry(clock="2020-05-01")]) is None


def test_a_worse_champion_is_retrained_at_once(settings, watched):
    worse = replace(CALM, verdict="worse", evidence=("it ranks worse",))
    found = trigger(settings, watched, worse, [entry(clock="2026-07-01")])
    assert (found.kind, found.evidence) == ("worse", ("it ranks worse",))


def test_also_where_demand_has_changed_which_comes_first_in_a_verdict(settings, watched):
    changed = replace(CALM, verdict="changed demand", evidence=("fewer invoices", "it ranks worse"))
    gain = Reading("champion_gain", "2026-04", "alarm", text="it ranks worse")
    fewer = Reading("invoices", "2026-04", "alarm", text="fewer invoices")
    past = [entry(clock="2026-07-01")]
    state.write_facts(watched.folder, "readings", "2026-04", Reading, [fewer])
    assert trigger(settings, watched, changed, past) is None
    state.write_facts(watched.folder, "readings", "2026-04", Reading, [fewer, gain])
    found = trigger(settings, watched, changed, past)
    assert (found.kind, found.evidence) == ("worse", ("it ranks worse",))


def test_a_champion_that_nobody_trained_is_trained_by_the_calendar(settings, watched):
    found = trigger(settings, watched, past=[entry("release", run_id="run")])
    assert (found.kind, found.reason) == ("calendar", "no training is on record")


def test_a_training_of_a_later_day_stands_in_for_one_of_a_past_month(settings, watched):
    """A champion of today may process months of before."""
    worse = replace(CALM, verdict="worse", evidence=("it ranks worse",))
    past = [entry(clock="2026-01-01"), entry(clock="2026-11-27")]
    assert trigger(settings, watched, past=past) is None
    assert trigger(settings, watched, worse, past) is None


def test_a_change_of_demand_waits_for_its_labels(settings, watched):
    changed = Verdict(
        "2026-04", "changed demand", "wait", "2026-04", ("fewer invoices",), 1, "2026-09-28"
    )
    judged(settings, changed)
    past = [entry(clock="2026-08-01")]
    assert trigger(settings, watched, past=past, clock=date(2026, 9, 1)) is None
    found = trigger(settings, watched, past=past, clock=date(2026, 10, 1))
    assert (found.kind, found.evidence) == ("changed demand", ("fewer invoices",))


def test_and_is_learnt_from_once(settings, watched):
    changed = Verdict("2026-04", "changed demand", "wait", "2026-04", ("x",), 1, "2026-09-28")
    judged(settings, changed)
    past = [entry(clock="2026-10-01")]  # a training after the day, whatever it was for
    assert trigger(settings, watched, past=past, clock=date(2026, 11, 1)) is None


# --- what forbids a training ------------------------------------------------------------------


BY_CALENDAR = retrain.Trigger("calendar", "the last training was long ago", ())


def why_not(settings, watched, past=(), clock=date(2026, 8, 1), trigger=BY_CALENDAR):
    month = add_months(f"{clock:%Y-%m}", -1)
    return retrain.why_not(settings, watched, trigger, month, past, clock)


def test_nothing_is_learnt_from_broken_data(settings, watched):
    judged(settings, replace(CALM, verdict="broken data", evidence=("prices",)))
    assert "the data of 2026-04 is broken" in why_not(settings, watched)


def test_later_months_that_were_judged_before_do_not_count(settings, watched):
    broken = Verdict("2026-09", "broken data", "hold", "2026-09", ("prices",), 1, "2026-08-01")
    judged(settings, broken)
    assert why_not(settings, watched) == ""
    assert trigger(settings, watched, past=[entry(clock="2026-07-01")]) is None


def test_until_a_baseline_accepts_it(settings, watched):
    judged(settings, replace(CALM, verdict="broken data", evidence=("prices",)))
    state.write_baseline(
        folder_of(settings), {"version": 1, "since": "2026-05", "reason": "on purpose"}
    )
    assert why_not(settings, watched) == ""


def test_nor_within_a_horizon_of_the_last_training(settings, watched):
    assert "less than 90 days ago" in why_not(settings, watched, [entry(clock="2026-06-01")])
    assert why_not(settings, watched, [entry(clock="2026-05-01")]) == ""


def test_the_training_of_this_very_day_is_no_earlier_one(settings, watched):
    assert why_not(settings, watched, [entry(clock="2026-08-01")]) == ""


def test_nor_by_the_calendar_shortly_before_the_labels_of_a_change_are_known(settings, watched):
    due = "2026-09-28"
    judged(settings, replace(CALM, month="2026-06", verdict="changed demand", retrain_due=due))
    past = [entry(clock="2026-03-01")]
    assert why_not(settings, watched, past, date(2026, 7, 1)).startswith(
        "the labels from after the change of demand are known on 2026-09-28"
    )
    assert why_not(settings, watched, past, date(2026, 6, 1)) == "", "not judged by then"
    worse = retrain.Trigger("worse", "it ranks worse", ())
    assert why_not(settings, watched, past, date(2026, 7, 1), worse) == ""
    september = replace(CALM, month="2026-09")
    found = trigger(settings, watched, september, past, date(2026, 10, 1))
    assert found.kind == "changed demand"
    assert why_not(settings, watched, past, date(2026, 10, 1), found) == ""


# --- the clock of a record --------------------------------------------------------------------


def test_a_training_is_found_by_the_day_of_its_clock():
    past = [entry("reject", "2026-04-01"), entry("promote", "2026-07-01"), entry("release")]
    assert retrain.last_trained(past, date(2026, 7, 1)) == date(2026, 4, 1)
    assert retrain.last_trained(past, date(2026, 7, 2)) == date(2026, 7, 1)
    assert retrain.decision_as_of(past, date(2026, 7, 1)) is past[1]


def test_a_record_of_before_the_clock_was_written_down_has_its_own_day():
    assert retrain.last_trained([entry(clock=None, roc_auc=0.7)], date(2026, 7, 1)) == date(
        2026, 1, 5
    )


def test_a_training_that_was_killed_before_it_had_figures_is_none():
    """Its version is rejected by the next command, which may be on any day."""
    assert retrain.last_trained([entry("reject", clock=None)], date(2026, 7, 1)) is None


def test_decisions_of_persons_are_no_trainings():
    past = [entry("release", run_id="run"), entry("rollback"), entry("trigger")]
    assert retrain.last_trained(past, date(2026, 7, 1)) is None


def test_a_month_is_worked_off_as_of_the_day_after_it(settings):
    for month in ("2026-02", "2026-12"):
        at = as_of_month(settings, month)
        assert at.operations.today == end_of(month) == end_of(add_months(month, 0))
