"""When the first baseline begins to judge, which scores are fair, and what people are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.files import sha256_of, write_record
from configs.load import load
from flows.champion_facts import Scored, scores_until
from flows.judge import check_unchanged
from flows.kept_scores import RECORD, scores_folder
from flows.monitor import could_judge, judged_before
from flows.watch import Watched, check_there, first_judged, folder_of
from ingestion.months import Month
from ingestion.outcome import DAYS
from monitoring import state
from monitoring.facts import Reading, Verdict, add_months, end_of
from monitoring.state import Judged
from serving.batch import CSV, PARQUET

CALM = Verdict("2026-04", "calendar", "nothing", "2026-04", (), 1)


def log_of(settings, tmp_path, *months: str, last_day: date | None = None) -> Watched:
    watched = Watched(settings, tmp_path, "batch")
    found = [Month(one, 10, 0, end_of(one), f"rows of {one}") for one in months]
    if last_day is not None:
        found[-1] = replace(found[-1], last_day=last_day)
    watched.__dict__.update(months=found, closed=set())  # where cached properties keep values
    return watched


def running(first: str, count: int) -> list[str]:
    return [add_months(first, n) for n in range(count)]


@pytest.fixture
def settings(tmp_path):
    return load("online_retail", ["--var", str(tmp_path), "--operations.today", "2026-08-15"], {})


def starting(settings, day: str | None):
    start = settings.operations.model_copy(
        update={"start": None if day is None else date.fromisoformat(day)}
    )
    return settings.model_copy(update={"operations": start})


# --- the first baseline -----------------------------------------------------------------------


def test_the_first_baseline_ends_before_the_month_that_is_asked_for(settings, tmp_path):
    watched = log_of(settings, tmp_path, *running("2024-01", 30))
    assert first_judged(watched, "2026-05") == "2026-05"


def test_or_before_the_start_that_is_set(settings, tmp_path):
    watched = log_of(starting(settings, "2026-03-05"), tmp_path, *running("2024-01", 30))
    assert {first_judged(watched, month) for month in ("2025-11", "2026-05")} == {"2026-03"}


def test_or_when_the_log_has_twelve_months(settings, tmp_path):
    watched = log_of(starting(settings, "2026-03-05"), tmp_path, *running("2025-10", 8))
    assert first_judged(watched, "2026-05") == "2026-10"


def test_a_month_without_rows_is_not_part_of_it(settings, tmp_path):
    months = [one for one in running("2025-01", 16) if one != "2025-09"]
    watched = log_of(settings, tmp_path, *months)
    assert first_judged(watched, "2026-04") == "2026-10"


@given(st.integers(1, 40), st.integers(0, 39), st.none() | st.integers(-10, 50))
def test_twelve_months_of_the_log_lie_before_what_is_judged_first(length, asked, start):
    """And each month that is asked for is told the same, where the start is set."""
    months = running("2024-01", length)
    settings = load("online_retail", [], {})
    day = None if start is None else f"{add_months('2024-01', start)}-01"
    watched = log_of(starting(settings, day), settings.var, *months)
    month = months[asked % length]
    since = first_judged(watched, month)
    before = running(add_months(since, -12), 12)
    assert all(one in months or one > months[-1] for one in before)
    assert since >= (month if day is None else day[:7])
    if day is not None:
        assert since == first_judged(watched, months[-1])


# --- months -----------------------------------------------------------------------------------


def test_a_month_that_ends_early_is_whole_where_later_ones_have_rows(settings, tmp_path):
    watched = log_of(settings, tmp_path, "2026-06", "2026-07", last_day=date(2026, 7, 20))
    assert watched.whole == ["2026-06"]
    with pytest.raises(
        Exception, match="rows of 2026-07 are not whole: the log ends on 2026-07-20"
    ):
        check_there(watched, "2026-07")
    watched = log_of(settings, tmp_path, "2026-06", "2026-07", last_day=date(2026, 7, 31))
    assert watched.whole == ["2026-06", "2026-07"]


def test_days_of_the_week_on_which_the_shop_never_sells_are_not_missed(settings, tmp_path):
    """In 2026 the 31st of October is a Saturday."""
    clock = settings.operations.model_copy(update={"today": date(2026, 11, 1)})
    settings = settings.model_copy(update={"operations": clock})
    friday = date(2026, 10, 30)
    before = [friday - timedelta(days=n) for n in range(120)]

    def whole(*closed: int) -> bool:
        watched = log_of(settings, tmp_path, "2026-09", "2026-10", last_day=friday)
        del watched.__dict__["closed"]
        rows = {day: 6 if day.weekday() in closed else 400 for day in before}
        table = pa.table({"day": pa.array([*rows, None], pa.date32()), "rows": [*rows.values(), 9]})
        pq.write_table(table, watched.validated / DAYS)
        return "2026-10" in watched.whole

    assert whole(5) and whole(5, 6), "a few rows have a wrong date"
    assert not whole() and not whole(6)


def test_nor_are_the_days_at_the_end_of_a_year_on_which_it_was_closed_a_year_ago(
    settings, tmp_path
):
    def whole(last_day: date, before: date | None) -> bool:
        watched = log_of(settings, tmp_path, "2025-06", "2026-07", last_day=last_day)
        if before is not None:
            year_ago = Month("2025-07", 10, 0, before, "rows")
            watched.__dict__["months"].insert(1, year_ago)
        return "2026-07" in watched.whole

    assert whole(date(2026, 7, 23), date(2025, 7, 23)) and whole(
        date(2026, 7, 23), date(2025, 7, 22)
    )
    assert not whole(date(2026, 7, 22), date(2025, 7, 23)) and not whole(date(2026, 7, 23), None)


def test_a_row_with_a_wrong_date_does_not_make_the_month_before_whole(settings, tmp_path):
    watched = log_of(settings, tmp_path, "2026-06", "2026-07")
    june, july = watched.months
    june = replace(june, rows=1000, last_day=date(2026, 6, 20))
    watched.__dict__["months"] = [june, replace(july, rows=1)]
    assert "2026-06" not in watched.whole
    del watched.__dict__["whole"]
    watched.__dict__["months"] = [june, replace(july, rows=20)]  # half a day's
    assert "2026-06" in watched.whole


def test_rows_that_are_changed_from_a_restated_month_on_are_taken_over(settings, tmp_path):
    watched = log_of(settings, tmp_path, "2026-04", "2026-05", "2026-06")
    digests = {one.month: one.digest for one in watched.months}
    verdict = Verdict("2026-06", "calendar", "nothing", "2026-06", (), 1)
    state.write_judged(watched.folder, Judged(verdict, {"months": digests}, {}))
    check_unchanged(watched, "2026-06")
    watched.__dict__["months"][1:] = [replace(one, digest="others") for one in watched.months[1:]]
    for restate, changed in ((None, "2026-05"), ("2026-06", "2026-05"), ("2026-07", "2026-05")):
        with pytest.raises(Exception, match=f"the rows of {changed} were changed"):
            check_unchanged(watched, "2026-06", restate=restate)
    check_unchanged(watched, "2026-06", restate="2026-05")
    check_unchanged(watched, "2026-04")  # what comes after it does not matter to it


# --- scores, and what is told -----------------------------------------------------------------


def test_scores_of_days_within_a_month_do_not_take_the_places_of_months(settings):
    days = ("2026-01-01", "2026-02-01", "2026-02-25", "2026-02-26", "2026-03-01.bak", "2026-??-01")
    for day in days:
        folder = scores_folder(settings) / f"as_of={day}"
        folder.mkdir(parents=True)
        for name in (PARQUET, CSV):
            (folder / name).write_text(day)
        key = {"as_of": day, "model": "m", "bundle_sha256": "b", "data_sha256": "d"}
        files = {name: sha256_of(folder / name) for name in (PARQUET, CSV)}
        record = {**key, "version": 1, "rows": 1, "explained": 0, "files": files}
        write_record(folder / RECORD, record)
    found = scores_until(settings, date(2026, 8, 1))
    assert [str(one.as_of) for one in found] == ["2026-01-01", "2026-02-01"]


@pytest.mark.parametrize(
    ("fair_from", "seen"),
    [("2026-04-01", False), ("2026-05-01", False), ("2026-05-02", True), (None, False)],
)
def test_scores_of_days_that_a_champion_learnt_from_are_not_fair(tmp_path, fair_from, seen):
    scored = Scored(date(2026, 5, 1), tmp_path, 1, 10, "", fair_from)
    assert scored.seen_in_training is seen


def test_a_sensor_that_a_new_baseline_would_know_is_named(settings):
    waiting = Reading("invoices", "2026-04", "learning", until="2026-06")
    learning = Reading("champion_gain", "2026-06", "learning", until="2026-05")  # no sensor
    assert could_judge([waiting, learning], settings) == []
    (said,) = could_judge([replace(waiting, month="2026-06"), learning], settings)
    assert said.startswith("invoices: the log has the months of a baseline by now")
    assert "make rebaseline" in said


def test_what_a_month_was_judged_can_be_looked_up(settings):
    state.write_judged(folder_of(settings), Judged(CALM, {}, {}))
    assert judged_before(settings, "2026-04").verdict == CALM
    with pytest.raises(UserError, match="2026-05 was not judged: judged are 2026-04 to 2026-04"):
        judged_before(settings, "2026-05")
    file = folder_of(settings) / "verdicts" / "month=2026-04.json"
    file.write_text(file.read_text().replace("calendar", "worse"))
    with pytest.raises(UserError, match="was altered"):
        judged_before(settings, "2026-04")
