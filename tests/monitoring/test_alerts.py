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
    Event,
    alerts_of,
    clear_alert,
    events_of,
    raise_alert,
    repair,
    unannounced,
    update,
)
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
    return update(folder, month, readings, verdict(month, name), stands_for=STANDS_FOR)


def told(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(event.sensor, event.first_month, event.state) for event in events]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "monitoring" / "shop"


def test_an_alert_is_announced_once_and_so_is_its_end(folder: Path) -> None:
    assert judge(folder, "2026-06", price="ok") == []
    (firing,) = judge(folder, "2026-07", "broken data", price="alarm")
    assert told([firing]) == [("price", "2026-07", "firing")]
    assert firing.severity == "page" and firing.verdict == "broken data"
    assert firing.text == "price!" and firing.action == ACTIONS["broken data"]
    assert firing.clock == "2026-08-01" and firing.month == "2026-07"
    assert judge(folder, "2026-08", "broken data", price="alarm") == []
    (over,) = judge(folder, "2026-09", price="ok")
    assert told([over]) == [("price", "2026-07", "resolved")]
    assert (over.month, over.last_month) == ("2026-09", "2026-08")
    assert over.text == "price: over in 2026-09. Its months were 2026-07 to 2026-08."
    assert judge(folder, "2026-10", price="ok") == []
    assert events_of(folder) == [firing, over]


def test_an_alert_of_one_month_and_a_later_one_are_two(folder: Path) -> None:
    for month, state in (("2026-07", "alarm"), ("2026-08", "ok"), ("2026-09", "alarm")):
        judge(folder, month, "broken data" if state == "alarm" else "calendar", price=state)
    assert told(events_of(folder)) == [
        ("price", "2026-07", "firing"),
        ("price", "2026-07", "resolved"),
        ("price", "2026-09", "firing"),
    ]
    past, now = alerts_of(folder)
    assert (past.last_month, past.over) == ("2026-07", "2026-08")
    assert (now.first_month, now.last_month, now.over) == ("2026-09", "2026-09", None)


@pytest.mark.parametrize("state", ["too_few", "learning", "skipped"])
def test_a_sensor_that_cannot_judge_does_not_end_an_alert(folder: Path, state: str) -> None:
    judge(folder, "2026-07", "broken data", price="alarm")
    assert judge(folder, "2026-08", price=state) == []
    assert judge(folder, "2026-09", "broken data", price="alarm") == []
    assert told(judge(folder, "2026-10", price="ok")) == [("price", "2026-07", "resolved")]


def test_the_verdict_is_an_alert_where_no_sensor_stands_for_it(folder: Path) -> None:
    assert told(judge(folder, "2026-06", "worse", price="ok")) == [("worse", "2026-06", "firing")]
    # Worse is what labels say: no alarming sensor stands for it, and it goes on beside one.
    events = judge(folder, "2026-07", "worse", invoices="alarm", price="ok")
    assert told(events) == [("invoices", "2026-07", "firing")]
    assert events[0].severity == "ticket" and events[0].verdict == "changed demand"
    # A sensor's own name is the alert, not the verdict's as well.
    events = judge(folder, "2026-08", "broken data", invoices="alarm", price="alarm")
    assert told(events) == [("price", "2026-08", "firing")]
    # On broken data nothing was judged of the champion: `worse` is not over before it was.
    events = judge(folder, "2026-09", invoices="ok", price="ok")
    assert sorted(told(events)) == [
        ("invoices", "2026-07", "resolved"),
        ("price", "2026-08", "resolved"),
        ("worse", "2026-06", "resolved"),
    ]


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


def test_what_was_released_in_its_own_month_is_over(folder: Path) -> None:
    assert clear_alert(folder, "2026-07", "operate") == []
    raise_alert(folder, "2026-07", "operate", "It failed.", "make operate", severity="ticket")
    (over,) = clear_alert(folder, "2026-07", "operate", today=date(2026, 8, 3))
    assert (over.state, over.last_month, over.clock) == ("resolved", "2026-07", "2026-08-03")
    raise_alert(folder, "2026-07", "operate", "It failed.", "make operate", severity="ticket")
    ids = [event.id for event in events_of(folder)]
    assert len(set(ids)) == 3, "it is open again, which is news: an id of its own"


def test_a_month_judged_anew_corrects_what_is_open(folder: Path) -> None:
    judge(folder, "2026-07", "broken data", price="alarm")
    (over,) = judge(folder, "2026-07", price="ok")
    assert over.state == "resolved" and "was judged again" in over.text
    (again,) = judge(folder, "2026-07", "broken data", price="alarm")
    assert again.state == "firing"
    assert len({event.id for event in events_of(folder)}) == 3


def test_a_month_in_the_middle_judged_anew_makes_two_alerts_of_one(folder: Path) -> None:
    for month in ("2026-07", "2026-08", "2026-09"):
        judge(folder, month, "broken data", price="alarm")
    assert told(judge(folder, "2026-08", price="ok")) == [
        ("price", "2026-07", "resolved"),
        ("price", "2026-09", "firing"),
    ]
    assert judge(folder, "2026-08", "broken data", price="alarm") == [], "the open one goes on"


def test_an_earlier_month_judged_anew_does_not_announce_the_open_alert_again(folder: Path) -> None:
    judge(folder, "2026-07", price="ok")
    judge(folder, "2026-08", "broken data", price="alarm")
    assert judge(folder, "2026-07", "broken data", price="alarm") == []
    assert told(judge(folder, "2026-09", price="ok")) == [("price", "2026-08", "resolved")]


def test_a_ticket_that_turns_out_to_be_a_page_is_announced_again(folder: Path) -> None:
    judge(folder, "2026-07", "changed demand", other="alarm")
    (page,) = judge(folder, "2026-07", "broken data", other="alarm")
    assert (page.state, page.severity) == ("firing", "page")
    assert judge(folder, "2026-07", "changed demand", other="alarm") == []


def test_what_belongs_to_another_month_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="another month"):
        update(folder, "2026-07", [Reading("price", "2026-08", "ok")], verdict("2026-07"))
    with pytest.raises(ValueError, match="another month"):
        update(folder, "2026-07", [], verdict("2026-06"))


def test_two_data_sets_have_other_ids(tmp_path: Path) -> None:
    ids = [judge(tmp_path / n, "2026-07", "broken data", price="alarm")[0].id for n in "ab"]
    assert ids[0] != ids[1]


# --- for all courses of events ------------------------------------------------------------------

ALARM = Condition("ticket", "changed demand", "text", "action")
SAID = st.dictionaries(
    st.sampled_from(["price", "unit", "batch"]), st.sampled_from([ALARM, None]), max_size=3
)


@given(st.lists(SAID, max_size=14))
def test_each_run_of_alarms_begins_once_and_ends_once(said: list[dict]) -> None:
    months = {add_months("2026-01", place): one for place, one in enumerate(said)}
    events: list[Event] = []
    for place in range(len(months)):  # in order; each is judged twice
        for _ in range(2):
            seen = dict(list(months.items())[: place + 1])
            events += unannounced("shop", events, seen, None)
    assert len({event.id for event in events}) == len(events)
    for sensor in ("price", "unit", "batch"):
        known = [(month, one[sensor]) for month, one in months.items() if sensor in one]
        begins = [
            month
            for place, (month, one) in enumerate(known)
            if one and (place == 0 or known[place - 1][1] is None)
        ]
        ends = [
            month
            for place, (month, one) in enumerate(known)
            if one is None and place > 0 and known[place - 1][1]
        ]
        mine = [event for event in events if event.sensor == sensor]
        assert [event.first_month for event in mine if event.state == "firing"] == begins
        assert [event.month for event in mine if event.state == "resolved"] == ends
        assert [event.state for event in mine] == (["firing", "resolved"] * len(begins))[
            : len(mine)
        ]


@given(st.lists(st.tuples(st.integers(0, 5), SAID), max_size=12))
def test_whatever_is_judged_anew_the_events_say_what_the_months_do(steps: list) -> None:
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
def test_killed_at_any_write_and_run_again_each_event_is_there_once(
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


def test_a_half_written_last_line_is_named_taken_out_and_announced_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    year(folder)
    before, file = content(folder), folder / "alerts.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    assert content(folder) == before[:-1], "it is not used"
    assert [event.id for event in repair(folder)] == [event.id for event in before]
    assert "line 8" in caplog.text and "half-written" in caplog.text
    assert (folder / "alerts.jsonl.damaged").read_bytes().count(b"\n") == 1
    assert content(folder) == before


def test_an_altered_line_is_never_trusted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    year(folder)
    before, file = content(folder), folder / "alerts.jsonl"
    file.write_text(file.read_text().replace("Hold the batch", "Do nothing", 1))
    repair(folder)
    assert "line 1 was altered" in caplog.text
    assert "Do nothing" not in file.read_text()
    assert {event.id for event in events_of(folder)} == {event.id for event in before}


def test_a_lost_or_altered_record_of_the_months_is_made_again_from_the_events(
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
    assert told(judge(folder, "2026-10", price="ok")) == [("price", "2026-07", "resolved")]
    assert told(clear_alert(folder, "2026-10", "batch")) == [("batch", "2026-08", "resolved")]


def test_a_text_from_outside_does_nothing_and_is_of_bounded_length(folder: Path) -> None:
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
