"""A month's verdict: the first that applies, since when, and when labels will be known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitoring.facts import Reading, Verdict, VerdictName, add_months, end_of
from monitoring.verdict import ACTIONS, decide, unaccepted

MEANINGS: dict[str, VerdictName] = {
    "price": "broken data",
    "invoices": "changed demand",
    "champion_gain": "worse",
}


def reading(sensor: str, state: str = "alarm", month: str = "2026-04") -> Reading:
    return Reading(sensor, month, state, text=f"{sensor} reads {state}")  # type: ignore[arg-type]


def judged(*readings: Reading, earlier=(), month: str = "2026-04", **others) -> Verdict:
    return decide(month, readings, MEANINGS, earlier=earlier, horizon_days=90, **others)


def test_without_an_alarm_the_calendar_counts():
    found = judged(reading("price", "ok"), reading("invoices", "pending"))
    assert (found.verdict, found.evidence, found.retrain_due) == ("calendar", (), None)


def test_broken_data_goes_before_demand_and_all_evidence_is_given():
    found = judged(reading("invoices"), reading("price"))
    assert found.verdict == "broken data"
    assert found.evidence == ("price reads alarm", "invoices reads alarm")


def test_a_held_batch_is_broken_data():
    found = judged(held="the batch ab12 is held: volume_change is -0.7")
    assert found.verdict == "broken data"
    assert found.evidence[0].startswith("the batch ab12 is held")


def test_too_few_and_learning_are_no_alarm_and_are_said():
    found = judged(reading("price", "too_few"), learning=("price: too few lines",))
    assert found.verdict == "calendar"
    assert found.learning == ("price: too few lines",)


def test_a_verdict_begins_with_its_first_month_in_a_row():
    first = judged(reading("price"))
    second = judged(reading("price"), earlier=[first], month="2026-05")
    assert second.since == "2026-04"
    assert judged(earlier=[first, second], month="2026-06").since == "2026-06"
    after_a_gap = judged(reading("price"), earlier=[first], month="2026-07")
    assert after_a_gap.since == "2026-07"


def test_a_change_of_demand_is_learnt_from_two_horizons_after_it_began():
    """Test rows lie a horizon after the change, and their labels are known a horizon later."""
    first = judged(reading("invoices"))
    assert first.retrain_due == "2026-09-28"  # 2026-04-01 and 180 days
    assert "2026-09-28" in first.action


def test_the_day_stays_while_it_lies_ahead_and_goes_when_it_is_past():
    verdicts = [judged(reading("invoices"))]
    for month in ("2026-05", "2026-06", "2026-07", "2026-08", "2026-09"):
        verdicts.append(judged(earlier=verdicts, month=month))
    dues = [verdict.retrain_due for verdict in verdicts]
    assert dues == ["2026-09-28"] * 5 + [None]


def test_explanations_stand_beside_an_alarm_and_nowhere_else():
    assert judged(explained=("orders fell",)).explained == ()
    assert judged(reading("price"), explained=("orders fell",)).explained == ("orders fell",)


def test_broken_months_count_until_a_baseline_accepts_them():
    broken = [
        judged(reading("price", month=month), month=month) for month in ("2026-04", "2026-06")
    ]
    assert unaccepted(broken, "2026-01") == ["2026-04", "2026-06"]
    assert unaccepted(broken, "2026-05") == ["2026-06"]


@given(st.lists(st.sampled_from([*MEANINGS, "early_label"]), max_size=4), st.booleans())
def test_the_verdict_is_the_first_that_has_evidence(alarms, held):
    found = judged(*map(reading, alarms), held="held" if held else "")
    names = {MEANINGS[name] for name in alarms if name in MEANINGS}
    names |= {"broken data"} if held else set()
    assert found.verdict == next(name for name in ACTIONS if name in names or name == "calendar")
    assert bool(found.evidence) == (found.verdict != "calendar")


@given(st.integers(1, 9998), st.integers(1, 12), st.integers(-30, 30))
def test_months_are_counted_there_and_back(year, number, count):
    month = f"{year:04d}-{number:02d}"
    if 1 <= year * 12 + number - 1 + count < 9999 * 12:
        other = add_months(month, count)
        if other >= "0001-01":
            assert add_months(other, -count) == month
    assert end_of(month).day == 1
