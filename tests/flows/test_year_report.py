"""The table of a simulated year fits a terminal, and its closing paragraphs tell what was."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from flows import year_report
from flows.operate import Operated
from flows.year_report import Year, alarms_of, duration, head, rows
from monitoring.alerts import Alert
from monitoring.facts import Reading, Verdict, add_months
from monitoring.measure import SENSORS
from registry.chain import Record

MONTHS = [add_months("2026-04", n) for n in range(6)]


def operated(month: str, **others) -> Operated:
    return Operated(month, 5956, 3493, "calendar", 1, **others)


def verdict(month: str, name="calendar", **others) -> Verdict:
    return Verdict(month, name, "", month, (), 1, **others)


def alarm(sensor: str, month: str, z: float | None = 5.0) -> Reading:
    return Reading(sensor, month, "alarm", z=z, text=f"{sensor} reads {z} in {month}.")


CALM = Year(
    drift="none",
    planted=date(2026, 6, 1),
    months=[operated(month) for month in MONTHS],
    verdicts=[verdict(month) for month in MONTHS],
    alarms=(),
    alerts=(),
    past=(),
    versions={1: 1200},
    lost=0,
    seconds=92.4,
)


def words(year: Year) -> str:
    return "\n".join(year_report.paragraphs(year))


def record(version: int, run_id: str, *broken: str) -> Record:
    blank = dict.fromkeys(Record.__dataclass_fields__, "")
    rules = [{"rule": "x", "held": True, "found": "this held"}]
    rules += [{"rule": "y", "held": False, "found": text} for text in broken]
    return Record(**{**blank, "rules": rules, "run_id": run_id, "to_version": version})


def test_a_calm_year_says_so():
    said = words(CALM)
    assert said.startswith("In this year nothing was planted. No sensor alarmed in any of its 6 mo")
    assert "At the end version 1, the first champion, was served." in said
    assert "answered 1,200 requests (version 1: 1,200) and lost none." in said
    assert said.endswith("The year took 1 minute 32 seconds.")
    for never in ("training", "alert", "held back"):
        assert never not in said


def test_a_false_alarm_is_called_one():
    said = words(replace(CALM, alarms=[alarm("unit", "2026-07")]))
    assert "False alarms: unit in 2026-07." in said
    said = words(replace(CALM, drift="price", alarms=[alarm("unit", "2026-05")]))
    assert "False alarms before it: unit in 2026-05. No sensor alarmed after it." in said


def test_changed_demand_is_told_from_the_alarm_to_the_gate():
    due = "2026-08-15"
    verdicts = [
        verdict(month, "changed demand", retrain_due=due) if month in MONTHS[2:4] else one
        for month, one in zip(MONTHS, CALM.verdicts)
    ]
    months = [*CALM.months[:4], operated(MONTHS[4]), operated(MONTHS[5])]
    months[2] = operated(MONTHS[2], trigger="calendar", decision="promote", version=2, run_id="a")
    months[4] = operated(
        MONTHS[4], trigger="changed demand", decision="reject", version=3, run_id="b"
    )
    months[5] = replace(months[5], champion=2)
    year = replace(
        CALM,
        drift="rate",
        months=months,
        verdicts=verdicts,
        alarms=[alarm("invoices", "2026-07", -4.2), alarm("abroad", "2026-08")],
        alerts=[
            Alert("invoices", "2026-07", "2026-08", "2026-09", "ticket", "changed demand", "", ""),
            Alert("abroad", "2026-08", "2026-08", None, "ticket", "changed demand", "", ""),
        ],
        past=[record(2, "a"), record(3, "b", "no better", "too slow")],
        versions={1: 700, 2: 500},
        lost=3,
    )
    said = words(year)
    for sentence in (
        "On 2026-06-01 customers began to buy a fifth less often.",
        "alarmed in 2026-07, the second month of the change: invoices reads -4.2 in 2026-07.",
        "Other sensors alarmed too: abroad in 2026-08.",
        "The verdict was changed demand in 2026-06 to 2026-07.",
        "Two alerts were sent, each once: invoices (ticket, 2026-07 to 2026-08), abroad (ticket,",
        "A retraining at once would have learnt nothing",
        "it was dated 2026-08-15, when",
        "It was done as of 2026-09-01: the gate rejected version 3 (no better).",
        "One training came by the calendar: as of 2026-07-01 the gate promoted version 2.",
        "At the end version 2, champion since 2026-07-01, was served.",
        "(version 1: 700, version 2: 500), changed to a new champion once, and lost 3.",
    ):
        assert sentence in said, said


def test_a_retraining_that_lies_ahead_or_was_held_back_says_so():
    ahead = [verdict(month, "changed demand", retrain_due="2027-01-01") for month in MONTHS]
    year = replace(CALM, drift="mix", verdicts=ahead, alarms=[alarm("abroad", "2026-06")])
    assert "That is after this year." in words(year)
    early = [replace(one, retrain_due="2026-08-15") for one in ahead]
    held = [*CALM.months[:5], operated(MONTHS[5], deferred="demand changed in 2026-06: wait")]
    said = words(replace(year, verdicts=early, months=held))
    assert "In 2026-09 it was held back: demand changed in 2026-06: wait." in said


def test_a_second_alarm_of_the_same_change_is_explained():
    lasting = [(MONTHS[2], MONTHS[2], MONTHS[3]), (MONTHS[4], MONTHS[5], None)]
    found = [MONTHS[2], MONTHS[4], MONTHS[5]]
    due = dict(zip(found, ("2026-08-15", "2027-02-28", "2027-02-28")))
    later = "the labels from after the change of demand are known on 2026-08-15"
    months = [*CALM.months]
    months[3] = operated(MONTHS[3], deferred=f"the last training was on 2026-04-01: {later}")
    months[5] = operated(MONTHS[5], trigger="changed demand", decision="promote", version=2)
    said = words(
        replace(
            CALM,
            drift="rate",
            months=months,
            verdicts=[
                verdict(m, "changed demand", retrain_due=due[m]) if m in due else verdict(m)
                for m in MONTHS
            ],
            alarms=[alarm("invoices", month) for month in found],
            alerts=[
                Alert("invoices", *span, "ticket", "changed demand", "", "") for span in lasting
            ],
        )
    )
    for sentence in (
        "The verdict was changed demand in 2026-06 and 2026-08 to 2026-09.",
        "Two alerts were sent, each once: invoices (ticket, 2026-06), invoices (ticket, since",
        "In 2026-07 invoices did not alarm, which ended an alert: the next alarm began another",
        "It was done as of 2026-10-01: the gate promoted version 2.",
        "A later alarm dated another retraining 2027-02-28, which is after this year.",
        f"In 2026-07 a training by the calendar was held back: {later}.",
    ):
        assert sentence in said, said


def test_broken_data_holds_the_calendar_back():
    why = "the last training was on 2026-04-01: the data of 2026-06 is broken; repair it"
    unscored = [replace(one, scored=0) for one in CALM.months[2:4]]
    held = [replace(operated(month, deferred=why), scored=0) for month in MONTHS[4:]]
    months = [*CALM.months[:2], *unscored, *held]
    verdicts = [*CALM.verdicts[:2], *(verdict(month, "broken data") for month in MONTHS[2:])]
    alarms = [alarm("price", month) for month in MONTHS[2:]]
    said = words(replace(CALM, drift="price", months=months, verdicts=verdicts, alarms=alarms))
    assert "The sensor price alarmed in 2026-06, the first month of the change" in said
    assert "The verdict was broken data in 2026-06 to 2026-09." in said
    assert "In 2026-08 to 2026-09 a training by the calendar was held back: the model would" in said
    assert "whose data was broken: 2026-06 to 2026-09 were not scored." in said
    assert "would have learnt nothing" not in said


def test_the_early_label_never_counts():
    assert alarms_of([alarm("early_label", "2026-07"), alarm("price", "2026-07")]) == [
        alarm("price", "2026-07")
    ]


names = st.sampled_from([*SENSORS, "champion_gain", "champion_roc_auc"])


@given(
    st.lists(
        st.tuples(names, st.none() | st.floats(-99.9, 99.9)), max_size=5, unique_by=lambda x: x[0]
    ),
    st.integers(0, 99_999),
    st.sampled_from(["broken data", "changed demand", "worse", "calendar"]),
    st.sampled_from(
        [
            {},
            {"deferred": "why"},
            *(
                {"trigger": "calendar", "decision": decision, "version": 99}
                for decision in ("promote", "reject")
            ),
        ]
    ),
)
def test_every_row_fits_eighty_columns_and_cuts_no_name(alarms, count, name, more):
    found = Operated("2026-04", count, count, name, 98, **more)
    lines = [head(), *rows(found, [alarm(sensor, "2026-04", z) for sensor, z in alarms])]
    assert max(map(len, lines)) <= 79
    assert len(lines) == 1 + max(len(alarms), 1)
    for sensor, _ in alarms:
        assert any(sensor in line for line in lines)
    assert name in lines[1] and f"{count:,}" in lines[1]
    starts = [line.index(word) for line, word in ((lines[0], "verdict"), (lines[1], name))]
    assert starts[0] == starts[1], "the columns stand below their heads"


def test_durations_are_read_as_people_say_them():
    assert [duration(one) for one in (0.4, 1.2, 60, 125.4, 3600)] == [
        *("0 seconds", "1 second", "1 minute", "2 minutes 5 seconds", "60 minutes"),
    ]
