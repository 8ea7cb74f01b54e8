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
from monitoring.facts import Reading, Verdict, add_months
from monitoring.state import Judged
from registry.chain import Record

CALM = Verdict("2026-04", "calendar", "nothing", "2026-04", (), 1)
WORSE = replace(CALM, verdict="worse", evidence=("it ranks worse",))
BROKEN = replace(CALM, verdict="broken data", evidence=("prices",))
CHANGED = replace(
    CALM, verdict="changed demand", evidence=("fewer invoices",), retrain_due="2026-09-28"
)
AUGUST = date(2026, 8, 1)


@pytest.fixture
def settings(tmp_path):
    return load("online_retail", ["--var", str(tmp_path), "--operations.today", "2026-08-15"], {})


@pytest.fixture
def watched(settings, tmp_path):
    return Watched(settings, tmp_path, "batch")


def with_operations(settings, **changes):
    return settings.model_copy(
        update={"operations": settings.operations.model_copy(update=changes)}
    )


def entry(clock="2026-04-01", action="reject", run_id="run", **figures) -> Record:
    figures = {"clock": clock, **figures} if clock else figures
    blank = dict.fromkeys(Record.__dataclass_fields__, "")
    numbers = {"sequence": 1, "rules": [], "from_version": None, "to_version": 1}
    about = {"time": "2026-01-05T10:00:00+00:00", "action": action, "run_id": run_id}
    return Record(**{**blank, **numbers, **about, "figures": figures})


def processed(settings, *months):
    for month in months:
        write_record(folder_of(settings) / "operated" / f"month={month}.json", {"month": month})


def judged(settings, verdict):
    state.write_judged(folder_of(settings), Judged(verdict, {}, {}))


@pytest.mark.parametrize(
    ("done", "changes", "due"),
    [
        pytest.param([], {}, ["2026-07"], id="at first the latest month that is over"),
        pytest.param(
            *([], {"start": date(2026, 5, 20)}, ["2026-05", "2026-06", "2026-07"]),
            id="or all since operations.start",
        ),
        pytest.param(
            *(["2026-03", "2026-04"], {}, ["2026-05", "2026-06", "2026-07"]),
            id="those that were missed, in order",
        ),
        pytest.param(["2026-07"], {}, [], id="none twice"),
        pytest.param(["2026-06"], {"today": date(2026, 7, 31)}, [], id="none before its end"),
        pytest.param(["2026-06"], {"today": AUGUST}, ["2026-07"], id="from the day after it"),
    ],
)
def test_the_months_that_are_due(settings, done, changes, due):
    processed(settings, *done)
    assert operate.due_months(with_operations(settings, **changes)) == due


def test_a_clock_that_went_back_is_refused(settings):
    processed(settings, "2026-09")
    with pytest.raises(UserError, match="clock went back: 2026-09 was processed"):
        operate.due_months(settings)


def test_a_month_is_processed_as_of_the_day_after_it(settings):
    for month, day in (("2026-02", date(2026, 3, 1)), ("2026-12", date(2027, 1, 1))):
        assert as_of_month(settings, month).operations.today == day


# --- triggers ---------------------------------------------------------------------------------


def trigger(settings, watched, verdict=CALM, past=(), clock=AUGUST):
    return retrain.find_trigger(settings, watched, verdict, past, clock)


@pytest.mark.parametrize(
    ("verdict", "past", "clock", "kind"),
    [
        pytest.param(CALM, ["2026-05-01"], AUGUST, "calendar", id="after three months"),
        pytest.param(CALM, ["2026-05-01"], date(2026, 7, 1), None, id="not before"),
        pytest.param(CALM, [], AUGUST, "calendar", id="a champion that was not trained here"),
        pytest.param(WORSE, ["2026-07-01"], AUGUST, "worse", id="a worse champion at once"),
        # A champion of today may process months of before.
        pytest.param(WORSE, ["2026-11-27"], AUGUST, None, id="not where trained on a later day"),
    ],
)
def test_a_reason_to_train(settings, watched, verdict, past, clock, kind):
    found = trigger(settings, watched, verdict, [entry(day) for day in past], clock)
    assert (found and found.kind) == kind
    if verdict is WORSE and found:
        assert found.evidence == ("it ranks worse",)


def test_the_calendar_can_be_switched_off(settings, watched):
    never = with_operations(settings, retrain_months=0)
    assert trigger(never, watched, past=[entry("2020-05-01")]) is None


def test_a_worse_champion_is_seen_though_changed_demand_comes_first_in_the_verdict(
    settings, watched
):
    gain = Reading("champion_gain", "2026-04", "alarm", text="it ranks worse")
    fewer = Reading("invoices", "2026-04", "alarm", text="fewer invoices")
    past = [entry("2026-07-01")]
    for readings, evidence in (([fewer], None), ([fewer, gain], ("it ranks worse",))):
        state.write_facts(watched.folder, "readings", "2026-04", Reading, readings)
        found = trigger(settings, watched, CHANGED, past)
        assert (found and found.evidence) == evidence


def test_a_change_of_demand_waits_for_its_labels_and_is_learnt_from_once(settings, watched):
    judged(settings, CHANGED)
    past = [entry("2026-08-01")]
    assert trigger(settings, watched, past=past, clock=date(2026, 9, 1)) is None
    found = trigger(settings, watched, past=past, clock=date(2026, 10, 1))
    assert (found.kind, found.evidence) == ("changed demand", ("fewer invoices",))
    past += [entry("2026-10-01")]  # whatever it was for
    assert trigger(settings, watched, past=past, clock=date(2026, 11, 1)) is None


# --- what forbids a training ------------------------------------------------------------------


BY_CALENDAR = retrain.Trigger("calendar", "the last training was long ago", ())


def why_not(settings, watched, past=(), clock=AUGUST, trigger=BY_CALENDAR):
    month = add_months(f"{clock:%Y-%m}", -1)
    return retrain.why_not(settings, watched, trigger, month, past, clock)


def test_nothing_is_learnt_from_broken_data_until_a_baseline_accepts_it(settings, watched):
    judged(settings, BROKEN)
    assert "the data of 2026-04 is broken" in why_not(settings, watched)
    content = {"version": 1, "since": "2026-05", "reason": "on purpose"}
    state.write_baseline(folder_of(settings), content)
    assert why_not(settings, watched) == ""


def test_later_months_that_were_judged_before_do_not_count(settings, watched):
    judged(settings, replace(BROKEN, month="2026-09", since="2026-09", retrain_due="2026-08-01"))
    assert why_not(settings, watched) == ""
    assert trigger(settings, watched, past=[entry("2026-07-01")]) is None


@pytest.mark.parametrize(
    ("day", "said"),
    [("2026-06-01", "less than 90 days ago"), ("2026-05-01", ""), ("2026-08-01", "")],
    ids=[
        "within a horizon of the last",
        "after it",
        "the training of this very day is not earlier",
    ],
)
def test_trainings_are_a_horizon_apart(settings, watched, day, said):
    found = why_not(settings, watched, [entry(day)])
    assert said in found and bool(said) == bool(found)


def test_the_calendar_waits_shortly_before_the_labels_of_a_change_are_known(settings, watched):
    judged(settings, replace(CHANGED, month="2026-06"))
    past, july, october = [entry("2026-03-01")], date(2026, 7, 1), date(2026, 10, 1)
    assert why_not(settings, watched, past, july).startswith(
        "the labels from after the change of demand are known on 2026-09-28"
    )
    assert why_not(settings, watched, past, date(2026, 6, 1)) == "", "not judged by then"
    worse = retrain.Trigger("worse", "it ranks worse", ())
    assert why_not(settings, watched, past, july, worse) == ""
    found = trigger(settings, watched, replace(CALM, month="2026-09"), past, october)
    assert found.kind == "changed demand"
    assert why_not(settings, watched, past, october, found) == ""


def test_a_training_is_found_by_the_day_of_its_clock():
    past = [entry("2026-04-01"), entry("2026-07-01", "promote"), entry(action="release")]
    assert retrain.last_trained(past, date(2026, 7, 1)) == date(2026, 4, 1)
    assert retrain.last_trained(past, date(2026, 7, 2)) == date(2026, 7, 1)
    assert retrain.decision_as_of(past, date(2026, 7, 1)) is past[1]


@pytest.mark.parametrize(
    ("record", "day"),
    [
        # Written before the clock was: the day of the record.
        (entry(None, roc_auc=0.7), date(2026, 1, 5)),
        # Killed before it had figures, and rejected by the next command, on whatever day.
        (entry(None), None),
        (entry(action="release"), None),
        (entry(action="rollback"), None),
        (entry(action="trigger"), None),
    ],
    ids=["an old record", "no figures", "release", "rollback", "trigger"],
)
def test_the_day_of_a_training_in_the_ledger(record, day):
    assert retrain.last_trained([record], date(2026, 7, 1)) == day
