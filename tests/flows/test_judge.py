"""When the first baseline begins to judge, which months are whole, which scores are fair."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
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


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    var = tmp_path_factory.mktemp("judge")
    return load("online_retail", ["--var", str(var), "--operations.today", "2026-08-15"], {})


@pytest.fixture
def settings(shop, tmp_path):
    return shop.model_copy(update={"var": tmp_path})


def with_operations(settings, **changes):
    return settings.model_copy(
        update={"operations": settings.operations.model_copy(update=changes)}
    )


def log_of(settings, *months: str, last_day: date | None = None, rows: int = 10) -> Watched:
    watched = Watched(settings, settings.var, "batch")
    made = [Month(one, 10, 0, end_of(one), f"rows of {one}") for one in months]
    made[-1] = replace(made[-1], rows=rows, last_day=last_day or made[-1].last_day)
    watched.__dict__.update(months=made, closed=set())  # where cached properties keep values
    return watched


def running(first: str, count: int) -> list[str]:
    return [add_months(first, n) for n in range(count)]


# --- the first baseline -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "months", "asked", "first"),
    [
        pytest.param(
            *(None, running("2024-01", 30), "2026-05", "2026-05"),
            id="it ends before the month that is to be judged",
        ),
        pytest.param(
            *(date(2026, 3, 5), running("2024-01", 30), "2025-11", "2026-03"),
            id="or before operations.start, whatever month that is",
        ),
        pytest.param(
            *(date(2026, 3, 5), running("2025-10", 8), "2026-05", "2026-10"),
            id="or when the log has twelve months",
        ),
        pytest.param(
            *(None, [m for m in running("2025-01", 16) if m != "2025-09"], "2026-04", "2026-10"),
            id="a month without rows is not part of it",
        ),
    ],
)
def test_the_first_baseline(settings, start, months, asked, first):
    watched = log_of(with_operations(settings, start=start), *months)
    assert first_judged(watched, asked) == first


@given(st.integers(1, 40), st.integers(0, 39), st.none() | st.integers(-10, 50))
@hypothesis_settings(max_examples=40)
def test_twelve_months_of_the_log_lie_before_what_is_judged_first(shop, length, place, start):
    """And every month gets the same answer, where the start is set."""
    months = running("2024-01", length)
    day = None if start is None else date.fromisoformat(f"{add_months('2024-01', start)}-01")
    watched = log_of(with_operations(shop, start=day), *months)
    month = months[place % length]
    since = first_judged(watched, month)
    before = running(add_months(since, -12), 12)
    assert all(one in months or one > months[-1] for one in before)
    assert since >= (month if day is None else f"{day:%Y-%m}")
    if day is not None:
        assert since == first_judged(watched, months[-1])


# --- which months are whole -------------------------------------------------------------------


def test_a_month_that_ends_early_is_whole_where_later_ones_have_rows(settings):
    watched = log_of(settings, "2026-06", "2026-07", last_day=date(2026, 7, 20))
    assert watched.whole == ["2026-06"]
    with pytest.raises(UserError, match="rows of 2026-07 are not whole: the log ends on 2026-07-2"):
        check_there(watched, "2026-07")
    with pytest.raises(UserError, match="rows of 2026-05 are missing: the log ends on 2026-07-20"):
        check_there(watched, "2026-05")
    assert log_of(settings, "2026-06", "2026-07").whole == ["2026-06", "2026-07"]


@pytest.mark.parametrize(
    ("closed", "whole"), [((5,), True), ((5, 6), True), ((), False), ((6,), False)]
)
def test_days_of_the_week_on_which_the_shop_never_sells_are_not_missed(settings, closed, whole):
    """In 2026 the 31st of October is a Saturday; a few rows have a wrong date."""
    settings, friday = with_operations(settings, today=date(2026, 11, 1)), date(2026, 10, 30)
    watched = log_of(settings, "2026-09", "2026-10", last_day=friday)
    del watched.__dict__["closed"]
    days = [friday - timedelta(days=n) for n in range(120)]
    rows = {day: 6 if day.weekday() in closed else 400 for day in days}
    table = pa.table({"day": pa.array([*rows, None], pa.date32()), "rows": [*rows.values(), 9]})
    pq.write_table(table, watched.validated / DAYS)
    assert ("2026-10" in watched.whole) is whole


@pytest.mark.parametrize(
    ("last", "year_ago", "whole"), [(23, 23, True), (23, 22, True), (22, 23, False), (23, 0, False)]
)
def test_nor_are_days_at_the_end_of_a_month_on_which_it_was_closed_a_year_ago(
    settings, last, year_ago, whole
):
    watched = log_of(settings, "2025-06", "2026-07", last_day=date(2026, 7, last))
    if year_ago:
        before = Month("2025-07", 10, 0, date(2025, 7, year_ago), "rows")
        watched.__dict__["months"].insert(1, before)
    assert ("2026-07" in watched.whole) is whole


@pytest.mark.parametrize(("rows", "whole"), [(1, False), (20, True)])
def test_a_row_with_a_wrong_date_does_not_make_the_month_before_whole(settings, rows, whole):
    watched = log_of(settings, "2026-06", "2026-07", rows=rows)
    june = replace(watched.months[0], rows=1000, last_day=date(2026, 6, 20))
    watched.__dict__["months"][0] = june
    assert ("2026-06" in watched.whole) is whole


def test_rows_that_are_changed_from_a_restated_month_on_are_taken_over(settings):
    watched = log_of(settings, "2026-04", "2026-05", "2026-06")
    digests = {one.month: one.digest for one in watched.months}
    verdict = replace(CALM, month="2026-06", since="2026-06")
    state.write_judged(watched.folder, Judged(verdict, {"months": digests}, {}))
    check_unchanged(watched, "2026-06")
    watched.__dict__["months"][1:] = [replace(one, digest="others") for one in watched.months[1:]]
    for restate in (None, "2026-06", "2026-07"):
        with pytest.raises(UserError, match="the rows of 2026-05 were changed"):
            check_unchanged(watched, "2026-06", restate=restate)
    check_unchanged(watched, "2026-06", restate="2026-05")
    check_unchanged(watched, "2026-04")  # what comes after it does not matter to it


# --- scores, and what is shown ----------------------------------------------------------------


def test_scores_of_days_within_a_month_do_not_take_the_places_of_months(settings):
    for day in ("2026-01-01", "2026-02-01", "2026-02-25", "2026-03-01.bak", "2026-??-01"):
        folder = scores_folder(settings) / f"as_of={day}"
        folder.mkdir(parents=True)
        for name in (PARQUET, CSV):
            (folder / name).write_text(day)
        key = {"as_of": day, "model": "m", "bundle_sha256": "b", "data_sha256": "d"}
        files = {name: sha256_of(folder / name) for name in (PARQUET, CSV)}
        record = {**key, "version": 1, "rows": 1, "explained": 0, "files": files}
        write_record(folder / RECORD, record)
    scores = scores_until(settings, date(2026, 8, 1))
    assert [str(one.as_of) for one in scores] == ["2026-01-01", "2026-02-01"]


@pytest.mark.parametrize(
    ("fair_from", "seen"),
    [("2026-04-01", False), ("2026-05-01", False), ("2026-05-02", True), (None, False)],
)
def test_scores_of_days_that_a_champion_learnt_from_are_not_fair(tmp_path, fair_from, seen):
    scored = Scored(date(2026, 5, 1), tmp_path, 1, 10, "", fair_from)
    assert scored.seen_in_training is seen


def test_a_sensor_that_a_new_baseline_would_know_is_named(settings):
    waiting = Reading("invoices", "2026-04", "learning", until="2026-06")
    learning = Reading("champion_gain", "2026-06", "learning", until="2026-05")  # not a sensor
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
