"""The table of a simulated year fits a terminal, and its closing paragraphs say what happened."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.operate import Operated
from flows.year_report import Year, alarms_of, duration, head, paragraphs, rows
from monitoring.alerts import Alert
from monitoring.facts import Reading, Verdict, add_months
from monitoring.measure import SENSORS
from registry.chain import Record

MONTHS = [add_months("2026-04", n) for n in range(6)]
BY_CALENDAR = {"trigger": "calendar", "decision": "promote", "version": 2, "run_id": "a"}


def operated(month: str, **others: Any) -> Operated:
    return Operated(**{**vars(Operated(month, 5956, 3493, "calendar", 1)), **others})


def verdict(month: str, name="calendar", **others: Any) -> Verdict:
    return Verdict(month, name, "", month, (), 1, **others)


def alarm(sensor: str, month: str, z: float | None = 5.0) -> Reading:
    return Reading(sensor, month, "alarm", z=z, text=f"{sensor} reads {z} in {month}.")


def alert(sensor: str, first: str, last: str, over: str | None) -> Alert:
    return Alert(sensor, first, last, over, "ticket", "changed demand", "", "")


def record(version: int, run_id: str, *broken: str) -> Record:
    rules = [{"held": True, "found": "this held"}, *({"held": False, "found": b} for b in broken)]
    blank = dict.fromkeys(Record.__dataclass_fields__, "")
    return Record(**{**blank, "rules": rules, "run_id": run_id, "to_version": version})


def year(
    drift: str = "none",
    months: dict[int, dict[str, Any]] | None = None,
    verdicts: dict[int, Verdict] | None = None,
    **others: Any,
) -> Year:
    """A calm year but for what is named. months, verdicts: by their place."""
    calm = Year(drift, date(2026, 6, 1), (), (), (), (), (), {1: 1200}, 0, 92.4)
    return replace(
        calm,
        months=[operated(month, **(months or {}).get(n, {})) for n, month in enumerate(MONTHS)],
        verdicts=[(verdicts or {}).get(n, verdict(month)) for n, month in enumerate(MONTHS)],
        **others,
    )


def changed(*places: int, due: str) -> dict[int, Verdict]:
    return {n: verdict(MONTHS[n], "changed demand", retrain_due=due) for n in places}


LATER = "the labels from after the change of demand are known on 2026-08-15"
WAITS = "the last training was on 2026-04-01: the data of 2026-06 is broken; repair it"
HELD = "demand changed in 2026-06: wait"
# The year, and sentences that are said of it.
CASES: dict[str, tuple[Year, list[str]]] = {
    "a calm year": (
        year(),
        [
            "In this year nothing was planted. No sensor alarmed in any of its 6 months.",
            "At the end version 1, the first champion, was served.",
            "answered 1,200 requests (version 1: 1,200) and lost none. The year took 1 minute 32 s",
        ],
    ),
    "a false alarm": (
        year(alarms=[alarm("unit", "2026-07")]),
        ["False alarms: unit in 2026-07."],
    ),
    "a false alarm before the change, and none after it": (
        year("price", alarms=[alarm("unit", "2026-05")]),
        ["False alarms before it: unit in 2026-05. No sensor alarmed after it."],
    ),
    "changed demand, from the alarm to the gate": (
        year(
            "rate",
            {
                2: BY_CALENDAR,
                4: {"trigger": "changed demand", "decision": "reject", "version": 3, "run_id": "b"},
                5: {"champion": 2},
            },
            changed(2, 3, due="2026-08-15"),
            alarms=[alarm("invoices", "2026-07", -4.2), alarm("abroad", "2026-08")],
            alerts=[
                alert("invoices", "2026-07", "2026-08", "2026-09"),
                alert("abroad", "2026-08", "2026-08", None),
            ],
            past=[record(2, "a"), record(3, "b", "no better", "too slow")],
            versions={1: 700, 2: 500},
            lost=3,
        ),
        [
            "On 2026-06-01 customers began to buy a fifth less often.",
            "alarmed in 2026-07, the second month of the change: invoices reads -4.2 in 2026-07.",
            "Other sensors alarmed too: abroad in 2026-08.",
            "The verdict was changed demand in 2026-06 to 2026-07.",
            "Two alerts were sent, each once: invoices (ticket, 2026-07 to 2026-08), abroad (",
            "A retraining at once would have learnt nothing",
            "it was dated 2026-08-15, when",
            "It was done as of 2026-09-01: the gate rejected version 3 (no better).",
            "One training came by the calendar: as of 2026-07-01 the gate promoted version 2.",
            "At the end version 2, champion since 2026-07-01, was served.",
            "(version 1: 700, version 2: 500), changed to a new champion once, and lost 3.",
        ],
    ),
    "a retraining after the year": (
        year(
            "mix", None, changed(*range(6), due="2027-01-01"), alarms=[alarm("abroad", "2026-06")]
        ),
        ["That is after this year."],
    ),
    "a retraining that is held back": (
        year(
            *("mix", {5: {"deferred": HELD}}, changed(*range(6), due="2026-08-15")),
            alarms=[alarm("abroad", "2026-06")],
        ),
        [f"In 2026-09 it was held back: {HELD}."],
    ),
    "a second alarm of the same change": (
        year(
            "rate",
            {
                3: {"deferred": f"the last training was on 2026-04-01: {LATER}"},
                5: {"trigger": "changed demand", "decision": "promote", "version": 2},
            },
            changed(2, due="2026-08-15") | changed(4, 5, due="2027-02-28"),
            alarms=[alarm("invoices", MONTHS[n]) for n in (2, 4, 5)],
            alerts=[
                alert("invoices", MONTHS[2], MONTHS[2], MONTHS[3]),
                alert("invoices", MONTHS[4], MONTHS[5], None),
            ],
        ),
        [
            "The verdict was changed demand in 2026-06 and 2026-08 to 2026-09.",
            "Two alerts were sent, each once: invoices (ticket, 2026-06), invoices (ticket, since",
            "In 2026-07 invoices did not alarm, which ended an alert: the next alarm began another",
            "It was done as of 2026-10-01: the gate promoted version 2.",
            "A later alarm dated another retraining 2027-02-28, which is after this year.",
            f"In 2026-07 a training by the calendar was held back: {LATER}.",
        ],
    ),
    "broken data": (
        year(
            "price",
            {2: {"scored": 0}, 3: {"scored": 0}, 4: {"deferred": WAITS, "scored": 0}}
            | {5: {"deferred": WAITS, "scored": 0}},
            {n: verdict(MONTHS[n], "broken data") for n in range(2, 6)},
            alarms=[alarm("price", month) for month in MONTHS[2:]],
        ),
        [
            "The sensor price alarmed in 2026-06, the first month of the change",
            "The verdict was broken data in 2026-06 to 2026-09.",
            "In 2026-08 to 2026-09 a training by the calendar was held back: the model would",
            "whose data was broken: 2026-06 to 2026-09 were not scored.",
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_at_the_end_of(case):
    found, sentences = CASES[case]
    said = "\n".join(paragraphs(found))
    for sentence in sentences:
        assert sentence in said, said
    if not any(one.retrain_due for one in found.verdicts):
        assert "would have learnt nothing" not in said
    if case == "a calm year":
        assert not any(never in said for never in ("training", "alert", "held back"))


def test_the_early_label_never_counts():
    price = alarm("price", "2026-07")
    assert alarms_of([alarm("early_label", "2026-07"), price]) == [price]


NAMES = st.sampled_from([*SENSORS, "champion_gain", "champion_roc_auc"])
ENDS = [{}, {"deferred": "why"}, *({**BY_CALENDAR, "decision": d} for d in ("promote", "reject"))]


@given(
    st.lists(
        st.tuples(NAMES, st.none() | st.floats(-99.9, 99.9)), max_size=5, unique_by=lambda x: x[0]
    ),
    st.integers(0, 99_999),
    st.sampled_from(["broken data", "changed demand", "worse", "calendar"]),
    st.sampled_from(ENDS),
)
def test_every_row_fits_eighty_columns_and_cuts_no_name(alarms, count, name, more):
    found = Operated("2026-04", count, count, name, 98, **more)
    lines = [head(), *rows(found, [alarm(sensor, "2026-04", z) for sensor, z in alarms])]
    assert max(map(len, lines)) <= 79
    assert len(lines) == 1 + max(len(alarms), 1)
    assert all(any(sensor in line for line in lines) for sensor, _ in alarms)
    assert f"{count:,}" in lines[1]
    assert lines[0].index("verdict") == lines[1].index(name), "columns stand below their heads"


def test_durations_are_read_as_people_say_them():
    assert [duration(one) for one in (0.4, 1.2, 60, 125.4, 3600)] == [
        *("0 seconds", "1 second", "1 minute", "2 minutes 5 seconds", "60 minutes"),
    ]
