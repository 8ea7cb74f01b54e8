"""Alerts: one per sensor and first month, its end announced, each event exactly once."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import files as records
from monitoring import alerts, journal
from monitoring.alerts import (
    alerts_of,
    clear_alert,
    events_of,
    raise_alert,
    repair,
    update,
)
from monitoring.events import Event, unannounced
from monitoring.facts import Reading, Verdict, add_months
from monitoring.verdict import Condition

ACTIONS = {
    "broken data": "Hold the batch.",
    "changed demand": "Retraining is due when labels ripen.",
    "worse": "Train now.",
    "calendar": "Nothing.",
}
STANDS_FOR = {"price": "broken data", "invoices": "changed demand"}


def verdict(month: str, name: str = "calendar") -> Verdict:
    return Verdict(month, name, ACTIONS[name], month, (f"Evidence of {name}.",), 3)


def judge(folder: Path, month: str, name: str = "calendar", **states: str) -> list[Event]:
    readings = [
        Reading(sensor, month, state, text=f"{sensor}!") for sensor, state in states.items()
    ]
    return update(folder, month, readings, verdict(month, name), verdict_of_alarm=STANDS_FOR)


def announced(events: list[Event]) -> list[str]:
    return [f"{event.sensor} {event.first_month[5:]} {event.state}" for event in events]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "monitoring" / "shop"


def test_an_event_describes_the_beginning_or_the_end_of_an_alert(folder: Path) -> None:
    (firing,) = judge(folder, "2026-07", "broken data", price="alarm")
    assert firing.severity == "page" and firing.verdict == "broken data"
    assert firing.text == "price!" and firing.action == ACTIONS["broken data"]
    assert firing.clock == "2026-08-01" and firing.month == "2026-07"
    judge(folder, "2026-08", "broken data", price="alarm")
    (over,) = judge(folder, "2026-09", price="ok")
    assert (over.month, over.last_month) == ("2026-09", "2026-08")
    assert over.text == "price: over in 2026-09. Its months were 2026-07 to 2026-08."
    (ticket,) = judge(folder, "2026-10", "changed demand", invoices="alarm", price="ok")
    assert ticket.severity == "ticket" and ticket.verdict == "changed demand"
    assert events_of(folder) == [firing, over, ticket]
    past, now = alerts_of(folder)
    assert (past.last_month, past.over) == ("2026-08", "2026-09")
    assert (now.first_month, now.last_month, now.over) == ("2026-10", "2026-10", None)
    other = folder.with_name("other")
    assert judge(other, "2026-07", "broken data", price="alarm")[0].id != firing.id
    assert "was judged again" in judge(other, "2026-07", price="ok")[0].text


BEGIN, AGAIN, OVER = ("07 price=alarm", "price 07 firing"), ("08 price=alarm", ""), "07 resolved"
# Each step: a month, what its verdict and sensors are, and the events that this adds.
COURSES = {
    "an alert is announced once, and so is its end": [
        *(("06 price=ok", ""), BEGIN, AGAIN, ("09 price=ok", f"price {OVER}")),
        *(("10 price=ok", ""), ("11 price=alarm", "price 11 firing")),
    ],
    **{
        f"a sensor that is {state} does not end an alert": [
            *(BEGIN, (f"08 price={state}", ""), ("09 price=alarm", "")),
            ("10 price=ok", f"price {OVER}"),
        ]
        for state in ("too_few", "learning", "skipped")
    },
    "the verdict is an alert where no alarming sensor stands for it": [
        ("06 worse price=ok", "worse 06 firing"),
        ("07 worse invoices=alarm price=ok", "invoices 07 firing"),
        # On broken data nothing was judged of the champion: `worse` is not over because of it.
        ("08 broken invoices=alarm price=alarm", "price 08 firing"),
        ("09 invoices=ok price=ok", f"invoices {OVER}, price 08 resolved, worse 06 resolved"),
    ],
    "a month that is judged again corrects what is open": [
        BEGIN,
        ("07 price=ok", f"price {OVER}"),
        BEGIN,
    ],
    "a month in the middle that is judged again makes two alerts of one": [
        *(BEGIN, AGAIN, ("09 price=alarm", "")),
        ("08 price=ok", f"price {OVER}, price 09 firing"),
        AGAIN,
    ],
    "an earlier month that is judged again does not announce the open alert again": [
        *(("07 price=ok", ""), ("08 price=alarm", "price 08 firing")),
        *(("07 price=alarm", ""), ("09 price=ok", "price 08 resolved")),
    ],
    "a ticket that becomes a page is announced again": [
        ("07 demand other=alarm", "other 07 firing"),
        ("07 broken other=alarm", "other 07 firing"),
        ("07 demand other=alarm", ""),
    ],
}
VERDICTS = {"broken": "broken data", "demand": "changed demand", "worse": "worse"}


@pytest.mark.parametrize("steps", COURSES.values(), ids=COURSES)
def test_each_beginning_and_end_is_announced_once(
    folder: Path, steps: list[tuple[str, str]]
) -> None:
    for step, added in steps:
        month, *words = step.split()
        states = dict(word.split("=") for word in words if "=" in word)
        name = next((VERDICTS[word] for word in words if word in VERDICTS), "calendar")
        if states.get("price") == "alarm":
            name = "broken data"
        events = announced(judge(folder, f"2026-{month}", name, **states))
        assert ", ".join(sorted(events)) == added, step
    events = events_of(folder)
    assert len({event.id for event in events}) == len(events)


def test_a_held_batch_is_an_alert_until_it_is_cleared(folder: Path) -> None:
    (firing,) = raise_alert(folder, "2026-07", "batch", "It was held.", "make accept-batch")
    assert (firing.severity, firing.action) == ("page", "make accept-batch")
    assert raise_alert(folder, "2026-07", "batch", "It was held.", "make accept-batch") == []
    assert judge(folder, "2026-07", price="ok") == [], "the judgement of the month leaves it open"
    assert raise_alert(folder, "2026-08", "batch", "Held again.", "make accept-batch") == []
    assert [alert.text for alert in alerts_of(folder)] == ["Held again."]
    (over,) = clear_alert(folder, "2026-09", "batch")
    assert (over.first_month, over.last_month, over.state) == ("2026-07", "2026-08", "resolved")
    assert clear_alert(folder, "2026-09", "batch") == []


def test_an_alert_may_be_cleared_in_its_own_month(folder: Path) -> None:
    assert clear_alert(folder, "2026-07", "operate") == []
    raise_alert(folder, "2026-07", "operate", "It failed.", "make operate", severity="ticket")
    (over,) = clear_alert(folder, "2026-07", "operate", today=date(2026, 8, 3))
    assert (over.state, over.last_month, over.clock) == ("resolved", "2026-07", "2026-08-03")
    raise_alert(folder, "2026-07", "operate", "It failed.", "make operate", severity="ticket")
    ids = [event.id for event in events_of(folder)]
    assert len(set(ids)) == 3, "it is open again, which is news: an id of its own"


def test_a_reading_or_verdict_of_another_month_is_refused(folder: Path) -> None:
    for readings, month in (([Reading("price", "2026-08", "ok")], "2026-07"), ([], "2026-06")):
        with pytest.raises(ValueError, match="another month"):
            update(folder, "2026-07", readings, verdict(month))


# --- for all orders of judgements ---------------------------------------------------------------

ALARM = Condition("ticket", "changed demand", "text", "action")
SAID = st.dictionaries(
    st.sampled_from(["price", "unit", "batch"]), st.sampled_from([ALARM, None]), max_size=3
)


@given(st.lists(st.tuples(st.integers(0, 5), SAID), max_size=12))
def test_in_any_order_of_judgements_the_open_alerts_are_those_of_the_last_known_months(
    steps: list,
) -> None:
    months: dict = {}
    events: list[Event] = []
    for place, said in steps:
        months[add_months("2026-01", place)] = said
        events += unannounced("shop", events, months, None)
        assert unannounced("shop", events, months, None) == []
        assert len({event.id for event in events}) == len(events)
        open_now = Counter()
        for event in events:
            open_now[event.sensor] += 1 if event.state == "firing" else -1
        for sensor in ("price", "unit", "batch"):
            known = [months[month][sensor] for month in sorted(months) if sensor in months[month]]
            assert open_now[sensor] == bool(known and known[-1])


# --- killed, altered ----------------------------------------------------------------------------


class Killed(BaseException):
    pass


def year(folder: Path) -> None:
    """Twelve months in order: price in two runs, worse, a held batch."""
    for number in range(1, 13):
        month = f"2026-{number:02}"
        if number == 5:
            raise_alert(folder, month, "batch", "It was held.", "make accept-batch")
        if number == 6:
            clear_alert(folder, month, "batch")
        alarm = number in (3, 4, 9)
        name = "broken data" if alarm else "worse" if number in (7, 8) else "calendar"
        judge(folder, month, name, price="alarm" if alarm else "ok", unit="ok")


def content(folder: Path) -> list[Event]:
    return [replace(event, time="") for event in events_of(folder)]


@pytest.mark.slow
def test_after_a_kill_at_any_write_a_second_run_completes_the_same_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    year(tmp_path / "whole" / "shop")
    expected = content(tmp_path / "whole" / "shop")
    assert len(expected) == 8 and len({event.id for event in expected}) == 8
    count = 0
    write_file, write = records.write_file, journal.os.write

    def counted(act, half):
        def step(*arguments):
            nonlocal count
            count -= 1
            if count == 0:
                half(*arguments)
                raise Killed
            return act(*arguments)

        return step

    # A write ends before it began (the record) or half-way (a line); nothing cleans up after it.
    with monkeypatch.context() as patch:
        patch.setattr(records, "write_file", counted(write_file, lambda *_: None))
        half = lambda file, data: write(file, data[: len(data) // 2])  # noqa: E731
        patch.setattr(journal.os, "write", counted(write, half))
        for kill in range(1, 40):
            folder = tmp_path / str(kill) / "shop"
            count = kill
            try:
                year(folder)
                break
            except Killed:
                count = 0
            year(folder)
            assert content(folder) == expected, kill
            shutil.rmtree(folder)
        assert kill > 15, "the year was over before it was killed often enough"


def altered(content: bytes) -> bytes:
    return content.replace(b"Hold the batch", b"Do nothing", 1)


@pytest.mark.parametrize(
    ("damage", "line", "said"),
    [(lambda content: content[:-40], 8, "half-written"), (altered, 1, "altered")],
    ids=["half-written", "altered"],
)
def test_a_damaged_line_is_named_taken_out_and_announced_again(
    folder: Path, caplog: pytest.LogCaptureFixture, damage, line: int, said: str
) -> None:
    year(folder)
    before, file = content(folder), folder / "alerts.jsonl"
    file.write_bytes(damage(file.read_bytes()))
    assert content(folder) == before[: line - 1] + before[line:], "it is not used"
    assert {event.id for event in repair(folder)} == {event.id for event in before}
    assert f"line {line}" in caplog.text and said in caplog.text
    assert (folder / "alerts.jsonl.damaged").read_bytes().count(b"\n") == 1
    assert b"Do nothing" not in file.read_bytes()
    assert before[line - 1] in content(folder)
    assert content(folder) == before or line < len(before)


def test_a_lost_or_altered_record_of_the_months_is_rebuilt_from_the_events(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    judge(folder, "2026-07", "broken data", price="alarm")
    judge(folder, "2026-08", "broken data", price="alarm")
    raise_alert(folder, "2026-08", "batch", "It was held.", "make accept-batch")
    file = folder / "judged.json"
    record = json.loads(file.read_text())
    record["judged"]["2026-07"]["price"] = None
    file.write_text(json.dumps(record))
    assert judge(folder, "2026-09", "broken data", price="alarm") == []
    assert "judged.json" in caplog.text and "made again" in caplog.text
    file.unlink()
    assert announced(judge(folder, "2026-10", price="ok")) == ["price 07 resolved"]
    assert announced(clear_alert(folder, "2026-10", "batch")) == ["batch 08 resolved"]
    past = alerts_of(folder)
    records.write_record(file, {"of": "another version"})
    assert alerts_of(folder) == past, "alerts that are over stay so"
    assert announced(judge(folder, "2026-11", "broken data", price="alarm")) == ["price 11 firing"]


def test_a_text_from_outside_is_made_printable_and_shortened(folder: Path) -> None:
    text = "held\r\nBcc: everybody@example.com\x1b[2J" + "x" * 5000
    (event,) = raise_alert(folder, "2026-07", "batch", text, "")
    assert event.text.isprintable() and len(event.text) == 1000
    assert events_of(folder) == [event]


def test_a_full_disk_is_an_error_and_leaves_no_half_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(folder, "2026-07", "broken data", price="alarm")
    before = (folder / "alerts.jsonl").read_bytes()

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "fsync", lambda file: full(file, b""))
        patch.setattr(alerts, "write_record", lambda *_: None)
        with pytest.raises(OSError, match="No space"):
            judge(folder, "2026-08", price="ok")
    assert (folder / "alerts.jsonl").read_bytes() == before
